//! AWS credentials on Vercel without a stored key. On Vercel, every request has a header with the OIDC token
//! of Vercel's platform. In exchange for the OIDC token, STS gives a session of the role that `AWS_ROLE_ARN`
//! names.
//!
//! [`crate::host`] decides whether teardown trusts the header with the OIDC token. The SDK renews a session
//! when less than `RENEWED_BEFORE` is left until the session ends. On other hosts than Vercel, the SDK alone
//! provides the credentials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result as CredentialsResult, SharedCredentialsProvider, future,
};
use aws_sdk_sts::config::SharedInterceptor;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use crate::config::AwsRole;
use crate::secret::Secret;
use crate::telemetry;

/// The SDK renews a session this long before the session ends. The SDK shortens `RENEWED_BEFORE` at random,
/// by half at most. Even half of `RENEWED_BEFORE` is longer than a request, so no session ends during a
/// request. A short outage of STS does no harm, because the old session is still valid. A session lasts an
/// hour. The SDK uses `RENEWED_BEFORE` for all credentials that expire, not only for sessions of a role.
pub(crate) const RENEWED_BEFORE: Duration = Duration::from_mins(5);

/// If a renewal failed, an old session is used only if it is valid for at least this long, because a request
/// takes as long.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// How long one attempt to call STS may take. All attempts to call STS for one session together may take at
/// most [`TIMEOUT`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long all attempts to call STS for one session may take together. The SDK counts calls to STS as part
/// of an attempt to call DynamoDB, which the SDK aborts after 2 s. If the calls to STS took 2 s, no time
/// would be left to call DynamoDB with the old session.
const TIMEOUT: Duration = Duration::from_millis(1800);

/// The wait before the second attempt to call STS. The wait doubles after each failed attempt, within
/// [`TIMEOUT`].
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// The shortest time between a failed call to STS and the next call, if the old session is still valid.
/// Without a pause after a failure, each call to DynamoDB would wait for STS.
const COOLDOWN: Duration = Duration::from_secs(10);

/// The deployment's identity: the newest token of Vercel's platform, and the AWS role to assume with the
/// token. Clones of the identity share the token.
#[derive(Clone, Debug)]
pub struct WebIdentity {
    role: AwsRole,
    newest: Arc<Mutex<Option<Secret>>>,
}

impl WebIdentity {
    /// An identity that has no token yet.
    #[must_use]
    pub fn new(role: AwsRole) -> Self {
        Self { role, newest: Arc::default() }
    }

    /// Stores `token`, the newest token of Vercel's platform. A token that came with a request is valid at
    /// least until the request ends.
    pub(crate) fn keep_token(&self, token: &str) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|known| known.expose() != token) {
            *newest = Some(Secret::new(token.to_owned()));
        }
    }

    fn newest(&self) -> Option<Secret> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Uses the AWS credentials in the environment variables if they are set, as on Lambda. The SDK's default
/// chain would also try the environment variables first. teardown does not use the default chain for the
/// environment variables, because the chain makes all of its providers at each start, which takes time.
pub(crate) fn of_environment(loader: ConfigLoader) -> ConfigLoader {
    let is_set = |name| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
    if ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].into_iter().all(is_set) {
        loader.credentials_provider(EnvironmentVariableCredentialsProvider::new())
    } else {
        loader
    }
}

/// Returns `aws` with sessions of the identity's role as its credentials. The SDK calls STS in the AWS
/// region, or at `AWS_ENDPOINT_URL_STS`. If an attempt to call STS times out, the interceptor `condemn`
/// abandons the connection.
pub(crate) fn assume_role(
    aws: SdkConfig,
    identity: WebIdentity,
    condemn: SharedInterceptor,
) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(TIMEOUT)
        .build();
    let sts = aws_sdk_sts::config::Builder::from(&aws)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_initial_backoff(FIRST_BACKOFF))
        .interceptor(condemn);
    let sts = aws_sdk_sts::Client::from_conf(sts.build());
    let role = AssumedRole { sts, identity, last: Mutex::default() };
    aws.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build()
}

/// Why teardown could not assume the role. A `RoleError` never contains the token of Vercel's platform.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoleError {
    #[error("Vercel sent no x-vercel-oidc-token: OIDC is off in the project's settings")]
    NoToken,
    #[error("STS does not let this deployment take the role of AWS_ROLE_ARN")]
    Refused(#[source] NoSession),
    #[error("STS cannot be called for the role of AWS_ROLE_ARN")]
    Unavailable(#[source] NoSession),
    #[error("STS answered without credentials")]
    NoCredentials,
}

/// The error of a call to STS that gave no session, as text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoSession(String);

impl RoleError {
    /// Distinguishes a refusal by STS from a failure that may be temporary. The error's text does not contain
    /// `token`.
    fn of(error: &SdkError<AssumeRoleWithWebIdentityError>, token: &Secret) -> Self {
        let why = NoSession(token.redact(&telemetry::chain(error)));
        let refused = match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                // STS answers some temporary failures with status 400.
                let code = error.code().unwrap_or_default();
                let passes = ["IDPCommunicationError", "RequestLimitExceeded", "SlowDown"];
                (400..500).contains(&status)
                    && ![408, 429].contains(&status)
                    && !passes.contains(&code)
                    && !["Throttl", "Timeout"].iter().any(|part| code.contains(part))
            }
            _ => false,
        };
        if refused { Self::Refused(why) } else { Self::Unavailable(why) }
    }
}

impl From<RoleError> for CredentialsError {
    fn from(error: RoleError) -> Self {
        Self::provider_error(error)
    }
}

/// Whether a refused role or a missing token caused the error, so that an operator has to fix the deployment.
pub(crate) fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let role = causes.find_map(|cause| cause.downcast_ref::<RoleError>());
    role.is_some_and(|error| matches!(error, RoleError::NoToken | RoleError::Refused(_)))
}

/// The last session, and the time from which STS may be called for a new session.
#[derive(Debug)]
struct Last {
    session: Credentials,
    ask_from: Instant,
}

impl Last {
    fn is_good(&self) -> bool {
        let needed = SystemTime::now() + GOOD_FOR;
        self.session.expiry().is_some_and(|end| end > needed)
    }
}

#[derive(Debug)]
struct AssumedRole {
    sts: aws_sdk_sts::Client,
    identity: WebIdentity,
    last: Mutex<Option<Last>>,
}

impl AssumedRole {
    async fn credentials(&self) -> CredentialsResult {
        if let Some(last) = &*self.last()
            && Instant::now() < last.ask_from
            && last.is_good()
        {
            return Ok(last.session.clone());
        }
        let taken = self.take().await;
        let mut last = self.last();
        match taken {
            Ok(session) => {
                *last = Some(Last { session: session.clone(), ask_from: Instant::now() });
                Ok(session)
            }
            Err(error) => {
                let good = last.as_mut().filter(|last| last.is_good());
                let Some(last) = good else { return Err(error.into()) };
                last.ask_from = Instant::now() + COOLDOWN;
                let cause = telemetry::chain(&error);
                tracing::warn!(
                    cause,
                    "the role was not taken anew; its last session is still good"
                );
                Ok(last.session.clone())
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self) -> Result<Credentials, RoleError> {
        let token = self.identity.newest().ok_or(RoleError::NoToken)?;
        let AwsRole { arn, session_name } = &self.identity.role;
        let request = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(arn)
            .role_session_name(session_name)
            .web_identity_token(token.expose());
        let answer = request.send().await.map_err(|error| RoleError::of(&error, &token))?;
        let session = answer.credentials.ok_or(RoleError::NoCredentials)?;
        let end = SystemTime::try_from(session.expiration).map_err(|_| RoleError::NoCredentials)?;
        Ok(Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            Some(end),
            "x-vercel-oidc-token",
        ))
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

//! AWS credentials on Vercel without a stored key. Every request brings the OIDC token of Vercel's platform.
//! In exchange for this token, STS gives a session of the role that `AWS_ROLE_ARN` names.
//!
//! [`crate::host`] decides whether the header with the token is trusted. The SDK keeps a session until
//! `RENEWED_BEFORE` its end. On other hosts, the SDK alone provides the credentials.

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

/// How long before its end the SDK renews a session. The SDK shortens this time at random, by half at most.
/// So a request that began with the old session ends before the session does, and a short outage of STS does
/// no harm. Sessions last an hour. The SDK uses this time for other credentials that expire, too.
pub(crate) const RENEWED_BEFORE: Duration = Duration::from_mins(5);

/// How long an old session must still last to be used after a failed renewal: as long as a request.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// How long one attempt to call STS may take. All attempts together may take [`TIMEOUT`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long all attempts to call STS may take together. The SDK counts this time as part of an attempt at
/// DynamoDB, and cuts off that attempt after 2 s. If the calls to STS took longer, the old session could not
/// be used either.
const TIMEOUT: Duration = Duration::from_millis(1800);

/// The first wait before another attempt to call STS. The wait doubles after each failure, within
/// [`TIMEOUT`].
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// How long STS is not called again after a failure, if the old session is still valid. Without this pause,
/// each call to DynamoDB would wait for STS.
const COOLDOWN: Duration = Duration::from_secs(10);

/// The deployment's identity: the newest token of Vercel's platform, and the role to assume with it.
/// Clones share the token.
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

    /// Keeps the newest token of Vercel's platform. The token came with a request, and is valid at least as
    /// long as the request lasts.
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

/// Uses the AWS credentials of the environment variables if they are set, as on Lambda. The SDK's own chain
/// would also try them first. But the chain makes all of its providers at each start, which takes time.
pub(crate) fn of_environment(loader: ConfigLoader) -> ConfigLoader {
    let is_set = |name| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
    if ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].into_iter().all(is_set) {
        loader.credentials_provider(EnvironmentVariableCredentialsProvider::new())
    } else {
        loader
    }
}

/// Returns `aws` with sessions of the identity's role as its credentials. The SDK decides where STS is: in
/// the region, or at `AWS_ENDPOINT_URL_STS`. `condemn` watches the attempts to call STS.
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

/// Why the role was not assumed. The errors never contain the platform's token.
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
    /// Distinguishes a refusal of this token from a failure that may pass. The token is taken out of the
    /// error's text.
    fn of(error: &SdkError<AssumeRoleWithWebIdentityError>, token: &Secret) -> Self {
        let why = NoSession(token.redact(&telemetry::chain(error)));
        let refused = match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                // STS answers some failures with status 400 though they may pass.
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

/// Whether a refused role or a missing token caused this error, so that somebody has to fix the deployment.
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

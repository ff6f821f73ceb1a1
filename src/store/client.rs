//! The AWS client: time-outs, retries, connections (F6). This module does not depend on the table or its
//! items.

mod connections;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{ConfigLoader, SdkConfig};
use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{ReconnectMode, RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    ConfigBag, IdentityCache, Intercept, RuntimeComponents, SharedInterceptor,
    StalledStreamProtectionConfig,
};
use aws_sdk_dynamodb::error::{BoxError, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::interceptors::disable_interceptor;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use futures_util::future::BoxFuture;

use self::connections::{Condemn, Connections};
use super::transaction;
use crate::config::ConfigError;
use crate::credentials::{self, RENEWED_BEFORE};
use crate::error::{Cause, Error};
use crate::limits::Limits;
use crate::outbound::USER_AGENT;
use crate::telemetry;

/// How long one attempt to call DynamoDB may take. DynamoDB usually answers in milliseconds, so a longer
/// attempt counts as lost. A transaction that is sent again under the same `ClientRequestToken` returns the
/// result of its first attempt. The SDK fetches a session from STS within an attempt, so `TIMEOUT` in
/// `credentials` is shorter.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection to DynamoDB may take to open. A connection usually opens in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first wait before the SDK repeats an attempt. The wait doubles with each repeat, with full jitter. A
/// conflict of two transactions usually ends within milliseconds.
const FIRST_BACKOFF: Duration = Duration::from_millis(25);

/// The longest wait before the SDK repeats an attempt. With this longest wait, a dozen attempts fit into the
/// 8 s that a request may wait for DynamoDB. DynamoDB's throttling usually ends within seconds.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The greatest number of attempts of one call. No call reaches this number, because [`Limits::dynamodb`]
/// ends the call earlier.
const MAX_ATTEMPTS: u32 = 100;

/// The AWS environment.
#[derive(Clone, Debug)]
pub struct Aws(SdkConfig);

impl Aws {
    /// Reads the AWS environment in the same way as all AWS SDKs. Settings of `loader` override the
    /// environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is no region.
    pub async fn load(loader: ConfigLoader) -> Result<Self, ConfigError> {
        // Without this call, a malformed AWS_RETRY_MODE makes the loader panic. The retries set here have no
        // effect, because each client sets its own retries.
        let loader = loader.retry_config(RetryConfig::standard());
        let config = loader.http_client(Connections::default()).load().await;
        // The SDK accepts an empty region, but teardown does not.
        if config.region().is_none_or(|region| region.as_ref().is_empty()) {
            return Err(ConfigError::new("AWS_REGION", "is required"));
        }
        Ok(Self(config))
    }

    /// Returns this environment, with sessions of the identity's role as credentials.
    pub(crate) fn assume_role(self, identity: credentials::WebIdentity) -> Self {
        let connections = Connections::default();
        let condemn = SharedInterceptor::permanent(Condemn::of(connections.clone()));
        let aws = self.0.into_builder().http_client(connections).build();
        Self(credentials::assume_role(aws, identity, condemn))
    }

    /// The AWS environment as it was read, for clients of other AWS services.
    #[must_use]
    pub fn sdk_config(&self) -> &SdkConfig {
        &self.0
    }

    /// Makes the DynamoDB client. The client has time-outs, retries cancelled transactions, and counts its
    /// calls.
    #[must_use]
    pub fn dynamodb(&self) -> Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        // A call is repeated until its time is over. The number of attempts and the failures of other calls
        // do not matter (F6).
        let retries = RetryConfig::standard()
            .with_max_attempts(MAX_ATTEMPTS)
            .with_initial_backoff(FIRST_BACKOFF)
            .with_max_backoff(MAX_BACKOFF)
            // A conflict of transactions does not mean that the connection is broken. Even with
            // `ReuseAllConnections`, the client never reuses a broken connection.
            .with_reconnect_mode(ReconnectMode::ReuseAllConnections);
        let partition =
            RetryPartition::custom("teardown").token_bucket(TokenBucket::unlimited()).build();
        // Without an explicit load time-out, the SDK computes this time-out on every call, from the longest
        // back-offs of all attempts.
        let identities = IdentityCache::lazy()
            .load_timeout(Limits::default().dynamodb)
            .buffer_time(RENEWED_BEFORE)
            .build();
        let connections = Connections::default();
        let mut config = aws_sdk_dynamodb::config::Builder::from(&self.0)
            .http_client(connections.clone())
            .timeout_config(timeouts)
            .identity_cache(identities)
            .retry_config(retries)
            .retry_partition(partition)
            .retry_classifier(RetryConflicts)
            // Protection from stalled streams is not needed: answers are small, the time of attempts is
            // limited, and no call streams.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        // These interceptors are permanent: teardown never disables them, so the SDK need not check whether
        // they are disabled.
        config.push_interceptor(SharedInterceptor::permanent(CountCalls));
        config.push_interceptor(SharedInterceptor::permanent(Condemn::of(connections)));
        Client::from_conf(config.build())
    }
}

/// Retries single writes that conflict with a transaction, and transactions that were cancelled for a
/// temporary reason.
#[derive(Debug)]
struct RetryConflicts;

impl ClassifyRetry for RetryConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        let passes = error.and_then(|error| error.as_operation_error()).is_some_and(|error| {
            error.downcast_ref().is_some_and(transaction::passes)
                || error.downcast_ref().is_some_and(transaction::read_passes)
                || error
                    .downcast_ref()
                    .is_some_and(UpdateItemError::is_transaction_conflict_exception)
                || error
                    .downcast_ref()
                    .is_some_and(DeleteItemError::is_transaction_conflict_exception)
                || error.downcast_ref().is_some_and(PutItemError::is_transaction_conflict_exception)
        });
        if passes { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "conflicts"
    }
}

/// Counts the attempts of each call, and sends one short `user-agent` header. By default the SDK makes and
/// signs four long headers for each attempt, and DynamoDB does not use these headers.
#[derive(Debug)]
struct CountCalls;

impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "each call"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let reason = "DynamoDB does without";
        config
            .interceptor_state()
            .store_put(disable_interceptor::<UserAgentInterceptor>(reason))
            .store_put(disable_interceptor::<InvocationIdInterceptor>(reason))
            .store_put(disable_interceptor::<RequestInfoInterceptor>(reason));
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert("user-agent", USER_AGENT);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        telemetry::count_dynamodb_call();
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let failure = context.output_or_error().and_then(Result::err);
        // Outside of `within`, `LAST_FAILURE` is not set, and nobody reads the error.
        let _ = LAST_FAILURE.try_with(|last| last.set(failure.map(|it| telemetry::chain(it))));
        Ok(())
    }
}

tokio::task_local! {
    static LAST_FAILURE: LastFailure;
}

/// The error of the last attempt, if that attempt failed. Clones of this value share the error.
#[derive(Clone, Debug, Default)]
struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// DynamoDB did not complete a call in time (F6).
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("given up after {} ms; the last attempt: {last}", .time.as_millis())]
    AfterFailures { time: Duration, last: String },
    #[error("no answer within {} ms", .0.as_millis())]
    Silence(Duration),
}

/// Runs `work`, and aborts it after `time`.
///
/// # Errors
///
/// [`Error::StoreUnavailable`] with the last attempt's error, if `time` is over.
pub(super) async fn within<T>(
    time: Duration,
    work: BoxFuture<'_, Result<T, Error>>,
) -> Result<T, Error> {
    // Nested calls of `within` share one `LastFailure`.
    let last = LAST_FAILURE.try_with(Clone::clone).unwrap_or_default();
    let ended = tokio::time::timeout(time, work);
    LAST_FAILURE.scope(last.clone(), ended).await.unwrap_or_else(|_| {
        let cause = match last.take() {
            Some(last) => GivenUp::AfterFailures { time, last },
            None => GivenUp::Silence(time),
        };
        Err(Error::StoreUnavailable(cause.into()))
    })
}

/// Converts an error of the SDK into an [`Error`]. The SDK has already retried the call, if a retry could
/// help.
pub(super) fn store_error<E>(error: SdkError<E>) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    let unavailable = matches!(
        error,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_)
    );
    let refused = credentials::is_refused(&error);
    let cause: Cause = error.into();
    if unavailable && !refused { Error::StoreUnavailable(cause) } else { Error::Internal(cause) }
}

//! The store: the only place that knows DynamoDB.
//!
//! `keys` says what is where, `transaction` sends one `TransactWriteItems`, `deletion` and
//! `configuration` turn a decision into one, `evidence` reads what a failed condition returned,
//! `outcome` is what idempotency keys find, `work` leases what is owed, `purge` carries out what of
//! it concerns the table alone, [`registry`] registers what can be deleted, [`operations`] is what
//! people do by hand, [`table`] is the table itself.

mod conditions;
pub(crate) mod configuration;
mod deletion;
mod evidence;
pub(crate) mod keys;
pub mod operations;
mod outcome;
pub(crate) mod purge;
pub mod registry;
pub mod table;
mod transaction;
pub(crate) mod work;

use std::time::{Duration, Instant};

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
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
    BeforeTransmitInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::interceptors::disable_interceptor;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

use futures_util::future::BoxFuture;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, ConfigError};
use crate::credentials::{self, RENEWED_BEFORE};
use crate::deletion::Answer;
use crate::error::{Cause, Error};
use crate::outbound::USER_AGENT;
use crate::telemetry;
use crate::work::owed::Owed;

/// How long a request waits for DynamoDB in all (F6).
const PATIENCE: Duration = Duration::from_secs(8);

/// How long one attempt may take. DynamoDB answers in milliseconds; what takes longer is lost, and
/// the same transaction sent again finds out what became of it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first wait before an attempt is repeated; it doubles, with full jitter.
const FIRST_BACKOFF: Duration = Duration::from_millis(25);

/// The longest wait, so that 8 s hold a dozen attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// More attempts than [`PATIENCE`] has room for, so that time alone ends them.
const MAX_ATTEMPTS: u32 = 100;

/// The table, and what its deletions are told by the configuration. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
    /// Whether deletions are announced to the provider (G1).
    announces: bool,
    receipt_retention: Duration,
    finalize_margin: Duration,
    clock: Clock,
}

impl Store {
    /// Takes a client made with [`client`].
    #[must_use]
    pub fn new(client: Client, config: &Config, clock: Clock) -> Self {
        Self {
            client,
            table: config.table_name.clone(),
            announces: config.provider.is_some(),
            receipt_retention: config.receipt_retention,
            finalize_margin: config.finalize_margin,
            clock,
        }
    }

    /// Reads an item, consistently.
    async fn get(&self, key: keys::Item) -> Result<Option<keys::Item>, Error> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key));
        in_time(async { Ok(get.consistent_read(true).send().await.map_err(store_error)?.item) })
            .await
    }

    /// When a receipt expires (G2).
    fn expiry(&self, deleted_at: Timestamp) -> Timestamp {
        deleted_at + self.receipt_retention
    }
}

/// What came of a deletion.
#[derive(Debug)]
pub(crate) struct Done {
    /// The answer.
    pub(crate) answer: Answer,
    /// What it owes that is due at once.
    pub(crate) due: Vec<Owed>,
}

impl Done {
    /// It was done before.
    pub(crate) fn before(answer: Answer) -> Self {
        Self { answer, due: Vec::new() }
    }
}

/// What is left of a request's patience with DynamoDB, where it asks in between for something else
/// (F6).
pub(crate) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(PATIENCE)
    }
}

impl Patience {
    /// Waits for DynamoDB as long as patience is left.
    pub(crate) fn spend<'a, T: 'a>(
        &'a mut self,
        work: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        let work = Box::pin(work);
        async move {
            let began = Instant::now();
            let ended = within(self.0, work).await;
            self.0 = self.0.saturating_sub(began.elapsed());
            ended
        }
    }
}

/// Waits for DynamoDB as long as a request may (F6). The SDK's futures take kilobytes, and moving one
/// copies it: what waits holds a pointer.
fn in_time<'a, T: 'a>(
    work: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> impl Future<Output = Result<T, Error>> + Send + 'a {
    within(PATIENCE, Box::pin(work))
}

async fn within<T>(time: Duration, work: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
    let ended = tokio::time::timeout(time, work).await;
    ended.unwrap_or_else(|elapsed| Err(Error::StoreUnavailable(elapsed.into())))
}

/// Reads the AWS environment as every AWS SDK does; what the loader was given comes first.
///
/// # Errors
///
/// [`ConfigError`] where there is no region.
pub async fn aws_config(loader: ConfigLoader) -> Result<SdkConfig, ConfigError> {
    let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let config = loader.http_client(http).load().await;
    if config.region().is_none() {
        return Err(ConfigError::new("AWS_REGION", "is required"));
    }
    Ok(config)
}

/// Makes the DynamoDB client: time-outs, retries that also cover cancelled transactions, and the
/// count of calls.
#[must_use]
pub fn client(config: &SdkConfig) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    // Attempts are bounded by time (F6), and not by their number or by other requests' failures.
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(MAX_BACKOFF)
        // A conflict says nothing against the connection; a broken one is not reused anyway.
        .with_reconnect_mode(ReconnectMode::ReuseAllConnections);
    let partition =
        RetryPartition::custom("teardown").token_bucket(TokenBucket::unlimited()).build();
    // Unless it is told, it adds up the longest waits of all attempts to find it, at every call.
    let identities =
        IdentityCache::lazy().load_timeout(PATIENCE).buffer_time(RENEWED_BEFORE).build();
    let mut config = aws_sdk_dynamodb::config::Builder::from(config)
        .timeout_config(timeouts)
        .identity_cache(identities)
        .retry_config(retries)
        .retry_partition(partition)
        .retry_classifier(Conflicts)
        // Answers are small and attempts are bounded: nothing here streams.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    // Permanent: nothing of ours is ever disabled, so it need not be looked up whether it is.
    config.push_interceptor(SharedInterceptor::permanent(EachCall));
    Client::from_conf(config.build())
}

/// Repeats what a transaction on the same item was in the way of, and transactions that were cancelled
/// by what passes.
#[derive(Debug)]
struct Conflicts;

impl ClassifyRetry for Conflicts {
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
        });
        if passes { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "conflicts"
    }
}

/// What is of our own at each call: its attempts are counted, and it says who sends it in one header.
/// The SDK's own four are long, made and signed for each attempt, and of no use to DynamoDB.
#[derive(Debug)]
struct EachCall;

impl Intercept for EachCall {
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
}

/// What an error of the SDK means to a caller. The SDK has repeated what can be repeated by then.
fn store_error<E>(error: SdkError<E>) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    match &error {
        _ if credentials::is_refused(&error) => Error::Internal(error.into()),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            Error::StoreUnavailable(error.into())
        }
        _ => Error::Internal(error.into()),
    }
}

/// A stored item that this program did not write so.
#[derive(Debug, thiserror::Error)]
#[error("the item {pk} {sk} is malformed: {problem}")]
struct Malformed {
    pk: String,
    sk: String,
    problem: &'static str,
}

impl Malformed {
    fn error(item: &keys::Item, problem: &'static str) -> Error {
        let text = |name| keys::text(item, name).unwrap_or_default().to_owned();
        let cause: Cause = Self { pk: text("pk"), sk: text("sk"), problem }.into();
        Error::Internal(cause)
    }
}

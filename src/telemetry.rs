//! Logs: structured JSON on the hosts, one span per request, and never a token.

use std::cell::Cell;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::ConfigError;

tokio::task_local! {
    static DYNAMODB_CALLS: Cell<u32>;
}

/// Runs a request and counts the calls that it makes to DynamoDB, repeated ones too.
pub(crate) async fn counting_dynamodb_calls<T>(request: impl Future<Output = T>) -> (T, u32) {
    DYNAMODB_CALLS
        .scope(Cell::new(0), async {
            let output = request.await;
            (output, DYNAMODB_CALLS.with(Cell::get))
        })
        .await
}

/// Counts a call to DynamoDB, if a request is under way.
pub(crate) fn count_dynamodb_call() {
    let _ = DYNAMODB_CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

/// What an error says, and what caused it, in one line. Only what errors display: their `Debug` may
/// hold whole answers.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Reads `RUST_LOG`: `info`, or `target=level` with commas between.
///
/// # Errors
///
/// [`ConfigError`] where it is malformed.
pub fn filter(rust_log: Option<&str>) -> Result<Targets, ConfigError> {
    let directives = rust_log.filter(|text| !text.is_empty()).unwrap_or("info");
    directives.parse().map_err(|_| {
        ConfigError::new("RUST_LOG", "is no filter such as info or teardown=debug,info")
    })
}

/// What is not logged whatever `RUST_LOG` says: the SDK and the HTTP libraries write whole requests,
/// with what is secret in them, at their lowest levels.
#[must_use]
pub fn discretion() -> Targets {
    let whole_requests = ["aws_", "h2", "hyper", "hyper_util", "lambda_", "reqwest", "rustls"];
    Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_targets(whole_requests.map(|target| (target, LevelFilter::INFO)))
}

/// Sends logs to standard output as JSON, one line per event.
///
/// # Errors
///
/// [`ConfigError`] where `RUST_LOG` is malformed.
pub fn init_json() -> Result<(), ConfigError> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref())?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    // A second subscriber in one process is a test's, and keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(discretion()).with(lines).try_init();
    Ok(())
}

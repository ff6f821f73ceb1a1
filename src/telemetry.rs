//! Logs: structured JSON on the hosts, one line per request, and never a token.

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
/// hold whole answers. Of each only the first line: where AWS takes no signature, what follows is the
/// request as it should have been signed, with the session's token in it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let lines = causes.map(|cause| first_line(&cause.to_string()).to_owned());
    lines.collect::<Vec<_>>().join(": ")
}

/// A text up to its first line feed, also one that the SDK has escaped.
fn first_line(text: &str) -> &str {
    let end = ["\n", "\\n"].into_iter().filter_map(|feed| text.find(feed)).min();
    &text[..end.unwrap_or(text.len())]
}

/// What is logged at most, whatever `RUST_LOG` says: at lower levels these write whole requests, with
/// what is secret in them.
const AT_MOST: [(&str, LevelFilter); 8] = [
    ("aws_", LevelFilter::INFO),
    ("dynoxide", LevelFilter::DEBUG),
    ("h2", LevelFilter::INFO),
    ("hyper", LevelFilter::INFO),
    ("lambda_", LevelFilter::INFO),
    ("reqwest", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("tower", LevelFilter::INFO),
];

/// Reads `RUST_LOG`: `info`, or `target=level` with commas between. What would log secrets is capped.
///
/// It is one filter, and not a second one behind that of `RUST_LOG`: the highest level that is logged
/// stays the one that was asked for.
///
/// # Errors
///
/// [`ConfigError`] where it is malformed.
pub fn filter(rust_log: Option<&str>) -> Result<Targets, ConfigError> {
    let directives = rust_log.filter(|text| !text.is_empty()).unwrap_or("info");
    let asked: Targets = directives.parse().map_err(|_| {
        ConfigError::new("RUST_LOG", "is no filter such as info or teardown=debug,info")
    })?;
    let default = asked.default_level().unwrap_or(LevelFilter::OFF);
    let capped = |target: &str, level: LevelFilter| {
        let caps = AT_MOST.iter().filter(|(noisy, _)| target.starts_with(noisy));
        caps.fold(level, |level, (_, most)| level.min(*most))
    };
    Ok(Targets::new()
        .with_default(default)
        .with_targets(AT_MOST.map(|(noisy, most)| (noisy, default.min(most))))
        .with_targets(asked.iter().map(|(target, level)| (target, capped(target, level)))))
}

/// Sends logs to standard output as JSON, one line per event. A panic is one too: where it was, and not
/// what it said, since that may quote what was worked on.
///
/// # Errors
///
/// [`ConfigError`] where `RUST_LOG` is malformed.
pub fn init_json() -> Result<(), ConfigError> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref())?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    // A second subscriber in one process is a test's, and keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked");
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// No level brings the libraries to log whole requests.
    #[test]
    fn what_would_log_secrets_is_capped() {
        for asked in ["trace", "aws_smithy_runtime=trace,hyper_util=trace,trace", "aws=trace"] {
            let filter = filter(Some(asked)).unwrap();
            for target in ["aws_smithy_runtime::client", "hyper::proto", "hyper_util::client"] {
                assert!(!filter.would_enable(target, &Level::DEBUG), "{asked} {target}");
            }
        }
        let all = filter(Some("trace")).unwrap();
        assert!(all.would_enable("teardown::app", &Level::TRACE));
        assert!(all.would_enable("aws_config", &Level::INFO));
        let quiet = filter(Some("error,hyper=off,teardown=debug")).unwrap();
        assert!(!quiet.would_enable("aws_config", &Level::WARN));
        assert!(!quiet.would_enable("hyper::proto", &Level::ERROR));
        assert!(quiet.would_enable("teardown::store", &Level::DEBUG));
        assert!(!filter(None).unwrap().would_enable("teardown", &Level::DEBUG));
    }
}

//! Logs: structured JSON on the hosts, one line per request, and never a token.

use std::cell::Cell;
use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{ConfigError, from_env, whole};

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
    let lines = causes.map(|cause| one_line(&cause.to_string()));
    lines.collect::<Vec<_>>().join(": ")
}

/// What the AWS SDK says where it finds no credentials. Each line after it is of a provider that it has
/// asked: the name, a colon, and the reason.
const NO_CREDENTIALS: &str = "no credentials found in chain. Attempted:";

/// A text's first line; of credentials that were not found, the names of those asked too.
fn one_line(text: &str) -> String {
    let first = first_line(text);
    if !first.ends_with(NO_CREDENTIALS) {
        return first.to_owned();
    }
    let names = text.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.trim()));
    format!("{first} {}", names.collect::<Vec<_>>().join(", "))
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

/// The target of what we log.
const OURS: &str = "teardown";

/// Reads `RUST_LOG`: `info`, or `target=level` with commas between. What would log secrets is capped.
///
/// It is one filter, and not a second one behind that of `RUST_LOG`: the highest level that is logged
/// stays the one that was asked for.
///
/// # Errors
///
/// [`ConfigError`] where it is malformed.
pub fn filter(rust_log: Option<String>) -> Result<Targets, ConfigError> {
    let directives = whole("RUST_LOG", rust_log)?;
    let directives = directives.as_deref().unwrap_or("info");
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

/// Standard output. Where a line cannot be written there, standard error says so: nobody would miss it
/// else (S1).
struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut output = io::stdout().lock();
        if let Err(error) = output.write_all(line).and_then(|()| output.flush()) {
            // Where that fails too, nobody is left to be told.
            let _ = writeln!(io::stderr(), "teardown: standard output cannot be written: {error}");
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses a filter that would log no error of ours, or none of a part of it: alarms ring by those (S1).
fn check_ours(filter: &Targets) -> Result<(), ConfigError> {
    let is_off = |(target, level): (&str, LevelFilter)| {
        target.starts_with(OURS) && level == LevelFilter::OFF
    };
    if filter.would_enable(OURS, &Level::ERROR) && !filter.iter().any(is_off) {
        Ok(())
    } else {
        let problem = "would log nothing of teardown: begin with a level such as info";
        Err(ConfigError::new("RUST_LOG", problem))
    }
}

/// Sends logs to standard output as JSON, one line per event. A panic is one too: where it was, and not
/// what it said, since that may quote what was worked on.
///
/// # Errors
///
/// [`ConfigError`] where `RUST_LOG` is malformed.
pub fn init_json() -> Result<(), ConfigError> {
    let filter = filter(from_env("RUST_LOG"))?;
    check_ours(&filter)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Output)
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
    use super::*;

    /// No level brings the libraries to log whole requests.
    #[test]
    fn what_would_log_secrets_is_capped() {
        let filter = |asked: &str| filter(Some(asked.to_owned()));
        for asked in ["trace", "aws_smithy_runtime=trace,hyper_util=trace,trace", "aws=trace,info"]
        {
            let filter = filter(asked).unwrap();
            for target in ["aws_smithy_runtime::client", "hyper::proto", "hyper_util::client"] {
                assert!(!filter.would_enable(target, &Level::DEBUG), "{asked} {target}");
            }
        }
        let all = filter("trace").unwrap();
        assert!(all.would_enable("teardown::app", &Level::TRACE));
        assert!(all.would_enable("aws_config", &Level::INFO));
        let quiet = filter("error,hyper=off,teardown=debug").unwrap();
        assert!(!quiet.would_enable("aws_config", &Level::WARN));
        assert!(!quiet.would_enable("hyper::proto", &Level::ERROR));
        assert!(quiet.would_enable("teardown::store", &Level::DEBUG));
        assert!(!filter("").unwrap().would_enable("teardown", &Level::DEBUG));
    }

    /// F6: where no credentials are found, the log has who was asked for them, and not why they had none.
    #[test]
    fn who_was_asked_for_credentials_is_told() {
        let error = "not enabled: no credentials found in chain. Attempted:\n  Environment: no \
                     variable\n  Profile: no file\n";
        let told = "not enabled: no credentials found in chain. Attempted: Environment, Profile";
        assert_eq!(one_line(error), told);
        assert_eq!(one_line("does not match.\n\nThe Canonical String:\n'POST"), "does not match.");
    }

    /// S1: a filter that would log none of our errors is malformed: no alarm would ever ring.
    #[test]
    fn what_would_log_nothing_is_refused() {
        let filter = |asked: &str| check_ours(&filter(Some(asked.to_owned()))?);
        let refusal = |problem| Err(ConfigError::new("RUST_LOG", problem));
        let nothing = "would log nothing of teardown: begin with a level such as info";
        for asked in ["inof", "off", "hyper=debug", "info,teardown=off", "info,teardown::work=off"]
        {
            assert_eq!(filter(asked), refusal(nothing), "{asked}");
        }
        assert_eq!(filter("info\n"), refusal("has a blank or a line break at an end"));
        let malformed = "is no filter such as info or teardown=debug,info";
        assert_eq!(filter("a=b=c"), refusal(malformed));
        for asked in ["error", "teardown=warn", "hyper=off,info"] {
            assert_eq!(filter(asked), Ok(()), "{asked}");
        }
    }
}

//! Makes the filter of the logs from `RUST_LOG`, and lowers levels that would log secrets.

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::{ConfigError, from_env, whole};

/// Beginnings of crates' names, and the most verbose level that `RUST_LOG` can set for each of these crates.
/// At more verbose levels, libraries would log whole requests with the secrets in the requests.
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

/// The target of teardown's own log lines.
const OURS: &str = "teardown";

/// Makes the filter from the value of `RUST_LOG`, such as `info`, or several `target=level` with commas
/// between them. Levels that would log secrets are lowered.
///
/// The limits of `AT_MOST` and the levels of `RUST_LOG` are in one filter. With a second filter for the
/// limits, `tracing` would enable more verbose levels than `RUST_LOG` asks for.
///
/// # Errors
///
/// [`ConfigError`] if `RUST_LOG` is malformed.
pub fn log_filter(rust_log: Option<String>) -> Result<Targets, ConfigError> {
    let directives = whole("RUST_LOG", rust_log)?;
    let directives = directives.as_deref().unwrap_or("info");
    let requested: Targets = directives.parse().map_err(|_| {
        ConfigError::new("RUST_LOG", "is no filter such as info or teardown=debug,info")
    })?;
    let default = requested.default_level().unwrap_or(LevelFilter::OFF);
    let capped = |target: &str, level: LevelFilter| {
        let caps = AT_MOST.iter().filter(|(noisy, _)| target.starts_with(noisy));
        caps.fold(level, |level, (_, most)| level.min(*most))
    };
    Ok(Targets::new()
        .with_default(default)
        .with_targets(AT_MOST.map(|(noisy, most)| (noisy, default.min(most))))
        .with_targets(requested.iter().map(|(target, level)| (target, capped(target, level)))))
}

/// Reads `RUST_LOG` from the process's environment, and makes the filter with [`log_filter`].
///
/// # Errors
///
/// [`ConfigError`] if `RUST_LOG` is malformed. [`ConfigError`] if `RUST_LOG` hides teardown's errors, because
/// alarms count the log lines of errors (S1).
pub fn log_filter_of_functions() -> Result<Targets, ConfigError> {
    let filter = log_filter(from_env("RUST_LOG"))?;
    check_ours(&filter)?;
    Ok(filter)
}

/// Refuses a filter that hides the errors of teardown or of one of its modules, because alarms count the log
/// lines of errors (S1).
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

#[cfg(test)]
mod tests {
    use super::*;

    /// No value of `RUST_LOG` makes the libraries log whole requests.
    #[test]
    fn what_would_log_secrets_is_capped() {
        let filter = |requested: &str| log_filter(Some(requested.to_owned()));
        for requested in
            ["trace", "aws_smithy_runtime=trace,hyper_util=trace,trace", "aws=trace,info"]
        {
            let filter = filter(requested).unwrap();
            for target in ["aws_smithy_runtime::client", "hyper::proto", "hyper_util::client"] {
                assert!(!filter.would_enable(target, &Level::DEBUG), "{requested} {target}");
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

    /// S1: a filter that hides the errors of teardown, or of one of its modules, is refused. If a filter hid
    /// the errors, no alarm would ever fire.
    #[test]
    fn what_would_log_nothing_is_refused() {
        let filter = |requested: &str| check_ours(&log_filter(Some(requested.to_owned()))?);
        let refusal = |problem| Err(ConfigError::new("RUST_LOG", problem));
        let nothing = "would log nothing of teardown: begin with a level such as info";
        for requested in
            ["inof", "off", "hyper=debug", "info,teardown=off", "info,teardown::work=off"]
        {
            assert_eq!(filter(requested), refusal(nothing), "{requested}");
        }
        assert_eq!(filter("info\n"), refusal("has a blank or a line break at an end"));
        let malformed = "is no filter such as info or teardown=debug,info";
        assert_eq!(filter("a=b=c"), refusal(malformed));
        for requested in ["error", "teardown=warn", "hyper=off,info"] {
            assert_eq!(filter(requested), Ok(()), "{requested}");
        }
    }
}

//! The logs of `teardown dev`, which it prints on standard error, in a form for people.

use std::fmt::Debug;
use std::io::{self, IsTerminal as _};

use teardown::config::log_filter;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::settings::variable;

/// Sends logs to standard error.
pub(super) fn to_stderr() -> anyhow::Result<()> {
    let filter_given = variable("RUST_LOG");
    let mut filter = log_filter(filter_given.clone())?;
    if filter_given.is_none() {
        // dynoxide, the embedded DynamoDB, warns of every failed condition. Failed conditions are normal,
        // because a deletion learns the stored state from a failed condition.
        filter = filter.with_target("dynoxide", LevelFilter::ERROR);
    }
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_filter(NoIdleSweeps);
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

/// Hides the log line of an automatic sweep that found no job. Without this filter, the lines of idle sweeps
/// would hide the other lines.
struct NoIdleSweeps;

impl<S: Subscriber> Filter<S> for NoIdleSweeps {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let mut sweep = Sweep::default();
        event.record(&mut sweep);
        sweep.method || sweep.claimed != Some(0)
    }
}

/// What the filter reads in a log line. A sweep's line has the number of claimed jobs. If a request started
/// the sweep, the sweep's line has the request's method, too.
#[derive(Default)]
struct Sweep {
    method: bool,
    claimed: Option<u64>,
}

impl Visit for Sweep {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "claimed" {
            self.claimed = Some(value);
        }
    }

    fn record_debug(&mut self, field: &Field, _: &dyn Debug) {
        self.method |= field.name() == "method";
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_sweep_that_nobody_asked_for_and_that_found_nothing_is_quiet() {
        let lines = Lines::default();
        let written = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).without_time();
        let layer = layer.with_writer(move || written.clone()).with_filter(NoIdleSweeps);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            info!(claimed = 0_u64, done = 0_u64, "idle");
            info!(claimed = 2_u64, done = 0_u64, "busy");
            warn!("failed");
            info!(method = "GET", claimed = 0_u64, "asked");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let is_there = ["idle", "busy", "failed", "asked"].map(|word| text.contains(word));
        assert_eq!(is_there, [false, true, true, true], "{text}");
    }
}

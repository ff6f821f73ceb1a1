//! Logs: structured JSON on the hosts, one line per request, and never a token.

use std::cell::Cell;
use std::io::{self, Write};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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

/// Counts the calls of a part of a request that ran in a task of its own.
pub(crate) fn add_dynamodb_calls(more: u32) {
    let _ = DYNAMODB_CALLS.try_with(|calls| calls.set(calls.get() + more));
}

/// Formats an error and its causes in one line. It uses `Display` alone, since `Debug` may hold whole
/// answers, and of each text the first line: if AWS refuses a signature, the lines after it are the request
/// as it should have been signed, with the session's token in it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let lines = causes.map(|cause| one_line(&cause.to_string()));
    lines.collect::<Vec<_>>().join(": ")
}

/// The AWS SDK's message if it finds no credentials. Each line after it is of a provider that it has asked:
/// the name, a colon, and the reason.
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

/// Standard output. If a line cannot be written there, standard error says so: nobody would miss it
/// else (S1).
struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut output = io::stdout().lock();
        if let Err(error) = output.write_all(line).and_then(|()| output.flush()) {
            // If that fails too, nobody can be told.
            let _ = writeln!(io::stderr(), "teardown: standard output cannot be written: {error}");
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends events that pass the filter to standard output as JSON, one line each. A panic is an event too,
/// with its place and without its message, which may quote a request.
pub fn init_json(filter: Targets) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F6: if no credentials are found, the log has who was asked for them, and not why they had none.
    #[test]
    fn who_was_asked_for_credentials_is_told() {
        let error = "not enabled: no credentials found in chain. Attempted:\n  Environment: no \
                     variable\n  Profile: no file\n";
        let told = "not enabled: no credentials found in chain. Attempted: Environment, Profile";
        assert_eq!(one_line(error), told);
        assert_eq!(one_line("does not match.\n\nThe Canonical String:\n'POST"), "does not match.");
    }
}

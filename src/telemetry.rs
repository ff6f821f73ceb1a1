//! Writes the logs. On the hosts, the logs are structured JSON, one line per request, and never contain a
//! token.

use std::cell::Cell;
use std::io::{self, Write};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

tokio::task_local! {
    static DYNAMODB_CALLS: Cell<u32>;
}

/// Runs a request, and counts the request's calls to DynamoDB. Each retry counts as a call.
pub(crate) async fn counting_dynamodb_calls<T>(request: impl Future<Output = T>) -> (T, u32) {
    DYNAMODB_CALLS
        .scope(Cell::new(0), async {
            let output = request.await;
            (output, DYNAMODB_CALLS.with(Cell::get))
        })
        .await
}

/// Counts a call to DynamoDB, if the current task runs a request.
pub(crate) fn count_dynamodb_call() {
    let _ = DYNAMODB_CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

/// Adds `more` to the request's calls to DynamoDB, for calls that the request made in a separate task.
pub(crate) fn add_dynamodb_calls(more: u32) {
    let _ = DYNAMODB_CALLS.try_with(|calls| calls.set(calls.get() + more));
}

/// Formats an error and its causes in one line. Each error is formatted with `Display`, because `Debug` may
/// contain whole answers. Only the first line of each error's text is used. If AWS refuses a signature, the
/// later lines of AWS's error contain the request with the session's token.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let lines = causes.map(|cause| one_line(&cause.to_string()));
    lines.collect::<Vec<_>>().join(": ")
}

/// The AWS SDK's message if it finds no credentials. Each line after the message `NO_CREDENTIALS` is about
/// one provider of credentials that the SDK has tried: the provider's name, a colon, and the reason of its
/// failure.
const NO_CREDENTIALS: &str = "no credentials found in chain. Attempted:";

/// A text's first line. If the text says that no credentials were found, the names of the providers that the
/// SDK has tried follow the first line.
fn one_line(text: &str) -> String {
    let first = first_line(text);
    if !first.ends_with(NO_CREDENTIALS) {
        return first.to_owned();
    }
    let names = text.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.trim()));
    format!("{first} {}", names.collect::<Vec<_>>().join(", "))
}

/// A text up to its first line feed. An escaped line feed, which is `\n` as two characters, also ends the
/// first line.
fn first_line(text: &str) -> &str {
    let end = ["\n", "\\n"].into_iter().filter_map(|feed| text.find(feed)).min();
    &text[..end.unwrap_or(text.len())]
}

/// Writes log lines to standard output. If a line cannot be written to standard output, teardown reports the
/// failure on standard error, so that somebody notices (S1).
struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut output = io::stdout().lock();
        if let Err(error) = output.write_all(line).and_then(|()| output.flush()) {
            // If a write to standard error fails too, the failure cannot be reported.
            let _ = writeln!(io::stderr(), "teardown: standard output cannot be written: {error}");
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes events that pass the filter to standard output as JSON, one line each. A panic is logged with its
/// place in the code, but without its message, because the message may quote a request.
pub fn init_json(filter: Targets) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Output)
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    // Setting a second subscriber in one process fails, and the first subscriber stays in use. Only a test
    // sets a second subscriber in one process.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F6: if no credentials are found, the log names the providers that the SDK has tried, but does not say
    /// why each provider failed.
    #[test]
    fn who_was_asked_for_credentials_is_told() {
        let error = "not enabled: no credentials found in chain. Attempted:\n  Environment: no \
                     variable\n  Profile: no file\n";
        let line = "not enabled: no credentials found in chain. Attempted: Environment, Profile";
        assert_eq!(one_line(error), line);
        assert_eq!(one_line("does not match.\n\nThe Canonical String:\n'POST"), "does not match.");
    }
}

//! The log of a test's own thread, in the format of the functions.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

thread_local! {
    /// The lines of JSON that this thread has logged. `None` while no [`Log`] of this thread reads the lines.
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Makes each thread log to its own buffer, while a [`Log`] of that thread reads the buffer. Call this
/// function before any thread logs. At the first use of a log statement, `tracing` remembers whether anybody
/// reads its lines. If the first thread that uses the statement did not read its log, no thread would get
/// lines from the statement.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let is_read = dynamic_filter_fn(|_, _| LINES.with_borrow(Option::is_some))
            .with_max_level_hint(LevelFilter::INFO);
        let lines = fmt::layer().json().flatten_event(true).with_writer(|| Lines);
        tracing_subscriber::registry().with(is_read).with(lines).init();
    });
}

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.as_mut().unwrap().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the lines that this thread logs, until the `Log` is dropped.
pub struct Log(());

impl Log {
    pub fn start() -> Self {
        install();
        LINES.set(Some(Vec::new()));
        Self(())
    }

    /// The messages that teardown itself, not a library, has logged at this level since the last call of this
    /// function.
    pub fn take(&self, level: &str) -> Vec<String> {
        let of_level = self.lines().into_iter().filter(|line| line["level"] == level);
        of_level.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The lines that teardown itself, not a library, has logged since the last call of this function.
    #[expect(clippy::unused_self, reason = "there are lines only while it lives")]
    pub fn lines(&self) -> Vec<Value> {
        let text = LINES.replace(Some(Vec::new())).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
        lines.filter(|line| line["target"].as_str().unwrap().starts_with("teardown::")).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

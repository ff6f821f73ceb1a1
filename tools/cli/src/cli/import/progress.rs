//! The progress of an import: a bar on a terminal, a message for each refused line, and a summary.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{ERROR, one_line};

/// A function that takes the number of a line that was not imported, and the reason.
type OnRefused = Box<dyn Fn(u64, &str) + Send + Sync>;

/// The counts and the bar, which all lanes of an import share.
pub(super) struct Progress {
    bar: ProgressBar,
    on_refused: OnRefused,
    imported: AtomicU64,
    refused: AtomicU64,
}

impl Progress {
    /// The progress of a stream of `size` bytes, or of an unknown size. The bar is shown only on a terminal.
    pub(super) fn of(size: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
        let template = match size {
            Some(_) => "{bar:40} {percent:>3} %  {bytes} of {total_bytes}  {eta} left",
            None => "{spinner} {bytes}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("##-"));
        }
        let above = bar.clone();
        let on_refused = move |line, reason: &str| {
            above.suspend(|| {
                let mut stderr = anstream::stderr();
                let _ = writeln!(stderr, "{ERROR}line {line}:{ERROR:#} {reason}");
            });
        };
        Self { bar, ..Self::reporting_to(on_refused) }
    }

    /// The progress without a bar, which calls `on_refused` for each refused line.
    pub(super) fn reporting_to(on_refused: impl Fn(u64, &str) + Send + Sync + 'static) -> Self {
        let (imported, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { bar: ProgressBar::hidden(), on_refused: Box::new(on_refused), imported, refused }
    }

    /// Counts the bytes of a line that was imported, refused or skipped.
    pub(super) fn is_done_with(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    pub(super) fn imported(&self) {
        self.imported.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports a line that was not imported.
    pub(super) fn refuse(&self, line: u64, reason: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        (self.on_refused)(line, &one_line(reason));
    }

    pub(super) fn registered(&self) -> u64 {
        self.imported.load(Ordering::Relaxed)
    }

    pub(super) fn any_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) > 0
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn summary(&self) -> String {
        let imported = self.registered();
        let lines = if imported == 1 { "line" } else { "lines" };
        format!("imported {imported} {lines}, {} refused", self.refused.load(Ordering::Relaxed))
    }
}

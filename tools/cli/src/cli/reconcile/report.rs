//! Prints the findings: a table for people, or JSON for programs, with one line and one object for each
//! installation.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use teardown::ids::InstallationId;
use teardown::reconcile::Problem;

use super::finding::Finding;
use super::phrases::{object, rows};
use crate::cli::sheet::Sheet;
use crate::terminal::{note, print};

/// The most rows of a table. After this many rows a new table begins, so that memory does not grow.
const ROWS: usize = 500;

/// If there is no terminal, the command prints a message about its progress after each group of this many
/// installations.
const NOTED: u64 = 100;

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// All installations agree with Vercel.
    Agrees,
    /// Some installations could not be compared.
    NotCompared,
    /// Differences are left.
    Differs,
}

impl Exit {
    pub(super) fn status(self) -> u8 {
        match self {
            Self::Agrees => 0,
            Self::NotCompared => 1,
            Self::Differs => 2,
        }
    }
}

/// Prints findings as they arrive, and counts them for the summary.
pub(super) struct Report {
    json: bool,
    /// Whether `--fix` is given.
    fix: bool,
    /// Where the table is. The summary says that the table at this place was compared with `api`.
    place: String,
    api: String,
    bar: ProgressBar,
    on_terminal: bool,
    rows: Vec<[String; 5]>,
    agree: u64,
    differ: u64,
    not_compared: u64,
    fixed: u64,
    /// How many of the reported installations are active and exist at Vercel.
    at_vercel: u64,
}

impl Report {
    pub(super) fn new(json: bool, fix: bool, place: &str, api: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} compared{msg}  {elapsed}")
        {
            bar.set_style(style);
        }
        Self {
            json,
            fix,
            place: place.to_owned(),
            api: api.to_owned(),
            bar,
            on_terminal: io::stdout().is_terminal(),
            rows: Vec::new(),
            agree: 0,
            differ: 0,
            not_compared: 0,
            fixed: 0,
            at_vercel: 0,
        }
    }

    /// Hides the progress bar while `work` uses the terminal.
    pub(super) async fn aside<T>(&self, work: impl Future<Output = T>) -> T {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        let done = work.await;
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        done
    }

    /// How many of the reported installations are active and exist at Vercel.
    pub(super) fn found_at_vercel(&self) -> u64 {
        self.at_vercel
    }

    /// Prints a remark about the whole run.
    pub(super) fn remark(&self, remark: &str) {
        self.bar.suspend(|| note(remark));
    }

    /// Reports that an installation is not known.
    pub(super) fn unknown(&mut self, id: &InstallationId) {
        self.not_compared += 1;
        let place = &self.place;
        self.bar.suspend(|| note(&format!("{id} is not known at {place}")));
        self.advance();
    }

    /// Reports the finding about an installation.
    ///
    /// # Errors
    ///
    /// If standard output cannot be written.
    pub(super) fn add(&mut self, finding: &Finding) -> io::Result<()> {
        match exit(&finding.left) {
            Exit::Agrees => self.agree += 1,
            Exit::NotCompared => self.not_compared += 1,
            Exit::Differs => self.differ += 1,
        }
        self.at_vercel += u64::from(finding.is_at_vercel());
        self.fixed += finding.fixed.len() as u64;
        let id = &finding.installation;
        for remark in &finding.remarks {
            self.bar.suspend(|| note(&format!("{id}: {remark}")));
        }
        if self.json {
            self.print(&format!("{}\n", object(finding, self.fix)))?;
        } else {
            self.rows.extend(rows(finding));
            if self.rows.len() >= ROWS {
                self.flush()?;
            }
        }
        self.advance();
        Ok(())
    }

    fn advance(&self) {
        self.bar.inc(1);
        let found = self.differ + self.not_compared;
        if found > 0 {
            self.bar.set_message(format!(", {found} not agreed"));
        }
        let compared = self.agree + found;
        if self.bar.is_hidden() && compared.is_multiple_of(NOTED) {
            note(&format!("{compared} compared, {found} not agreed"));
        }
    }

    fn print(&self, text: &str) -> io::Result<()> {
        self.bar.suspend(|| print(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows).into_iter();
        let mut sheet = Sheet::new(self.on_terminal);
        if self.fix {
            sheet.table(["installation", "problem", "resource", "what", "now"], rows);
        } else {
            let rows = rows.map(|[id, kind, resource, what, _]| [id, kind, resource, what]);
            sheet.table(["installation", "problem", "resource", "what"], rows);
        }
        self.print(&format!("{}\n", sheet.finish()))
    }

    /// Ends the report, and returns how the command ends.
    ///
    /// # Errors
    ///
    /// If standard output cannot be written.
    pub(super) fn finish(mut self) -> io::Result<Exit> {
        self.flush()?;
        self.bar.finish_and_clear();
        let summary = self.summary();
        if self.json {
            note(&summary);
        } else {
            print(&format!("{summary}\n"))?;
        }
        Ok(match (self.differ, self.not_compared) {
            (0, 0) => Exit::Agrees,
            (0, _) => Exit::NotCompared,
            _ => Exit::Differs,
        })
    }

    fn summary(&self) -> String {
        let Self { agree, differ, not_compared, fixed, place, api, .. } = self;
        let counted = |count: u64, one: &str, more: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {more}"),
        };
        let mut parts = vec![counted(*agree, "agrees", "agree")];
        if *differ > 0 {
            parts.push(counted(*differ, "differs", "differ"));
        }
        if *not_compared > 0 {
            parts.push(format!("{not_compared} not compared"));
        }
        if self.fix {
            parts.push(counted(*fixed, "problem fixed", "problems fixed"));
        }
        format!("{place} compared with {api}: {}", parts.join(", "))
    }
}

/// How the command ends if it finds only these problems.
fn exit(left: &[Problem]) -> Exit {
    let worst = left.iter().map(|problem| match problem {
        Problem::Unreachable(_) => Exit::NotCompared,
        _ => Exit::Differs,
    });
    worst.max().unwrap_or(Exit::Agrees)
}

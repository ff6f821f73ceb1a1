//! What a comparison found: a table for a reader, an object per installation and line for a program.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};
use teardown::ids::InstallationId;
use teardown::reconcile::{Problem, Stored};

use crate::cli::sheet::Sheet;
use crate::terminal::{note, print};

/// How many rows a table has at most; then another one begins, so that memory does not grow.
const ROWS: usize = 500;

/// After how many installations it is noted how far it is, where there is no terminal.
const NOTED: u64 = 100;

/// What was found of an installation.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) installation: InstallationId,
    /// What is stored; none where it could not be read.
    pub(super) stored: Option<Stored>,
    /// The problems that are left.
    pub(super) left: Vec<Problem>,
    /// The problems that were fixed.
    pub(super) fixed: Vec<Problem>,
    /// Why something was not fixed.
    pub(super) remarks: Vec<String>,
}

impl Finding {
    pub(super) fn of(id: &InstallationId, stored: Option<Stored>, problems: Vec<Problem>) -> Self {
        let (fixed, remarks) = (Vec::new(), Vec::new());
        Self { installation: id.clone(), stored, left: problems, fixed, remarks }
    }
}

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// All agree.
    Agrees,
    /// Some could not be compared.
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

/// A report in the making.
pub(super) struct Report {
    json: bool,
    /// Whether problems are fixed.
    fix: bool,
    /// What is compared with what.
    place: String,
    api: String,
    bar: ProgressBar,
    on_terminal: bool,
    rows: Vec<[String; 5]>,
    agree: u64,
    differ: u64,
    not_compared: u64,
    fixed: u64,
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
        }
    }

    /// Does something that uses the terminal, without the bar in its way.
    pub(super) async fn aside<T>(&self, work: impl Future<Output = T>) -> T {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        let done = work.await;
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        done
    }

    /// Tells that an installation is not known.
    pub(super) fn unknown(&mut self, id: &InstallationId) {
        self.not_compared += 1;
        let place = &self.place;
        self.bar.suspend(|| note(&format!("{id} is not known at {place}")));
        self.advance();
    }

    /// Tells what was found of an installation.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written.
    pub(super) fn tell(&mut self, finding: &Finding) -> io::Result<()> {
        match exit(&finding.left) {
            Exit::Agrees => self.agree += 1,
            Exit::NotCompared => self.not_compared += 1,
            Exit::Differs => self.differ += 1,
        }
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

    /// Ends the report; says how the command ends.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written.
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

/// How the command would end for these problems alone.
fn exit(left: &[Problem]) -> Exit {
    let worst = left.iter().map(|problem| match problem {
        Problem::Unreachable(_) => Exit::NotCompared,
        _ => Exit::Differs,
    });
    worst.max().unwrap_or(Exit::Agrees)
}

/// An installation as an object.
fn object(finding: &Finding, fix: bool) -> Value {
    let all = |problems: &[Problem]| problems.iter().map(problem).collect::<Value>();
    let mut object = json!({
        "installation": finding.installation.as_str(),
        "agrees": finding.left.is_empty(),
        "problems": all(&finding.left),
    });
    if fix {
        object["fixed"] = all(&finding.fixed);
    }
    object
}

/// A problem as an object.
fn problem(problem: &Problem) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("kind", problem.kind().into());
    if let Some(resource) = problem.resource() {
        set("resource", resource.into());
    }
    match problem {
        Problem::Disabled(disabled) => {
            set("since", disabled.at.map(|at| at.to_string()).into());
            set("reason", disabled.reason.clone().into());
        }
        Problem::Hanging(since) => {
            set("since", since.to_string().into());
        }
        Problem::OtherTeam { here, there } => {
            set("here", here.clone().into());
            set("there", there.clone().into());
        }
        Problem::Unreachable(why) => {
            set("why", why.clone().into());
        }
        Problem::MissingHere(listed) => {
            set("name", listed.name.clone().into());
            set("status", listed.status.clone().into());
        }
        Problem::Removed
        | Problem::NoToken
        | Problem::DeadToken
        | Problem::MissingThere(_)
        | Problem::DeletedHere(_)
        | Problem::BadId(_) => {}
    }
    Value::Object(object)
}

/// The rows of an installation: what is fixed first.
fn rows(finding: &Finding) -> impl Iterator<Item = [String; 5]> {
    let fixed = finding.fixed.iter().map(|problem| (problem, fixed(problem)));
    let left = finding.left.iter().map(|problem| (problem, "left"));
    fixed.chain(left).map(|(problem, now)| {
        let resource = problem.resource().unwrap_or("-").to_owned();
        let (id, kind) = (finding.installation.to_string(), problem.kind().to_owned());
        [id, kind, resource, what(problem), now.to_owned()]
    })
}

/// What was done about a problem.
fn fixed(problem: &Problem) -> &'static str {
    match problem {
        Problem::MissingHere(_) => "registered",
        Problem::MissingThere(_) => "deleted",
        Problem::OtherTeam { .. } => "stored",
        Problem::Removed => "uninstalled",
        _ => "fixed",
    }
}

/// A problem in words.
fn what(problem: &Problem) -> String {
    match problem {
        Problem::Removed => "Vercel removed the configuration".to_owned(),
        Problem::Disabled(disabled) => {
            let reason = disabled.reason.as_deref().unwrap_or("no reason given");
            let since = disabled.at.map_or_else(String::new, |at| format!(" since {at}"));
            format!("Vercel disabled the configuration{since}: {reason}")
        }
        Problem::Hanging(since) => format!("its uninstall hangs at Vercel since {since}"),
        Problem::OtherTeam { here, there } => {
            let name = |team: &Option<String>| team.clone().unwrap_or_else(|| "none".to_owned());
            format!("stored team {}, Vercel's {}", name(here), name(there))
        }
        Problem::NoToken => "no access token is stored".to_owned(),
        Problem::DeadToken => "Vercel does not take the stored token".to_owned(),
        Problem::Unreachable(why) => why.clone(),
        Problem::MissingHere(listed) => {
            let name = listed.name.as_deref().unwrap_or("without a name");
            let status = listed.status.as_deref().unwrap_or("no status");
            format!("Vercel has it, not stored: {name}, {status}")
        }
        Problem::MissingThere(_) => "stored, Vercel does not list it".to_owned(),
        Problem::DeletedHere(_) => "deleted here, Vercel lists it".to_owned(),
        Problem::BadId(_) => "Vercel lists it, its id cannot be ours".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use teardown::clock::Timestamp;
    use teardown::ids::ResourceId;
    use teardown::vercel::{Disabled, ListedResource};

    use super::*;

    /// L1: each problem has its row and its object, and names nothing that it is not about.
    #[test]
    fn each_problem_is_told() {
        let at = Timestamp::from_secs(1_763_769_600);
        let id = || ResourceId::parse("db_1").unwrap();
        let named = |name: &str| Some(name.to_owned());
        let listed = ListedResource { id: id(), name: named("one"), product: None, status: None };
        let disabled = Disabled { at: Some(at), reason: named("by-owner") };
        for (told, row, object) in [
            (
                Problem::Removed,
                "removed - Vercel removed the configuration",
                json!({ "kind": "removed" }),
            ),
            (
                Problem::Disabled(disabled),
                "disabled - Vercel disabled the configuration since 2025-11-22T00:00:00Z: by-owner",
                json!({ "kind": "disabled", "since": "2025-11-22T00:00:00Z", "reason": "by-owner" }),
            ),
            (
                Problem::Hanging(at),
                "hanging - its uninstall hangs at Vercel since 2025-11-22T00:00:00Z",
                json!({ "kind": "hanging", "since": "2025-11-22T00:00:00Z" }),
            ),
            (
                Problem::OtherTeam { here: named("team_1"), there: None },
                "other_team - stored team team_1, Vercel's none",
                json!({ "kind": "other_team", "here": "team_1", "there": null }),
            ),
            (
                Problem::NoToken,
                "no_token - no access token is stored",
                json!({ "kind": "no_token" }),
            ),
            (
                Problem::DeadToken,
                "dead_token - Vercel does not take the stored token",
                json!({ "kind": "dead_token" }),
            ),
            (
                Problem::Unreachable("down".to_owned()),
                "unreachable - down",
                json!({ "kind": "unreachable", "why": "down" }),
            ),
            (
                Problem::MissingHere(listed),
                "missing_here db_1 Vercel has it, not stored: one, no status",
                json!({ "kind": "missing_here", "resource": "db_1", "name": "one", "status": null }),
            ),
            (
                Problem::MissingThere(id()),
                "missing_there db_1 stored, Vercel does not list it",
                json!({ "kind": "missing_there", "resource": "db_1" }),
            ),
            (
                Problem::DeletedHere(id()),
                "deleted_here db_1 deleted here, Vercel lists it",
                json!({ "kind": "deleted_here", "resource": "db_1" }),
            ),
            (
                Problem::BadId("a/b".to_owned()),
                "bad_id a/b Vercel lists it, its id cannot be ours",
                json!({ "kind": "bad_id", "resource": "a/b" }),
            ),
        ] {
            assert_eq!(problem(&told), object);
            let id = InstallationId::parse("icfg_1").unwrap();
            let finding = Finding::of(&id, None, vec![told]);
            let rows: Vec<_> = rows(&finding).map(|row| row.join(" ")).collect();
            assert_eq!(rows, [format!("icfg_1 {row} left")]);
        }
    }
}

//! A run finds out what the backend supports, runs the checks in order, and cleans up. The time of each step
//! has a limit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::{Check, Needs};
use super::finding::Finding;
use super::options::Options;
use super::scene::Scene;
use super::session::Session;
use super::wire::{Exchange, Request};

/// A check's result.
#[derive(Debug)]
pub struct Row {
    /// The check.
    pub check: &'static Check,
    /// How the check ended.
    pub outcome: Outcome,
    /// The requests of the check, each with the status of its answer.
    pub steps: Vec<String>,
}

/// How a check ended.
#[derive(Debug)]
pub enum Outcome {
    /// The backend does what the check expects.
    Passed,
    /// The backend does not do what good practice demands.
    Warned(Wrong),
    /// The backend does not do what Vercel or a standard documents.
    Failed(Wrong),
    /// The backend does not do what the check expects, and `--accept` names the check.
    Accepted(Wrong),
    /// The check could not run, because the backend or the options lack what the text says.
    Skipped(String),
    /// The run ended before this check, for the reason in the text.
    NotRun(String),
}

/// What a check found to be wrong.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// What the check expected.
    pub expected: String,
    /// What the check saw.
    pub seen: String,
    /// The `curl` command that sends the check's request again.
    pub curl: String,
    /// What the shell variables in the `curl` command mean.
    pub note: Option<String>,
}

impl Wrong {
    fn new(expected: String, seen: String, request: &Request) -> Self {
        Self { expected, seen, curl: request.curl(), note: request.note.clone() }
    }
}

impl Outcome {
    /// The outcome's name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Warned(_) => "warn",
            Self::Failed(_) => "fail",
            Self::Accepted(_) => "accepted",
            Self::Skipped(_) => "skipped",
            Self::NotRun(_) => "not run",
        }
    }

    /// What is wrong, if the check found something wrong.
    #[must_use]
    pub fn wrong(&self) -> Option<&Wrong> {
        match self {
            Self::Warned(wrong) | Self::Failed(wrong) | Self::Accepted(wrong) => Some(wrong),
            Self::Passed | Self::Skipped(_) | Self::NotRun(_) => None,
        }
    }
}

/// A run's result.
#[derive(Debug)]
pub struct Report {
    /// The backend's address.
    pub base_url: String,
    /// The checks with their outcomes, in the order of the list.
    pub rows: Vec<Row>,
    /// Why the run ended before its last check. `None` if all checks were reached.
    pub stopped: Option<String>,
    /// Whether checks were skipped because the backend did not accept this run's tokens.
    pub untrusted: bool,
    /// The installations and resources that the run made and could not delete.
    pub left: Vec<String>,
    /// How many installations and how many resources the run made.
    pub made: (usize, usize),
    /// How many requests the run sent.
    pub requests: usize,
    /// How long the run took.
    pub took: Duration,
}

impl Report {
    /// How many checks have the outcome with this name.
    #[must_use]
    pub fn count(&self, outcome: &str) -> usize {
        self.rows.iter().filter(|row| row.outcome.name() == outcome).count()
    }
}

/// Which checks to run, and which checks may fail.
#[derive(Debug)]
pub struct Selection {
    /// The checks to run.
    pub checks: Vec<&'static Check>,
    /// The ids of checks that may fail.
    pub accepted: BTreeSet<String>,
}

impl Selection {
    /// What all the checks together need.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.checks.iter().fold(Needs::NOTHING, |needs, check| needs.and(check.needs))
    }
}

/// Runs the checks, and calls `told` with each result. The run ends early when `stop` completes.
///
/// # Errors
///
/// If the backend cannot be checked at all.
pub async fn run(
    options: Options,
    selection: &Selection,
    on_row: impl Fn(&Row),
    stop: impl Future<Output = ()>,
) -> Result<Report, String> {
    let begun = Instant::now();
    let (base_url, limit) = (options.base_url.clone(), options.limit);
    let session = Session::start(options).map_err(|error| format!("no HTTP client: {error}"))?;
    let first = Scene::new(&session);
    let mut rows = Vec::new();
    let stopped: Result<Option<String>, String> = {
        let all = async {
            first.survey(selection.needs()).await?;
            for check in &selection.checks {
                if let Some(why) = session.is_silent() {
                    return Ok(Some(why));
                }
                let row = make(&session, check, &selection.accepted).await;
                on_row(&row);
                rows.push(row);
            }
            Ok(None)
        };
        tokio::select! {
            ended = all => ended,
            () = tokio::time::sleep(limit) => Ok(Some(format!("--limit is over: {} s", limit.as_secs()))),
            () = stop => Ok(Some("it was interrupted".to_owned())),
        }
    };
    let made = session.stock(|stock| {
        let ours = stock.made.iter().filter(|made| made.ours).count();
        let resources = stock.made.iter().flat_map(|made| &made.resources);
        (ours, resources.filter(|resource| resource.ours).count())
    });
    let left = first.clean_up().await;
    let stopped = stopped?;
    if let Some(why) = &stopped {
        for check in selection.checks.iter().skip(rows.len()) {
            let outcome = Outcome::NotRun(why.clone());
            rows.push(Row { check, outcome, steps: Vec::new() });
        }
    }
    let untrusted = !session.options.read_only
        && selection.needs().trust
        && session.survey().is_some_and(|survey| survey.trust.is_err());
    let requests = session.log(<[Exchange]>::len);
    Ok(Report { base_url, rows, stopped, untrusted, left, made, requests, took: begun.elapsed() })
}

/// Runs a check. Skips the check if something that it needs is missing.
async fn make(session: &Arc<Session>, check: &'static Check, accepted: &BTreeSet<String>) -> Row {
    if let Some(why) = missing(session, check.needs) {
        return Row { check, outcome: Outcome::Skipped(why), steps: Vec::new() };
    }
    let scene = Scene::new(session);
    let verdict = (check.run)(scene.clone()).await;
    let outcome = match verdict {
        Ok(()) => Outcome::Passed,
        Err(Finding::Skipped(why)) => Outcome::Skipped(why),
        Err(Finding::Wrong { expected, seen, at }) => {
            let wrong = Wrong::new(expected, seen, &at.request);
            if accepted.contains(check.id) {
                Outcome::Accepted(wrong)
            } else if check.basis.is_binding() {
                Outcome::Failed(wrong)
            } else {
                Outcome::Warned(wrong)
            }
        }
    };
    Row { check, outcome, steps: summaries(&scene.sent()) }
}

/// One line of text for each request. Equal lines in a row become one line, which says how many they are.
fn summaries(sent: &[Exchange]) -> Vec<String> {
    let lines: Vec<_> = sent.iter().map(Exchange::summary).collect();
    let runs = lines.chunk_by(|one, next| one == next);
    let counted = runs.map(|run| match run {
        [line] => line.clone(),
        run => format!("{} ({} times)", run[0], run.len()),
    });
    counted.collect()
}

/// Why a check has to be skipped. `None` if nothing is missing.
fn missing(session: &Session, needs: Needs) -> Option<String> {
    let options = &session.options;
    let survey = session.survey()?;
    if options.read_only && !needs.refusal {
        return Some("--read-only sends refusals alone".to_owned());
    }
    if needs.secret && options.client_secret.is_none() {
        return Some("the client secret is not known: --client-secret".to_owned());
    }
    let of =
        |needed: bool, found: &Result<(), String>| needed.then(|| found.clone().err()).flatten();
    let webhook = survey.webhook.as_ref().map(drop).map_err(Clone::clone);
    of(needs.webhook, &webhook)
        .or_else(|| of(needs.trust, &survey.trust))
        .or_else(|| of(needs.resources > 0, &survey.resources))
        .or_else(|| of(needs.lookup, &survey.lookup))
}

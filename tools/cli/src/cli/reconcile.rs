//! `teardown reconcile`: compares the table's installations and resources with those that Vercel has (L1).
//!
//! The command compares a few installations at a time and reports them in their order, so that memory does
//! not grow with the number of installations. With `--fix` and without ids, the command uninstalls and
//! reports installations that Vercel removed after all other installations. `fetcher` calls Vercel, `fix`
//! changes the table, and `report` prints the results with the texts of `phrases`.

mod fetcher;
mod finding;
mod fix;
mod phrases;
mod report;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use teardown::clock::Clock;
use teardown::config::ConfigError;
use teardown::error::Error;
use teardown::ids::InstallationId;
use teardown::reconcile::{Problem, Stored, compare};
use teardown::store::Store;
use teardown::store::admin::forget::Announced;
use teardown::store::admin::installations::Installations;
use tokio::task::JoinHandle;

use self::fetcher::Fetcher;
use self::finding::Finding;
use self::fix::Fixer;
use self::report::{Exit, Report};
use super::destination::Destination;
use super::{Cli, operator, settings};
use crate::terminal::note;

/// Compares what is stored with what Vercel has
///
/// The command requests each installation's configuration and resources from Vercel. Without an
/// ID, the command compares all active installations, and those that are uninstalled and not
/// finalized. Without --fix, the command changes nothing.
///
/// --fix registers resources that only Vercel has, stores the team that Vercel names, and
/// uninstalls installations that Vercel removed. The data of such an installation is destroyed
/// after the grace period, unless you place a hold. --fix deletes resources that Vercel does not
/// list only if you also give --delete-missing, which asks for confirmation.
///
/// Exit status: 0 if no differences are left; 1 if the table or Vercel could not be reached, or if
/// an ID is not known; 2 if differences are left, or for wrong use.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown reconcile
  teardown reconcile icfg_open1 --json
  teardown reconcile --fix
  teardown reconcile icfg_open1 --fix --delete-missing --reason 'ticket 42'"
)]
pub(super) struct Args {
    /// The installations [default: all that are active, or uninstalled and not finalized]
    #[arg(value_name = "ID", value_parser = operator::installation)]
    ids: Vec<InstallationId>,
    #[command(flatten)]
    fixing: Fixing,
    /// Prints a line with a JSON object for each installation
    #[arg(long)]
    json: bool,
    /// The most requests per second to Vercel
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
}

/// The options of fixes.
#[derive(Debug, clap::Args)]
struct Fixing {
    /// Registers what the table lacks, stores Vercel's team, and uninstalls what Vercel removed
    #[arg(long)]
    fix: bool,
    /// Deletes the stored resources that Vercel does not list; needs --fix and --reason
    #[arg(long, requires_all = ["fix", "reason"])]
    delete_missing: bool,
    #[command(flatten)]
    operator: operator::Maybe,
    /// Does not ask for confirmation
    #[arg(long, requires = "delete_missing")]
    yes: bool,
    #[command(flatten)]
    announcing: Announcing,
}

/// How deletions are announced.
#[derive(Debug, clap::Args)]
struct Announcing {
    /// The time until your endpoint gets the event to destroy data [default: `GRACE_PERIOD`, or `7d`]
    #[arg(long, value_name = "DURATION", value_parser = settings::grace, requires = "fix")]
    #[arg(conflicts_with = "unannounced")]
    grace: Option<Duration>,
    /// Does not notify your endpoint of deletions: the data stays
    #[arg(long, requires = "fix")]
    unannounced: bool,
}

/// How many installations are compared at the same time. More installations than requests are under way, so
/// that a slow answer for one installation does not delay the next installations.
const WINDOW: usize = 32;

/// The installations to compare: the installations that the operator named, or all stored installations.
enum Queue<'a> {
    Named(std::vec::IntoIter<InstallationId>),
    Stored { pages: Installations<'a>, page: std::vec::IntoIter<InstallationId> },
}

impl Queue<'_> {
    async fn next(&mut self) -> Result<Option<InstallationId>, Error> {
        match self {
            Self::Named(ids) => Ok(ids.next()),
            Self::Stored { pages, page } => loop {
                if let Some(id) = page.next() {
                    return Ok(Some(id));
                }
                let Some(next) = pages.next_page().await? else { return Ok(None) };
                *page = next.into_iter();
            },
        }
    }
}

/// Compares installations, and fixes them if `--fix` is given.
#[derive(Clone)]
struct Comparer {
    store: Store,
    clock: Clock,
    fetcher: Arc<Fetcher>,
    /// Makes the fixes, if `--fix` is given.
    fixer: Option<Fixer>,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<ExitCode> {
    let fixing = &args.fixing;
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if fixing.delete_missing && !fixing.yes && !can_ask {
        refuse("without a terminal to ask back on, --delete-missing needs --yes");
    }
    if fixing.operator.is_given() && !fixing.delete_missing {
        refuse("--reason is for --delete-missing");
    }
    let announced = fixing.announcing.announced()?;
    let config = settings::of_comparison(port, Destination::is_named())?;
    let destination = Box::pin(Destination::find_with(port, config.clone())).await?;
    let store = destination.store()?;
    let act = fixing.operator.act(&destination).await?;
    let fixer = fixing.fix.then(|| Fixer::new(store.clone(), announced, act));
    let fetcher = Arc::new(Fetcher::new(config.vercel_api_url.clone(), args.rate));
    let clock = destination.clock().clone();
    let comparer = Comparer { store: store.clone(), clock, fetcher, fixer: fixer.clone() };
    let queue = if args.ids.is_empty() {
        Queue::Stored { pages: store.installations(), page: Vec::new().into_iter() }
    } else {
        Queue::Named(args.ids.clone().into_iter())
    };
    let api = config.vercel_api_url.as_str().trim_end_matches('/');
    let mut report = Report::new(args.json, fixing.fix, destination.place(), api);
    let last = fixer.map(|fixer| LastFixes {
        fixer,
        are_named: !args.ids.is_empty(),
        delete_missing: fixing.delete_missing,
        yes: fixing.yes,
        aside: Vec::new(),
    });
    let result = compare_all(queue, &comparer, last, &mut report).await;
    let exit = report.finish()?;
    if let Err(error) = result {
        // If differences were reported before the error, the exit status is that for differences.
        if exit != Exit::Differs {
            return Err(error);
        }
        note(&format!("error: {error:#}"));
    }
    Ok(ExitCode::from(exit.status()))
}

/// Reports wrong use, and ends the process with exit status 2.
fn refuse(why: &str) -> ! {
    Cli::command().error(ErrorKind::MissingRequiredArgument, why).exit()
}

/// Makes the fixes that cannot run for several installations at a time. Deletions need the operator's
/// confirmation. Uninstalls of installations that the operator did not name depend on the results of all
/// installations.
struct LastFixes {
    fixer: Fixer,
    /// Whether the operator named the installations.
    are_named: bool,
    delete_missing: bool,
    yes: bool,
    /// The installations that Vercel removed, which wait for the end of the run.
    aside: Vec<Finding>,
}

/// If Vercel removed more installations than this number, and more than Vercel still has, a run over all
/// installations uninstalls no installation.
const FEW: u64 = 5;

impl LastFixes {
    /// Makes the last fixes of a finding, and reports the finding. If Vercel removed an installation that the
    /// operator did not name, the uninstall waits for the end of the run. Because of this wait, a wrong
    /// address that answers 404 to every request does not cause the uninstall of all installations.
    async fn report(&mut self, mut finding: Finding, report: &mut Report) -> anyhow::Result<()> {
        if finding.is_removed() && !self.are_named {
            self.aside.push(finding.light());
            return Ok(());
        }
        if finding.is_removed() {
            self.fixer.uninstall(&mut finding).await;
        }
        if self.delete_missing {
            self.fixer.delete_missing(&mut finding, self.yes, report).await?;
        }
        Ok(report.add(&finding)?)
    }

    /// Uninstalls the installations that Vercel removed, unless Vercel removed too many. Reports all
    /// installations that Vercel removed.
    async fn end(self, report: &mut Report) -> anyhow::Result<()> {
        let removed = self.aside.len() as u64;
        let is_doubtful = removed > FEW.max(report.found_at_vercel());
        if is_doubtful {
            report.remark(&format!(
                "{removed} configurations are gone at Vercel, more than it has: if VERCEL_API_URL is \
                 right, uninstall them by their ids"
            ));
        }
        for mut finding in self.aside {
            if !is_doubtful {
                self.fixer.uninstall(&mut finding).await;
            }
            report.add(&finding)?;
        }
        Ok(())
    }
}

/// Compares the installations of a queue, and reports them in the queue's order.
async fn compare_all(
    mut queue: Queue<'_>,
    comparer: &Comparer,
    mut last: Option<LastFixes>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut running: VecDeque<(InstallationId, JoinHandle<Option<Finding>>)> = VecDeque::new();
    let mut failed = None;
    loop {
        while failed.is_none() && running.len() < WINDOW {
            match queue.next().await {
                Ok(Some(id)) => {
                    let (comparer, of) = (comparer.clone(), id.clone());
                    running.push_back((id, tokio::spawn(async move { comparer.run(&of).await })));
                }
                Ok(None) => break,
                // After an error, the loop still reports the comparisons that have begun.
                Err(error) => failed = Some(error),
            }
        }
        let Some((id, task)) = running.pop_front() else { break };
        match task.await? {
            None => report.unknown(&id),
            Some(finding) => match &mut last {
                Some(last) => last.report(finding, report).await?,
                None => report.add(&finding)?,
            },
        }
    }
    if let Some(last) = last {
        last.end(report).await?;
    }
    match failed {
        Some(error) => Err(error).context("the installations cannot be listed"),
        None => Ok(()),
    }
}

impl Announcing {
    fn announced(&self) -> Result<Announced, ConfigError> {
        Ok(match self.grace {
            _ if self.unannounced => Announced::Never,
            Some(grace) => Announced::After(grace),
            None => Announced::After(settings::grace_period(None)?),
        })
    }
}

impl Comparer {
    /// Compares an installation, and fixes it if `--fix` is given. `None` if the installation is not known.
    async fn run(&self, id: &InstallationId) -> Option<Finding> {
        let (stored, problems) = match self.compare(id).await {
            Ok(compared) => compared?,
            Err(error) => {
                let why = format!("the table: {}", causes(&error));
                return Some(Finding::of(id, None, vec![Problem::Unreachable(why)]));
            }
        };
        let mut finding = Finding::of(id, Some(stored), problems);
        if let Some(fixer) = &self.fixer {
            fixer.fix(&mut finding).await;
        }
        Some(finding)
    }

    async fn compare(&self, id: &InstallationId) -> Result<Option<(Stored, Vec<Problem>)>, Error> {
        let snapshot = self.store.load(id, None, self.clock.timestamp()).await?;
        let Some(loaded) = snapshot.loaded() else { return Ok(None) };
        // The command calls Vercel first and reads the table later. If a resource is provisioned after the
        // call to Vercel and before the read, it is in the table, but too young to be reported as missing at
        // Vercel.
        let vercel = self.fetcher.fetch(id, loaded).await;
        let Some(stored) = self.store.stored(id).await? else { return Ok(None) };
        let problems = compare(&stored, &vercel, self.clock.timestamp());
        Ok(Some((stored, problems)))
    }
}

/// An error with its causes, for the operator.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

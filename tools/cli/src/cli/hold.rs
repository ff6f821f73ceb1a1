//! `teardown hold`: stops teardowns while the hold is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use teardown::clock::{Clock, Timestamp};
use teardown::ids::ResourceId;
use teardown::store::Store;
use teardown::store::admin::holds::Subject;
use teardown::store::admin::teardown_state::{Look, TeardownState};
use tokio::time::timeout;

use super::destination::Destination;
use super::operator::{self, LeaseWait, On};
use crate::phrases::{subject as name, teardown_state as describe};
use crate::terminal::print;

/// Stops the teardown of a deleted installation or resource
///
/// While a hold is in force, your endpoint does not get `resource.deleted` or
/// `installation.deleted` for what is held. teardown still sends `….deletion_scheduled`, and still
/// answers Vercel's requests. You can also place a hold before a deletion. A hold on an
/// installation covers everything that belongs to it. A second hold replaces the first hold's
/// reason and end. If a worker may be announcing the deletion, the command waits until that
/// worker's lease ends, 80 seconds at most.
///
/// Exit status: 0 if the hold is in time; 1 if the hold is or may be too late for something (all
/// else is held), or if the table cannot be reached; 2 for wrong use. Read the output, too: an
/// unknown id is only a warning.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown hold icfg_open1 --reason 'uninstalled by mistake, ticket 42'
  teardown hold icfg_open1 db_1 --reason 'ticket 42' --until 30d
  AWS_PROFILE=production teardown hold icfg_9bceb8ccT32d3U417ezb5c8p --reason 'ticket 42'"
)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    operator: operator::Args,
    /// When the hold ends, such as `30d` (from now) or `2027-01-31T00:00:00Z`. A hold that ends before
    /// the teardown does not stop it
    #[arg(long, value_name = "WHEN", value_parser = until)]
    until: Option<Timestamp>,
}

/// How many resource ids a line of the result lists.
const LISTED: usize = 10;

/// The time limit for reading the state that the hold finds, including the waits for leases.
const PATIENCE: Duration = Duration::from_mins(5);

/// Parses a time in the future: a duration from now, or an RFC 3339 time.
fn until(text: &str) -> Result<Timestamp, String> {
    let now = Clock::system().timestamp();
    let time = match humantime::parse_duration(text) {
        Ok(time) => now + time,
        Err(_) => {
            parse_time(text).ok_or("it is neither a duration such as 30d nor an RFC 3339 time")?
        }
    };
    if time > now { Ok(time) } else { Err("it is in the past".to_owned()) }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_secs(since.as_secs()))
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<ExitCode> {
    let subject = args.on.subject();
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let act = args.operator.act(&destination).await?;
    // The look before the hold finds the resources whose `deleted` event is pending. If the look after the
    // hold finds such a resource announced, the event was sent between the two looks. If the look before the
    // hold fails, the command still places the hold.
    let before = store.look(&subject, &BTreeSet::new()).await.unwrap_or_default();
    let held = store.hold(&subject, &act, args.until).await;
    held.context("it is not known whether the hold is in force: repeat this")?;
    let looked =
        timeout(PATIENCE, look(&store, destination.clock(), &subject, before.unfinished())).await;
    let looked = looked.map_err(anyhow::Error::from).flatten();
    let look = looked.context("the hold is in force; whether it is in time is not known")?;
    let until = args.until.map_or_else(String::new, |until| format!(" until {until}"));
    for warning in warnings(&subject, &look, args.until) {
        print(&format!("WARNING: {warning}\n"))?;
    }
    let (what, place) = (name(&subject), destination.place());
    print(&format!("{what} is held{until} by {} at {place}\n", act.by))?;
    print(&found(&subject, &look, args.until))?;
    Ok(if look.is_in_time() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the state that the hold finds. While a worker may be announcing a deletion, reads the state again,
/// until the worker or the time ends the worker's lease.
async fn look(
    store: &Store,
    clock: &Clock,
    subject: &Subject,
    mut under_way: BTreeSet<ResourceId>,
) -> anyhow::Result<Look> {
    let mut lease = LeaseWait::default();
    loop {
        let look = store.look(subject, &under_way).await?;
        let Some(until) = look.leased_until else { return Ok(look) };
        under_way.extend(look.under_way);
        lease.wait(clock, until).await;
    }
}

/// The warnings that the operator must not miss.
fn warnings(subject: &Subject, look: &Look, until: Option<Timestamp>) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut states: Vec<_> = look.installation.iter().chain(look.resources.values()).collect();
    states.dedup();
    if states == [&TeardownState::Unknown] {
        let what = name(subject);
        warnings.push(format!("{what} is not known here: check the id, and which table this is"));
    }
    if !look.is_in_time() {
        warnings.push(
            "it is too late, or may be, for some of it; the hold is in force for the rest"
                .to_owned(),
        );
    }
    if states.iter().any(|state| ends_before(state, until)) {
        warnings.push("the hold ends before the teardown, and does not stop it".to_owned());
    }
    warnings
}

/// Whether a hold that ends at `until` ends before the teardown is due.
fn ends_before(state: &TeardownState, until: Option<Timestamp>) -> bool {
    matches!((state, until), (TeardownState::Pending(at), Some(until)) if until <= *at)
}

/// A text with a line for each state that the look after the hold found.
fn found(subject: &Subject, look: &Look, until: Option<Timestamp>) -> String {
    let mut text = String::new();
    let describe = |state: &TeardownState| match state {
        TeardownState::Pending(at) if ends_before(state, until) => {
            format!("deleted, to be torn down at {at}; the hold ends before that")
        }
        state => describe(state),
    };
    if let Some(state) = &look.installation {
        let _ = writeln!(text, "  the installation: {}", describe(state));
    }
    let mut by_state = BTreeMap::<_, Vec<_>>::new();
    for (resource, state) in &look.resources {
        by_state.entry(state).or_default().push(resource.as_str());
    }
    for (state, resources) in by_state {
        let _ = writeln!(text, "  {}: {}", listed(&resources), describe(state));
    }
    if look.announced > 0 {
        let count = look.announced;
        let _ = writeln!(
            text,
            "  {count} more of {}: too late, the provider was told to tear them down",
            subject.installation
        );
    }
    text
}

/// A list of the first [`LISTED`] ids, and the number of the other ids.
fn listed(ids: &[&str]) -> String {
    let shown = ids.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    match ids.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

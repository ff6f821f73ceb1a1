//! `teardown held`: lists the holds in force.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::json;
use teardown::clock::Timestamp;
use teardown::store::admin::holds::Hold;
use tokio::time::timeout;

use super::destination::Destination;
use super::sheet::Sheet;
use crate::terminal::print;

/// Lists the holds in force, the oldest first, with the number of announcements that each stops
///
/// The column "holds up" counts the announcements that a hold stops or will stop: one for each
/// resource, and one for the installation. The column "teardown at" is the time when the first
/// of these announcements would be due without the hold. The list does not have holds that were
/// released or have ended.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown held
  teardown held --json | jq .reason"
)]
pub(super) struct Args {
    /// Prints one JSON object per line
    #[arg(long)]
    json: bool,
}

/// The most holds that the command lists, which is more than anybody reads.
const LIMIT: usize = 1000;

/// The time limit for reading. The time limit is long, because the store makes separate reads for each hold,
/// to find out what the hold stops.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<()> {
    let destination = Destination::find(port).await?;
    let holds = timeout(PATIENCE, destination.store()?.holds(LIMIT))
        .await
        .map_err(|_| anyhow!("the DynamoDB at {} has stopped answering", destination.place()))?
        .context("the holds cannot be read")?;
    let text = if args.json { lines(&holds) } else { listed(&holds, io::stdout().is_terminal()) };
    Ok(print(&text)?)
}

fn lines(holds: &[Hold]) -> String {
    let line = |hold: &Hold| {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let object = json!({
            "installation": hold.subject.installation.as_str(),
            "resource": hold.subject.resource.as_ref().map(teardown::ids::ResourceId::as_str),
            "heldAt": hold.at.to_string(), "heldBy": hold.by, "reason": hold.reason,
            "until": text(hold.until), "holdsUp": hold.holds_up,
            "teardownAt": text(hold.first_due),
        });
        format!("{object}\n")
    };
    holds.iter().map(line).collect()
}

fn listed(holds: &[Hold], on_terminal: bool) -> String {
    let or_none = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    let rows = holds.iter().map(|hold| {
        let resource = hold.subject.resource.as_ref().map_or("all", |it| it.as_str());
        [
            hold.subject.installation.to_string(),
            resource.to_owned(),
            hold.at.to_string(),
            or_none(hold.until),
            hold.holds_up.to_string(),
            or_none(hold.first_due),
            hold.by.clone(),
            hold.reason.clone(),
        ]
    });
    let mut sheet = Sheet::new(on_terminal);
    let header = ["hold", "resource", "since", "until", "holds up", "teardown at", "by", "reason"];
    sheet.table(header, rows);
    sheet.finish()
}

//! `teardown parked`: lists the parked jobs, and with `--retry` makes the listed jobs due again.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::json;
use teardown::store::Store;
use teardown::store::admin::Act;
use teardown::store::admin::operations::ParkedJob;
use tokio::time::timeout;

use super::destination::Destination;
use super::operator;
use super::sheet::Sheet;
use crate::terminal::print;

/// Lists the parked jobs, the oldest first
///
/// A job is parked if it has failed for 3 days, or if no later attempt can succeed. No sweep runs a
/// parked job. --retry lists the parked jobs, too, and makes all of them due again. A retried job
/// that fails for 3 more days is parked again.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown parked
  AWS_PROFILE=production teardown parked --retry"
)]
pub(super) struct Args {
    /// Makes all parked jobs due again, and prints how many jobs became due
    #[arg(long)]
    retry: bool,
    /// Prints one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operator: operator::Maybe,
}

/// How many jobs a page has, which is more than anybody reads. Even if the jobs have the longest error texts,
/// a page fits into memory.
const PAGE: usize = 1000;

/// The time limit for reading a page. The time limit is long, because the store reads each job's item
/// separately.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<()> {
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let read = || async {
        timeout(PATIENCE, store.parked(PAGE))
            .await
            .map_err(|_| anyhow!("the DynamoDB at {} has stopped answering", destination.place()))?
            .context("the parked jobs cannot be read")
    };
    let mut page = read().await?;
    let text = |page: &[ParkedJob]| {
        if args.json { lines(page) } else { listed(page, io::stdout().is_terminal()) }
    };
    print(&text(&page))?;
    if !args.retry {
        return Ok(());
    }
    let act = args.operator.act(&destination).await?;
    let mut retried = 0_u64;
    loop {
        let due_again = retry(&store, &page, act.as_ref()).await?;
        retried += due_again;
        // If no job of this page became due again, the next page would have the same jobs as this page.
        if due_again == 0 || page.len() < PAGE {
            break;
        }
        page = read().await?;
    }
    if args.json {
        return Ok(print(&format!("{}\n", json!({ "dueAgain": retried })))?);
    }
    Ok(print(&format!("due again: {retried}\n"))?)
}

/// A page of parked jobs as JSON: one line with one object for each job.
fn lines(page: &[ParkedJob]) -> String {
    let line = |job: &ParkedJob| {
        let object = json!({
            "installation": job.installation.as_str(), "job": job.what,
            "parkedAt": job.since.to_string(), "attempts": job.attempts,
            "lastError": job.last_error,
        });
        format!("{object}\n")
    };
    page.iter().map(line).collect()
}

async fn retry(store: &Store, page: &[ParkedJob], act: Option<&Act>) -> anyhow::Result<u64> {
    let mut due_again = 0;
    for job in page {
        let ParkedJob { installation, what, .. } = job;
        let tried = store.retry_parked_by(job, act).await;
        due_again += u64::from(tried.with_context(|| format!("{what} of {installation}"))?);
    }
    Ok(due_again)
}

/// A page of parked jobs as a table.
fn listed(page: &[ParkedJob], on_terminal: bool) -> String {
    if page.is_empty() {
        return "parked job: none\n".to_owned();
    }
    let rows = page.iter().map(|job| {
        let ParkedJob { installation, what, since, attempts, last_error } = job;
        [
            installation.to_string(),
            what.clone(),
            since.to_string(),
            attempts.to_string(),
            last_error.clone(),
        ]
    });
    let mut sheet = Sheet::new(on_terminal);
    sheet.table(["installation", "parked job", "since", "attempts", "last error"], rows);
    let more = if page.len() < PAGE { "" } else { "There may be more: these are the oldest.\n" };
    format!("{}{more}", sheet.finish())
}

#[cfg(test)]
mod tests {
    use teardown::clock::Timestamp;
    use teardown::ids::InstallationId;

    use super::*;

    fn job(n: u64) -> ParkedJob {
        ParkedJob {
            installation: InstallationId::parse(&format!("icfg_{n}")).unwrap(),
            what: "finalize".to_owned(),
            since: Timestamp::from_secs(1_763_769_600),
            attempts: n,
            last_error: "Vercel answered 500".to_owned(),
        }
    }

    #[test]
    fn parked_jobs_are_a_table_that_says_where_it_ends() {
        let listed =
            |page: &[ParkedJob]| anstream::adapter::strip_str(&listed(page, false)).to_string();
        assert_eq!(listed(&[]), "parked job: none\n");
        let expected = "\
installation  parked job  since                 attempts  last error
icfg_7        finalize    2025-11-22T00:00:00Z  7         Vercel answered 500
";
        assert_eq!(listed(&[job(7)]), expected);
        let full: Vec<_> = (0..1000).map(job).collect();
        assert!(listed(&full).ends_with("There may be more: these are the oldest.\n"));
    }
}

//! `teardown show`: shows what the table stores about an installation.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use teardown::clock::Timestamp;
use teardown::ids::InstallationId;
use tokio::time::timeout;

use super::destination::Destination;
use super::sheet::Sheet;
use crate::attributes::{Item, map, named, number, text, time, truth};
use crate::terminal::print;

/// Shows what is stored of an installation
///
/// The command shows the installation's state, its resources, webhooks, log drains and variables,
/// and its jobs, holds and receipts. The command does not show the access token, only whether a
/// token is stored. On a terminal, the tables have lines.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown show icfg_open1
  teardown show icfg_open1 | grep '^resource'
  AWS_PROFILE=production teardown show icfg_9bceb8ccT32d3U417ezb5c8p"
)]
pub(super) struct Args {
    /// The installation
    #[arg(value_name = "ID")]
    id: String,
}

/// How long reading may take. To read an installation of 100,000 items takes less time than this.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<()> {
    let id = InstallationId::parse(&args.id).context("ID")?;
    let destination = Destination::find(port).await?;
    let items = timeout(PATIENCE, destination.store()?.items(&id))
        .await
        .map_err(|_| anyhow!("the DynamoDB at {} has stopped answering", destination.place()))?
        .context("the installation cannot be read")?;
    if items.is_empty() {
        return Err(anyhow!("nothing is stored of {id} at {}", destination.place()));
    }
    let mut sheet = Sheet::new(io::stdout().is_terminal());
    installation(&mut sheet, &id, &items);
    resources(&mut sheet, &items);
    belongings(&mut sheet, &items);
    work(&mut sheet, &items, destination.clock().timestamp());
    holds(&mut sheet, &items);
    receipts(&mut sheet, &items);
    Ok(print(&sheet.finish())?)
}

fn installation(sheet: &mut Sheet, id: &InstallationId, items: &[Item]) {
    let token = items.iter().any(|item| named(item, "#token").is_some());
    let nothing = Item::new();
    let item = find(items).unwrap_or(&nothing);
    // A deleted installation has no live resource, although the purge removes the items of its resources
    // later.
    let live = if is_active(item) { number(item, "resources").unwrap_or("0") } else { "0" };
    let show = |name| text(item, name).unwrap_or("-").to_owned();
    let mut rows = vec![
        ["installation", id.as_str()].map(str::to_owned),
        ["state".to_owned(), text(item, "state").unwrap_or("never registered").to_owned()],
        ["account".to_owned(), show("accountId")],
        ["team".to_owned(), team(item)],
        ["billing".to_owned(), show("billing")],
        ["live resources".to_owned(), live.to_owned()],
        ["access token", if token { "stored" } else { "none" }].map(str::to_owned),
    ];
    if let Some(finalized) = truth(item, "finalized") {
        rows.push(["finalized", if finalized { "yes" } else { "no" }].map(str::to_owned));
    }
    if let Some(at) = time(item, "deletedAt") {
        rows.push(["deleted".to_owned(), format!("{at} by {}", actor(item))]);
    }
    if let Some(reason) = text(item, "reason") {
        rows.push(["reason", reason].map(str::to_owned));
    }
    if let Some(at) = time(item, "teardownAt") {
        rows.push(["teardown at".to_owned(), at.to_string()]);
    }
    if let Some(at) = time(item, "configurationDeletedAt") {
        rows.push(["configuration deleted".to_owned(), at.to_string()]);
    }
    sheet.pairs(rows);
}

fn find(items: &[Item]) -> Option<&Item> {
    items.iter().find(|item| named(item, "#installation").is_some())
}

fn is_active(installation: &Item) -> bool {
    text(installation, "state") == Some("active")
}

fn team(item: &Item) -> String {
    match (text(item, "teamId"), text(item, "teamSlug")) {
        (Some(id), Some(slug)) => format!("{id} ({slug})"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

fn resources(sheet: &mut Sheet, items: &[Item]) {
    let live = find(items).is_some_and(is_active);
    let rows = items.iter().filter_map(|item| {
        let or_dash = |name| text(item, name).unwrap_or("-").to_owned();
        let status = if live { text(item, "status").unwrap_or("ready") } else { "gone" };
        let id = named(item, "resource#")?.to_owned();
        Some([id, status.to_owned(), or_dash("name"), or_dash("productId")])
    });
    sheet.table(["resource", "status", "name", "product"], rows);
}

fn belongings(sheet: &mut Sheet, items: &[Item]) {
    let ids = |prefix| items.iter().filter_map(move |item| Some([named(item, prefix)?.to_owned()]));
    sheet.table(["webhook"], ids("webhook#"));
    sheet.table(["log drain"], ids("drain#"));
    let variables = items.iter().filter_map(|item| {
        let or_dash = |name| text(item, name).unwrap_or("-").to_owned();
        Some([named(item, "env#")?.to_owned(), or_dash("projectId"), or_dash("key")])
    });
    sheet.table(["variable", "project", "name"], variables);
}

fn work(sheet: &mut Sheet, items: &[Item], now: Timestamp) {
    let rows = items.iter().filter_map(|item| {
        let what = named(item, "work#")?.to_owned();
        let or_dash = |name| text(item, name).unwrap_or("-").to_owned();
        let attempts = number(item, "attempts").unwrap_or("0").to_owned();
        Some([what, kind(item), due(item), attempts, lease(item, now), or_dash("lastError")])
    });
    sheet.table(["job", "kind", "due", "attempts", "leased", "last error"], rows);
}

/// The kind of a job, and the phase of an announcement.
fn kind(item: &Item) -> String {
    let kind = text(item, "kind").unwrap_or("-");
    match text(item, "phase") {
        Some("scheduled") => format!("{kind} as scheduled"),
        Some(_) => format!("{kind} as deleted"),
        None => kind.to_owned(),
    }
}

/// When a job is due. A job that is not due is `parked` or `held`.
fn due(item: &Item) -> String {
    if let Some(listed @ ("parked" | "held")) = text(item, "dueShard") {
        return listed.to_owned();
    }
    time(item, "dueAt").map_or_else(|| "-".to_owned(), |due| due.to_string())
}

/// The end of a job's lease. The text is `no` if no worker holds a lease now.
fn lease(item: &Item, now: Timestamp) -> String {
    match time(item, "leaseUntil") {
        Some(end) if end > now => format!("until {end}"),
        _ => "no".to_owned(),
    }
}

fn holds(sheet: &mut Sheet, items: &[Item]) {
    let rows = items.iter().filter_map(|item| {
        let what = named(item, "hold#")?.replacen('#', " ", 1);
        let or_dash = |name| text(item, name).unwrap_or("-").to_owned();
        let end = match (time(item, "releasedAt"), text(item, "releasedBy")) {
            (Some(at), by) => {
                let (by, why) = (by.unwrap_or("-"), or_dash("releaseReason"));
                format!("released {at} by {by}: {why}")
            }
            (None, _) => when(item, "until"),
        };
        Some([what, when(item, "heldAt"), or_dash("heldBy"), or_dash("reason"), end])
    });
    sheet.table(["hold", "since", "by", "reason", "until"], rows);
}

fn receipts(sheet: &mut Sheet, items: &[Item]) {
    let rows = items.iter().filter_map(|item| {
        let what = named(item, "receipt#")?.replacen('#', " ", 1);
        let reason = text(item, "reason").unwrap_or("-").to_owned();
        if let Some(to) = text(item, "movedTo") {
            let by = text(item, "movedBy").unwrap_or("-").to_owned();
            return Some([what, when(item, "movedAt"), by, reason, format!("moved to {to}")]);
        }
        Some([what, when(item, "deletedAt"), actor(item), reason, teardown(item)])
    });
    sheet.table(["receipt", "at", "by", "reason", "teardown at"], rows);
}

/// When the resource or installation of a receipt is torn down, or why it is never torn down.
fn teardown(item: &Item) -> String {
    if let Some(kept) = map(item, "kept") {
        let or_dash = |name| text(kept, name).unwrap_or("-");
        return format!("kept by {}: {}", or_dash("by"), or_dash("reason"));
    }
    match truth(item, "unannounced") {
        Some(true) => "not announced".to_owned(),
        _ => when(item, "teardownAt"),
    }
}

/// The time in an attribute, or a dash if the item does not have the attribute.
fn when(item: &Item, name: &str) -> String {
    time(item, name).map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// Who made a deletion, from its attribute `deletedBy`.
fn actor(item: &Item) -> String {
    let Some(by) = map(item, "deletedBy") else { return "-".to_owned() };
    let account = text(by, "accountId").unwrap_or("-");
    match (text(by, "userId"), text(by, "role")) {
        (Some(user), Some(role)) => format!("user {user} ({role}) of {account}"),
        (Some(user), None) => format!("user {user} of {account}"),
        (None, _) => format!("{} of {account}", text(by, "kind").unwrap_or("-")),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue::{N, S};

    use super::*;

    #[test]
    fn a_job_is_due_or_parked_and_leased_while_its_lease_lasts() {
        let item = |shard: &str, lease: Option<u64>| {
            let lease = lease.map(|end| ("leaseUntil", N(end.to_string())));
            let due = [("dueShard", S(shard.to_owned())), ("dueAt", N("1763769600".to_owned()))];
            let attributes = due.into_iter().chain(lease);
            attributes.map(|(name, value)| (name.to_owned(), value)).collect::<Item>()
        };
        let now = Timestamp::from_secs(1_763_769_600);
        assert_eq!(due(&item("3", None)), "2025-11-22T00:00:00Z");
        assert_eq!(due(&item("parked", None)), "parked");
        assert_eq!(due(&Item::new()), "-");
        assert_eq!(lease(&item("3", Some(1_763_769_601)), now), "until 2025-11-22T00:00:01Z");
        for end in [None, Some(1_763_769_600)] {
            assert_eq!(lease(&item("3", end), now), "no", "{end:?}");
        }
    }
}

//! Owed work in the table: what is due, leases with fencing tokens, and how a lease ends (G4).
//!
//! ```text
//!   take      Update  if it is due, not parked, and not leased     due_at, lease_until := the lease's end
//!                                                                 fence + 1, attempts + 1
//!   finish    Delete  if the fence is ours
//!   put off   Update  if the fence is ours                         due_at := later, no lease
//!   park      Update  if the fence is ours                         due_shard := parked
//! ```
//!
//! Work whose worker died comes due again by itself, when its lease ends.

use std::sync::atomic::AtomicBool;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::conditions::held;
use super::keys::{self, Item, n, s, time};
use super::table::DUE_INDEX;
use super::transaction::{Expression, placeholders};
use super::{Malformed, Store, in_time, store_error};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::Provenance;
use crate::ids::InstallationId;
use crate::work::owed::{Owed, PARKED};

/// A thing owed, held until the lease ends.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) installation: InstallationId,
    pub(crate) owed: Owed,
    /// What proves that the lease is still ours.
    pub(crate) fence: i64,
    /// When it was due.
    pub(crate) due: Timestamp,
    pub(crate) tries: Tries,
    /// What it is owed for; none where its item does not say so.
    pub(crate) provenance: Option<Provenance>,
    /// The hash of the idempotency key under which it was asked for, if there was one.
    pub(crate) key_sha256: Option<String>,
    /// The `webhook-id` of an announcement.
    pub(crate) webhook_id: Option<String>,
    /// Whether Vercel was asked under it, and it is not known here what became of that.
    pub(crate) in_doubt: AtomicBool,
    /// Whether it is being written down that Vercel is about to be asked, and nothing was sent yet.
    pub(crate) marking: AtomicBool,
}

/// How it went so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    /// How many attempts in a row have failed.
    pub(crate) failures: u32,
    /// Since when they have.
    pub(crate) failing_since: Option<Timestamp>,
}

impl Tries {
    pub(crate) fn of(item: &Item) -> Self {
        let failures = keys::number(item, "failures").and_then(|count| count.try_into().ok());
        Self { failures: failures.unwrap_or(0), failing_since: keys::moment(item, "failing_since") }
    }
}

/// Why work is owed still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What went wrong, for people.
    pub(crate) reason: String,
    /// Since when nothing but failures came.
    pub(crate) since: Timestamp,
    /// Of a configuration's deletion: whether an attempt got no definite answer; none where what is
    /// stored of that stands.
    pub(crate) unclear: Option<bool>,
}

/// A page of what is due in a shard.
pub(crate) struct Page {
    pub(crate) due: Vec<(InstallationId, Owed)>,
    /// Where the next page begins; none where this is the last.
    pub(crate) next: Option<Item>,
}

impl Store {
    /// What is due in a shard at `now`, the oldest first, `limit` at most: from the beginning, or
    /// where the page before has ended.
    pub(crate) async fn due(
        &self,
        shard: &str,
        now: Timestamp,
        limit: i32,
        from: Option<Item>,
    ) -> Result<Page, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(DUE_INDEX)
            .key_condition_expression("due_shard = :shard AND due_at <= :now")
            .expression_attribute_values(":shard", s(shard))
            .expression_attribute_values(":now", time(now))
            .limit(limit)
            .set_exclusive_start_key(from);
        in_time(async {
            let page = query.send().await.map_err(store_error)?;
            // What cannot be read is not ours: another version's, or nobody's.
            let due = page.items.unwrap_or_default().iter().filter_map(parse_key).collect();
            Ok(Page { due, next: page.last_evaluated_key })
        })
        .await
    }

    /// Takes the lease of a thing owed until then, if it is due at `now` and nobody else holds it.
    pub(crate) async fn take(
        &self,
        installation: &InstallationId,
        owed: &Owed,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, Error> {
        let change = Expression::new(
            "SET due_at = :until, lease_until = :until, fence = fence + :one, \
             attempts = attempts + :one",
        )
        .value(":until", time(until))
        .value(":one", n(1));
        let condition = Expression::new(
            "due_at <= :now AND due_shard <> :parked \
             AND (attribute_not_exists(lease_until) OR lease_until <= :now)",
        )
        .value(":now", time(now))
        .value(":parked", s(PARKED));
        // Where the answer is lost and the SDK asks again, the lease is not recognised as ours: it
        // ends by itself.
        let taken = self.update_work(installation, owed, change, condition).await?;
        let Some(before) = taken else { return Ok(None) };
        let malformed = |problem| Malformed::error(&before, problem);
        Ok(Some(Lease {
            installation: installation.clone(),
            owed: owed.clone(),
            fence: keys::number(&before, "fence").ok_or_else(|| malformed("it has no `fence`"))?
                + 1,
            due: keys::moment(&before, "due_at").ok_or_else(|| malformed("it has no `due_at`"))?,
            tries: Tries::of(&before),
            provenance: keys::provenance(&before),
            key_sha256: keys::text(&before, "keySha256").map(str::to_owned),
            webhook_id: keys::text(&before, "webhookId").map(str::to_owned),
            in_doubt: AtomicBool::default(),
            marking: AtomicBool::default(),
        }))
    }

    /// Ends a lease: nothing is owed any more. `false` where it is not ours any more; what somebody
    /// else holds by now stays.
    pub(crate) async fn finish(&self, lease: &Lease) -> Result<bool, Error> {
        let condition = held(lease.fence);
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(lease.owed.key(&lease.installation)))
            .condition_expression(condition.text());
        let delete = placeholders!(delete, condition);
        match in_time(async { Ok(delete.send().await) }).await? {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(store_error(error)),
            },
        }
    }

    /// Ends a lease: it is owed still, and due then. `false` where it is not ours any more; what
    /// somebody else holds by now stays as it is.
    pub(crate) async fn put_off(
        &self,
        lease: &Lease,
        due: Timestamp,
        failure: Option<&Failure>,
    ) -> Result<bool, Error> {
        let change = match failure {
            None => Expression::new(
                "SET due_at = :due REMOVE lease_until, failures, failing_since, last_error",
            ),
            Some(failure) => failed(lease, failure, "due_at = :due"),
        };
        self.end(lease, change.value(":due", time(due))).await
    }

    /// Ends a lease: it is owed still, and due no more until somebody says so (G6). `false` as above.
    pub(crate) async fn park(
        &self,
        lease: &Lease,
        now: Timestamp,
        failure: &Failure,
    ) -> Result<bool, Error> {
        let change = failed(lease, failure, "due_shard = :parked, due_at = :now");
        self.end(lease, change.value(":parked", s(PARKED)).value(":now", time(now))).await
    }

    async fn end(&self, lease: &Lease, change: Expression) -> Result<bool, Error> {
        let held = held(lease.fence);
        let before = self.update_work(&lease.installation, &lease.owed, change, held).await?;
        Ok(before.is_some())
    }

    /// Changes a thing owed, if the condition holds, and gives its item as it was before; none where
    /// the condition does not hold.
    pub(super) async fn update_work(
        &self,
        installation: &InstallationId,
        owed: &Owed,
        change: Expression,
        condition: Expression,
    ) -> Result<Option<Item>, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(owed.key(installation)))
            .update_expression(change.text())
            .condition_expression(condition.text())
            .return_values(ReturnValue::AllOld);
        let update = placeholders!(update, change, condition);
        match in_time(async { Ok(update.send().await) }).await? {
            Ok(changed) => Ok(Some(changed.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
                _ => Err(store_error(error)),
            },
        }
    }
}

/// The lease ends with a failure.
fn failed(lease: &Lease, failure: &Failure, when: &str) -> Expression {
    let change = Expression::new(format!(
        "SET {when}, failures = :failures, failing_since = :since, last_error = :reason"
    ))
    .value(":failures", n(lease.tries.failures.saturating_add(1)))
    .value(":since", time(failure.since))
    .value(":reason", s(&failure.reason));
    let change = match failure.unclear {
        Some(unclear) => {
            change.set("unclear = :unclear").value(":unclear", AttributeValue::Bool(unclear))
        }
        None => change,
    };
    change.remove("lease_until")
}

/// What an entry of the index is about.
fn parse_key(item: &Item) -> Option<(InstallationId, Owed)> {
    let installation = keys::text(item, "pk")?.strip_prefix("installation#")?;
    let owed = Owed::parse(keys::text(item, "sk")?)?;
    Some((InstallationId::parse(installation).ok()?, owed))
}

//! Jobs in the table: finds the jobs that are due, claims jobs under leases with fences, and ends leases
//! (G4).
//!
//! ```text
//!   claim     Update  if it is due, not parked, and not leased     dueAt, leaseUntil := the lease's end
//!                                                                  fence + 1, attempts + 1
//!   complete  Delete  if the fence matches
//!   retry     Update  if the fence matches                         dueAt := later, no lease
//!   park      Update  if the fence matches                         dueShard := parked
//! ```
//!
//! The module `announcement` has what only announcements need: phases and holds.
//!
//! If a job's worker dies, the job is automatically due again when the worker's lease ends.

mod failure;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;

pub(crate) use self::failure::{Doubt, JobFailure};
use super::attr::{self, n, s, time};
use super::conditions::fence_is;
use super::keys::{self, DUE_INDEX, Item};
use super::transaction::{Expression, placeholders};
use super::{Malformed, Store, announcement, store_error};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::Provenance;
use crate::ids::InstallationId;
use crate::job::announcement::AnnouncementState;
use crate::job::{FailureStreak, HELD_SHARD, Job, PARKED_SHARD};

/// A worker's lease on a job that it has claimed.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) installation: InstallationId,
    pub(crate) job: Job,
    /// The number that proves that this worker still has the lease.
    pub(crate) fence: i64,
    /// When the job was due.
    pub(crate) due: Timestamp,
    /// When the lease ends.
    pub(crate) until: Timestamp,
    pub(crate) streak: FailureStreak,
    /// When, by whom and why the job's deletion was made. `None` if the job's item does not say when the
    /// deletion was made, and by whom.
    pub(crate) provenance: Option<Provenance>,
    /// The hash of the idempotency key of the request that began the job, if the request had one.
    pub(crate) key_sha256: Option<String>,
    /// The state of an announcement. `None` if the job is not an announcement.
    pub(crate) announcement: Option<AnnouncementState>,
}

/// The result of a write that demands the lease's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum LeaseWrite {
    /// The worker still held the lease, and everything was written.
    Written,
    /// Another worker has claimed the job after this worker, or the job is done. Nothing was written.
    LeaseLost,
}

impl LeaseWrite {
    pub(super) fn when(written: bool) -> Self {
        if written { Self::Written } else { Self::LeaseLost }
    }
}

/// A page of the jobs that are due in a shard.
pub(crate) struct Page {
    pub(crate) due: Vec<(InstallationId, Job)>,
    /// The key after which the next page begins. `None` if this is the last page.
    pub(crate) next: Option<Item>,
}

/// The attributes that are removed from a job's item when a lease ends without a failure.
pub(super) const LEASE_AND_FAILURES: &str = "leaseUntil, failures, failingSince, lastError";

/// The key of a job's item.
pub(super) fn key(job: &Job, installation: &InstallationId) -> Item {
    keys::work(installation, &job.to_string())
}

/// The item of a new job of this deletion, due at `due`.
pub(super) fn item(
    job: &Job,
    installation: &InstallationId,
    due: Timestamp,
    provenance: &Provenance,
) -> Item {
    let mut item = key(job, installation);
    item.extend([
        ("kind".to_owned(), s(job.kind())),
        ("installationId".to_owned(), s(installation.as_str())),
        ("dueShard".to_owned(), s(job.shard(installation))),
        ("dueAt".to_owned(), time(due)),
        ("attempts".to_owned(), n(0)),
        // The new fence differs from the fence of each earlier job under this key, because an earlier job's
        // worker may still be running.
        ("fence".to_owned(), n(provenance.at.as_secs().cast_signed().saturating_mul(1000))),
        ("deletedAt".to_owned(), time(provenance.at)),
        ("deletedBy".to_owned(), keys::actor(&provenance.by)),
    ]);
    if let Some(reason) = &provenance.reason {
        item.insert("reason".to_owned(), s(reason));
    }
    item
}

/// The job's failures since its last success, as the job's item records them.
pub(super) fn streak(item: &Item) -> FailureStreak {
    let failures = attr::i64(item, "failures").and_then(|count| count.try_into().ok());
    FailureStreak {
        failures: failures.unwrap_or(0),
        failing_since: attr::timestamp(item, "failingSince"),
    }
}

impl Store {
    /// Reads at most `limit` jobs of a shard that are due at `now`, beginning with the job that has been due
    /// longest. `from` is the `next` of the page before, or `None` for the first page.
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
            .key_condition_expression("dueShard = :shard AND dueAt <= :now")
            .expression_attribute_values(":shard", s(shard))
            .expression_attribute_values(":now", time(now))
            .limit(limit)
            .set_exclusive_start_key(from);
        self.in_time(async {
            let page = query.send().await.map_err(store_error)?;
            // An index entry that cannot be read is skipped, because another version of teardown may have
            // written it.
            let due = page.items.unwrap_or_default().iter().filter_map(parse_key).collect();
            Ok(Page { due, next: page.last_evaluated_key })
        })
        .await
    }

    /// Claims a job with a lease until `until`, if the job is due at `now`, and is not parked, held or
    /// leased. `None` if the job cannot be claimed.
    pub(crate) async fn claim(
        &self,
        installation: &InstallationId,
        job: &Job,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, Error> {
        let change = Expression::new(
            "SET dueAt = :until, leaseUntil = :until, fence = fence + :one, \
             attempts = attempts + :one REMOVE heldUnder",
        )
        .value(":until", time(until))
        .value(":one", n(1));
        let condition = Expression::new(
            "dueAt <= :now AND dueShard <> :parked AND dueShard <> :held \
             AND (attribute_not_exists(leaseUntil) OR leaseUntil <= :now)",
        )
        .value(":now", time(now))
        .value(":parked", s(PARKED_SHARD))
        .value(":held", s(HELD_SHARD));
        // If DynamoDB's answer to a claim is lost, the SDK repeats the claim, and DynamoDB refuses the
        // repeat. After a refused repeat, the worker does not know that it has the lease, and nobody runs the
        // job until the lease ends.
        let claimed = self.update_work(installation, job, change, condition).await?;
        let Some(before) = claimed else { return Ok(None) };
        let malformed = |problem| Malformed::error(&before, problem);
        Ok(Some(Lease {
            installation: installation.clone(),
            job: job.clone(),
            fence: attr::i64(&before, "fence").ok_or_else(|| malformed("it has no `fence`"))? + 1,
            due: attr::timestamp(&before, "dueAt").ok_or_else(|| malformed("it has no `dueAt`"))?,
            until,
            streak: streak(&before),
            provenance: keys::provenance(&before),
            key_sha256: attr::str(&before, "keySha256").map(str::to_owned),
            announcement: announcement::claimed(job, &before),
        }))
    }

    /// Ends a lease: the job is done, and its item is deleted. If this worker has lost its lease, the job's
    /// item stays for the worker that has claimed the job.
    pub(crate) async fn complete(&self, lease: &Lease) -> Result<LeaseWrite, Error> {
        let condition = fence_is(lease.fence);
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(&lease.job, &lease.installation)))
            .condition_expression(condition.text())
            .return_values(ReturnValue::AllOld);
        let delete = placeholders!(delete, condition);
        match self.in_time(async { Ok(delete.send().await) }).await? {
            Ok(deleted) => {
                let item = deleted.attributes.unwrap_or_default();
                self.expire_receipts(&lease.installation, &lease.job, &item).await?;
                Ok(LeaseWrite::Written)
            }
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => {
                    Ok(LeaseWrite::LeaseLost)
                }
                _ => Err(store_error(error)),
            },
        }
    }

    /// Ends a lease without a failure: the job is due again at `due`.
    pub(crate) async fn reschedule(
        &self,
        lease: &Lease,
        due: Timestamp,
    ) -> Result<LeaseWrite, Error> {
        let change = Expression::new("SET dueAt = :due").value(":due", time(due));
        self.end_lease(lease, change.remove(LEASE_AND_FAILURES)).await
    }

    pub(super) async fn end_lease(
        &self,
        lease: &Lease,
        change: Expression,
    ) -> Result<LeaseWrite, Error> {
        let held = fence_is(lease.fence);
        let before = self.update_work(&lease.installation, &lease.job, change, held).await?;
        Ok(LeaseWrite::when(before.is_some()))
    }

    /// Changes a job, and returns its item as it was before the change. `None` if the condition fails.
    pub(super) async fn update_work(
        &self,
        installation: &InstallationId,
        job: &Job,
        change: Expression,
        condition: Expression,
    ) -> Result<Option<Item>, Error> {
        self.update_item(key(job, installation), change, condition).await
    }

    /// Changes an item, and returns it as it was before the change. `None` if the condition fails.
    pub(super) async fn update_item(
        &self,
        key: Item,
        change: Expression,
        condition: Expression,
    ) -> Result<Option<Item>, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(change.text())
            .condition_expression(condition.text())
            .return_values(ReturnValue::AllOld);
        let update = placeholders!(update, change, condition);
        match self.in_time(async { Ok(update.send().await) }).await? {
            Ok(changed) => Ok(Some(changed.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
                _ => Err(store_error(error)),
            },
        }
    }
}

/// The job of an entry in the index `due`. `None` if the entry is not of a job.
fn parse_key(item: &Item) -> Option<(InstallationId, Job)> {
    job_at(attr::str(item, "pk")?, attr::str(item, "sk")?)
}

/// The job whose item has these keys. `None` if no job's item can have these keys.
pub(crate) fn job_at(pk: &str, sk: &str) -> Option<(InstallationId, Job)> {
    let installation = pk.strip_prefix("installation#")?;
    Some((InstallationId::parse(installation).ok()?, Job::parse(sk)?))
}

//! Announcements in the table: their two phases, and the holds that stop them (G1, H1, H2).
//!
//! ```text
//!   next     Update  work#announce#…  if the fence matches         phase := deleted, dueAt := teardownAt
//!   hold     Update  work#announce#…  if the fence matches         heldUnder, dueShard := held, no lease
//!            Check   hold#…           if it has not changed
//! ```
//!
//! A worker takes its lease, then reads the holds. `teardown hold` writes its hold, then reads the job.
//! Because both write before they read, the worker sees the hold, or `teardown hold` sees the lease.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::attr::{self, s, time};
use super::conditions::fence_is;
use super::keys::{self, Item};
use super::transaction::{Committed, Expression, Part, Transaction};
use super::work::{self, LEASE_AND_FAILURES, Lease, LeaseWrite};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::Provenance;
use crate::ids::InstallationId;
use crate::job::announcement::{AnnouncementState, Phase};
use crate::job::{HELD_SHARD, Job, JobResult};

/// When a deletion's `deleted` event is sent. The deletion's own transaction stores this time. `None` if the
/// provider is not notified.
pub(crate) type TeardownAt = Option<Timestamp>;

/// A hold that is in force, as a worker reads it.
#[derive(Clone, Debug)]
pub(crate) struct ActiveHold {
    /// The key of the hold's item.
    key: Item,
    /// A random id that distinguishes this hold from an earlier hold under the same key. `None` if the hold
    /// was not written by the tool `teardown`.
    id: Option<AttributeValue>,
    /// When the hold ends automatically. `None` if only an operator ends the hold.
    until: Option<Timestamp>,
}

impl ActiveHold {
    /// Reads a hold's item. `None` if the hold is not in force at `now`.
    pub(super) fn read(key: Item, item: Option<&Item>, now: Timestamp) -> Option<Self> {
        let item = item?;
        let until = attr::timestamp(item, "until");
        let over = item.contains_key("releasedAt") || until.is_some_and(|until| until <= now);
        let id = item.get("id").cloned();
        (!over).then_some(Self { key, id, until })
    }
}

/// The state that an announcement's item stores. An item without a phase was written by an older version of
/// teardown, which had no phases.
pub(super) fn parse(item: &Item) -> AnnouncementState {
    let phase = match attr::str(item, "phase") {
        Some(name) if name == Phase::Scheduled.name() => Phase::Scheduled,
        _ => Phase::Deleted,
    };
    let deleted_at = attr::timestamp(item, "deletedAt").unwrap_or(Timestamp::from_secs(0));
    AnnouncementState {
        phase,
        at: attr::timestamp(item, "teardownAt").unwrap_or(deleted_at),
        finalizes_at: attr::timestamp(item, "finalizesAt"),
        in_doubt: attr::bool(item, "inDoubt"),
        retains: attr::bool(item, "retains"),
    }
}

/// The state of a claimed announcement, read from its item as it was before the claim. `None` if the job is
/// not an announcement.
pub(super) fn claimed(job: &Job, before: &Item) -> Option<AnnouncementState> {
    job.event(Phase::Deleted)?;
    let mut state = parse(before);
    // If the item still has `leaseUntil`, the worker of the earlier lease died, and may have announced the
    // deletion (H2).
    state.in_doubt |= state.phase == Phase::Deleted && before.contains_key("leaseUntil");
    Some(state)
}

impl Store {
    /// When the `deleted` event of a deletion at `deleted_at` is sent. `None` if the provider is not
    /// notified.
    pub(super) fn teardown_at(&self, deleted_at: Timestamp) -> TeardownAt {
        self.announces.then(|| deleted_at + self.grace)
    }

    /// The item of a new announcement.
    pub(super) fn announcement(
        &self,
        job: &Job,
        id: &InstallationId,
        provenance: &Provenance,
        teardown_at: Timestamp,
        finalizes_at: Option<Timestamp>,
    ) -> Item {
        let phase = Phase::first(provenance.at, teardown_at);
        let due = if phase == Phase::Scheduled { provenance.at } else { teardown_at };
        let mut item = work::item(job, id, due, provenance);
        item.insert("phase".to_owned(), s(phase.name()));
        item.insert("teardownAt".to_owned(), time(teardown_at));
        if let Some(at) = finalizes_at {
            item.insert("finalizesAt".to_owned(), time(at));
        }
        if self.expires_early(provenance.at, teardown_at) {
            item.insert("retains".to_owned(), attr::truth(true));
        }
        item
    }

    /// Ends the lease of an announcement whose notice is delivered or dropped. The job is due again when its
    /// `deleted` event is due.
    pub(crate) async fn begin_final_phase(&self, lease: &Lease) -> Result<JobResult, Error> {
        let now = self.clock.timestamp();
        let at = lease.announcement.map_or(now, |announcement| announcement.at);
        let change = Expression::new("SET #phase = :deleted, dueAt = :at")
            .name("#phase", "phase")
            .value(":deleted", s(Phase::Deleted.name()))
            .value(":at", time(at))
            .remove("leaseUntil, failures, failingSince, lastError");
        Ok(match self.end_lease(lease, change).await? {
            LeaseWrite::LeaseLost => JobResult::Lost,
            LeaseWrite::Written if at <= now => JobResult::Unfinished,
            LeaseWrite::Written => JobResult::Retried,
        })
    }

    /// Ends the lease of an announcement that the provider is still processing. The job is due again at
    /// `due`. In the phase `scheduled`, the job is due at `teardownAt` at the latest, because the notice is
    /// dropped at that time.
    pub(crate) async fn retry_accepted(
        &self,
        lease: &Lease,
        due: Timestamp,
    ) -> Result<LeaseWrite, Error> {
        let Some(state) = lease.announcement else { return self.reschedule(lease, due).await };
        if let Some(end) = state.notice_ends() {
            return self.reschedule(lease, due.min(end)).await;
        }
        let change = Expression::new("SET dueAt = :due, inDoubt = :true")
            .value(":due", time(due))
            .value(":true", attr::truth(true));
        if self.retain_for(lease, due).await? == LeaseWrite::LeaseLost {
            return Ok(LeaseWrite::LeaseLost);
        }
        self.end_lease(lease, change.remove(LEASE_AND_FAILURES)).await
    }

    /// Makes a deletion's receipts wait for the end of its announcement, if the receipts could expire
    /// earlier. `due` is when the announcement is due again.
    pub(super) async fn retain_for(
        &self,
        lease: &Lease,
        due: Timestamp,
    ) -> Result<LeaseWrite, Error> {
        let deleted_at = lease.provenance.as_ref().map_or(due, |provenance| provenance.at);
        if self.expires_early(deleted_at, due) {
            self.retain_receipts(lease).await
        } else {
            Ok(LeaseWrite::Written)
        }
    }

    /// The hold that stops an announcement at `now`. If the installation and the resource both have a hold in
    /// force, this call returns the installation's hold.
    pub(crate) async fn active_hold(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<ActiveHold>, Error> {
        let id = &lease.installation;
        let mut keys = vec![keys::hold(id, None)];
        if let Job::AnnounceResource(resource) = &lease.job {
            keys.push(keys::hold(id, Some(resource)));
        }
        let found = self.read_together(&keys).await?;
        let mut holds = keys.into_iter().zip(found);
        Ok(holds.find_map(|(key, item)| ActiveHold::read(key, item.as_ref(), now)))
    }

    /// Ends the lease of an announcement that a hold stops: the job waits until the hold ends. `None` if the
    /// hold has changed since the worker read it: the caller must then read the holds again.
    pub(crate) async fn put_on_hold(
        &self,
        lease: &Lease,
        hold: &ActiveHold,
    ) -> Result<Option<JobResult>, Error> {
        if self.retain_receipts(lease).await? == LeaseWrite::LeaseLost {
            return Ok(Some(JobResult::Lost));
        }
        let name = attr::str(&hold.key, "sk").unwrap_or_default();
        let change = match hold.until {
            Some(until) => {
                Expression::new("SET heldUnder = :hold, dueAt = :at").value(":at", time(until))
            }
            None => Expression::new("SET heldUnder = :hold, dueAt = :at, dueShard = :shard")
                .value(":at", time(lease.due))
                .value(":shard", s(HELD_SHARD)),
        };
        let mut change = change.value(":hold", s(name));
        if lease.announcement.is_some_and(|announcement| announcement.in_doubt) {
            change = change.set("inDoubt = :true").value(":true", attr::truth(true));
        }
        let mut transaction = Transaction::on(&self.table);
        let job = work::key(&lease.job, &lease.installation);
        let change = change.remove(LEASE_AND_FAILURES);
        transaction.update(Part::Announcement, job, change, fence_is(lease.fence));
        let in_force = Expression::new("attribute_exists(pk) AND attribute_not_exists(releasedAt)");
        let in_force = in_force.and(match &hold.id {
            Some(id) => Expression::new("id = :id").value(":id", id.clone()),
            None => Expression::new("attribute_not_exists(id)"),
        });
        transaction.check(Part::Other, hold.key.clone(), in_force);
        Ok(match self.in_time(transaction.commit(&self.client)).await? {
            Committed::Yes if hold.until.is_some() => Some(JobResult::Retried),
            Committed::Yes => Some(JobResult::OnHold),
            Committed::No(failed) if failed.iter().any(|(part, _)| *part == Part::Announcement) => {
                Some(JobResult::Lost)
            }
            Committed::No(_) => None,
        })
    }
}

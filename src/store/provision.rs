//! Records a Provision that passes through the front: its intent, and the resource that the backend made
//! (J4).
//!
//! ```text
//!   begin      Check   #installation      if it is active; or Put, if it is absent
//!              Update  work#provision#…   openAttempts + its id, fence + 1, dueAt := in 15 min, no lease
//!   register   Update  #installation      if it is active             resources + 1; or Put, if it is absent
//!              Put     resource#…         if it is absent
//!              Check   receipt#…, work#announce#…   if they are absent
//!   update     Check   #installation      if it is active
//!              Update  resource#…         if it is there
//!   announce   Check   #installation      if it is deleted
//!              Check   receipt#…          if it is absent
//!              Delete  resource#…
//!              Put     work#announce#…    unless there is one
//!   with each  Delete  work#provision#…   if no other attempt is open
//!          or  Update  work#provision#…   openAttempts - its id
//! ```

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::attr::{n, s, time};
use super::conditions::{absent, absent_or_expired, active, deleted};
use super::evidence::parse_installation;
use super::front::vouched;
use super::keys::{self, Item};
use super::registry::ResourceRecord;
use super::transaction::{Committed, Expression, Part, Transaction};
use super::work;
use crate::clock::Timestamp;
use crate::deletion::{Installation, Presence, Receipt};
use crate::error::Error;
use crate::grant::Membership;
use crate::ids::{IdempotencyKey, InstallationId, ResourceId};
use crate::job::{IntentId, Job};
use crate::provision::{Begin, Belief, Commit, Intent, RECONCILED_AFTER, begin, may_call, plan};

/// One attempt at a Provision. The attempt's intent is already written.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) membership: Membership,
    job: Job,
    /// A random id that distinguishes this attempt from other attempts under the same intent.
    id: String,
    begun: Timestamp,
}

/// The result of recording a resource that the backend has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provisioned {
    /// The resource is registered.
    Registered,
    /// The resource was deleted before, and the backend has repeated its earlier answer.
    DeletedBefore,
    /// The resource's installation was deleted during the Provision.
    Uninstalled {
        /// Whether this or an earlier transaction announces the resource's deletion to the provider.
        announced: bool,
    },
}

/// The error if a condition failed, but the returned items did not change the belief. Without this error, the
/// store would try the same transaction again and again.
#[derive(Debug, thiserror::Error)]
#[error("the store's evidence contradicts its refusal: {0}")]
struct Contradiction(String);

impl Contradiction {
    fn error(belief: impl std::fmt::Debug) -> Error {
        Error::Internal(Self(format!("{belief:?}")).into())
    }
}

impl Store {
    /// Writes a Provision's intent, before the front calls the backend. `None` if the front must record
    /// nothing, because the token does not vouch for the installation.
    ///
    /// # Errors
    ///
    /// [`Error::InstallationDeleted`], [`Error::StoreUnavailable`] or [`Error::Internal`]. After an error,
    /// the front must not call the backend.
    pub(crate) async fn begin_provision(
        &self,
        membership: Membership,
        key: Option<&IdempotencyKey>,
    ) -> Result<Option<Attempt>, Error> {
        let job = Job::ReconcileProvision(key.map_or_else(IntentId::random, IntentId::of));
        let (id, begun) = (format!("{:016x}", fastrand::u64(..)), self.clock.timestamp());
        let attempt = Attempt { membership, job, id, begun };
        let written = self
            .in_time(async {
                let mut installation = Installation::Assumed;
                loop {
                    let presence = match begin(&attempt.membership, &installation) {
                        Begin::WriteIntent(presence) => presence,
                        Begin::ForwardUnrecorded => return Ok(false),
                        Begin::Refuse => return Err(Error::InstallationDeleted),
                    };
                    let transaction = self.intent(&attempt, presence);
                    let Committed::No(evidence) = transaction.commit(&self.client).await? else {
                        return Ok(true);
                    };
                    let before = installation.clone();
                    for (_, item) in evidence {
                        installation = read_installation(item)?;
                    }
                    if installation == before {
                        return Err(Contradiction::error(installation));
                    }
                }
            })
            .await?;
        Ok(written.then_some(attempt))
    }

    /// Whether an attempt may still call the backend, if the call takes at most `time`. The attempt must not
    /// call the backend if the process was frozen for so long that a sweep could end the intent before the
    /// call ends.
    pub(crate) fn may_call(&self, attempt: &Attempt, time: Duration) -> bool {
        may_call(attempt.begun, self.clock.timestamp(), time)
    }

    fn intent(&self, attempt: &Attempt, installation: Presence) -> Transaction<'_> {
        let membership = &attempt.membership;
        let id = &membership.installation;
        let mut transaction = Transaction::on(&self.table);
        match installation {
            Presence::Present => {
                let key = keys::installation(id);
                transaction.check(Part::Installation, key, vouched(membership));
            }
            Presence::Absent => {
                let item = self.new_installation(membership, 0);
                transaction.put(Part::Installation, item, Some(absent()));
            }
        }
        let now = self.clock.timestamp();
        // The intent gets a new fence, so that a worker that already works on the intent can neither end nor
        // reschedule it.
        let change = Expression::new(
            "SET #kind = :kind, installationId = :installation, dueShard = :shard, dueAt = :due, \
             fence = if_not_exists(fence, :millis) + :one, \
             attempts = if_not_exists(attempts, :zero), \
             begunAt = if_not_exists(begunAt, :now) \
             REMOVE leaseUntil, failures, failingSince, lastError ADD openAttempts :attempt",
        )
        .name("#kind", "kind")
        .value(":kind", s(attempt.job.kind()))
        .value(":installation", s(id.as_str()))
        .value(":shard", s(attempt.job.shard(id)))
        .value(":due", time(now + RECONCILED_AFTER))
        .value(":millis", n(self.new_fence()))
        .value(":one", n(1))
        .value(":zero", n(0))
        .value(":now", time(now))
        .value(":attempt", attempt.as_set());
        transaction.update_any(Part::Other, work::key(&attempt.job, id), change);
        transaction
    }

    /// Records the resource that the backend has made, and ends the attempt.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`]. After an error, the intent stays, as far as the
    /// store knows.
    pub(crate) async fn record_provisioned(
        &self,
        attempt: &Attempt,
        resource: &ResourceRecord,
    ) -> Result<Provisioned, Error> {
        self.in_time(async {
            let mut belief = Belief::default();
            loop {
                let commit = plan(&belief);
                let (transaction, done) =
                    self.provision_transaction(attempt, resource, commit, belief.intent).await?;
                let Some(transaction) = transaction else { return Ok(done) };
                let Committed::No(evidence) = transaction.commit(&self.client).await? else {
                    return Ok(done);
                };
                let before = belief.clone();
                for (part, item) in evidence {
                    learn(&mut belief, attempt, part, item)?;
                }
                if belief == before {
                    return Err(Contradiction::error(belief));
                }
            }
        })
        .await
    }

    /// The transaction of a commit, and the result if the transaction succeeds. The transaction is `None` if
    /// there is nothing to write.
    async fn provision_transaction(
        &self,
        attempt: &Attempt,
        resource: &ResourceRecord,
        commit: Commit,
        intent: Intent,
    ) -> Result<(Option<Transaction<'_>>, Provisioned), Error> {
        let membership = &attempt.membership;
        let id = &membership.installation;
        let mut transaction = Transaction::on(&self.table);
        let done = match commit {
            Commit::Register(installation) => {
                self.count_new_resource(&mut transaction, membership, installation);
                self.put_new_resource(&mut transaction, resource);
                Provisioned::Registered
            }
            Commit::Update => {
                transaction.check(Part::Installation, keys::installation(id), active());
                self.update_known_resource(&mut transaction, resource);
                Provisioned::Registered
            }
            Commit::Announce => {
                let announced = self.announce_late(&mut transaction, id, &resource.id).await?;
                Provisioned::Uninstalled { announced }
            }
            Commit::DeletedBefore { with_installation } => {
                if intent == Intent::WithoutThisAttempt {
                    return Ok((None, deleted_before(with_installation)));
                }
                deleted_before(with_installation)
            }
        };
        attempt.take_out(&mut transaction, intent);
        Ok((Some(transaction), done))
    }

    fn count_new_resource(
        &self,
        transaction: &mut Transaction<'_>,
        membership: &Membership,
        installation: Presence,
    ) {
        let key = keys::installation(&membership.installation);
        match installation {
            Presence::Present => {
                let count = Expression::new("ADD resources :one").value(":one", n(1));
                transaction.update(Part::Installation, key, count, active());
            }
            Presence::Absent => {
                let item = self.new_installation(membership, 1);
                transaction.put(Part::Installation, item, Some(absent()));
            }
        }
    }

    /// Adds the announcement of a deleted installation's resource to the transaction. As in a purge, the
    /// announcement has the `teardownAt` of the uninstall. Returns whether the provider is notified.
    async fn announce_late(
        &self,
        transaction: &mut Transaction<'_>,
        id: &InstallationId,
        resource: &ResourceId,
    ) -> Result<bool, Error> {
        let tombstone = self.tombstone(id).await?;
        transaction.check(Part::Installation, keys::installation(id), deleted());
        let receipt = keys::resource_receipt(id, resource);
        let now = self.clock.timestamp();
        transaction.check(Part::Receipt, receipt, absent_or_expired(now));
        // As in a purge, the announcement replaces the resource's item, if the item exists.
        transaction.delete(Part::Other, keys::resource(id, resource), None);
        let scheduled = tombstone.and_then(|it| Some((it.provenance, it.teardown_at?)));
        let Some((provenance, teardown_at)) = scheduled else { return Ok(false) };
        let job = Job::AnnounceResource(resource.clone());
        let mut item = self.announcement(&job, id, &provenance, teardown_at, None);
        // The new announcement needs a new fence, because the worker of an earlier announcement of this
        // resource may still run.
        item.insert("fence".to_owned(), n(self.new_fence()));
        transaction.put_if_absent(Part::Announcement, item);
        Ok(true)
    }

    /// Announces a resource that Vercel still lists, though its installation is deleted (J4). Returns whether
    /// the resource's announcement is pending after this call. A resource that has its own receipt is not
    /// announced.
    pub(crate) async fn announce_listed(
        &self,
        id: &InstallationId,
        resource: &ResourceId,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::on(&self.table);
        let announced = self.announce_late(&mut transaction, id, resource).await?;
        let committed = self.in_time(transaction.commit(&self.client)).await?;
        Ok(announced && matches!(committed, Committed::Yes))
    }

    /// Ends an attempt in which the backend made no resource.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`]. After an error, the intent stays, as far as the
    /// store knows.
    pub(crate) async fn end_refused(&self, attempt: &Attempt) -> Result<(), Error> {
        self.in_time(async {
            let mut intent = Intent::default();
            while intent != Intent::WithoutThisAttempt {
                let mut transaction = Transaction::on(&self.table);
                attempt.take_out(&mut transaction, intent);
                let Committed::No(evidence) = transaction.commit(&self.client).await? else {
                    break;
                };
                let before = intent;
                for (_, item) in evidence {
                    intent = attempt.intent(item.as_ref());
                }
                if intent == before {
                    return Err(Contradiction::error(intent));
                }
            }
            Ok(())
        })
        .await
    }
}

impl Attempt {
    fn as_set(&self) -> AttributeValue {
        AttributeValue::Ss(vec![self.id.clone()])
    }

    /// Removes this attempt from its intent. If the intent has no other attempt, the intent is deleted.
    fn take_out(&self, transaction: &mut Transaction<'_>, intent: Intent) {
        let key = work::key(&self.job, &self.membership.installation);
        let condition = |others: &str| {
            Expression::new(format!(
                "contains(openAttempts, :mine) AND size(openAttempts) {others}"
            ))
            .value(":mine", s(&self.id))
            .value(":one", n(1))
        };
        match intent {
            Intent::OnlyThisAttempt => {
                transaction.delete(Part::Intent, key, Some(condition("= :one")));
            }
            Intent::OtherAttemptsToo => {
                let change = Expression::new("DELETE openAttempts :attempt")
                    .value(":attempt", self.as_set());
                transaction.update(Part::Intent, key, change, condition("> :one"));
            }
            Intent::WithoutThisAttempt => {}
        }
    }

    /// The state of this attempt's intent, as the intent's item says.
    fn intent(&self, item: Option<&Item>) -> Intent {
        let open = item.and_then(|item| item.get("openAttempts")?.as_ss().ok());
        let open = open.map(Vec::as_slice).unwrap_or_default();
        match (open.contains(&self.id), open.len()) {
            (false, _) => Intent::WithoutThisAttempt,
            (true, 1) => Intent::OnlyThisAttempt,
            (true, _) => Intent::OtherAttemptsToo,
        }
    }
}

fn deleted_before(with_installation: bool) -> Provisioned {
    if with_installation {
        Provisioned::Uninstalled { announced: true }
    } else {
        Provisioned::DeletedBefore
    }
}

/// Updates the belief with the item of a failed condition.
fn learn(
    belief: &mut Belief,
    attempt: &Attempt,
    part: Part,
    item: Option<Item>,
) -> Result<(), Error> {
    match part {
        Part::Installation => belief.installation = read_installation(item)?,
        Part::Resource => belief.is_registered = item.is_some(),
        Part::Receipt | Part::Announcement => {
            if item.is_some() {
                belief.receipt = Receipt::Present;
            }
        }
        Part::Intent => belief.intent = attempt.intent(item.as_ref()),
        Part::Outcome | Part::Other => {}
    }
    Ok(())
}

fn read_installation(item: Option<Item>) -> Result<Installation, Error> {
    item.map_or(Ok(Installation::Absent), |item| parse_installation(&item))
}

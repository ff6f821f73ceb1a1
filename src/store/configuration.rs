//! A configuration's deletion in the table: loads its items, writes its intent, and commits it (E).
//!
//! ```text
//!   begin    Check   #installation        if it is as it was read, and has no new doubt;
//!                                         if it is active and not in doubt, its invoices are settled
//!            Update  work#configuration   if nobody holds it, and its inDoubt is as it was read
//!                                                                     intent, lease, new fence
//!   mark     Update  work#configuration   if the fence matches       inDoubt, until the answer is stored
//!   move     Update  work#configuration   if the fence matches       inDoubt, as for a mark
//!            Update  #installation        if its team is as it was read, and its configuration not gone
//!                                                                     teamId; no teamSlug
//!   withdraw Delete  work#configuration   if the fence matches
//!            Update  #installation        only in doubt; if it is as it was read   configurationInDoubt
//!   again    Update  work#configuration   if it is there             new fence
//!            else
//!            Check   #installation        if it is there, and its configuration not gone
//!            Put     work#configuration   if it is not there          inDoubt
//!   commit   Put     key#…  outcome       if it is not there, or has expired
//!            Update  #installation        if it is as it was read     the tombstone
//!            Delete  work#configuration   if the fence is as it was read, or there is none
//!            Put     receipt#…
//!            Put     work#purge, work#announce#…   only if the installation was active
//!            Delete  work#finalize                 only if it was uninstalled
//!            Delete  #token                        if a token was read, or there is none
//! ```

mod expressions;

use aws_sdk_dynamodb::types::AttributeValue;

use self::expressions::{intent, intent_is_free, may_begin, set_uninstalled, unchanged};
pub(super) use self::expressions::{set_team, still_in_team};
use super::announcement::TeardownAt;
use super::attr::{self, n, s, time};
use super::conditions::{absent, absent_or_expired, fence_is};
use super::evidence::{billing, parse_recorded};
use super::keys::{self, Item};
use super::outcome::Outcome;
use super::transaction::{Committed, Expression, Part, Transaction};
use super::work::{self, Doubt, Lease, LeaseWrite};
use super::{Done, Malformed, Store};
use crate::clock::Timestamp;
use crate::deletion::Answer;
use crate::deletion::configuration::{
    ConfigurationDeletion, Deleted, InstallationState, Intent, Loaded, Recording, Snapshot, Team,
};
use crate::error::Error;
use crate::grant::Provenance;
use crate::ids::{IdempotencyKey, InstallationId};
use crate::job::{FailureStreak, Job};
use crate::secret::Secret;

/// Who holds the intent when a configuration's deletion is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// There is no intent, so nobody holds it.
    Nobody,
    /// The worker with this fence holds the intent, or held it last.
    Fence(i64),
}

/// Who commits a deletion.
pub(crate) enum Committer<'a> {
    /// A request that waits for its answer. If the request has a key, the commit records its outcome.
    Request(Option<Recording<'a>>),
    /// A worker that resumes a deletion whose request no longer waits for its answer. `key_sha256` is the
    /// hash of the request's key, if it had one.
    Worker { key_sha256: Option<&'a str> },
    /// An operator, who commits without a call to Vercel (E6).
    Operator {
        /// The operator's name.
        by: &'a str,
        /// When the `deleted` events are due. `None` if the provider is not notified.
        teardown_at: TeardownAt,
    },
}

impl Holder {
    /// The worker that holds the snapshot's intent, or held it last.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        snapshot.intent.as_ref().map_or(Self::Nobody, |intent| Self::Fence(intent.fence))
    }
}

impl Store {
    /// The answer to a request after its commit, and the jobs that are due immediately.
    pub(crate) fn jobs_after_commit(&self, loaded: Loaded<'_>) -> Done {
        let uninstalled = loaded.installation.deletion.is_none();
        let due = self.uninstall_jobs_due_now().filter(|_| uninstalled).collect();
        Done { answer: Answer::Deleted, due }
    }

    /// Reads all items that a configuration's deletion depends on, at the same moment.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn load(
        &self,
        id: &InstallationId,
        key: Option<&IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Snapshot, Error> {
        let outcome = key.map(|key| keys::outcome(id, ConfigurationDeletion::OPERATION, key));
        let intent = work::key(&Job::DeleteConfiguration, id);
        let keys = [keys::installation(id), keys::token(id), intent];
        let keys: Vec<_> = keys.into_iter().chain(outcome).collect();
        let mut found = self.read_together(&keys).await?.into_iter();
        let mut next = || found.next().flatten();
        let installation = next().as_ref().map(parse_installation).transpose()?;
        let token = next().as_ref().map(parse_token).transpose()?;
        let intent = next().as_ref().map(parse_intent).transpose()?;
        let stands =
            |item: &Item| attr::timestamp(item, "expiresAt").is_none_or(|expiry| expiry > now);
        let recorded = next().filter(stands).as_ref().map(parse_recorded).transpose()?;
        Ok(Snapshot { recorded, installation, token, intent })
    }

    /// Reads an installation's access token (G3).
    pub(crate) async fn token(&self, id: &InstallationId) -> Result<Option<Secret>, Error> {
        self.get(keys::token(id)).await?.as_ref().map(parse_token).transpose()
    }

    /// Writes the intent and takes its lease until `until`. `None` if an item has changed since it was read.
    pub(crate) async fn begin(
        &self,
        request: &ConfigurationDeletion,
        loaded: Loaded<'_>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, Error> {
        let id = &request.grant.installation;
        let job = Job::DeleteConfiguration;
        let fence = match &loaded.snapshot.intent {
            Some(intent) => intent.fence + 1,
            None => self.new_fence(),
        };
        let intent = intent(request, loaded.snapshot.is_in_doubt(), fence, until);
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Part::Installation, keys::installation(id), may_begin(loaded));
        let is_free = intent_is_free(loaded.snapshot.intent.as_ref(), now);
        transaction.update(Part::Other, work::key(&job, id), intent, is_free);
        Ok(match transaction.commit(&self.client).await? {
            Committed::Yes => Some(Lease {
                installation: id.clone(),
                job,
                fence,
                due: until,
                until,
                streak: FailureStreak::default(),
                provenance: Some(request.provenance()),
                key_sha256: request.key.as_ref().map(|key| key.sha256().to_owned()),
                announcement: None,
            }),
            Committed::No(_) => None,
        })
    }

    /// Records that the worker is about to call Vercel. The call is in doubt until Vercel's answer is stored.
    /// If the process dies before the answer is stored, the doubt stays (E2).
    pub(crate) async fn mark_in_doubt(&self, lease: &Lease) -> Result<LeaseWrite, Error> {
        let change = Expression::new("SET inDoubt = :true");
        let change = change.value(":true", AttributeValue::Bool(true));
        let held = fence_is(lease.fence);
        let marked = self.update_work(&lease.installation, &lease.job, change, held).await?;
        Ok(LeaseWrite::when(marked.is_some()))
    }

    /// Stores the team that Vercel reports for a configuration, and records that the worker is about to call
    /// Vercel for this team (E7). [`LeaseWrite::LeaseLost`] if the lease was lost, or the installation has
    /// changed.
    pub(crate) async fn move_to_team(
        &self,
        lease: &Lease,
        from: &Team,
        to: &Team,
    ) -> Result<LeaseWrite, Error> {
        let id = &lease.installation;
        let mut transaction = Transaction::on(&self.table);
        let mark = Expression::new("SET inDoubt = :true");
        let mark = mark.value(":true", AttributeValue::Bool(true));
        transaction.update(Part::Other, work::key(&lease.job, id), mark, fence_is(lease.fence));
        if from != to {
            let key = keys::installation(id);
            transaction.update(Part::Installation, key, set_team(to), still_in_team(from));
        }
        self.commit_leased(transaction).await
    }

    /// Withdraws an intent. If an attempt is in doubt, the installation's item records the doubt. After a
    /// call in doubt, the configuration and its token may be gone at Vercel, so Vercel's next refusal can
    /// mean that the configuration is gone (E2). [`LeaseWrite::LeaseLost`] if the lease was lost, or the
    /// installation has changed.
    pub(crate) async fn withdraw(
        &self,
        lease: &Lease,
        loaded: Loaded<'_>,
        doubt: Doubt,
    ) -> Result<LeaseWrite, Error> {
        let id = &lease.installation;
        let mut transaction = Transaction::on(&self.table);
        transaction.delete(Part::Other, work::key(&lease.job, id), Some(fence_is(lease.fence)));
        if doubt == (Doubt::Known { in_doubt: true }) {
            let mark = Expression::new("SET configurationInDoubt = :true");
            let mark = mark.value(":true", AttributeValue::Bool(true));
            let unchanged = unchanged(loaded.installation);
            transaction.update(Part::Installation, keys::installation(id), mark, unchanged);
        }
        self.commit_leased(transaction).await
    }

    /// Schedules another call to Vercel, for a worker that does not know how its own call ended. The intent
    /// gets a new fence, so that the worker that holds the intent now cannot withdraw it. A parked intent
    /// becomes due, and has 3 new days before it is parked again. A withdrawn intent is written again.
    pub(crate) async fn schedule_again(&self, lease: &Lease) -> Result<(), Error> {
        let (id, job) = (&lease.installation, &lease.job);
        let taken_away = Expression::new("SET fence = fence + :one, dueShard = :shard")
            .value(":one", n(1))
            .value(":shard", s(job.shard(id)))
            .remove("failures, failingSince");
        let there = Expression::new("attribute_exists(pk)");
        if self.update_work(id, job, taken_away, there).await?.is_some() {
            return Ok(());
        }
        let Some(provenance) = &lease.provenance else { return Ok(()) };
        let mut intent = work::item(job, id, self.clock.timestamp(), provenance);
        intent.insert("fence".to_owned(), n(self.new_fence()));
        intent.insert("inDoubt".to_owned(), AttributeValue::Bool(true));
        intent.extend(lease.key_sha256.as_ref().map(|sha256| ("keySha256".to_owned(), s(sha256))));
        let there = "attribute_exists(pk) AND attribute_not_exists(configurationDeletedAt)";
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Part::Installation, keys::installation(id), Expression::new(there));
        transaction.put(Part::Other, intent, Some(absent()));
        // A condition fails if the configuration is deleted in the table, or if another request has written a
        // new intent.
        if self.commit_leased(transaction).await? == LeaseWrite::Written {
            tracing::warn!(
                installation = %id,
                "configuration deletion scheduled again: an earlier call may have taken effect"
            );
        }
        Ok(())
    }

    /// Deletes a configuration in the table. [`LeaseWrite::LeaseLost`] if an item has changed since it was
    /// read, or another worker holds the intent. With [`LeaseWrite::LeaseLost`], nothing was written.
    pub(crate) async fn commit_configuration(
        &self,
        id: &InstallationId,
        provenance: &Provenance,
        loaded: Loaded<'_>,
        holder: Holder,
        committer: Committer<'_>,
    ) -> Result<LeaseWrite, Error> {
        let mut transaction = Transaction::on(&self.table);
        let mut teardown_at = self.teardown_at(provenance.at);
        let (recording, key, operator) = match committer {
            Committer::Request(recording) => {
                let key = recording.as_ref().map(|recording| recording.key.sha256());
                (recording, key, None)
            }
            Committer::Worker { key_sha256 } => (None, key_sha256, None),
            Committer::Operator { by, teardown_at: at } => {
                teardown_at = at;
                (None, None, Some(by))
            }
        };
        if let Some(recording) = recording {
            let outcome = outcome_item(id, loaded.installation, recording, provenance.at);
            transaction.put(Part::Outcome, outcome, Some(absent_or_expired(provenance.at)));
        }
        let intent = work::key(&Job::DeleteConfiguration, id);
        match holder {
            Holder::Nobody => transaction.check(Part::Other, intent, absent()),
            Holder::Fence(fence) => transaction.delete(Part::Other, intent, Some(fence_is(fence))),
        }
        // If no token was read, the table must still have no token. If the table has a new token, the worker
        // must call Vercel before the commit.
        let no_other = loaded.snapshot.token.is_none().then(absent);
        transaction.delete(Part::Other, keys::token(id), no_other);
        let (tombstone, mut receipt) = match &loaded.installation.deletion {
            None => {
                let at = provenance.at;
                self.put_uninstall_jobs(&mut transaction, id, provenance, teardown_at, None);
                let mut receipt = self.receipt(keys::installation_receipt(id), provenance, key);
                receipt.extend(self.schedule_attributes(at, teardown_at));
                (self.with_schedule(set_uninstalled(provenance), at, teardown_at), receipt)
            }
            Some(deletion) => {
                transaction.delete(Part::Other, work::key(&Job::Finalize, id), None);
                // The expiry is computed without a query for pending announcements, as if an announcement
                // lasted until it is parked.
                let expiry = self.late_expiry(deletion.at, self.teardown_at(deletion.at));
                let finalized = Self::set_finalized(deletion.stage, expiry);
                (finalized, self.receipt(keys::configuration_receipt(id), provenance, key))
            }
        };
        if let Some(by) = operator {
            receipt.insert("forgottenBy".to_owned(), s(by));
            receipt.insert("vercelAsked".to_owned(), AttributeValue::Bool(false));
        }
        let tombstone =
            tombstone.set("configurationDeletedAt = :gone").value(":gone", time(provenance.at));
        let unchanged = unchanged(loaded.installation);
        transaction.update(Part::Installation, keys::installation(id), tombstone, unchanged);
        transaction.put(Part::Receipt, receipt, None);
        self.commit_leased(transaction).await
    }

    /// Records under the request's idempotency key that a configuration is gone, and writes nothing else
    /// (F1). [`LeaseWrite::LeaseLost`] if the key already has an outcome.
    pub(crate) async fn record_gone(
        &self,
        loaded: Loaded<'_>,
        recording: Recording<'_>,
        id: &InstallationId,
        at: Timestamp,
    ) -> Result<LeaseWrite, Error> {
        let mut transaction = Transaction::on(&self.table);
        let outcome = outcome_item(id, loaded.installation, recording, at);
        transaction.put(Part::Outcome, outcome, Some(absent_or_expired(at)));
        self.commit_leased(transaction).await
    }

    /// Commits a transaction. [`LeaseWrite::LeaseLost`] if any of its conditions failed.
    pub(super) async fn commit_leased(
        &self,
        transaction: Transaction<'_>,
    ) -> Result<LeaseWrite, Error> {
        Ok(LeaseWrite::when(matches!(transaction.commit(&self.client).await?, Committed::Yes)))
    }
}

/// The outcome of a request that deleted the configuration, or found it gone.
fn outcome_item(
    id: &InstallationId,
    installation: &InstallationState,
    recording: Recording<'_>,
    at: Timestamp,
) -> Item {
    let outcome = Outcome {
        installation: id,
        operation: ConfigurationDeletion::OPERATION,
        key: recording.key,
        fingerprint: recording.fingerprint,
        account: installation.account.as_deref(),
        answer: Answer::Deleted,
        at,
    };
    outcome.item()
}

pub(super) fn parse_installation(item: &Item) -> Result<InstallationState, Error> {
    let text = |name| attr::str(item, name).map(str::to_owned);
    let deletion = keys::stage(item)?.map(|stage| {
        let at = attr::timestamp(item, "deletedAt");
        Ok::<_, Error>(Deleted {
            at: at.ok_or_else(|| Malformed::error(item, "it has no `deletedAt`"))?,
            stage,
            finalized: attr::bool(item, "finalized"),
            configuration_gone: item.contains_key("configurationDeletedAt"),
        })
    });
    let deletion = deletion.transpose()?;
    Ok(InstallationState {
        account: text("accountId"),
        team: Team { id: text("teamId"), slug: text("teamSlug") },
        billing: billing(item),
        in_doubt: attr::bool(item, "configurationInDoubt"),
        deletion,
    })
}

fn parse_token(item: &Item) -> Result<Secret, Error> {
    let token = attr::str(item, "accessToken");
    let token = token.ok_or_else(|| Malformed::error(item, "it has no `accessToken`"))?;
    Ok(Secret::new(token.to_owned()))
}

fn parse_intent(item: &Item) -> Result<Intent, Error> {
    let fence = attr::i64(item, "fence");
    Ok(Intent {
        fence: fence.ok_or_else(|| Malformed::error(item, "it has no `fence`"))?,
        leased_until: attr::timestamp(item, "leaseUntil").unwrap_or(Timestamp::from_secs(0)),
        in_doubt: attr::bool(item, "inDoubt"),
        is_ours: false,
    })
}

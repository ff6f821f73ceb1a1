//! Carries out deletions as transactions. The store commits what `plan` decides. If a condition fails, the
//! store updates its belief and plans again.
//!
//! The transaction of a Delete Resource with an idempotency key, in the common case:
//!
//! ```text
//!   Put     key#…  outcome      if it is not there, or has expired     else: replay or reuse
//!   Update  #installation       if it is active                        else: gone with it, or unknown
//!   Delete  resource#…          if it is there and not provisioning    else: gone, or busy
//!   Put     receipt#resource#…  if it is not there, or has expired     else: deleted before
//!   Put     work#announce#…     if the provider is notified
//! ```

use aws_sdk_dynamodb::types::AttributeValue;

use super::announcement::TeardownAt;
use super::attr::{n, s, time};
use super::conditions::{absent, absent_or_expired, active, of_account};
use super::evidence::{learn, parse_installation};
use super::keys::{self, Item};
use super::outcome::Outcome;
use super::transaction::{Committed, Expression, Part, Transaction};
use super::{Done, Store, work};
use crate::clock::Timestamp;
use crate::deletion::{
    Answer, Belief, Billing, Cascade, Commit, Deletion, Installation, Presence, Receipt, Stage,
    Step, Target, finalization_due, plan,
};
use crate::error::{Cause, Error};
use crate::grant::Provenance;
use crate::ids::{IdempotencyKey, InstallationId, ResourceId};
use crate::job::Job;

/// The error if a condition failed, but the returned items did not change the belief. Without this error, the
/// store would plan the same transaction again and again.
#[derive(Debug, thiserror::Error)]
#[error("the store's evidence contradicts its refusal: {0:?}")]
struct Contradiction(Belief);

impl Store {
    /// Carries out a deletion. When this call returns, the deletion and its jobs are stored durably.
    ///
    /// # Errors
    ///
    /// The [`Error`] that answers the request. After an error, nothing was deleted, as far as the store knows
    /// (B6).
    pub(crate) async fn delete(&self, deletion: &Deletion) -> Result<Done, Error> {
        self.in_time(self.plan_and_commit(deletion, Belief::default())).await
    }

    /// Plans and commits until the request has an answer. If a condition fails, the next plan uses the item
    /// that DynamoDB returned for this condition.
    pub(super) async fn plan_and_commit(
        &self,
        deletion: &Deletion,
        mut belief: Belief,
    ) -> Result<Done, Error> {
        loop {
            let commit = match plan(deletion, &belief) {
                Step::Answer(answer) => return Ok(Done::without_jobs(answer)),
                Step::Refuse(error) => return Err(error),
                Step::ReadInstallation => {
                    belief.installation = self.installation(&deletion.grant.installation).await?;
                    continue;
                }
                Step::Commit(commit) => commit,
            };
            match self.transaction(deletion, &belief, commit).commit(&self.client).await? {
                Committed::Yes => {
                    warn_of_unknown(deletion, commit);
                    let due = self.due_at_once(commit);
                    return Ok(Done { answer: commit.answer(), due });
                }
                Committed::No(evidence) => {
                    let before = belief.clone();
                    for (row, item) in evidence {
                        learn(&mut belief, row, item, self.provisioning(deletion.at))?;
                    }
                    if belief == before {
                        let cause: Cause = Contradiction(belief).into();
                        return Err(Error::Internal(cause));
                    }
                }
            }
        }
    }

    /// The jobs of a commit that are due immediately.
    fn due_at_once(&self, commit: Commit<'_>) -> Vec<Job> {
        match commit {
            Commit::Resource { resource, .. } | Commit::AbsentResource { resource, .. } => {
                let announcement = self.announces.then(|| Job::AnnounceResource(resource.clone()));
                announcement.into_iter().collect()
            }
            Commit::Installation { .. } | Commit::AbsentInstallation => {
                self.uninstall_jobs_due_now().collect()
            }
            Commit::RecordOutcome(_) => Vec::new(),
        }
    }

    /// Reads an installation with a consistent read.
    pub(super) async fn installation(&self, id: &InstallationId) -> Result<Installation, Error> {
        let item = self.get(keys::installation(id)).await?;
        item.map_or(Ok(Installation::Absent), |item| parse_installation(&item))
    }

    /// The transaction of a commit. The transaction's conditions demand exactly what the belief says.
    fn transaction(
        &self,
        deletion: &Deletion,
        belief: &Belief,
        commit: Commit<'_>,
    ) -> Transaction<'_> {
        let mut transaction = Transaction::on(&self.table);
        if let Some(outcome) = outcome(deletion, belief, commit.answer()) {
            transaction.put(Part::Outcome, outcome, Some(absent_or_expired(deletion.at)));
        }
        match commit {
            Commit::Resource { resource, receipt } => {
                self.delete_resource(&mut transaction, deletion, resource, receipt);
            }
            Commit::AbsentResource { resource, installation } => {
                self.record_unknown_resource(&mut transaction, deletion, resource, installation);
            }
            Commit::Installation { cascade, billing } => {
                self.delete_installation(&mut transaction, deletion, cascade, billing);
            }
            Commit::AbsentInstallation => {
                self.record_unknown_installation(&mut transaction, deletion);
            }
            Commit::RecordOutcome(_) => {
                let account = deletion.grant.required_account();
                if let (Some(account), Installation::Assumed) = (account, &belief.installation) {
                    let key = keys::installation(&deletion.grant.installation);
                    transaction.check(Part::Installation, key, of_account(account));
                }
            }
        }
        transaction
    }

    fn delete_resource(
        &self,
        transaction: &mut Transaction<'_>,
        deletion: &Deletion,
        resource: &ResourceId,
        receipt: Receipt,
    ) {
        let id = &deletion.grant.installation;
        let count = Expression::new("ADD resources :minus_one").value(":minus_one", n(-1));
        transaction.update(
            Part::Installation,
            keys::installation(id),
            count,
            active_and_owned_by_caller(deletion),
        );
        let deletable = self.provisioning(deletion.at).deletable();
        transaction.delete(Part::Resource, keys::resource(id, resource), Some(deletable));
        let condition = match receipt {
            Receipt::None => Some(absent_or_expired(deletion.at)),
            Receipt::Present => None,
        };
        self.put_resource_receipt(transaction, deletion, resource, condition);
        if let Some(announcement) = self.announcement_of(deletion, resource) {
            transaction.put(Part::Announcement, announcement, None);
        }
    }

    fn record_unknown_resource(
        &self,
        transaction: &mut Transaction<'_>,
        deletion: &Deletion,
        resource: &ResourceId,
        installation: Presence,
    ) {
        let id = &deletion.grant.installation;
        let key = keys::resource(id, resource);
        match installation {
            Presence::Present => {
                let condition = active_and_owned_by_caller(deletion);
                transaction.check(Part::Installation, keys::installation(id), condition);
                transaction.check(Part::Resource, key, absent());
            }
            // A resource's item without an installation is not a live resource. The transaction deletes the
            // item.
            Presence::Absent => {
                transaction.check(Part::Installation, keys::installation(id), absent());
                transaction.delete(Part::Resource, key, None);
            }
        }
        let condition = Some(absent_or_expired(deletion.at));
        self.put_resource_receipt(transaction, deletion, resource, condition);
        if let Some(announcement) = self.announcement_of(deletion, resource) {
            // The new announcement does not replace a pending announcement of an earlier deletion.
            transaction.put_if_absent(Part::Announcement, announcement);
        }
    }

    /// The announcement of a resource's deletion. `None` if the provider is not notified.
    fn announcement_of(&self, deletion: &Deletion, resource: &ResourceId) -> Option<Item> {
        let teardown_at = self.teardown_at(deletion.at)?;
        let id = &deletion.grant.installation;
        let job = Job::AnnounceResource(resource.clone());
        Some(self.announcement(&job, id, &deletion.provenance(), teardown_at, None))
    }

    fn put_resource_receipt(
        &self,
        transaction: &mut Transaction<'_>,
        deletion: &Deletion,
        resource: &ResourceId,
        condition: Option<Expression>,
    ) {
        let key = keys::resource_receipt(&deletion.grant.installation, resource);
        let mut receipt = self.receipt(key, &deletion.provenance(), key_sha256(deletion));
        receipt.extend(self.schedule_attributes(deletion.at, self.teardown_at(deletion.at)));
        transaction.put(Part::Receipt, receipt, condition);
    }

    fn delete_installation(
        &self,
        transaction: &mut Transaction<'_>,
        deletion: &Deletion,
        cascade: Cascade,
        billing: Billing,
    ) {
        let id = &deletion.grant.installation;
        let mut condition = active_and_owned_by_caller(deletion).and(
            match billing {
                Billing::Settled => Expression::new("billing = :settled"),
                Billing::Open => {
                    Expression::new("attribute_not_exists(billing) OR billing <> :settled")
                }
            }
            .value(":settled", s("settled")),
        );
        if cascade == Cascade::No {
            condition = condition.and(
                Expression::new("attribute_not_exists(resources) OR resources < :one")
                    .value(":one", n(1)),
            );
        }
        let finalized = billing == Billing::Settled;
        let mut tombstone = Expression::new(
            "SET #state = :deleting, deletedAt = :at, deletedBy = :by, finalized = :finalized",
        )
        .name("#state", "state")
        .value(":deleting", s(keys::state(Some(Stage::Deleting))))
        .value(":at", time(deletion.at))
        .value(":by", keys::actor(&deletion.grant.by))
        .value(":finalized", AttributeValue::Bool(finalized));
        if let Some(reason) = reason(deletion) {
            tombstone = tombstone.set("reason = :reason").value(":reason", s(reason));
        }
        let tombstone = self.with_schedule(tombstone, deletion.at, self.teardown_at(deletion.at));
        transaction.update(Part::Installation, keys::installation(id), tombstone, condition);
        self.put_installation_receipt_and_jobs(transaction, deletion, billing);
        if finalized {
            transaction.delete(Part::Other, keys::token(id), None);
        }
    }

    fn record_unknown_installation(&self, transaction: &mut Transaction<'_>, deletion: &Deletion) {
        let id = &deletion.grant.installation;
        let mut tombstone = keys::installation(id);
        tombstone.extend([
            // The caller's token names both this account and the installation, so the token proves that the
            // installation belongs to this account.
            ("accountId".to_owned(), s(deletion.grant.by.account())),
            ("state".to_owned(), s(keys::state(Some(Stage::Deleting)))),
            ("resources".to_owned(), n(0)),
            ("deletedAt".to_owned(), time(deletion.at)),
            ("deletedBy".to_owned(), keys::actor(&deletion.grant.by)),
            ("finalized".to_owned(), AttributeValue::Bool(false)),
        ]);
        if let Some(reason) = reason(deletion) {
            tombstone.insert("reason".to_owned(), s(reason));
        }
        tombstone.extend(self.schedule_attributes(deletion.at, self.teardown_at(deletion.at)));
        transaction.put(Part::Installation, tombstone, Some(absent()));
        self.put_installation_receipt_and_jobs(transaction, deletion, Billing::Open);
    }

    fn put_installation_receipt_and_jobs(
        &self,
        transaction: &mut Transaction<'_>,
        deletion: &Deletion,
        billing: Billing,
    ) {
        let id = &deletion.grant.installation;
        let provenance = deletion.provenance();
        let key = keys::installation_receipt(id);
        let teardown_at = self.teardown_at(deletion.at);
        let mut receipt = self.receipt(key, &provenance, key_sha256(deletion));
        receipt.extend(self.schedule_attributes(deletion.at, teardown_at));
        transaction.put(Part::Other, receipt, None);
        let finalizes_at =
            (billing == Billing::Open).then(|| finalization_due(deletion.at, self.finalize_margin));
        self.put_uninstall_jobs(transaction, id, &provenance, teardown_at, finalizes_at);
        if let Some(due) = finalizes_at {
            transaction.put(Part::Other, work::item(&Job::Finalize, id, due, &provenance), None);
        }
    }

    /// Adds an uninstall's jobs: the purge, and the announcement if the provider is notified (G1, G2).
    pub(super) fn put_uninstall_jobs(
        &self,
        transaction: &mut Transaction<'_>,
        id: &InstallationId,
        provenance: &Provenance,
        teardown_at: TeardownAt,
        finalizes_at: Option<Timestamp>,
    ) {
        if let Some(at) = teardown_at {
            let job = Job::AnnounceInstallation;
            let item = self.announcement(&job, id, provenance, at, finalizes_at);
            transaction.put(Part::Other, item, None);
        }
        let purge = work::item(&Job::Purge, id, provenance.at, provenance);
        transaction.put(Part::Other, purge, None);
    }

    /// The jobs that are due as soon as an installation is deleted.
    pub(super) fn uninstall_jobs_due_now(&self) -> impl Iterator<Item = Job> + use<> {
        let announcement = self.announces.then_some(Job::AnnounceInstallation);
        announcement.into_iter().chain([Job::Purge])
    }
}

/// The outcome to record under the request's idempotency key. `None` if the request has no key (F1).
fn outcome(deletion: &Deletion, belief: &Belief, answer: Answer) -> Option<Item> {
    // The outcome has an account only if the account is known to be the installation's stored account.
    let account = match &belief.installation {
        Installation::Active { account, .. } | Installation::Deleted { account, .. } => {
            account.as_deref()
        }
        // If the installation is only assumed, and the token names an account but no installation, each
        // commit of `plan` has a condition that compares the account.
        Installation::Assumed => deletion.grant.required_account(),
        Installation::Absent => None,
    };
    let outcome = Outcome {
        installation: &deletion.grant.installation,
        operation: deletion.operation(),
        key: deletion.key.as_ref()?,
        fingerprint: deletion.fingerprint(),
        account,
        answer,
        at: deletion.at,
    };
    Some(outcome.item())
}

fn key_sha256(deletion: &Deletion) -> Option<&str> {
    deletion.key.as_ref().map(IdempotencyKey::sha256)
}

fn reason(deletion: &Deletion) -> Option<&str> {
    match &deletion.target {
        Target::Installation { reason, .. } => reason.as_deref(),
        Target::Resource(_) => None,
    }
}

/// Logs a warning if the deleted resource or installation was not in the table. The provider may still have a
/// resource or installation that the table does not know (C1, D5).
fn warn_of_unknown(deletion: &Deletion, commit: Commit<'_>) {
    let installation = &deletion.grant.installation;
    match commit {
        Commit::AbsentResource { resource, .. } => {
            tracing::warn!(%installation, %resource, "deleted a resource that was never known");
        }
        Commit::AbsentInstallation => {
            tracing::warn!(%installation, "deleted an installation that was never known");
        }
        Commit::Resource { .. } | Commit::Installation { .. } | Commit::RecordOutcome(_) => {}
    }
}

/// Condition: the installation is active. If the token names only an account and no installation, the
/// installation must also belong to that account (A6).
fn active_and_owned_by_caller(deletion: &Deletion) -> Expression {
    match deletion.grant.required_account() {
        None => active(),
        Some(account) => active().and(of_account(account)),
    }
}

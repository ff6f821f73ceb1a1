//! `keep` makes sure that a deleted resource's `deleted` event is never sent (H3). None of the deployed
//! functions calls this module.
//!
//! ```text
//!   Delete  work#announce#resource#…  if it was not claimed since it was read
//!   Delete  resource#…                if its uninstall has not purged it yet
//!   Put     receipt#resource#…        kept: by whom, when, why; it does not expire
//! ```

use aws_sdk_dynamodb::types::AttributeValue;

use super::Act;
use super::teardown_state::{Found, ResourceState, TeardownState};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::store::attr::{self, s, time};
use crate::store::conditions::{absent, absent_or_expired, deleted, fence_is};
use crate::store::keys::{self, Item};
use crate::store::transaction::{Committed, Expression, Part, Transaction};
use crate::store::{Malformed, Store, work};

/// The result of `keep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// This call kept the resource: its `deleted` event is never sent.
    Now,
    /// An earlier call kept the resource. Nothing was written.
    Before,
    /// The caller must try again at this time, because a worker may be announcing the deletion until then.
    LeasedUntil(Timestamp),
    /// The resource cannot be kept: the [`TeardownState`] says why. Nothing was written.
    No(TeardownState),
}

impl Store {
    /// Makes sure that a deleted resource's `deleted` event is never sent. A resource can be kept only as
    /// long as a hold on the resource would be in time.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn keep(
        &self,
        id: &InstallationId,
        resource: &ResourceId,
        act: &Act,
    ) -> Result<Kept, Error> {
        self.in_time(async {
            // The loop tries again if the resource's state has changed since it was read, for example by a
            // purge or by a worker's claim.
            loop {
                let now = self.clock.timestamp();
                let found = self.resource_state(id, resource, now).await?;
                let state = match found.teardown_state(now) {
                    Found::LeasedUntil(until) => return Ok(Kept::LeasedUntil(until)),
                    Found::State(state) => state,
                };
                let receipt = found.receipt.as_ref();
                if receipt.is_some_and(|receipt| receipt.contains_key("kept")) {
                    return Ok(Kept::Before);
                }
                let may = match state {
                    TeardownState::Pending(_) => true,
                    // The provider is not notified of this deletion. If the table still has the resource's
                    // item or receipt, `keep` can write `kept` into a receipt.
                    TeardownState::Unannounced => found.item.is_some() || receipt.is_some(),
                    _ => false,
                };
                if !may {
                    return Ok(Kept::No(state));
                }
                let transaction = self.keeping(id, resource, act, &found, now).await?;
                if let Committed::Yes = transaction.commit(&self.client).await? {
                    if let Some(item) = &found.job {
                        let job = Job::AnnounceResource(resource.clone());
                        self.expire_receipts(id, &job, item).await?;
                    }
                    return Ok(Kept::Now);
                }
            }
        })
        .await
    }

    /// The transaction that keeps a resource, if the resource's state has not changed since it was read.
    async fn keeping(
        &self,
        id: &InstallationId,
        resource: &ResourceId,
        act: &Act,
        state: &ResourceState,
        now: Timestamp,
    ) -> Result<Transaction<'_>, Error> {
        let mut transaction = Transaction::on(&self.table);
        let job = work::key(&Job::AnnounceResource(resource.clone()), id);
        match &state.job {
            // A worker claims the job before it announces the deletion, and the claim changes the job's
            // fence.
            Some(item) => {
                let fence = attr::i64(item, "fence");
                let fence = fence.ok_or_else(|| Malformed::error(item, "it has no `fence`"))?;
                transaction.delete(Part::Other, job, Some(fence_is(fence)));
            }
            None => transaction.check(Part::Other, job, absent()),
        }
        if state.item.is_some() {
            transaction.check(Part::Other, keys::installation(id), deleted());
            let there = Expression::new("attribute_exists(pk)");
            transaction.delete(Part::Other, keys::resource(id, resource), Some(there));
        }
        let key = keys::resource_receipt(id, resource);
        let kept = kept(act, now);
        if state.receipt.is_some() {
            let change = Expression::new("SET kept = :kept").value(":kept", kept);
            let first = Expression::new(
                "attribute_exists(pk) AND attribute_not_exists(kept) AND attribute_not_exists(movedTo)",
            );
            transaction.update(Part::Receipt, key, change.remove("expiresAt"), first);
        } else {
            let mut receipt = key;
            receipt.extend(self.uninstall_of(id, state.job.as_ref()).await?);
            receipt.insert("kept".to_owned(), kept);
            // A deleted resource without a receipt was deleted by the uninstall of its installation.
            receipt.insert("underUninstall".to_owned(), attr::truth(true));
            transaction.put(Part::Receipt, receipt, Some(absent_or_expired(now)));
        }
        Ok(transaction)
    }

    /// Reads when, by whom and why a resource without a receipt was deleted, from the resource's job or from
    /// its installation's tombstone.
    async fn uninstall_of(&self, id: &InstallationId, job: Option<&Item>) -> Result<Item, Error> {
        let item = match job {
            Some(job) => Some(job.clone()),
            None => self.get(keys::installation(id)).await?,
        };
        let names = ["deletedAt", "deletedBy", "reason"];
        let item = item.unwrap_or_default().into_iter();
        Ok(item.filter(|(name, _)| names.contains(&name.as_str())).collect())
    }
}

/// The value of a receipt's `kept`: when, by whom and why the resource was kept.
fn kept(act: &Act, now: Timestamp) -> AttributeValue {
    let kept = [("at", time(now)), ("by", s(&act.by)), ("reason", s(&act.reason))];
    AttributeValue::M(kept.map(|(name, value)| (name.to_owned(), value)).into())
}

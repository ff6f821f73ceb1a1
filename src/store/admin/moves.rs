//! `move` moves a live resource to another installation, or out of the marketplace (I1, I2).
//!
//! ```text
//!   Update  #installation of the source   if it is active                  resources - 1
//!   Delete  resource#… of the source      if it is as it was read
//!   Put     receipt#… of the source       movedTo, unless a deletion's receipt is in force
//!   Check   hold#… of the source          no hold is in force, on the resource or its installation
//!   Update  #installation of the target   if it is active                  resources + 1
//!   Put     resource#… of the target      if it is not there
//!   Delete  receipt#… of the target       if there is none, or it is of a move, or has expired
//!   Check   work#announce#… of both       no announcement is pending under this id
//! ```

use super::Act;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::store::announcement::ActiveHold;
use crate::store::attr::{self, n, s, time};
use crate::store::conditions::{absent, active};
use crate::store::keys::{self, Item};
use crate::store::transaction::{Committed, Expression, Part, Transaction};
use crate::store::{Store, work};

/// The place that a resource is moved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another installation.
    Installation(InstallationId),
    /// Out of the marketplace: the provider keeps the resource, and the table no longer has the resource's
    /// item.
    Out,
}

impl Target {
    /// The target's name, which a receipt stores as `movedTo`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Installation(id) => id.as_str(),
            Self::Out => "out",
        }
    }
}

/// The result of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// This call moved the resource to the target.
    Now,
    /// An earlier call moved the resource to the target.
    Before,
    /// The resource cannot be moved. Nothing was written.
    No(Obstacle),
}

/// Why a resource cannot be moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The source installation is deleted, or not registered.
    #[error("the installation is not active")]
    SourceNotActive,
    /// The source installation does not have this resource.
    #[error("the installation has no such resource")]
    NotThere,
    /// The resource was deleted at the source installation.
    #[error("the resource was deleted")]
    Deleted,
    /// An earlier call moved the resource to another target.
    #[error("the resource was moved to {0}")]
    MovedElsewhere(String),
    /// A hold is in force on the resource or its installation.
    #[error("a hold is in force on it; release that first")]
    Held,
    /// The target installation is deleted, or not registered.
    #[error("the target installation is not active")]
    TargetNotActive,
    /// The target installation already has a resource of this id.
    #[error("the target has a resource of this id")]
    TargetHasIt,
    /// The target installation has the receipt of a deleted or kept resource of this id.
    #[error("the target has a receipt of this id, of a deletion")]
    TargetReceipt,
    /// An announcement of a resource of this id is pending at the source or at the target.
    #[error("a deletion under this id is still to be announced")]
    Unannounced,
}

/// The items that a move depends on, all read at the same moment.
struct Snapshot {
    source: Option<Item>,
    item: Option<Item>,
    receipt: Option<Item>,
    holds: [Option<Item>; 2],
    job: Option<Item>,
    target: Option<Item>,
    there: Option<Item>,
    target_receipt: Option<Item>,
    target_job: Option<Item>,
}

impl Store {
    /// Moves a live resource from `source` to `target`.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn move_resource(
        &self,
        source: &InstallationId,
        resource: &ResourceId,
        target: &Target,
        act: &Act,
    ) -> Result<Moved, Error> {
        self.in_time(async {
            // The move is tried again if an item has changed since it was read.
            loop {
                let now = self.clock.timestamp();
                let snapshot = self.snapshot(source, resource, target).await?;
                if let Some(ended) = snapshot.ended(target, now)? {
                    return Ok(ended);
                }
                let Some(item) = &snapshot.item else { return Ok(Moved::No(Obstacle::NotThere)) };
                let transaction = self.moving(source, resource, target, act, item, now);
                if let Committed::Yes = transaction.commit(&self.client).await? {
                    return Ok(Moved::Now);
                }
            }
        })
        .await
    }

    async fn snapshot(
        &self,
        source: &InstallationId,
        resource: &ResourceId,
        target: &Target,
    ) -> Result<Snapshot, Error> {
        let job = Job::AnnounceResource(resource.clone());
        let mut keys = vec![
            keys::installation(source),
            keys::resource(source, resource),
            keys::resource_receipt(source, resource),
            keys::hold(source, None),
            keys::hold(source, Some(resource)),
            work::key(&job, source),
        ];
        if let Target::Installation(target) = target {
            keys.extend([
                keys::installation(target),
                keys::resource(target, resource),
                keys::resource_receipt(target, resource),
                work::key(&job, target),
            ]);
        }
        let mut found = self.read_together(&keys).await?.into_iter();
        let mut next = || found.next().flatten();
        Ok(Snapshot {
            source: next(),
            item: next(),
            receipt: next(),
            holds: [next(), next()],
            job: next(),
            target: next(),
            there: next(),
            target_receipt: next(),
            target_job: next(),
        })
    }

    /// The transaction of a move, which fails if the move is no longer possible.
    fn moving(
        &self,
        source: &InstallationId,
        resource: &ResourceId,
        target: &Target,
        act: &Act,
        item: &Item,
        now: Timestamp,
    ) -> Transaction<'_> {
        let job = Job::AnnounceResource(resource.clone());
        let mut transaction = Transaction::on(&self.table);
        let count = |by: i64| Expression::new("ADD resources :by").value(":by", n(by));
        transaction.update(Part::Other, keys::installation(source), count(-1), active());
        transaction.delete(Part::Other, keys::resource(source, resource), Some(as_read(item)));
        let mut receipt = keys::resource_receipt(source, resource);
        receipt.extend([
            ("movedTo".to_owned(), s(target.name())),
            ("movedAt".to_owned(), time(now)),
            ("movedBy".to_owned(), s(&act.by)),
            ("reason".to_owned(), s(&act.reason)),
        ]);
        transaction.put(Part::Other, receipt, Some(replaceable(now)));
        for on in [None, Some(resource)] {
            transaction.check(Part::Other, keys::hold(source, on), no_hold(now));
        }
        transaction.check(Part::Other, work::key(&job, source), absent());
        if let Target::Installation(target) = target {
            transaction.update(Part::Other, keys::installation(target), count(1), active());
            let mut moved = item.clone();
            // The moved item keeps its `updatedAt`, so a move does not extend the provisioning time (C2).
            moved.extend(keys::resource(target, resource));
            moved.insert("registeredAt".to_owned(), time(now));
            transaction.put(Part::Other, moved, Some(absent()));
            let receipt = keys::resource_receipt(target, resource);
            transaction.delete(Part::Other, receipt, Some(replaceable(now)));
            transaction.check(Part::Other, work::key(&job, target), absent());
        }
        transaction
    }
}

impl Snapshot {
    /// The result of the move, if the items alone decide the result. `None` if the caller must commit the
    /// move's transaction to learn the result.
    fn ended(&self, target: &Target, now: Timestamp) -> Result<Option<Moved>, Error> {
        let no = |obstacle| Ok(Some(Moved::No(obstacle)));
        if self.item.is_none() {
            let moved_to = self.receipt.as_ref().and_then(|it| attr::str(it, "movedTo"));
            return match moved_to {
                Some(to) if to == target.name() => Ok(Some(Moved::Before)),
                Some(to) => no(Obstacle::MovedElsewhere(to.to_owned())),
                None if self.receipt.is_some() => no(Obstacle::Deleted),
                None if !is_active(self.source.as_ref())? => no(Obstacle::SourceNotActive),
                None => no(Obstacle::NotThere),
            };
        }
        if !is_active(self.source.as_ref())? {
            return no(Obstacle::SourceNotActive);
        }
        if self.holds.iter().any(|hold| ActiveHold::read(Item::new(), hold.as_ref(), now).is_some())
        {
            return no(Obstacle::Held);
        }
        // If a live resource has a valid receipt of a deletion, a writer of the table broke the rules.
        if self.receipt.as_ref().is_some_and(|receipt| !is_replaceable(receipt, now)) {
            return no(Obstacle::Deleted);
        }
        if self.job.is_some() || self.target_job.is_some() {
            return no(Obstacle::Unannounced);
        }
        if *target == Target::Out {
            return Ok(None);
        }
        if !is_active(self.target.as_ref())? {
            return no(Obstacle::TargetNotActive);
        }
        if self.there.is_some() {
            return no(Obstacle::TargetHasIt);
        }
        if self.target_receipt.as_ref().is_some_and(|receipt| !is_replaceable(receipt, now)) {
            return no(Obstacle::TargetReceipt);
        }
        Ok(None)
    }
}

fn is_active(installation: Option<&Item>) -> Result<bool, Error> {
    installation.map_or(Ok(false), |item| Ok(keys::stage(item)?.is_none()))
}

/// Whether a move may replace this receipt: it is the receipt of another move, or it has expired.
fn is_replaceable(receipt: &Item, now: Timestamp) -> bool {
    receipt.contains_key("movedTo")
        || attr::timestamp(receipt, "expiresAt").is_some_and(|expiry| expiry <= now)
}

/// Condition: there is no receipt, or a move may replace the receipt ([`is_replaceable`]).
fn replaceable(now: Timestamp) -> Expression {
    Expression::new("attribute_not_exists(pk) OR attribute_exists(movedTo) OR expiresAt <= :now")
        .value(":now", time(now))
}

/// Condition: no hold is in force under this key.
fn no_hold(now: Timestamp) -> Expression {
    Expression::new("attribute_not_exists(pk) OR attribute_exists(releasedAt) OR #until <= :now")
        .name("#until", "until")
        .value(":now", time(now))
}

/// Condition: the resource's item is as it was read.
fn as_read(item: &Item) -> Expression {
    // Every writer of a resource's item sets `updatedAt` when it changes the item.
    let updated = match item.get("updatedAt") {
        Some(at) => Expression::new("updatedAt = :updatedAt").value(":updatedAt", at.clone()),
        None => Expression::new("attribute_not_exists(updatedAt)"),
    };
    let status = match item.get("status") {
        Some(status) => Expression::new("#status = :status").value(":status", status.clone()),
        None => Expression::new("attribute_not_exists(#status)"),
    };
    Expression::new("attribute_exists(pk)").and(updated).and(status.name("#status", "status"))
}

//! The purge of a deleted installation, page by page, and the changes of its tombstone's state (D6, G2, G3).
//!
//! Nothing can be added to a deleted installation. A purged item stays purged, even if two workers purge the
//! same installation. One transaction replaces a resource's item by its announcement, so no announcement is
//! lost or written twice.

use std::iter;
use std::time::Duration;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};

use super::announcement::TeardownAt;
use super::attr::{self, s, time};
use super::conditions::fence_is;
use super::keys::{self, Attachment, Item};
use super::transaction::{Committed, Expression, Part, Transaction};
use super::work::{self, Lease};
use super::{Store, store_error};
use crate::clock::Timestamp;
use crate::deletion::Stage;
use crate::error::Error;
use crate::grant::Provenance;
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::outbound::jitter;

/// The prefixes of the sort keys that a purge deletes: resources, webhooks, log drains and variables. A purge
/// does not delete the tombstone, receipts, holds, jobs or the token.
fn purged_prefixes() -> impl Iterator<Item = &'static str> {
    iter::once(keys::RESOURCES).chain(Attachment::ALL.map(Attachment::prefix))
}

/// The greatest number of items on a page. 50 items and their 50 announcements fill a transaction of 100
/// writes.
const PAGE: i32 = 50;

/// The greatest number of writes that `BatchWriteItem` takes.
const BATCH: usize = 25;

/// The first wait before a repeat of the writes that DynamoDB left undone. The wait doubles with each repeat,
/// with full jitter.
const FIRST_BACKOFF: Duration = Duration::from_millis(25);

/// The greatest size in bytes of all announcements of a page together. Each announcement contains the
/// uninstall's reason, and DynamoDB writes about 1 MB a second to a partition.
const PAGE_BYTES: usize = 256 * 1024;

/// How many announcements of resources the transaction of one page may write.
fn announcements_per_page(provenance: &Provenance) -> i32 {
    let announcement = 1024 + provenance.reason.as_ref().map_or(0, String::len);
    i32::try_from(PAGE_BYTES / announcement).unwrap_or(PAGE).clamp(1, PAGE)
}

/// The state of a deleted installation, as its tombstone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    stage: Stage,
    /// Whether no finalization is pending, because the uninstall needed no finalization or the finalization
    /// has ended.
    pub(crate) finalized: bool,
    pub(crate) provenance: Provenance,
    /// When the `deleted` events are due. `None` if the provider is not notified.
    pub(super) teardown_at: TeardownAt,
}

/// The result of writing a tombstone's next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Advance {
    /// The next state is written. If this worker has lost its lease, another worker has the lease and writes
    /// the state.
    Done,
    /// The tombstone has changed since it was read.
    Stale,
}

/// The result of purging a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purged {
    /// A page was purged. The installation may have more items to purge.
    Page,
    /// No item was left to purge.
    All,
}

impl Store {
    /// Reads an installation's tombstone. `None` if the installation is not deleted, or its item does not say
    /// when and by whom the installation was deleted.
    pub(crate) async fn tombstone(&self, id: &InstallationId) -> Result<Option<Tombstone>, Error> {
        let Some(item) = self.get(keys::installation(id)).await? else { return Ok(None) };
        let Some(stage) = keys::stage(&item)? else { return Ok(None) };
        let Some(provenance) = keys::provenance(&item) else { return Ok(None) };
        // A tombstone without `teardownAt` and `unannounced` was written by an older version, which had no
        // grace period.
        let at_once = self.announces && !attr::bool(&item, "unannounced");
        let at_once = at_once.then_some(provenance.at);
        Ok(Some(Tombstone {
            stage,
            finalized: attr::bool(&item, "finalized"),
            teardown_at: attr::timestamp(&item, "teardownAt").or(at_once),
            provenance,
        }))
    }

    /// Purges a page of a deleted installation's items. If the provider is notified, each resource's
    /// announcement replaces the resource's item.
    pub(crate) async fn purge_page(
        &self,
        id: &InstallationId,
        tombstone: &Tombstone,
    ) -> Result<Purged, Error> {
        let provenance = &tombstone.provenance;
        for prefix in purged_prefixes() {
            let teardown_at = tombstone.teardown_at.filter(|_| prefix == keys::RESOURCES);
            let limit = teardown_at.map_or(PAGE, |_| announcements_per_page(provenance));
            let page = self.page(id, prefix, limit).await?;
            if page.is_empty() {
                continue;
            }
            match teardown_at {
                Some(at) => self.announce_and_delete(id, provenance, at, page).await?,
                None => self.delete_all(page).await?,
            }
            return Ok(Purged::Page);
        }
        Ok(Purged::All)
    }

    /// Reads the keys of the first items whose sort keys begin with `prefix`, at most `limit` keys.
    async fn page(
        &self,
        id: &InstallationId,
        prefix: &str,
        limit: i32,
    ) -> Result<Vec<Item>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(keys::partition(id)))
            .expression_attribute_values(":prefix", s(prefix))
            .projection_expression("pk, sk")
            .consistent_read(true)
            .limit(limit);
        self.in_time(async {
            Ok(query.send().await.map_err(store_error)?.items.unwrap_or_default())
        })
        .await
    }

    async fn announce_and_delete(
        &self,
        id: &InstallationId,
        provenance: &Provenance,
        teardown_at: Timestamp,
        page: Vec<Item>,
    ) -> Result<(), Error> {
        let mut transaction = Transaction::on(&self.table);
        for key in page {
            let name = attr::str(&key, "sk").and_then(|sk| sk.strip_prefix(keys::RESOURCES));
            if let Some(resource) = name.and_then(|name| ResourceId::parse(name).ok()) {
                let announcement = Job::AnnounceResource(resource);
                let item = self.announcement(&announcement, id, provenance, teardown_at, None);
                transaction.put(Part::Other, item, None);
            }
            let there = Expression::new("attribute_exists(pk)");
            transaction.delete(Part::Resource, key, Some(there));
        }
        // If another worker has purged an item since this worker read the page, nothing is written. The next
        // read of a page does not return a purged item.
        self.in_time(transaction.commit(&self.client)).await?;
        Ok(())
    }

    async fn delete_all(&self, page: Vec<Item>) -> Result<(), Error> {
        for batch in page.chunks(BATCH) {
            let deletes = batch.iter().map(|key| {
                let delete = DeleteRequest::builder().set_key(Some(key.clone())).build()?;
                Ok(WriteRequest::builder().delete_request(delete).build())
            });
            let deletes = deletes.collect::<Result<Vec<_>, BuildError>>();
            let deletes = deletes.map_err(|error| Error::Internal(error.into()))?;
            self.in_time(self.write(deletes)).await?;
        }
        Ok(())
    }

    /// Writes a batch, and repeats the writes that DynamoDB left undone.
    async fn write(&self, mut writes: Vec<WriteRequest>) -> Result<(), Error> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let batch = self.client.batch_write_item().request_items(&self.table, writes);
            let written = batch.send().await.map_err(store_error)?;
            writes = written
                .unprocessed_items
                .unwrap_or_default()
                .remove(&self.table)
                .unwrap_or_default();
            if writes.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(jitter(backoff)).await;
            backoff *= 2;
        }
    }

    /// Ends the purge: the state `deleting` becomes `purged`, or `finalized` if no finalization is pending.
    pub(crate) async fn end_purge(
        &self,
        lease: &Lease,
        tombstone: &Tombstone,
    ) -> Result<Advance, Error> {
        let change = if tombstone.finalized {
            let expiry = self.expiry_of(&lease.installation, tombstone).await?;
            // A tombstone that waits for an announcement already has an `expiresAt`, in the year 9999.
            Expression::new("SET #state = :to, expiresAt = if_not_exists(expiresAt, :expiry)")
                .value(":to", s(keys::state(Some(Stage::Finalized))))
                .value(":expiry", time(expiry))
        } else {
            Expression::new("SET #state = :to").value(":to", s(keys::state(Some(Stage::Purged))))
        };
        self.end_step(lease, tombstone, change, None).await
    }

    /// When a tombstone expires.
    async fn expiry_of(
        &self,
        id: &InstallationId,
        tombstone: &Tombstone,
    ) -> Result<Timestamp, Error> {
        self.tombstone_expiry(id, tombstone.provenance.at, tombstone.teardown_at).await
    }

    /// Ends the finalization: the token is erased, and the state `purged` becomes `finalized`.
    pub(crate) async fn end_finalization(
        &self,
        lease: &Lease,
        tombstone: &Tombstone,
    ) -> Result<Advance, Error> {
        let expiry = match tombstone.stage {
            // At the stage `Deleting`, no expiry is written, because the end of the purge sets `expiresAt`.
            Stage::Deleting => tombstone.provenance.at,
            Stage::Purged | Stage::Finalized => {
                self.expiry_of(&lease.installation, tombstone).await?
            }
        };
        let change = Self::set_finalized(tombstone.stage, expiry);
        self.end_step(lease, tombstone, change, Some(keys::token(&lease.installation))).await
    }

    /// The change that finalizes a tombstone at this stage. A tombstone that is purged and finalized stays as
    /// long as receipts stay (G2). A tombstone that is not purged must stay, because without it a new
    /// registration would make the remaining resources live.
    pub(super) fn set_finalized(stage: Stage, expiry: Timestamp) -> Expression {
        let finalized =
            Expression::new("SET finalized = :true").value(":true", AttributeValue::Bool(true));
        match stage {
            Stage::Deleting => finalized,
            Stage::Purged | Stage::Finalized => finalized
                .set("#state = :finalized, expiresAt = if_not_exists(expiresAt, :expiry)")
                .name("#state", "state")
                .value(":finalized", s(keys::state(Some(Stage::Finalized))))
                .value(":expiry", time(expiry)),
        }
    }

    async fn end_step(
        &self,
        lease: &Lease,
        tombstone: &Tombstone,
        change: Expression,
        erased: Option<Item>,
    ) -> Result<Advance, Error> {
        let finalized = if tombstone.finalized {
            "finalized = :true"
        } else {
            "attribute_not_exists(finalized) OR finalized <> :true"
        };
        let unchanged = Expression::new("#state = :seen")
            .and(Expression::new(finalized))
            .name("#state", "state")
            .value(":seen", s(keys::state(Some(tombstone.stage))))
            .value(":true", AttributeValue::Bool(true));
        let id = &lease.installation;
        let mut transaction = Transaction::on(&self.table);
        transaction.update(Part::Installation, keys::installation(id), change, unchanged);
        transaction.delete(Part::Other, work::key(&lease.job, id), Some(fence_is(lease.fence)));
        if let Some(key) = erased {
            transaction.delete(Part::Other, key, None);
        }
        Ok(match self.in_time(transaction.commit(&self.client)).await? {
            Committed::No(evidence)
                if evidence.iter().any(|(row, _)| *row == Part::Installation) =>
            {
                Advance::Stale
            }
            Committed::Yes | Committed::No(_) => Advance::Done,
        })
    }
}

//! How long receipts and tombstones stay: for `RECEIPT_RETENTION`, and at least until their announcement is
//! over (G2, H1).
//!
//! By default an announcement is over long before its receipt expires, so the receipt does not have to wait.
//! An announcement can outlast its receipt because of a short retention, a hold, a parked job, or a provider
//! that answers 202 for months. If a receipt or tombstone has to wait, the announcement's `retains` is true,
//! and the `expiresAt` is in the year 9999. The worker that ends the announcement replaces the `expiresAt` in
//! the year 9999.

use std::time::Duration;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::announcement::TeardownAt;
use super::attr::{self, s, time};
use super::conditions::deleted;
use super::keys::{self, Item};
use super::transaction::Expression;
use super::work::{Lease, LeaseWrite};
use super::{Store, store_error};
use crate::clock::Timestamp;
use crate::deletion::Stage;
use crate::error::Error;
use crate::grant::Provenance;
use crate::ids::InstallationId;
use crate::job::Job;
use crate::job::retry::PARKED_AFTER;

/// The longest time from `teardownAt` until an announcement is parked, plus one day.
const ANNOUNCING: Duration = PARKED_AFTER.saturating_add(Duration::from_hours(24));

/// The `expiresAt` of a receipt or a tombstone that waits for an announcement to end.
const WHEN_ANNOUNCED: Timestamp = Timestamp::LAST;

impl Store {
    /// The item of a receipt: when, why and by whom something was deleted, and the hash of the request's
    /// idempotency key (G5).
    pub(super) fn receipt(
        &self,
        key: Item,
        provenance: &Provenance,
        key_sha256: Option<&str>,
    ) -> Item {
        let mut item = key;
        item.extend([
            ("deletedAt".to_owned(), time(provenance.at)),
            ("deletedBy".to_owned(), keys::actor(&provenance.by)),
            ("expiresAt".to_owned(), time(self.expiry(provenance.at))),
        ]);
        if let Some(reason) = &provenance.reason {
            item.insert("reason".to_owned(), s(reason));
        }
        if let Some(sha256) = key_sha256 {
            item.insert("keySha256".to_owned(), s(sha256));
        }
        item
    }

    /// When a receipt expires, if it does not wait for an announcement (G2).
    pub(super) fn expiry(&self, deleted_at: Timestamp) -> Timestamp {
        deleted_at + self.receipt_retention
    }

    /// Whether a deletion's receipt could expire before its announcement is over, if the announcement is due
    /// at `due`.
    pub(super) fn expires_early(&self, deleted_at: Timestamp, due: Timestamp) -> bool {
        self.expiry(deleted_at) < due + ANNOUNCING
    }

    /// The attributes of a receipt or a tombstone that depend on its announcement: `teardownAt`, or
    /// `unannounced` if the provider is not notified. If the receipt or tombstone has to wait for the
    /// announcement, `expiresAt` is one of the attributes.
    pub(super) fn schedule_attributes(
        &self,
        deleted_at: Timestamp,
        teardown_at: TeardownAt,
    ) -> impl Iterator<Item = (String, AttributeValue)> + use<> {
        let schedule = match teardown_at {
            Some(at) => ("teardownAt", time(at)),
            None => ("unannounced", attr::truth(true)),
        };
        let waits = teardown_at.filter(|at| self.expires_early(deleted_at, *at));
        let waits = waits.map(|_| ("expiresAt", time(WHEN_ANNOUNCED)));
        [schedule].into_iter().chain(waits).map(|(name, value)| (name.to_owned(), value))
    }

    /// Adds the attributes of [`Store::schedule_attributes`] to the change that deletes an installation.
    pub(super) fn with_schedule(
        &self,
        change: Expression,
        deleted_at: Timestamp,
        teardown_at: TeardownAt,
    ) -> Expression {
        let change = match teardown_at {
            Some(at) => change.set("teardownAt = :teardownAt").value(":teardownAt", time(at)),
            None => {
                change.set("unannounced = :unannounced").value(":unannounced", attr::truth(true))
            }
        };
        match teardown_at {
            Some(at) if self.expires_early(deleted_at, at) => {
                change.set("expiresAt = :never").value(":never", time(WHEN_ANNOUNCED))
            }
            _ => change,
        }
    }

    /// Makes the receipts and the tombstone wait for the end of an announcement. This call writes the job's
    /// `retains` before the receipts, so that the worker that ends the job sees `retains`.
    pub(super) async fn retain_receipts(&self, lease: &Lease) -> Result<LeaseWrite, Error> {
        if lease.announcement.is_none_or(|announcement| announcement.retains) {
            return Ok(LeaseWrite::Written);
        }
        let retains = Expression::new("SET retains = :true").value(":true", attr::truth(true));
        if self.end_lease(lease, retains).await? == LeaseWrite::LeaseLost {
            return Ok(LeaseWrite::LeaseLost);
        }
        let never =
            || Expression::new("SET expiresAt = :never").value(":never", time(WHEN_ANNOUNCED));
        let expires = || Expression::new("attribute_exists(expiresAt)");
        let id = &lease.installation;
        if let Job::AnnounceResource(resource) = &lease.job {
            let receipt = keys::resource_receipt(id, resource);
            self.update_item(receipt, never(), expires()).await?;
        }
        // An active installation has no tombstone, and no receipt of its own deletion.
        if self.update_item(keys::installation(id), never(), deleted()).await?.is_some() {
            self.update_item(keys::installation_receipt(id), never(), expires()).await?;
        }
        Ok(LeaseWrite::Written)
    }

    /// Gives the receipts and the tombstone that waited for an announcement a normal `expiresAt` again. The
    /// caller has deleted the announcement's job, and `item` is the job's deleted item. If a worker dies
    /// before this call, a receipt never expires, but nothing else goes wrong.
    pub(super) async fn expire_receipts(
        &self,
        id: &InstallationId,
        job: &Job,
        item: &Item,
    ) -> Result<(), Error> {
        if !attr::bool(item, "retains") {
            return Ok(());
        }
        let now = self.clock.timestamp();
        let deleted_at = attr::timestamp(item, "deletedAt").unwrap_or(now);
        let end = self.expiry(deleted_at).max(now);
        let expires = || Expression::new("SET expiresAt = :expiry").value(":expiry", time(end));
        let waits = || Expression::new("expiresAt = :never").value(":never", time(WHEN_ANNOUNCED));
        if let Job::AnnounceResource(resource) = job {
            self.update_item(keys::resource_receipt(id, resource), expires(), waits()).await?;
        }
        if self.is_waited_for(id).await? {
            return Ok(());
        }
        self.update_item(keys::installation_receipt(id), expires(), waits()).await?;
        let in_state = |condition: &str| {
            waits()
                .and(Expression::new(condition).name("#state", "state"))
                .value(":finalized", s(keys::state(Some(Stage::Finalized))))
        };
        let tombstone = || keys::installation(id);
        // The loop tries both updates twice, because the installation may be finalized between them.
        for _ in 0..2 {
            let finalized = in_state("#state = :finalized");
            if self.update_item(tombstone(), expires(), finalized).await?.is_some() {
                return Ok(());
            }
            // If the installation is not yet finalized, the write that finalizes it will set `expiresAt`.
            let later = Expression::removing("expiresAt");
            let earlier = in_state("#state <> :finalized");
            if self.update_item(tombstone(), later, earlier).await?.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// When the tombstone of a purged and finalized installation expires. The tombstone stays until its
    /// announcements are over.
    pub(super) async fn tombstone_expiry(
        &self,
        id: &InstallationId,
        deleted_at: Timestamp,
        at: TeardownAt,
    ) -> Result<Timestamp, Error> {
        let expiry = self.expiry(deleted_at);
        let Some(at) = at.filter(|at| self.expires_early(deleted_at, *at)) else {
            return Ok(expiry);
        };
        Ok(if self.is_waited_for(id).await? {
            WHEN_ANNOUNCED
        } else if self.has_pending(id).await? {
            // Pending announcements without `retains` were written when `RECEIPT_RETENTION` was longer. The
            // worker that ends an announcement without `retains` does not set the tombstone's expiry, so the
            // expiry allows the longest time that an announcement can take.
            self.late_expiry(deleted_at, Some(at))
        } else {
            expiry
        })
    }

    /// When a tombstone expires, if its announcements last until they are parked.
    pub(super) fn late_expiry(&self, deleted_at: Timestamp, at: TeardownAt) -> Timestamp {
        let over = at.map_or(deleted_at, |at| at + ANNOUNCING);
        self.expiry(deleted_at).max(over)
    }

    /// Whether the installation has a pending announcement that its receipts wait for.
    async fn is_waited_for(&self, id: &InstallationId) -> Result<bool, Error> {
        let pending = self
            .pending_announcements(id)
            .filter_expression("retains = :true")
            .expression_attribute_values(":true", attr::truth(true));
        self.finds_any(pending).await
    }

    /// Whether the installation has a pending announcement.
    async fn has_pending(&self, id: &InstallationId) -> Result<bool, Error> {
        self.finds_any(self.pending_announcements(id)).await
    }

    /// A query for the pending announcements of an installation.
    pub(super) fn pending_announcements(&self, id: &InstallationId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :jobs)")
            .expression_attribute_values(":pk", s(keys::partition(id)))
            .expression_attribute_values(":jobs", s(keys::ANNOUNCEMENTS))
            .consistent_read(true)
    }

    async fn finds_any(&self, query: QueryFluentBuilder) -> Result<bool, Error> {
        let mut pages = query.into_paginator().send();
        self.in_time(async {
            while let Some(page) = pages.next().await {
                let items: Vec<Item> = page.map_err(store_error)?.items.unwrap_or_default();
                if !items.is_empty() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }
}

//! Reads an installation's items to compare them with Vercel, and registers a resource that only Vercel has
//! (L1). The tool `teardown` calls this module, and so does a worker that ends a Provision's intent.

use std::collections::{BTreeMap, BTreeSet};

use super::attr::{self, s};
use super::configuration::parse_installation;
use super::keys::{self, Item};
use super::provisioning::written;
use super::registry::{Findings, RegisterError, ResourceRecord, StatusRecord};
use super::transaction::Committed;
use super::{Store, store_error};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::reconcile::Stored;
use crate::vercel::ListedResource;

/// The prefix of the sort keys of Provisions' intents (J4).
const PROVISIONS: &str = "work#provision#";

/// The prefix of the sort keys of resources' receipts.
const RECEIPTS: &str = "receipt#resource#";

/// The effect of registering a resource that Vercel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// This call registered the resource.
    Now,
    /// The resource was already registered, and this call did not change it.
    Before,
}

impl Store {
    /// Reads those values of an installation that are compared with Vercel, page by page, with consistent
    /// reads. `None` if the installation is not in the table.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn stored(&self, id: &InstallationId) -> Result<Option<Stored>, Error> {
        let now = self.clock.timestamp();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(keys::partition(id)))
            .consistent_read(true)
            .into_paginator()
            .send();
        let mut stored = None;
        while let Some(page) = self.in_time(async { Ok(pages.next().await) }).await? {
            for item in page.map_err(store_error)?.items.unwrap_or_default() {
                read(&item, now, &mut stored)?;
            }
        }
        Ok(stored)
    }

    /// Registers a resource that Vercel has, if it is not registered. A registered resource is not changed.
    ///
    /// # Errors
    ///
    /// The [`RegisterError`] that [`Store::register`] would return for the resource.
    pub async fn add_listed_resource(
        &self,
        id: &InstallationId,
        listed: &ListedResource,
    ) -> Result<Added, RegisterError> {
        let record = ResourceRecord {
            installation_id: id.clone(),
            id: listed.id.clone(),
            name: listed.name.clone(),
            product_id: listed.product.clone(),
            status: listed.status.as_deref().and_then(StatusRecord::of_vercel),
        };
        match self.in_time(self.add_resource(&record).commit(&self.client)).await? {
            Committed::Yes => Ok(Added::Now),
            Committed::No(evidence) => {
                Findings::read(evidence)?.refuse()?;
                Ok(Added::Before)
            }
        }
    }
}

/// Adds the values of an item to `stored`. The caller must add the installation's own item before the other
/// items.
fn read(item: &Item, now: Timestamp, stored: &mut Option<Stored>) -> Result<(), Error> {
    let sort_key = attr::str(item, "sk").unwrap_or_default();
    if sort_key == "#installation" {
        *stored = Some(Stored {
            installation: parse_installation(item)?,
            resources: BTreeMap::new(),
            deleted: BTreeSet::new(),
            provisioning: false,
        });
        return Ok(());
    }
    // Without the installation's own item, no resource is live.
    let Some(stored) = stored else { return Ok(()) };
    let named = |prefix: &str| ResourceId::parse(sort_key.strip_prefix(prefix)?).ok();
    if let Some(resource) = named(keys::RESOURCES) {
        let since = written(item, "registeredAt").or(written(item, "updatedAt"));
        stored.resources.insert(resource, since);
    } else if let Some(resource) = named(RECEIPTS) {
        // The clock decides whether a receipt has expired. DynamoDB's TTL may remove an expired receipt
        // later.
        if attr::timestamp(item, "expiresAt").is_none_or(|expiry| expiry > now) {
            stored.deleted.insert(resource);
        }
    } else if let Some(Job::AnnounceResource(resource)) = Job::parse(sort_key) {
        stored.deleted.insert(resource);
    } else if sort_key.starts_with(PROVISIONS) {
        stored.provisioning = true;
    }
    Ok(())
}

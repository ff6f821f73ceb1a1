//! The comparison with Vercel in the table: what is stored of an installation, and the changes that bring it
//! to what Vercel has (L1). The tool calls this, and a sweep that reconciles an installation.

use std::collections::{BTreeMap, BTreeSet};

use super::attr::{self, n, s};
use super::conditions::active;
use super::configuration::{parse_installation, set_team, still_in_team};
use super::evidence::learn;
use super::forget::Announced;
use super::holds::Act;
use super::keys::{self, Item};
use super::provisioning::written;
use super::registry::{Findings, RegisterError, ResourceRecord, StatusRecord};
use super::transaction::{Committed, Expression, Part, Transaction};
use super::work::Held;
use super::{Store, store_error};
use crate::clock::Timestamp;
use crate::deletion::configuration::Team;
use crate::deletion::{Belief, Resource};
use crate::error::Error;
use crate::grant::{Actor, Provenance};
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::reconcile::{self, Stored};
use crate::vercel::ListedResource;

/// What the sort keys of the intents of resources begin with that are being provisioned (J4).
const PROVISIONS: &str = "work#provision#";

/// What the sort keys of resources' receipts begin with.
const RECEIPTS: &str = "receipt#resource#";

/// The effect of registering a resource that Vercel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is registered now.
    Now,
    /// It was registered before. It is left as it was.
    Before,
}

/// The effect of deleting a resource that Vercel does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is deleted now.
    Deleted,
    /// It was gone before, by itself or with its installation. Nothing was written.
    Gone,
    /// It is still being provisioned (C2). Nothing was written.
    Busy,
}

impl Store {
    /// The same store, whose deletions are announced like this.
    #[must_use]
    pub fn announcing(self, announced: Announced) -> Self {
        match announced {
            Announced::After(grace) => Self { announces: true, grace, ..self },
            Announced::Never => Self { announces: false, ..self },
        }
    }

    /// Reads what is stored of an installation, page by page and consistently, as far as it is compared.
    /// None where it is not known.
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

    /// Registers a resource that Vercel has, if it is not there. One that is there is not changed.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]: the same as for any registration.
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

    /// Stores the team that Vercel has an installation in, if the stored one is as it was read. Says
    /// whether it was.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn follow_to_team(
        &self,
        id: &InstallationId,
        from: &Team,
        to: Option<String>,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::on(&self.table);
        let (key, to) = (keys::installation(id), from.named(to));
        transaction.update(Part::Installation, key, set_team(&to), still_in_team(from));
        Ok(self.in_time(self.held(transaction)).await? == Held::Still)
    }

    /// Uninstalls an installation whose configuration Vercel removed, as the system (K3).
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn uninstall_removed(
        &self,
        id: &InstallationId,
        account: Option<&str>,
    ) -> Result<(), Error> {
        let account = account.unwrap_or_default().to_owned();
        let removal = reconcile::removal(id.clone(), account, self.clock.timestamp());
        self.delete(&removal).await.map(|_| ())
    }

    /// Deletes a resource that Vercel does not have, as Delete Resource does, on behalf of an operator: the
    /// receipt says who.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn delete_missing(
        &self,
        id: &InstallationId,
        account: Option<&str>,
        resource: &ResourceId,
        act: &Act,
    ) -> Result<Missing, Error> {
        let at = self.clock.timestamp();
        let by = Actor::System { account: account.unwrap_or_default().to_owned() };
        let provenance = Provenance { by, at, reason: Some(act.reason.clone()) };
        let provisioning = self.provisioning(at);
        let mut transaction = Transaction::on(&self.table);
        let count = Expression::new("ADD resources :minus_one").value(":minus_one", n(-1));
        transaction.update(Part::Installation, keys::installation(id), count, active());
        let (key, deletable) = (keys::resource(id, resource), provisioning.deletable());
        transaction.delete(Part::Resource, key, Some(deletable));
        // A receipt beside a live resource was left by a writer that broke the rules.
        let mut receipt = self.receipt(keys::resource_receipt(id, resource), &provenance, None);
        let teardown_at = self.teardown_at(at);
        receipt.extend(self.schedule(at, teardown_at));
        receipt.insert("reconciledBy".to_owned(), s(&act.by));
        transaction.put(Part::Receipt, receipt, None);
        if let Some(teardown_at) = teardown_at {
            let job = Job::AnnounceResource(resource.clone());
            let item = self.announcement(&job, id, &provenance, teardown_at, None);
            transaction.put(Part::Announcement, item, None);
        }
        let Committed::No(evidence) = self.in_time(transaction.commit(&self.client)).await? else {
            return Ok(Missing::Deleted);
        };
        let mut belief = Belief::default();
        for (part, item) in evidence {
            learn(&mut belief, part, item, provisioning)?;
        }
        let busy = belief.resource == Resource::Provisioning;
        Ok(if busy { Missing::Busy } else { Missing::Gone })
    }
}

/// Reads an item into what is stored. The installation's own comes first.
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
    // Without an installation nothing is live.
    let Some(stored) = stored else { return Ok(()) };
    let named = |prefix: &str| ResourceId::parse(sort_key.strip_prefix(prefix)?).ok();
    if let Some(resource) = named(keys::RESOURCES) {
        let since = written(item, "registeredAt").or(written(item, "updatedAt"));
        stored.resources.insert(resource, since);
    } else if let Some(resource) = named(RECEIPTS) {
        // By the clock, and not by when DynamoDB's TTL gets to it.
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

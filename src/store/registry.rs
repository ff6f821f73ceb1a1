//! Registration: writes installations, resources, webhooks, log drains, variables and tokens into the table,
//! under the conditions that deletions rely on.
//!
//! One transaction adds a resource. The transaction demands that the installation is active, and counts the
//! resource in the installation's item. The transaction demands that the resource has no valid receipt and no
//! announcement of an earlier deletion (C4, D4, G1). An announcement may still be pending when the receipt
//! has expired, and the provider would apply the announcement to the new resource. A deletion that finds no
//! resource does not change a pending announcement. Backends in other languages write the same transactions,
//! which `docs/writing-the-table.md` lists.

mod record;

pub(super) use self::record::status;
pub use self::record::{
    AccessTokenRecord, BelongingRecord, BillingRecord, EnvVarRecord, InstallationRecord, Record,
    ResourceRecord, StatusRecord,
};
use super::attr::{n, s, time, truth};
use super::conditions::{absent, absent_or_expired, active};
use super::evidence::parse_installation;
use super::keys::Attachment::{EnvVar, LogDrain, Webhook};
use super::keys::{self, Item};
use super::transaction::{Committed, Expression, Part, Transaction};
use super::{Store, store_error, work};
use crate::deletion::Installation;
use crate::error::Error;
use crate::ids::InstallationId;
use crate::job::Job;

/// Why a record is refused. Nothing of the record was written.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The installation was deleted, and its id cannot be registered again. A new installation has a new id
    /// (D5).
    #[error("the installation was deleted")]
    InstallationDeleted,
    /// The installation is finalized, and needs no access token any more (D6).
    #[error("the installation is finalized, and its access token is erased for good")]
    InstallationFinalized,
    /// The installation was never registered.
    #[error("the installation is not registered")]
    InstallationUnknown,
    /// The resource was deleted, and its receipt is still valid (C4).
    #[error("the resource was deleted")]
    ResourceDeleted,
    /// The resource was deleted, and its announcement is pending. The provider would apply the announcement
    /// of the old resource to the newly registered resource (G1).
    #[error("the resource was deleted, and that is still to be announced")]
    ResourceUnannounced,
    /// The call of the store failed with this error.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What the failed conditions of a registration's transaction show.
#[derive(Default)]
pub(super) struct Findings {
    installation: Option<Installation>,
    resource_is_there: bool,
    has_receipt: bool,
    announcement_is_pending: bool,
}

impl Store {
    /// Registers the installation, resource or other item of a record, or updates it if it is already
    /// registered.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    pub async fn register(&self, record: &Record) -> Result<(), RegisterError> {
        match record {
            Record::Installation(record) => self.register_installation(record).await,
            Record::Resource(record) => self.register_resource(record).await,
            Record::Webhook(record) => {
                let item = keys::belonging(&record.installation_id, Webhook, &record.id);
                self.register_belonging(&record.installation_id, item).await
            }
            Record::LogDrain(record) => {
                let item = keys::belonging(&record.installation_id, LogDrain, &record.id);
                self.register_belonging(&record.installation_id, item).await
            }
            Record::AccessToken(record) => self.replace_token(record).await,
            Record::EnvVar(record) => {
                let mut item = keys::belonging(&record.installation_id, EnvVar, &record.id);
                item.insert("projectId".to_owned(), s(&record.project_id));
                item.insert("key".to_owned(), s(&record.key));
                self.register_belonging(&record.installation_id, item).await
            }
        }
    }

    /// Replaces an installation's access token, if the installation still needs a token.
    async fn replace_token(&self, record: &AccessTokenRecord) -> Result<(), RegisterError> {
        let id = &record.installation_id;
        let needed = Expression::new("#state = :active OR finalized = :false")
            .name("#state", "state")
            .value(":active", s(keys::state(None)))
            .value(":false", truth(false));
        let mut item = keys::token(id);
        item.insert("accessToken".to_owned(), s(record.access_token.expose()));
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Part::Installation, keys::installation(id), needed);
        transaction.put(Part::Other, item, None);
        match self.in_time(transaction.commit(&self.client)).await? {
            Committed::Yes => Ok(()),
            Committed::No(evidence) => match Findings::read(evidence)?.installation {
                Some(Installation::Deleted { .. }) => Err(RegisterError::InstallationFinalized),
                _ => Err(RegisterError::InstallationUnknown),
            },
        }
    }

    async fn register_installation(
        &self,
        record: &InstallationRecord,
    ) -> Result<(), RegisterError> {
        let mut change = Expression::new(
            "SET #state = :active, accountId = :account, \
             resources = if_not_exists(resources, :zero), updatedAt = :now",
        )
        .value(":account", s(&record.account_id))
        .value(":zero", n(0))
        .value(":now", time(self.clock.timestamp()));
        if let Some(team) = &record.team_id {
            change = change.set("teamId = :team").value(":team", s(team));
        }
        if let Some(slug) = &record.team_slug {
            change = change.set("teamSlug = :slug").value(":slug", s(slug));
        }
        change = match record.billing {
            Some(BillingRecord::Settled) => {
                change.set("billing = :billing").value(":billing", s("settled"))
            }
            Some(BillingRecord::Open) => {
                change.set("billing = :billing").value(":billing", s("open"))
            }
            None => change
                .set("billing = if_not_exists(billing, :billing)")
                .value(":billing", s("open")),
        };
        let condition = Expression::new("attribute_not_exists(pk) OR #state = :active")
            .name("#state", "state")
            .value(":active", s(keys::state(None)));
        let mut transaction = Transaction::on(&self.table);
        let key = keys::installation(&record.id);
        transaction.update(Part::Installation, key, change, condition);
        if let Some(token) = &record.access_token {
            let mut item = keys::token(&record.id);
            item.insert("accessToken".to_owned(), s(token.expose()));
            transaction.put(Part::Other, item, None);
        }
        match self.in_time(transaction.commit(&self.client)).await? {
            Committed::Yes => Ok(()),
            Committed::No(evidence) => {
                Findings::read(evidence)?.refuse()?;
                Err(RegisterError::InstallationDeleted)
            }
        }
    }

    async fn register_resource(&self, record: &ResourceRecord) -> Result<(), RegisterError> {
        let steps: [for<'a> fn(&'a Self, &ResourceRecord) -> Transaction<'a>; 2] =
            [Self::add_resource, Self::update_resource];
        self.in_time(async {
            // The loop adds the resource, or updates it if it exists. The loop starts again if the resource
            // was added or deleted between the transaction that adds it and the transaction that updates it.
            loop {
                for step in steps {
                    let findings = match step(self, record).commit(&self.client).await? {
                        Committed::Yes => return Ok(Ok(())),
                        Committed::No(evidence) => Findings::read(evidence)?,
                    };
                    if let Err(refused) = findings.refuse() {
                        return Ok(Err(refused));
                    }
                }
            }
        })
        .await?
    }

    /// The transaction that adds a resource.
    pub(super) fn add_resource(&self, record: &ResourceRecord) -> Transaction<'_> {
        let mut transaction = Transaction::on(&self.table);
        let count = Expression::new("ADD resources :one").value(":one", n(1));
        let installation = keys::installation(&record.installation_id);
        transaction.update(Part::Installation, installation, count, active());
        self.put_new_resource(&mut transaction, record);
        transaction
    }

    /// Adds the write of a new resource to the transaction, on condition that the table has no item, valid
    /// receipt or announcement of the resource (C4, D4, G1). The caller must add the write that counts the
    /// resource.
    pub(super) fn put_new_resource(
        &self,
        transaction: &mut Transaction<'_>,
        record: &ResourceRecord,
    ) {
        let (id, now) = (&record.installation_id, self.clock.timestamp());
        let mut item = keys::resource(id, &record.id);
        let optional = |value: &Option<String>| value.as_ref().map(s);
        let values = [
            ("status", Some(s(status(record.status.unwrap_or(StatusRecord::Ready))))),
            ("name", optional(&record.name)),
            ("productId", optional(&record.product_id)),
            ("registeredAt", Some(time(now))),
            ("updatedAt", Some(time(now))),
        ];
        for (name, value) in values {
            item.extend(value.map(|value| (name.to_owned(), value)));
        }
        transaction.put(Part::Resource, item, Some(absent()));
        let receipt = keys::resource_receipt(id, &record.id);
        transaction.check(Part::Receipt, receipt, absent_or_expired(now));
        // An announcement may still be pending when the receipt has expired, if the provider cannot be
        // reached or answers 202.
        let announcement = work::key(&Job::AnnounceResource(record.id.clone()), id);
        transaction.check(Part::Announcement, announcement, absent());
    }

    fn update_resource(&self, record: &ResourceRecord) -> Transaction<'_> {
        let id = &record.installation_id;
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Part::Installation, keys::installation(id), active());
        self.update_known_resource(&mut transaction, record);
        transaction
    }

    /// Updates a registered resource with the values that the record has.
    pub(super) fn update_known_resource(
        &self,
        transaction: &mut Transaction<'_>,
        record: &ResourceRecord,
    ) {
        let id = &record.installation_id;
        let mut change =
            Expression::new("SET updatedAt = :now").value(":now", time(self.clock.timestamp()));
        if let Some(to) = record.status {
            change = change.set("#status = :status").name("#status", "status");
            change = change.value(":status", s(status(to)));
        }
        if let Some(name) = &record.name {
            change = change.set("#name = :name").name("#name", "name").value(":name", s(name));
        }
        if let Some(product) = &record.product_id {
            change = change.set("productId = :product").value(":product", s(product));
        }
        let there = Expression::new("attribute_exists(pk)");
        transaction.update(Part::Resource, keys::resource(id, &record.id), change, there);
    }

    async fn register_belonging(
        &self,
        id: &InstallationId,
        item: Item,
    ) -> Result<(), RegisterError> {
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Part::Installation, keys::installation(id), active());
        transaction.put(Part::Other, item, None);
        match self.in_time(transaction.commit(&self.client)).await? {
            Committed::Yes => Ok(()),
            Committed::No(evidence) => {
                Findings::read(evidence)?.refuse()?;
                Err(RegisterError::InstallationUnknown)
            }
        }
    }

    /// All items of an installation's partition, in the order of their sort keys. The outcomes of idempotency
    /// keys are not in this partition.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn items(&self, id: &InstallationId) -> Result<Vec<Item>, Error> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(keys::partition(id)))
            .consistent_read(true)
            .into_paginator()
            .send();
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            items.extend(page.map_err(store_error)?.items.unwrap_or_default());
        }
        Ok(items)
    }
}

impl Findings {
    pub(super) fn read(evidence: Vec<(Part, Option<Item>)>) -> Result<Self, Error> {
        let mut findings = Self::default();
        for (row, item) in evidence {
            match (row, item) {
                (Part::Installation, None) => findings.installation = Some(Installation::Absent),
                (Part::Installation, Some(item)) => {
                    findings.installation = Some(parse_installation(&item)?);
                }
                (Part::Resource, item) => findings.resource_is_there = item.is_some(),
                (Part::Receipt, item) => findings.has_receipt = item.is_some(),
                (Part::Announcement, item) => findings.announcement_is_pending = item.is_some(),
                (Part::Outcome | Part::Intent | Part::Other, _) => {}
            }
        }
        Ok(findings)
    }

    /// Refuses the record if no transaction can register it. `Ok` if the caller can try another transaction.
    pub(super) fn refuse(&self) -> Result<(), RegisterError> {
        match self.installation {
            Some(Installation::Absent) => Err(RegisterError::InstallationUnknown),
            Some(Installation::Deleted { .. }) => Err(RegisterError::InstallationDeleted),
            // If a live resource has a valid receipt, a writer of the table broke the rules. The receipt of a
            // live resource is ignored.
            _ if self.has_receipt && !self.resource_is_there => Err(RegisterError::ResourceDeleted),
            _ if self.announcement_is_pending && !self.resource_is_there => {
                Err(RegisterError::ResourceUnannounced)
            }
            _ => Ok(()),
        }
    }
}

//! Registration: what can be deleted gets into the table, with the care that deletions rely on.
//!
//! A resource is added in one transaction that requires its installation to be active, counts it
//! there, and requires that neither a receipt nor an announcement of its deletion is there (C4, D4,
//! G1). An announcement may outlive the receipt, and the provider would take it for one of the
//! resource that is registered now. For the same reason a deletion that finds no resource leaves a
//! pending announcement as it is. Backends in other languages write the same transactions:
//! `docs/writing-the-table.md` has them.

use serde::de::value::{Error as NoSuchWord, StrDeserializer};
use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};

use super::attr::{n, s, time, truth};
use super::conditions::{absent, absent_or_expired, active};
use super::evidence::parse_installation;
use super::keys::Attachment::{EnvVar, LogDrain, Webhook};
use super::keys::{self, Item};
use super::transaction::{Committed, Expression, Part, Transaction};
use super::{Store, store_error, work};
use crate::deletion::Installation;
use crate::error::Error;
use crate::ids::{AttachmentId, InstallationId, ResourceId};
use crate::job::Job;
use crate::secret::Secret;

/// A thing to register, as a line of `cargo dev import` has it. What is there already is updated;
/// optional values that are absent stay as they are.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Record {
    /// An installation.
    Installation(InstallationRecord),
    /// A resource of an installation.
    Resource(ResourceRecord),
    /// A webhook of an installation.
    Webhook(BelongingRecord),
    /// A log drain of an installation.
    LogDrain(BelongingRecord),
    /// A project's environment variable of an installation.
    EnvVar(EnvVarRecord),
    /// An installation's access token, in place of the one before.
    AccessToken(AccessTokenRecord),
}

impl Record {
    /// The installation that the record belongs to.
    #[must_use]
    pub fn installation(&self) -> &InstallationId {
        match self {
            Self::Installation(record) => &record.id,
            Self::Resource(record) => &record.installation_id,
            Self::Webhook(record) | Self::LogDrain(record) => &record.installation_id,
            Self::EnvVar(record) => &record.installation_id,
            Self::AccessToken(record) => &record.installation_id,
        }
    }
}

/// An installation, as Vercel told it when it was made.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationRecord {
    /// Its id.
    pub id: InstallationId,
    /// The account that it belongs to.
    pub account_id: String,
    /// The team that it belongs to.
    pub team_id: Option<String>,
    /// The team's slug.
    pub team_slug: Option<String>,
    /// The token that Vercel's API takes for it.
    #[serde(default, deserialize_with = "access_token")]
    pub access_token: Option<Secret>,
    /// Whether the installation's invoices are settled. They are open if no registration says so (D1).
    pub billing: Option<BillingRecord>,
}

/// Whether an installation's invoices are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BillingRecord {
    /// They are.
    Settled,
    /// A final invoice may follow.
    Open,
}

/// A resource.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRecord {
    /// The installation that it belongs to.
    pub installation_id: InstallationId,
    /// The provider's id of it.
    pub id: ResourceId,
    /// Its name.
    pub name: Option<String>,
    /// The product that it is of.
    pub product_id: Option<String>,
    /// Its status; `ready` where it was never said (C2).
    pub status: Option<StatusRecord>,
}

/// A resource's status: `provisioning`, or as Vercel has them. [`Self::Provisioning`] and
/// [`Self::Pending`] are still being provisioned, and every other one can be deleted (C2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusRecord {
    /// It is still being made.
    Provisioning,
    /// Vercel's word for it.
    Pending,
    /// It can be used.
    Ready,
    /// Its customer has something to do yet.
    Onboarding,
    /// It cannot be used for now.
    Suspended,
    /// It can be used again.
    Resumed,
    /// It is not there any more.
    Uninstalled,
    /// It failed.
    Error,
}

impl StatusRecord {
    /// The status that Vercel words so.
    pub(super) fn of_vercel(word: &str) -> Option<Self> {
        let word: StrDeserializer<'_, NoSuchWord> = word.into_deserializer();
        Self::deserialize(word).ok().filter(|it| *it != Self::Provisioning)
    }
}

/// A webhook or a log drain.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BelongingRecord {
    /// The installation that it belongs to.
    pub installation_id: InstallationId,
    /// Its id.
    pub id: AttachmentId,
}

/// A project's environment variable.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVarRecord {
    /// The installation that it belongs to.
    pub installation_id: InstallationId,
    /// Its id.
    pub id: AttachmentId,
    /// The project that it is set in.
    pub project_id: String,
    /// Its name.
    pub key: String,
}

/// An access token that takes the place of another, also after an uninstall: final invoices and the
/// finalization need it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessTokenRecord {
    /// The installation that it is for.
    pub installation_id: InstallationId,
    /// The token that Vercel's API takes for it.
    #[serde(deserialize_with = "visible_ascii")]
    pub access_token: Secret,
}

/// Reads a token that a header can carry, and that has to be there.
fn visible_ascii<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    access_token(deserializer)?.ok_or_else(|| D::Error::custom("an access token is missing"))
}

/// Reads a token that a header can carry. The error does not repeat it.
fn access_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let Some(token) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(D::Error::custom("an access token is 1 or more visible ASCII characters"));
    }
    Ok(Some(Secret::new(token)))
}

/// Why a record is refused. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The installation was deleted; a re-install has a new id (D5).
    #[error("the installation was deleted")]
    InstallationDeleted,
    /// The installation is finalized, and needs no access token any more (D6).
    #[error("the installation is finalized, and its access token is erased for good")]
    InstallationFinalized,
    /// The installation was never registered.
    #[error("the installation is not registered")]
    InstallationUnknown,
    /// The resource was deleted, and its receipt stands (C4).
    #[error("the resource was deleted")]
    ResourceDeleted,
    /// The resource was deleted, and the provider has not been told yet: it would take the
    /// announcement for one of what is registered now (G1).
    #[error("the resource was deleted, and that is still to be announced")]
    ResourceUnannounced,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The evidence of a registration's transaction.
#[derive(Default)]
pub(super) struct Findings {
    installation: Option<Installation>,
    resource_is_there: bool,
    receipt_stands: bool,
    announcement_is_pending: bool,
}

impl Store {
    /// Registers a record, or updates what is there.
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

    /// Replaces an installation's access token, as long as one is needed.
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
            // Added, or else updated; and again, where it was added or deleted in between.
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

    /// Adds a resource that is counted by the same transaction, where neither it nor a receipt nor an
    /// announcement of it is there (C4, D4, G1).
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
        // It may outlive the receipt, where the provider is out of reach or still at it.
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

    /// Updates a resource that is there, with what the record says of it.
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

    /// Everything that is stored of an installation, in the order of its sort keys; without what is
    /// recorded under idempotency keys.
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

/// A resource's status as its item has it.
pub(super) fn status(status: StatusRecord) -> &'static str {
    match status {
        StatusRecord::Provisioning => "provisioning",
        StatusRecord::Pending => "pending",
        StatusRecord::Ready => "ready",
        StatusRecord::Onboarding => "onboarding",
        StatusRecord::Suspended => "suspended",
        StatusRecord::Resumed => "resumed",
        StatusRecord::Uninstalled => "uninstalled",
        StatusRecord::Error => "error",
    }
}

impl Findings {
    pub(super) fn read(evidence: Vec<(Part, Option<Item>)>) -> Result<Self, Error> {
        let mut findings = Self::default();
        for (row, item) in evidence {
            match (row, item) {
                (Part::Installation, None) => findings.installation = Some(Installation::Unknown),
                (Part::Installation, Some(item)) => {
                    findings.installation = Some(parse_installation(&item)?);
                }
                (Part::Resource, item) => findings.resource_is_there = item.is_some(),
                (Part::Receipt, item) => findings.receipt_stands = item.is_some(),
                (Part::Announcement, item) => findings.announcement_is_pending = item.is_some(),
                (Part::Outcome | Part::Intent | Part::Other, _) => {}
            }
        }
        Ok(findings)
    }

    /// Refuses what no other transaction can register.
    pub(super) fn refuse(&self) -> Result<(), RegisterError> {
        match self.installation {
            Some(Installation::Unknown) => Err(RegisterError::InstallationUnknown),
            Some(Installation::Deleted { .. }) => Err(RegisterError::InstallationDeleted),
            // A receipt beside a resource was left by a writer that broke the rules.
            _ if self.receipt_stands && !self.resource_is_there => {
                Err(RegisterError::ResourceDeleted)
            }
            _ if self.announcement_is_pending && !self.resource_is_there => {
                Err(RegisterError::ResourceUnannounced)
            }
            _ => Ok(()),
        }
    }
}

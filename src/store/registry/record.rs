//! What can be registered: a line of `teardown import`.

use serde::de::value::{Error as NoSuchWord, StrDeserializer};
use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};

use crate::ids::{AttachmentId, InstallationId, ResourceId};
use crate::secret::Secret;

/// A line of `teardown import`. What is registered already is updated;
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
    /// Its status; `ready` if it was never reported (C2).
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
    pub(in crate::store) fn of_vercel(word: &str) -> Option<Self> {
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

/// A resource's status as its item says.
pub(in crate::store) fn status(status: StatusRecord) -> &'static str {
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

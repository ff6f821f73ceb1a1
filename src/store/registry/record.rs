//! The records that can be registered: the lines of `teardown import`.

use serde::de::value::{Error as NoSuchWord, StrDeserializer};
use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};

use crate::ids::{AttachmentId, InstallationId, ResourceId};
use crate::secret::Secret;

/// A line of `teardown import`. If the line's item is already registered, the line updates it. If the line
/// lacks an optional value, the stored value does not change.
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
    /// An environment variable that belongs to an installation, and is set in a project.
    EnvVar(EnvVarRecord),
    /// An installation's access token, which replaces the stored token.
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

/// An installation, with the values that Vercel sent when the customer installed the integration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationRecord {
    /// The installation's id.
    pub id: InstallationId,
    /// The account that the installation belongs to.
    pub account_id: String,
    /// The team that the installation belongs to.
    pub team_id: Option<String>,
    /// The team's slug.
    pub team_slug: Option<String>,
    /// The token for calls to Vercel's API about the installation.
    #[serde(default, deserialize_with = "access_token")]
    pub access_token: Option<Secret>,
    /// Whether the installation's invoices are settled. If no value was ever registered, the invoices are
    /// open (D1).
    pub billing: Option<BillingRecord>,
}

/// Whether an installation's invoices are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BillingRecord {
    /// The invoices are settled.
    Settled,
    /// A final invoice may follow.
    Open,
}

/// A resource.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRecord {
    /// The installation that the resource belongs to.
    pub installation_id: InstallationId,
    /// The provider's id of the resource.
    pub id: ResourceId,
    /// The resource's name.
    pub name: Option<String>,
    /// The id of the resource's product.
    pub product_id: Option<String>,
    /// The resource's status. The status is `ready` if no status was ever reported (C2).
    pub status: Option<StatusRecord>,
}

/// A resource's status: teardown's own `provisioning`, or a status of Vercel's. A resource with
/// [`Self::Provisioning`] or [`Self::Pending`] is still being provisioned. A resource with any other status
/// can be deleted (C2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusRecord {
    /// The resource is still being made.
    Provisioning,
    /// The resource is still being made. Vercel's name for this status is `pending`, and teardown's is
    /// `provisioning`.
    Pending,
    /// The resource can be used.
    Ready,
    /// The customer still has something to do.
    Onboarding,
    /// The resource cannot be used at the moment.
    Suspended,
    /// The resource can be used again after it was suspended.
    Resumed,
    /// The resource no longer exists.
    Uninstalled,
    /// The resource has failed.
    Error,
}

impl StatusRecord {
    /// The status that Vercel calls `word`. `None` if Vercel has no such status.
    pub(in crate::store) fn of_vercel(word: &str) -> Option<Self> {
        let word: StrDeserializer<'_, NoSuchWord> = word.into_deserializer();
        Self::deserialize(word).ok().filter(|it| *it != Self::Provisioning)
    }
}

/// A webhook or a log drain.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BelongingRecord {
    /// The installation that the webhook or log drain belongs to.
    pub installation_id: InstallationId,
    /// The id of the webhook or log drain.
    pub id: AttachmentId,
}

/// A project's environment variable.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVarRecord {
    /// The installation that the variable belongs to.
    pub installation_id: InstallationId,
    /// The variable's id.
    pub id: AttachmentId,
    /// The project that the variable is set in.
    pub project_id: String,
    /// The variable's name.
    pub key: String,
}

/// An access token that replaces the stored token. A token can be replaced after an uninstall too, because
/// final invoices and the finalization need the token.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessTokenRecord {
    /// The installation that the token is for.
    pub installation_id: InstallationId,
    /// The token for calls to Vercel's API about the installation.
    #[serde(deserialize_with = "visible_ascii")]
    pub access_token: Secret,
}

/// Reads an access token in the same way as [`access_token`], but fails if there is no token.
fn visible_ascii<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    access_token(deserializer)?.ok_or_else(|| D::Error::custom("an access token is missing"))
}

/// Reads an access token, and fails if the token cannot be sent in an HTTP header. The text of the error does
/// not contain the token.
fn access_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let Some(token) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(D::Error::custom("an access token is 1 or more visible ASCII characters"));
    }
    Ok(Some(Secret::new(token)))
}

/// The value that a resource's item stores for this status.
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

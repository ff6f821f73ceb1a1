//! The table's keys, and the attributes that several kinds of items have.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attr::s;
use super::{Malformed, attr};
use crate::deletion::Stage;
use crate::error::Error;
use crate::grant::{Actor, Provenance};
use crate::ids::{AttachmentId, IdempotencyKey, InstallationId, ResourceId};

/// An item, or an item's key.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The name of the sparse index of jobs and holds.
pub const DUE_INDEX: &str = "due";

/// The value of `deletedBy`: a map that says who made the deletion.
pub(crate) fn actor(by: &Actor) -> AttributeValue {
    let mut map = HashMap::from([
        ("accountId".to_owned(), s(by.account())),
        ("kind".to_owned(), s(by.kind())),
    ]);
    if let Actor::User { user, .. } = by {
        map.insert("userId".to_owned(), s(user));
        // Only users with the role `ADMIN` may delete (A5).
        map.insert("role".to_owned(), s("ADMIN"));
    }
    AttributeValue::M(map)
}

/// The `state` of an installation at this stage of its deletion. The stage `None` has the state `active`.
pub(crate) fn state(stage: Option<Stage>) -> &'static str {
    match stage {
        None => "active",
        Some(Stage::Deleting) => "deleting",
        Some(Stage::Purged) => "purged",
        Some(Stage::Finalized) => "finalized",
    }
}

/// The stage of an installation's deletion, as the installation's item says. `None` if the `state` is
/// `active`.
///
/// # Errors
///
/// [`Error::Internal`] if the item's `state` is unknown. An unknown state does not show whether the
/// installation is deleted.
pub(crate) fn stage(item: &Item) -> Result<Option<Stage>, Error> {
    let stages = [None, Some(Stage::Deleting), Some(Stage::Purged), Some(Stage::Finalized)];
    let stored = attr::str(item, "state");
    let known = stages.into_iter().find(|stage| Some(state(*stage)) == stored);
    known.ok_or_else(|| Malformed::error(item, "its `state` is unknown"))
}

/// By whom, when and why something was deleted, as an item says. `None` if the item lacks `deletedBy` or
/// `deletedAt`.
pub(crate) fn provenance(item: &Item) -> Option<Provenance> {
    let by = item.get("deletedBy")?.as_m().ok()?;
    let account = attr::str(by, "accountId")?.to_owned();
    let by = match attr::str(by, "userId") {
        Some(user) => Actor::User { account, user: user.to_owned() },
        None => Actor::System { account },
    };
    Some(Provenance {
        by,
        at: attr::timestamp(item, "deletedAt")?,
        reason: attr::str(item, "reason").map(str::to_owned),
    })
}

/// The partition key of an installation's items.
pub(crate) fn partition(installation: &InstallationId) -> String {
    format!("installation#{installation}")
}

fn key(pk: String, sk: String) -> Item {
    HashMap::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

/// `#installation`: the installation itself.
pub(crate) fn installation(id: &InstallationId) -> Item {
    key(partition(id), "#installation".to_owned())
}

/// `#token`: the installation's access token, in a separate item (D6).
pub(crate) fn token(id: &InstallationId) -> Item {
    key(partition(id), "#token".to_owned())
}

/// The prefix of resources' sort keys.
pub(crate) const RESOURCES: &str = "resource#";

/// `resource#…`: a resource.
pub(crate) fn resource(id: &InstallationId, resource: &ResourceId) -> Item {
    key(partition(id), format!("{RESOURCES}{resource}"))
}

/// `receipt#installation`: the receipt of the installation's deletion.
pub(crate) fn installation_receipt(id: &InstallationId) -> Item {
    key(partition(id), "receipt#installation".to_owned())
}

/// `receipt#resource#…`: the receipt of a resource's deletion, which is the resource's tombstone too (C4).
pub(crate) fn resource_receipt(id: &InstallationId, resource: &ResourceId) -> Item {
    key(partition(id), format!("receipt#resource#{resource}"))
}

/// `work#…`: a job.
pub(crate) fn work(id: &InstallationId, what: &str) -> Item {
    key(partition(id), format!("work#{what}"))
}

/// The prefix of announcements' sort keys.
pub(crate) const ANNOUNCEMENTS: &str = "work#announce#";

/// `hold#installation`, `hold#resource#…`: a hold on a whole installation, or on a resource (H2).
pub(crate) fn hold(id: &InstallationId, resource: Option<&ResourceId>) -> Item {
    let on = resource.map_or("installation".to_owned(), |resource| format!("resource#{resource}"));
    key(partition(id), format!("hold#{on}"))
}

/// The kinds of items that, like resources, belong to an installation and are purged with it (D6).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attachment {
    Webhook,
    LogDrain,
    EnvVar,
}

impl Attachment {
    pub(crate) const ALL: [Self; 3] = [Self::Webhook, Self::LogDrain, Self::EnvVar];

    /// The prefix of the sort keys of this kind of item.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Webhook => "webhook#",
            Self::LogDrain => "drain#",
            Self::EnvVar => "env#",
        }
    }
}

/// `webhook#…`, `drain#…`, `env#…`: a webhook, a log drain or an environment variable.
pub(crate) fn belonging(id: &InstallationId, kind: Attachment, name: &AttachmentId) -> Item {
    key(partition(id), format!("{}{name}", kind.prefix()))
}

/// `receipt#configuration`: the receipt of a configuration that was deleted after its installation.
pub(crate) fn configuration_receipt(id: &InstallationId) -> Item {
    key(partition(id), "receipt#configuration".to_owned())
}

/// `key#…`: the outcome recorded under an idempotency key (F1).
pub(crate) fn outcome(id: &InstallationId, operation: &str, idempotency: &IdempotencyKey) -> Item {
    key(format!("key#{id}#{operation}#{}", idempotency.sha256()), "outcome".to_owned())
}

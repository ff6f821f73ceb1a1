//! What a deletion owes: items written in its own transaction, found by the sparse index `due`.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::FINALIZATION_PERIOD;
use crate::deletion::{Deletion, Target};
use crate::ids::{ResourceId, sha256_hex};
use crate::store::keys::{self, Item, n, s, time};

/// How many values `due_shard` has, so that sweeps share the index. Changing it strands what is due
/// under the values that went.
const SHARDS: u8 = 8;

/// A thing owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// The announcement of a resource's deletion to the provider (G1).
    AnnounceResource(ResourceId),
    /// The announcement of an installation's deletion to the provider (G1).
    AnnounceInstallation,
    /// The purge of a deleted installation's items (G2).
    Purge,
    /// The finalization of a deleted installation at Vercel (G3), forced so long before the end of
    /// the 24 hours.
    Finalize(Duration),
}

impl Owed {
    /// The item to write for what `deletion` owes. There is one fixed key per thing owed.
    pub(crate) fn item(&self, deletion: &Deletion) -> Item {
        let installation = &deletion.grant.installation;
        let (kind, what, due) = match self {
            Self::AnnounceResource(resource) => {
                ("announce", format!("announce#resource#{resource}"), deletion.at)
            }
            Self::AnnounceInstallation => {
                ("announce", "announce#installation".to_owned(), deletion.at)
            }
            Self::Purge => ("purge", "purge".to_owned(), deletion.at),
            Self::Finalize(margin) => (
                "finalize",
                "finalize".to_owned(),
                deletion.at + FINALIZATION_PERIOD.saturating_sub(*margin),
            ),
        };
        let mut item = keys::work(installation, &what);
        item.extend([
            ("kind".to_owned(), s(kind)),
            ("installationId".to_owned(), s(installation.as_str())),
            ("due_shard".to_owned(), s(shard(installation.as_str(), &what))),
            ("due_at".to_owned(), time(due)),
            ("attempts".to_owned(), n(0)),
            ("fence".to_owned(), n(0)),
        ]);
        match self {
            Self::AnnounceResource(resource) => {
                item.insert("resourceId".to_owned(), s(resource.as_str()));
                item.extend(announcement(deletion, "resource.deleted", resource.as_str()));
            }
            Self::AnnounceInstallation => {
                item.extend(announcement(deletion, "installation.deleted", ""));
                if let Target::Installation { reason: Some(reason), .. } = &deletion.target {
                    item.insert("reason".to_owned(), s(reason));
                }
            }
            Self::Purge | Self::Finalize(_) => {}
        }
        item
    }
}

/// What is announced. The `webhook-id` is derived from what was deleted and when, so that every
/// attempt has the same, and a resource that is registered again after its receipt expired another.
fn announcement(deletion: &Deletion, event: &str, resource: &str) -> Item {
    let installation = deletion.grant.installation.as_str();
    let deleted = serde_json::json!([event, installation, resource, deletion.at.as_secs()]);
    let digest = sha256_hex(deleted.to_string().as_bytes());
    Item::from([
        ("webhookId".to_owned(), s(format!("msg_{}", &digest[..32]))),
        ("event".to_owned(), s(event)),
        ("deletedAt".to_owned(), time(deletion.at)),
        ("deletedBy".to_owned(), keys::actor(&deletion.grant.by)),
    ])
}

/// The shard of a thing owed: always the same for the same thing.
fn shard(installation: &str, what: &str) -> String {
    let digest = Sha256::digest(format!("{installation}#{what}"));
    (digest[0] % SHARDS).to_string()
}

//! What a deletion owes, as items: written in its own transaction, found by the sparse index `due`.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::config::FINALIZATION_PERIOD;
use crate::grant::Provenance;
use crate::ids::{InstallationId, ResourceId, sha256_hex};
use crate::store::keys::{self, Item, n, s, time};

/// How many values `due_shard` has, so that sweeps share the index. Changing it strands what is due
/// under the values that went.
const SHARDS: u8 = 8;

/// The shard of what is to be done at Vercel, which has its 24 hours to be done in: it is swept
/// first, and no provider that hangs stands in its way.
const URGENT: u8 = 0;

/// The value of `due_shard` of what is parked: it stays in the index and is listed, but no sweep
/// asks for that shard.
pub(crate) const PARKED: &str = "parked";

/// A thing owed. There is one fixed key per thing owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// The announcement of a resource's deletion to the provider (G1).
    AnnounceResource(ResourceId),
    /// The announcement of an installation's deletion to the provider (G1).
    AnnounceInstallation,
    /// The purge of a deleted installation's items (G2).
    Purge,
    /// The finalization of a deleted installation at Vercel (G3).
    Finalize,
    /// The deletion of a configuration, which was begun and has not ended (E3).
    Configuration,
}

/// The sort key of its item, after `work#`.
impl fmt::Display for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnnounceResource(resource) => write!(f, "announce#resource#{resource}"),
            Self::AnnounceInstallation => f.write_str("announce#installation"),
            Self::Purge => f.write_str("purge"),
            Self::Finalize => f.write_str("finalize"),
            Self::Configuration => f.write_str("configuration"),
        }
    }
}

impl Owed {
    /// What is owed under a sort key.
    pub(crate) fn parse(sort_key: &str) -> Option<Self> {
        match sort_key.strip_prefix("work#")? {
            "announce#installation" => Some(Self::AnnounceInstallation),
            "purge" => Some(Self::Purge),
            "finalize" => Some(Self::Finalize),
            "configuration" => Some(Self::Configuration),
            other => {
                let resource = other.strip_prefix("announce#resource#")?;
                ResourceId::parse(resource).ok().map(Self::AnnounceResource)
            }
        }
    }

    /// What kind of work it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::AnnounceResource(_) | Self::AnnounceInstallation => "announce",
            Self::Purge => "purge",
            Self::Finalize => "finalize",
            Self::Configuration => "configuration",
        }
    }

    /// The key of its item.
    pub(crate) fn key(&self, installation: &InstallationId) -> Item {
        keys::work(installation, &self.to_string())
    }

    /// The shard that it is due under: always the same for the same thing.
    pub(crate) fn shard(&self, installation: &InstallationId) -> String {
        let shard = match self {
            Self::Finalize | Self::Configuration => URGENT,
            Self::AnnounceResource(_) | Self::AnnounceInstallation | Self::Purge => {
                let digest = Sha256::digest(format!("{installation}#{self}"));
                URGENT + 1 + digest[0] % (SHARDS - 1)
            }
        };
        shard.to_string()
    }

    /// Every shard that work is due under, the urgent one first.
    pub(crate) fn shards() -> impl Iterator<Item = String> {
        (0..SHARDS).map(|shard| shard.to_string())
    }

    /// The item to write, due at `due`, for what was deleted so.
    pub(crate) fn item(
        &self,
        installation: &InstallationId,
        due: Timestamp,
        provenance: &Provenance,
    ) -> Item {
        let mut item = self.key(installation);
        item.extend([
            ("kind".to_owned(), s(self.kind())),
            ("installationId".to_owned(), s(installation.as_str())),
            ("due_shard".to_owned(), s(self.shard(installation))),
            ("due_at".to_owned(), time(due)),
            ("attempts".to_owned(), n(0)),
            // Never one that a thing owed under this key had before: its worker may still be about.
            ("fence".to_owned(), n(provenance.at.as_secs().cast_signed().saturating_mul(1000))),
            ("deletedAt".to_owned(), time(provenance.at)),
            ("deletedBy".to_owned(), keys::actor(&provenance.by)),
        ]);
        if let Some(reason) = &provenance.reason {
            item.insert("reason".to_owned(), s(reason));
        }
        let announced = match self {
            Self::AnnounceResource(resource) => Some(("resource.deleted", resource.as_str())),
            Self::AnnounceInstallation => Some(("installation.deleted", "")),
            Self::Purge | Self::Finalize | Self::Configuration => None,
        };
        if let Some((event, resource)) = announced {
            let id = webhook_id(event, installation, resource, provenance.at);
            item.insert("webhookId".to_owned(), s(id));
        }
        item
    }
}

/// When finalization is forced: so long before the end of Vercel's 24 hours (G3).
pub(crate) fn finalization_due(deleted_at: Timestamp, margin: Duration) -> Timestamp {
    deleted_at + FINALIZATION_PERIOD.saturating_sub(margin)
}

/// The `webhook-id` is derived from what was deleted and when, so that every attempt has the same,
/// and a resource that is registered again after its receipt expired another (G1).
fn webhook_id(event: &str, installation: &InstallationId, resource: &str, at: Timestamp) -> String {
    let deleted = serde_json::json!([event, installation.as_str(), resource, at.as_secs()]);
    let digest = sha256_hex(deleted.to_string().as_bytes());
    format!("msg_{}", &digest[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G1, G2, G3: what is owed can be read back from its key, and has one shard of those swept.
    #[test]
    fn a_key_says_what_is_owed() {
        let installation = InstallationId::parse("icfg_1").unwrap();
        let resource = ResourceId::parse("announce:installation").unwrap();
        for owed in [
            Owed::AnnounceResource(resource),
            Owed::AnnounceInstallation,
            Owed::Purge,
            Owed::Finalize,
            Owed::Configuration,
        ] {
            let key = owed.key(&installation);
            assert_eq!(keys::text(&key, "sk").and_then(Owed::parse), Some(owed.clone()));
            assert!(Owed::shards().any(|shard| shard == owed.shard(&installation)));
        }
        for other in
            ["work#", "work#other", "purge", "work#announce#resource#", "receipt#resource#x"]
        {
            assert_eq!(Owed::parse(other), None, "{other}");
        }
    }
}

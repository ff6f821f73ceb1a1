//! Jobs: what is left to do after a deletion's own transaction, or after a call that passed through.
//! Decisions alone, without I/O.
//!
//! A deletion writes its jobs in its transaction. A worker claims each under a lease, after the answer
//! or at a sweep. `retry` says when a job that failed is tried again, `announcement` how an announcement
//! goes through its two phases, and what a hold does to it, `incident` what the provider is told of.

pub mod announcement;
pub(crate) mod incident;
pub(crate) mod retry;

use std::fmt;
use std::ops::AddAssign;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::ids::{IdempotencyKey, InstallationId, ResourceId, sha256_hex};
use crate::job::announcement::Phase;

/// The number of values that `dueShard` has. Sweeps that run at once read them in random order, so that
/// they mostly meet different jobs. A smaller number strands the jobs under the values that went.
const SHARDS: u8 = 8;

/// The shard of jobs that call Vercel, which gives a finalization 24 hours: it is swept first, so that
/// no provider that hangs delays it.
const URGENT: u8 = 0;

/// The value of `dueShard` of a parked job: it is listed, and never due.
pub(crate) const PARKED_SHARD: &str = "parked";

/// The value of `dueShard` of a job that a hold stops: it is never due.
pub(crate) const HELD_SHARD: &str = "held";

/// The value of `dueShard` of a hold: it is listed.
pub(crate) const HOLDS_SHARD: &str = "holds";

/// A job. An installation has at most one item for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// The announcement of a resource's deletion to the provider (G1).
    AnnounceResource(ResourceId),
    /// The announcement of an installation's deletion to the provider (G1).
    AnnounceInstallation,
    /// The purge of a deleted installation's items (G2).
    Purge,
    /// The finalization of a deleted installation at Vercel (G3).
    Finalize,
    /// The deletion of a configuration, which was begun and has not ended (E3).
    DeleteConfiguration,
    /// A Provision that was passed on and of which nobody recorded the end (J4): the installation is
    /// compared with Vercel.
    ReconcileProvision(IntentId),
}

/// What tells a Provision's intent from the others of its installation: the SHA-256 of its idempotency key, or
/// of something random, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IntentId(String);

impl IntentId {
    /// The intent of the requests with this key.
    pub(crate) fn of(key: &IdempotencyKey) -> Self {
        Self(key.sha256().to_owned())
    }

    /// The intent of a request without a key.
    pub(crate) fn random() -> Self {
        Self(sha256_hex(&fastrand::u128(..).to_be_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }
}

/// The sort key of its item, after `work#`.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnnounceResource(resource) => write!(f, "announce#resource#{resource}"),
            Self::AnnounceInstallation => f.write_str("announce#installation"),
            Self::Purge => f.write_str("purge"),
            Self::Finalize => f.write_str("finalize"),
            Self::DeleteConfiguration => f.write_str("configuration"),
            Self::ReconcileProvision(IntentId(id)) => write!(f, "provision#{id}"),
        }
    }
}

impl Job {
    /// The job of an item with this sort key.
    pub(crate) fn parse(sort_key: &str) -> Option<Self> {
        match sort_key.strip_prefix("work#")? {
            "announce#installation" => Some(Self::AnnounceInstallation),
            "purge" => Some(Self::Purge),
            "finalize" => Some(Self::Finalize),
            "configuration" => Some(Self::DeleteConfiguration),
            other => {
                if let Some(id) = other.strip_prefix("provision#") {
                    return IntentId::parse(id).map(Self::ReconcileProvision);
                }
                let resource = other.strip_prefix("announce#resource#")?;
                ResourceId::parse(resource).ok().map(Self::AnnounceResource)
            }
        }
    }

    /// The kind of the job, as its item names it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::AnnounceResource(_) | Self::AnnounceInstallation => "announce",
            Self::Purge => "purge",
            Self::Finalize => "finalize",
            Self::DeleteConfiguration => "configuration",
            Self::ReconcileProvision(_) => "provision",
        }
    }

    /// Whether it is due as soon as it is there. The others wait: a finalization for the invoices, a
    /// configuration's deletion for its request, which holds its lease, a Provision for its backend.
    pub(crate) fn is_due_at_once(&self) -> bool {
        match self {
            Self::AnnounceResource(_) | Self::AnnounceInstallation | Self::Purge => true,
            Self::Finalize | Self::DeleteConfiguration | Self::ReconcileProvision(_) => false,
        }
    }

    /// The shard that the job is due under: always the same for the same job.
    pub(crate) fn shard(&self, installation: &InstallationId) -> String {
        let shard = match self {
            Self::Finalize | Self::DeleteConfiguration | Self::ReconcileProvision(_) => URGENT,
            Self::AnnounceResource(_) | Self::AnnounceInstallation | Self::Purge => {
                let digest = Sha256::digest(format!("{installation}#{self}"));
                URGENT + 1 + digest[0] % (SHARDS - 1)
            }
        };
        shard.to_string()
    }

    /// Every shard that jobs are due under, the urgent one first.
    pub(crate) fn shards() -> impl Iterator<Item = String> {
        (0..SHARDS).map(|shard| shard.to_string())
    }

    /// The event that an announcement sends in a phase (G1, H1). `None` for other jobs.
    pub(crate) fn event(&self, phase: Phase) -> Option<&'static str> {
        Some(match (self, phase) {
            (Self::AnnounceResource(_), Phase::Scheduled) => "resource.deletion_scheduled",
            (Self::AnnounceResource(_), Phase::Deleted) => "resource.deleted",
            (Self::AnnounceInstallation, Phase::Scheduled) => "installation.deletion_scheduled",
            (Self::AnnounceInstallation, Phase::Deleted) => "installation.deleted",
            (
                Self::Purge
                | Self::Finalize
                | Self::DeleteConfiguration
                | Self::ReconcileProvision(_),
                _,
            ) => {
                return None;
            }
        })
    }

    /// The `webhook-id` of an announcement in a phase. `None` for other jobs. It is a function of the event,
    /// of what was deleted and when: every attempt has the same, and a resource that is registered again
    /// after its receipt expired gets a new one (G1, H1).
    pub(crate) fn webhook_id(
        &self,
        phase: Phase,
        installation: &InstallationId,
        deleted_at: Timestamp,
    ) -> Option<String> {
        let event = self.event(phase)?;
        let resource = match self {
            Self::AnnounceResource(resource) => resource.as_str(),
            _ => "",
        };
        Some(message_id(event, installation, resource, deleted_at))
    }
}

/// The `webhook-id` of an event about something of an installation, at some time.
fn message_id(event: &str, installation: &InstallationId, of: &str, at: Timestamp) -> String {
    let parts = [event, installation.as_str(), of].map(serde_json::Value::from);
    let parts = [&parts[..], &[at.as_secs().into()]].concat();
    let digest = sha256_hex(serde_json::Value::from(parts).to_string().as_bytes());
    format!("msg_{}", &digest[..32])
}

/// How the attempts at a job went so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FailureStreak {
    /// How many attempts in a row have failed.
    pub(crate) failures: u32,
    /// When the first of these failed.
    pub(crate) failing_since: Option<Timestamp>,
}

/// How the lease of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobResult {
    /// The job is done.
    Done,
    /// There is more to do: the job is due again at once.
    Unfinished,
    /// The job is due again later.
    Retried,
    /// The job has failed for too long: it is due no more.
    Parked,
    /// A hold stops the job: it is due no more until the hold ends (H2).
    OnHold,
    /// The lease was lost: another worker holds the job, it is done, or it comes due again when the
    /// lease ends.
    Lost,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many jobs it claimed, except those that a DynamoDB error stopped.
    pub claimed: u64,
    /// How many of them are done.
    pub done: u64,
    /// How many of them are due again later.
    pub retried: u64,
    /// How many of them have failed for too long.
    pub parked: u64,
    /// How many of those retried are due again at once.
    #[serde(skip)]
    pub(crate) unfinished: u64,
}

impl Report {
    /// The report of one job that was claimed.
    pub(crate) fn of(result: JobResult) -> Self {
        Self {
            claimed: 1,
            done: u64::from(result == JobResult::Done),
            retried: u64::from([JobResult::Retried, JobResult::Unfinished].contains(&result)),
            unfinished: u64::from(result == JobResult::Unfinished),
            parked: u64::from(result == JobResult::Parked),
        }
    }
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.claimed += other.claimed;
        self.done += other.done;
        self.retried += other.retried;
        self.parked += other.parked;
        self.unfinished += other.unfinished;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G1, G2, G3: a job can be read back from its key, and has one shard of those swept.
    #[test]
    fn a_key_names_its_job() {
        let installation = InstallationId::parse("icfg_1").unwrap();
        let resource = ResourceId::parse("announce:installation").unwrap();
        for job in [
            Job::AnnounceResource(resource),
            Job::AnnounceInstallation,
            Job::Purge,
            Job::Finalize,
            Job::DeleteConfiguration,
            Job::ReconcileProvision(IntentId::random()),
        ] {
            assert_eq!(Job::parse(&format!("work#{job}")), Some(job.clone()));
            assert!(Job::shards().any(|shard| shard == job.shard(&installation)));
        }
        assert_eq!(Job::parse(&format!("work#provision#{}", "A".repeat(64))), None);
        for other in [
            "work#",
            "work#provision#",
            "work#provision#abc",
            "work#other",
            "purge",
            "work#announce#resource#",
            "receipt#resource#x",
        ] {
            assert_eq!(Job::parse(other), None, "{other}");
        }
    }

    /// G1, H1: the event and what was deleted decide the `webhook-id`, and nothing else does.
    #[test]
    fn a_webhook_id_is_of_what_was_deleted() {
        let installation = InstallationId::parse("icfg_1").unwrap();
        let job = Job::AnnounceResource(ResourceId::parse("db_1").unwrap());
        let id =
            |job: &Job, at| job.webhook_id(Phase::Deleted, &installation, Timestamp::from_secs(at));
        insta::assert_snapshot!(id(&job, 1_763_769_600).unwrap(), @"msg_83af908862716021283a108215b58947");
        let notice =
            job.webhook_id(Phase::Scheduled, &installation, Timestamp::from_secs(1_763_769_600));
        assert_ne!(notice, id(&job, 1_763_769_600), "the two events of a deletion have two ids");
        assert_ne!(id(&job, 1_763_769_600), id(&job, 1_763_769_601));
        assert_ne!(id(&job, 1_763_769_600), id(&Job::AnnounceInstallation, 1_763_769_600));
        assert_eq!(id(&Job::Purge, 1_763_769_600), None);
    }
}

//! Jobs: what is left to do after a deletion's transaction, or after a call that the front passed on. This
//! module does no I/O.
//!
//! A deletion writes its jobs in its own transaction. A worker claims each job under a lease, either right
//! after the request's answer or in a sweep. `retry` says when a failed job is tried again. `announcement`
//! has the two phases of an announcement, and says what a hold does to an announcement. `incident` says which
//! failures the provider is notified of.

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

/// The number of shards over which the due jobs are spread. Each sweep reads the urgent shard first and the
/// other shards in random order. Sweeps that run at the same time therefore mostly find different jobs. If
/// the number of shards becomes smaller, no sweep finds the jobs in the removed shards.
const SHARDS: u8 = 8;

/// The shard of jobs that call Vercel. A sweep reads this shard first, because a finalization must be done
/// within Vercel's 24 hours. A provider that does not answer cannot delay the finalization.
const URGENT: u8 = 0;

/// The `dueShard` of a parked job: operators can list the job, and the job is never due.
pub(crate) const PARKED_SHARD: &str = "parked";

/// The `dueShard` of a job that a hold stops: the job is never due.
pub(crate) const HELD_SHARD: &str = "held";

/// The `dueShard` of a hold's item: operators can list the hold.
pub(crate) const HOLDS_SHARD: &str = "holds";

/// A job of an installation. The table has at most one item for each job of an installation.
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
    /// A configuration's deletion that was begun and has not ended (E3).
    DeleteConfiguration,
    /// A Provision that was passed on, and whose end nobody recorded (J4). The worker compares the
    /// installation with Vercel.
    ReconcileProvision(IntentId),
}

/// The id of a Provision's intent in its installation: the SHA-256 of the request's idempotency key, or of
/// a random number, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IntentId(String);

impl IntentId {
    /// The intent of all requests with this key.
    pub(crate) fn of(key: &IdempotencyKey) -> Self {
        Self(key.sha256().to_owned())
    }

    /// A new intent, for a request without a key.
    pub(crate) fn random() -> Self {
        Self(sha256_hex(&fastrand::u128(..).to_be_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }
}

/// Writes the sort key of the job's item, without `work#`.
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
    /// The job whose item has this sort key. `None` if the sort key is not a job's.
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

    /// The value of the item's attribute `kind`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::AnnounceResource(_) | Self::AnnounceInstallation => "announce",
            Self::Purge => "purge",
            Self::Finalize => "finalize",
            Self::DeleteConfiguration => "configuration",
            Self::ReconcileProvision(_) => "provision",
        }
    }

    /// Whether the job is due as soon as it is written. A finalization becomes due later, because final
    /// invoices may still follow. A configuration's deletion becomes due when the lease of its request ends.
    /// A Provision's job becomes due after the longest time that the backend may take to answer.
    pub(crate) fn is_due_at_once(&self) -> bool {
        match self {
            Self::AnnounceResource(_) | Self::AnnounceInstallation | Self::Purge => true,
            Self::Finalize | Self::DeleteConfiguration | Self::ReconcileProvision(_) => false,
        }
    }

    /// The shard in which sweeps find the job when it is due. A job always has the same shard.
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

    /// Every shard in which sweeps find due jobs. The urgent shard is first.
    pub(crate) fn shards() -> impl Iterator<Item = String> {
        (0..SHARDS).map(|shard| shard.to_string())
    }

    /// The event that an announcement sends in a phase (G1, H1). `None` for a job that is not an
    /// announcement.
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

    /// The `webhook-id` of an announcement in this phase (G1, H1). `None` for a job that is not an
    /// announcement. The `webhook-id` depends only on the event, on what was deleted, and on the time of the
    /// deletion. All attempts to send one event have the same `webhook-id`. If a resource is registered again
    /// after its receipt expired, the events of its next deletion have new `webhook-id`s.
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

/// Makes the `webhook-id` of an event from the event's name, its installation, its resource or job, and a
/// time.
fn message_id(event: &str, installation: &InstallationId, of: &str, at: Timestamp) -> String {
    let parts = [event, installation.as_str(), of].map(serde_json::Value::from);
    let parts = [&parts[..], &[at.as_secs().into()]].concat();
    let digest = sha256_hex(serde_json::Value::from(parts).to_string().as_bytes());
    format!("msg_{}", &digest[..32])
}

/// A job's failures since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FailureStreak {
    /// How many attempts in a row have failed.
    pub(crate) failures: u32,
    /// When the job failed for the first time since its last success.
    pub(crate) failing_since: Option<Timestamp>,
}

/// How the lease of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobResult {
    /// The job is done.
    Done,
    /// The job has more to do, and is due again immediately.
    Unfinished,
    /// The job is due again later.
    Retried,
    /// The job is parked: it has failed for too long, or no later attempt can succeed.
    Parked,
    /// A hold stops the job: the job is not due until the hold ends (H2).
    OnHold,
    /// The worker lost its lease. The worker does not know whether another worker holds the job, or the job
    /// is done, or the job is due again.
    Lost,
}

/// How many jobs a sweep claimed, and how these jobs ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many jobs the sweep claimed. A job whose run ended with an error is not
    /// counted.
    pub claimed: u64,
    /// How many of the claimed jobs are done.
    pub done: u64,
    /// How many of the claimed jobs are due again, immediately or later.
    pub retried: u64,
    /// How many of the claimed jobs were parked.
    pub parked: u64,
    /// How many of the retried jobs are due again immediately.
    #[serde(skip)]
    pub(crate) unfinished: u64,
}

impl Report {
    /// The report of one claimed job that ended with this result.
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

    /// G1, G2, G3: a job can be read back from its sort key, and its shard is one of the shards that sweeps
    /// read. A sort key of any other form belongs to no job.
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

    /// G1, H1: the `webhook-id` depends only on the event, on what was deleted, and on the time of the
    /// deletion.
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

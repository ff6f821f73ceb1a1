//! Ends a lease after a failure: the job is due again later, or is parked (G4).

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Lease, LeaseWrite};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::job::announcement::{AnnouncementState, Phase};
use crate::job::incident::finalization_ends;
use crate::job::retry::{self, Retry};
use crate::job::{JobResult, PARKED_SHARD};
use crate::store::Store;
use crate::store::attr::{n, s, time};
use crate::store::transaction::Expression;

/// Why an attempt at a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobFailure {
    /// A text that says what went wrong, for people.
    pub(crate) reason: String,
    /// How long Vercel or the provider asks teardown to wait before the next attempt.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) doubt: Doubt,
    /// Whether no later attempt can succeed.
    pub(crate) is_permanent: bool,
}

/// Whether calls to Vercel (E2) or to the provider (H2) may have taken effect, if a failed attempt shows
/// that. The calls are those of the failed attempt and of earlier attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The attempt shows nothing about calls that cannot be undone, so the stored doubt does not change.
    Unchanged,
    /// The attempt shows whether a call that cannot be undone may have taken effect.
    Known { in_doubt: bool },
}

impl JobFailure {
    pub(crate) fn new(reason: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { reason: reason.into(), retry_after, doubt: Doubt::Unchanged, is_permanent: false }
    }

    /// This failure, marked as permanent: no later attempt can succeed, so the job is parked immediately.
    pub(crate) fn permanent(self) -> Self {
        Self { is_permanent: true, ..self }
    }

    /// The failure of an attempt that was cut off because the host's time was over. The attempt may already
    /// have sent its call.
    pub(crate) fn cut_off(lease: &Lease) -> Self {
        Self::new("the host's time was over", None).in_doubt_if_final(lease)
    }

    /// This failure, marked as in doubt if the attempt may have sent the `deleted` event. A hold is too late
    /// if the `deleted` event may have been sent (H2).
    pub(crate) fn in_doubt_if_final(self, lease: &Lease) -> Self {
        match lease.announcement {
            Some(AnnouncementState { phase: Phase::Deleted, .. }) => {
                Self { doubt: Doubt::Known { in_doubt: true }, ..self }
            }
            _ => self,
        }
    }

    /// The failure of an attempt whose job's item lacks a required attribute.
    pub(crate) fn malformed() -> Self {
        Self::new("its item is malformed", None)
    }
}

impl Store {
    /// Ends a lease with a failure: the job is due again later, or is parked if it has failed for too long or
    /// cannot succeed. This worker logs the result that it wrote. If this worker has lost its lease, another
    /// worker has the lease and logs its own result.
    pub(crate) async fn retry_later(
        &self,
        lease: &Lease,
        failure: JobFailure,
        now: Timestamp,
    ) -> Result<JobResult, Error> {
        let notice_ends = lease.announcement.and_then(|announcement| announcement.notice_ends());
        let (since, next) =
            retry::after_failure(&lease.job, lease.streak, now, failure.retry_after, notice_ends);
        let next = if failure.is_permanent { Retry::Park } else { next };
        let (installation, work, reason) =
            (&lease.installation, lease.job.to_string(), failure.reason.as_str());
        let change = match next {
            Retry::Again(due) => {
                if lease.announcement.is_some()
                    && self.retain_for(lease, due).await? == LeaseWrite::LeaseLost
                {
                    return Ok(JobResult::Lost);
                }
                failed(lease, &failure, since, "dueAt = :due").value(":due", time(due))
            }
            Retry::Park => {
                if self.retain_receipts(lease).await? == LeaseWrite::LeaseLost {
                    return Ok(JobResult::Lost);
                }
                failed(lease, &failure, since, "dueShard = :parked, dueAt = :now")
                    .value(":parked", s(PARKED_SHARD))
                    .value(":now", time(now))
            }
            Retry::SkipNotice => {
                tracing::error!(%installation, work, reason, %since, "a notice is dropped");
                return self.begin_final_phase(lease).await;
            }
        };
        let ended = self.end_lease(lease, change).await;
        if let Ok(LeaseWrite::Written) = ended {
            warn_of_deadline(lease, reason, now);
        }
        match (ended, next) {
            (Ok(LeaseWrite::LeaseLost), _) => Ok(JobResult::Lost),
            (Ok(LeaseWrite::Written), Retry::Again(due)) => {
                tracing::warn!(%installation, work, reason, again = %due, "retry scheduled");
                Ok(JobResult::Retried)
            }
            (Ok(LeaseWrite::Written), Retry::Park | Retry::SkipNotice) => {
                tracing::error!(
                    %installation, work, reason, %since,
                    "parked: it has failed for too long"
                );
                Ok(JobResult::Parked)
            }
            (Err(error), _) => {
                tracing::warn!(
                    %installation, work, reason,
                    "job failed; its retry could not be scheduled"
                );
                Err(error)
            }
        }
    }
}

/// The change that ends a lease with a failure.
fn failed(lease: &Lease, failure: &JobFailure, since: Timestamp, when: &str) -> Expression {
    let change = Expression::new(format!(
        "SET {when}, failures = :failures, failingSince = :since, lastError = :reason"
    ))
    .value(":failures", n(lease.streak.failures.saturating_add(1)))
    .value(":since", time(since))
    .value(":reason", s(&failure.reason));
    let in_doubt = match failure.doubt {
        Doubt::Known { in_doubt } => Some(in_doubt),
        // An earlier worker may have announced the deletion before it died. The dead worker's lease was
        // replaced, so only `inDoubt` can show the doubt.
        Doubt::Unchanged => {
            lease.announcement.and_then(|announcement| announcement.in_doubt.then_some(true))
        }
    };
    let change = match in_doubt {
        Some(in_doubt) => {
            change.set("inDoubt = :inDoubt").value(":inDoubt", AttributeValue::Bool(in_doubt))
        }
        None => change,
    };
    change.remove("leaseUntil")
}

/// Logs an error if a finalization fails, for any reason, near the end of Vercel's 24 hours or later (G3).
fn warn_of_deadline(lease: &Lease, reason: &str, now: Timestamp) {
    let uninstalled_at = lease.provenance.as_ref().map(|provenance| provenance.at);
    if let Some(over) = finalization_ends(&lease.job, uninstalled_at, now) {
        tracing::error!(
            installation = %lease.installation, until = %over, reason,
            "an installation is not finalized, and Vercel's 24 hours are ending"
        );
    }
}

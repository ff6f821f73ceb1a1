//! Incidents: failures that a person must look at. Incidents are logged, and the provider is notified of them
//! (L3). This module does no I/O.

use std::time::Duration;

use super::{FailureStreak, Job, JobResult, message_id};
use crate::clock::Timestamp;
use crate::deletion::FINALIZATION_PERIOD;
use crate::ids::InstallationId;

/// How long before the end of Vercel's 24 hours a failed finalization becomes an error in the log and an
/// incident, so that a person still has time to act.
const ALARM: Duration = Duration::from_hours(1);

/// A failure that a person must look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incident {
    /// A job was parked: no sweep tries it again.
    WorkParked {
        /// When the job began to fail.
        failing_since: Timestamp,
    },
    /// A finalization failed later than 23 h after the uninstall. Vercel waits 24 h for the finalization.
    FinalizationLate {
        /// When Vercel's 24 hours end.
        until: Timestamp,
    },
}

/// The end of Vercel's 24 hours for a finalization (G3). `None` if the job is not a finalization. `None`,
/// too, while the end is more than [`ALARM`] away.
pub(crate) fn finalization_ends(
    job: &Job,
    uninstalled_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let until = uninstalled_at.filter(|_| *job == Job::Finalize)? + FINALIZATION_PERIOD;
    (until <= now + ALARM).then_some(until)
}

/// The incidents of an attempt that failed at `now`, and whose lease ended with `result`. A worker that lost
/// its lease reports no incidents, because the job's next worker reports its own incidents.
pub(crate) fn incidents(
    job: &Job,
    streak: FailureStreak,
    uninstalled_at: Option<Timestamp>,
    result: JobResult,
    now: Timestamp,
) -> impl Iterator<Item = Incident> + use<> {
    let parked = (result == JobResult::Parked)
        .then(|| Incident::WorkParked { failing_since: streak.failing_since.unwrap_or(now) });
    let until = finalization_ends(job, uninstalled_at, now);
    let late = until.filter(|_| matches!(result, JobResult::Retried | JobResult::Parked));
    parked.into_iter().chain(late.map(|until| Incident::FinalizationLate { until }))
}

impl Incident {
    /// The event that notifies the provider of the incident.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::WorkParked { .. } => "operation.work_parked",
            Self::FinalizationLate { .. } => "operation.finalization_late",
        }
    }

    /// The `webhook-id` of the event. All notifications of one incident have the same `webhook-id`.
    pub(crate) fn webhook_id(self, installation: &InstallationId, job: &Job) -> String {
        let (Self::WorkParked { failing_since: time } | Self::FinalizationLate { until: time }) =
            self;
        message_id(self.event(), installation, &job.to_string(), time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNINSTALLED: u64 = 1_763_769_600;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(UNINSTALLED + seconds)
    }

    /// L3, G3: a parked job is an incident. A finalization is an incident too, if it fails later than 23 h after
    /// the uninstall. A worker that lost its lease reports no incident.
    #[test]
    fn which_failures_are_incidents() {
        let of = |job: &Job, result, now| {
            let streak = FailureStreak { failures: 3, failing_since: Some(at(5)) };
            incidents(job, streak, Some(at(0)), result, at(now)).collect::<Vec<_>>()
        };
        let hour = 3600;
        let parked = Incident::WorkParked { failing_since: at(5) };
        let late = Incident::FinalizationLate { until: at(24 * hour) };
        for (job, result, now, expected) in [
            (Job::Purge, JobResult::Retried, 30 * hour, vec![]),
            (Job::Purge, JobResult::Parked, 80 * hour, vec![parked]),
            (Job::Finalize, JobResult::Retried, 23 * hour - 1, vec![]),
            (Job::Finalize, JobResult::Retried, 23 * hour, vec![late]),
            (Job::Finalize, JobResult::Lost, 30 * hour, vec![]),
            (Job::Finalize, JobResult::Done, 30 * hour, vec![]),
            (Job::Finalize, JobResult::Parked, 95 * hour, vec![parked, late]),
        ] {
            assert_eq!(of(&job, result, now), expected, "{job} {result:?} {now}");
        }
    }

    /// L3: the `webhook-id` of a parked job depends on the job, and on when the job began to fail. The
    /// `webhook-id` of a late finalization depends on the job, and on when Vercel's 24 hours end.
    #[test]
    fn an_incident_has_one_id() {
        let installation = InstallationId::parse("icfg_1").unwrap();
        let id = |incident: Incident, job: &Job| incident.webhook_id(&installation, job);
        let parked = |seconds| Incident::WorkParked { failing_since: at(seconds) };
        let ids = [
            id(parked(1), &Job::Purge),
            id(parked(2), &Job::Purge),
            id(parked(1), &Job::Finalize),
            id(Incident::FinalizationLate { until: at(1) }, &Job::Finalize),
        ];
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "{ids:?}");
        assert_eq!(ids[0], id(parked(1), &Job::Purge));
        assert!(ids.iter().all(|id| id.starts_with("msg_") && id.len() == 36), "{ids:?}");
    }
}

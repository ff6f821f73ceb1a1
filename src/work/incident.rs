//! Notifies the provider of incidents: a parked job, or a late finalization (L3).

use std::time::Instant;

use super::Worker;
use crate::clock::Timestamp;
use crate::job::incident::incidents;
use crate::job::{Job, JobResult};
use crate::provider::Report;
use crate::store::work::Lease;

impl Worker {
    /// Notifies the provider of the incidents of an attempt that failed at `now` with `result`, until `end`
    /// at most. A failed notification is only logged as a warning, because the job is still in the table.
    pub(super) async fn report(
        &self,
        lease: &Lease,
        reason: &str,
        result: JobResult,
        now: Timestamp,
        end: Instant,
    ) {
        let Some(provider) = &self.provider else { return };
        let Lease { installation, job, .. } = lease;
        let deleted_at = lease.provenance.as_ref().map(|provenance| provenance.at);
        let resource = match job {
            Job::AnnounceResource(resource) => Some(resource),
            _ => None,
        };
        for incident in incidents(job, lease.streak, deleted_at, result, now) {
            let report = Report { incident, installation, job, resource, reason, at: now };
            let sent = provider.send_report(&report, self.clock.timestamp());
            let cause = match tokio::time::timeout_at(end.into(), sent).await {
                Ok(Ok(())) => continue,
                Ok(Err(cause)) => cause,
                Err(_) => "the host's time was over".to_owned(),
            };
            let (work, event) = (job.to_string(), incident.event());
            tracing::warn!(%installation, work, event, cause, "the provider was not notified");
        }
    }
}

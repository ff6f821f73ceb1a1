//! Doubt: what happens if a worker does not know how its own call to Vercel ended (E2, E3).
//!
//! Right before a worker calls Vercel, when the connection is up, the worker writes the mark: it sets the
//! intent's attribute `inDoubt`. `inDoubt` becomes false only if every attempt is known to have got a
//! definite answer. If a worker dies between the mark and the call, `inDoubt` stays true. If a worker
//! withdraws an intent that is in doubt, the worker stores the doubt in the installation
//! (`configurationInDoubt`). 401 and 403 mean that the configuration is gone only while its deletion is in
//! doubt.
//!
//! - *No other worker erases or reuses a late worker's mark.* When a request begins an intent, or takes an
//!   intent over, its write demands that the doubt of the intent and of the installation has not changed
//!   since the request read it. A sweep that finds another fence in the intent does not call Vercel.
//! - *After a late call, Vercel is called again.* A worker that lost its lease schedules another call
//!   (`schedule_again`) if it does not know how its own call ended, or if it cannot record that the
//!   configuration is gone. A refusal that another worker gets does not say how the late call ended.
//!   `schedule_again` takes the fence from the intent's present holder, who then cannot withdraw the intent.
//!   `schedule_again` makes a parked intent due, and writes a withdrawn intent again.
//! - *A configuration that is gone stays gone.* A worker that has learned that the configuration is gone at
//!   Vercel commits this fact under any fence. The commit demands that the installation is as the worker read
//!   it, and that its configuration is not deleted. The configuration is therefore deleted once, and no
//!   request begins an intent after this deletion.

use std::sync::{Mutex, PoisonError};

use super::DeleteConfiguration;
use crate::error::Error;
use crate::job::JobResult;
use crate::store::TimeBudget;
use crate::store::work::{Doubt, JobFailure, Lease};
use crate::telemetry;

/// The state of a worker's own call to Vercel. If an attempt is cut off, its clean-up reads this state.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Phase>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Vercel was not called, or gave a definite answer.
    #[default]
    Clear,
    /// The worker is recording that it is about to call Vercel. Nothing was sent to Vercel.
    Marking,
    /// The worker looks the configuration up at Vercel (E7). The table still has the mark, though Vercel
    /// gave a definite answer and no other call is in doubt.
    Confirming,
    /// Vercel was called, and the worker does not know how the call ended.
    InDoubt,
}

impl Progress {
    pub(super) fn marking(&self) {
        self.set(Phase::Marking);
    }

    pub(super) fn calling(&self) {
        self.set(Phase::InDoubt);
    }

    pub(super) fn answered(&self) {
        self.set(Phase::Clear);
    }

    pub(super) fn confirming(&self) {
        self.set(Phase::Confirming);
    }

    fn phase(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

impl DeleteConfiguration {
    /// Ends the lease of a failed attempt and schedules a retry. If the lease was lost and the attempt
    /// may have taken effect, schedules another call.
    pub(crate) async fn retry_later(
        &self,
        lease: &Lease,
        progress: &Progress,
        failure: JobFailure,
        budget: &mut TimeBudget,
    ) -> Result<JobResult, Error> {
        let failure = match (failure.doubt, progress.phase()) {
            // The host's time ended while the worker wrote the mark or looked the configuration up. No
            // `DELETE` was under way at the end of the host's time.
            (Doubt::Unchanged, Phase::Marking | Phase::Confirming) => {
                JobFailure { doubt: Doubt::Known { in_doubt: false }, ..failure }
            }
            _ => failure,
        };
        let now = self.clock.timestamp();
        match budget.run(self.store.retry_later(lease, failure, now)).await {
            Ok(JobResult::Lost) if progress.phase() == Phase::InDoubt => {
                budget.run(self.store.schedule_again(lease)).await?;
                Ok(JobResult::Lost)
            }
            Ok(ended) => Ok(ended),
            Err(error) => match self.clean_up(lease, progress, budget).await {
                Some((_, JobResult::Parked)) => Ok(JobResult::Parked),
                _ => Err(error),
            },
        }
    }

    /// Cleans up after an attempt that broke off. If Vercel may have acted, `clean_up` schedules another
    /// call. If Vercel was not called, or answered that it did nothing, `clean_up` clears the mark, which may
    /// still be in the table, and ends the lease. If `clean_up` cleared the mark, it returns the failure that
    /// it recorded, and how the lease ended. If the write of `clean_up` fails, the lease runs out as after a
    /// crash.
    pub(crate) async fn clean_up(
        &self,
        lease: &Lease,
        progress: &Progress,
        budget: &mut TimeBudget,
    ) -> Option<(&'static str, JobResult)> {
        let cleaned = match progress.phase() {
            Phase::Clear => Ok(None),
            Phase::InDoubt => budget.run(self.store.schedule_again(lease)).await.map(|()| None),
            Phase::Marking | Phase::Confirming => {
                let reason = "DynamoDB did not answer before Vercel was called";
                let not_called = JobFailure {
                    doubt: Doubt::Known { in_doubt: false },
                    ..JobFailure::new(reason, None)
                };
                let now = self.clock.timestamp();
                let retry = self.store.retry_later(lease, not_called, now);
                budget.run(retry).await.map(|ended| Some((reason, ended)))
            }
        };
        cleaned.unwrap_or_else(|error| {
            let (installation, cause) = (&lease.installation, telemetry::chain(&error));
            tracing::warn!(%installation, cause, "outcome of a call to Vercel is unknown");
            None
        })
    }
}

//! Late doubt: a worker that cannot tell how its own call to Vercel ended (E2, E3).
//!
//! The intent's attribute `inDoubt` is true in the table from right before Vercel is called, when
//! the connection is up. It becomes false only if every attempt is known to have got a definite
//! answer. A worker that dies between the mark and the call leaves it true, too. If an intent is
//! withdrawn in doubt, the installation keeps the doubt (`configurationInDoubt`). Only in doubt do
//! 401 and 403 mean gone.
//!
//! - *A late worker's mark is not erased, and nobody takes it for its own.* A request begins an
//!   intent or takes one over on condition that the intent and the installation are as much in
//!   doubt as it read them. A sweep that finds another fence there does not call Vercel.
//! - *A late call is followed by another.* A worker that finds its lease lost, and cannot tell how
//!   its own call ended or cannot record that the configuration is gone, schedules another call
//!   (`schedule_again`): the refusal that another worker got meanwhile says nothing about that call.
//!   `schedule_again` takes the fence from the intent's present holder, who then cannot withdraw
//!   it. It makes a parked intent due, and writes a withdrawn one anew.
//! - *Gone is for good.* A worker that learned that Vercel's side is gone commits it under any
//!   fence, on condition that the installation is as it was read and its configuration not
//!   gone. The configuration is deleted once, and no request begins an intent after that.

use std::sync::{Mutex, PoisonError};

use super::DeleteConfiguration;
use crate::error::Error;
use crate::job::JobResult;
use crate::store::TimeBudget;
use crate::store::work::{Doubt, JobFailure, Lease};
use crate::telemetry;

/// How far a worker's own call to Vercel is. It outlives an attempt that is cut off.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Phase>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Vercel was not called, or gave a definite answer.
    #[default]
    Clear,
    /// It is being recorded that Vercel is about to be called, and nothing was sent yet.
    Marking,
    /// That is recorded still, though Vercel gave a definite answer, and no other call is in doubt: Vercel
    /// is asked where the configuration is (E7).
    Confirming,
    /// Vercel was called, and the worker does not know how that ended.
    InDoubt,
}

impl Progress {
    pub(super) fn marking(&self) {
        self.set(Phase::Marking);
    }

    pub(super) fn asked(&self) {
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
            // The host's time was over while the mark was written, and nothing was sent; or while Vercel was
            // asked where the configuration is, and no deletion was under way.
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

    /// Cleans up after an attempt that broke off: if Vercel may have acted, schedules another call; if
    /// it was not called, or has said that it did nothing, takes a mark back that may stand, which ends the
    /// lease: then it gives the failure that is recorded, and how the lease ended. If that write fails too,
    /// the lease ends as after a crash.
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

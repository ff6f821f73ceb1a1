//! Delete Configuration: intent, call to Vercel, commit (E). Delete Configuration cannot be a single
//! transaction, because it has an effect at Vercel, too.
//!
//! ```text
//!   load → plan → begin (intent, under a lease) → connect → mark → call Vercel → commit | withdraw | retry
//!                                                                     404 or 410 ↓
//!                                                   look it up → store its team → call Vercel there
//! ```
//!
//! - `load` reads all that the decision needs in one `TransactGetItems`, and `plan` decides what to do next.
//! - `begin` writes the intent `work#configuration` with its lease, if the installation has not changed since
//!   `load`. A request that finds an intent without a valid lease takes the intent over, even if the intent
//!   is parked. An intent that was taken over has 3 new days before it is parked. A request that finds an
//!   intent with a valid lease is answered 409.
//! - The mark records that the worker is about to call Vercel. The worker writes the mark only when the
//!   connection to Vercel is up, because a call that was never sent leaves no doubt (E2).
//! - `verdict` says what Vercel's answer means. If Vercel's answer means *gone*, the worker commits the
//!   tombstone, the receipt, the outcome and the jobs in one transaction. If Vercel's answer means *refused*,
//!   the worker withdraws the intent. If Vercel gives any other answer or no answer, the worker schedules a
//!   retry as for any job.
//! - *Not there*, a 404 or 410, does not prove that the configuration is gone: it may have moved to another
//!   team. After a 404 or 410, the worker calls Vercel to look the configuration up. If the configuration
//!   still exists, the worker stores its team, and calls Vercel once to delete the configuration in that
//!   team.
//! - The sweep resumes a deletion by the same steps as a request (`resume`). The receipt names the caller of
//!   the request that last held the intent.
//!
//! teardown deletes nothing in the table until it knows that the configuration is gone at Vercel. If there is
//! no token to call Vercel with, teardown deletes the configuration only in the table, and does not call
//! Vercel.
//!
//! If a process crashes, its intent stays. When the lease has ended, the next request or the sweep resumes
//! the deletion. A worker that lost its lease finds a newer fence and writes nothing, with two exceptions. A
//! late worker that knows that the configuration is gone at Vercel commits this fact, because it stays true.
//! A late worker that does not know how its own call ended schedules another call: [`doubt`] says why.

mod attempt;
mod doubt;

use std::time::Duration;

use self::attempt::Attempt;
pub(crate) use self::doubt::Progress;
use crate::clock::Clock;
use crate::deletion::Answer;
use crate::deletion::configuration::{ConfigurationDeletion, Loaded, Next, Recording, plan};
use crate::error::Error;
use crate::grant::Provenance;
use crate::job::JobResult;
use crate::secret::Secret;
use crate::store::configuration::{Committer, Holder};
use crate::store::work::{Doubt, JobFailure, Lease, LeaseWrite};
use crate::store::{Done, Store, TimeBudget};
use crate::vercel::{Vercel, VercelError};

/// How long a request leases an intent. The lease is longer than the request waits for DynamoDB (8 s, and 8 s
/// after Vercel's answer) and for Vercel (12 s). No other worker takes the intent while the request waits.
const LEASE: Duration = Duration::from_secs(30);

/// The `Retry-After` of the caller's 503, if Vercel sent none. Before a request answers 503, it has already
/// called Vercel for some seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Deletes configurations. All clones share the same connections.
#[derive(Clone, Debug)]
pub(crate) struct DeleteConfiguration {
    store: Store,
    vercel: Vercel,
    clock: Clock,
}

/// An attempt's time for DynamoDB before the attempt calls Vercel, and its time for DynamoDB after the call.
/// The time after the call is separate, because Vercel's answer must be recorded even if the steps before the
/// call were slow.
struct Time {
    before: TimeBudget,
    after: TimeBudget,
}

/// The result of an attempt, at Vercel and in the table.
pub(crate) enum SagaResult {
    /// The configuration is gone at Vercel and in the table.
    Gone,
    /// Vercel refuses, and the intent is withdrawn.
    Refused(VercelError),
    /// Invoices are open again, and the intent is withdrawn.
    InvoicesOpen,
    /// It is not known whether the configuration is gone at Vercel. The intent and its lease stay.
    Open(JobFailure),
    /// Another worker has the lease now, or the installation changed.
    Lost,
}

impl DeleteConfiguration {
    pub(crate) fn new(store: Store, vercel: Vercel, clock: Clock) -> Self {
        Self { store, vercel, clock }
    }

    fn time(&self) -> Time {
        Time { before: self.store.time_budget(), after: self.store.time_budget() }
    }

    /// Deletes a configuration for a request.
    ///
    /// # Errors
    ///
    /// The [`Error`] that answers the request. If a request fails, nothing was deleted in the table, as far
    /// as the request knows (B6).
    pub(crate) async fn delete(&self, request: &ConfigurationDeletion) -> Result<Done, Error> {
        let id = &request.grant.installation;
        let provenance = request.provenance();
        let (mut time, mut held) = (self.time(), None);
        loop {
            let now = self.clock.timestamp();
            let load = self.store.load(id, request.key.as_ref(), now);
            let mut snapshot = time.before.run(load).await?;
            // If the installation changed while this request called Vercel, the request still has its
            // lease.
            if let Some(intent) = &mut snapshot.intent {
                intent.is_ours = held == Some(intent.fence);
            }
            match plan(request, &snapshot, now) {
                Next::Answer(answer) => return Ok(Done::without_jobs(answer)),
                Next::Refuse(error) => return Err(error),
                Next::Record(loaded, recording) => {
                    let record = self.store.record_gone(loaded, recording, id, request.at);
                    if time.before.run(record).await? == LeaseWrite::Written {
                        return Ok(Done::without_jobs(Answer::Deleted));
                    }
                }
                Next::Commit(loaded) => {
                    let committer = Committer::Request(Recording::of(request));
                    let holder = Holder::of(&snapshot);
                    let commit =
                        self.store.commit_configuration(id, &provenance, loaded, holder, committer);
                    if time.before.run(commit).await? == LeaseWrite::Written {
                        return Ok(self.store.jobs_after_commit(loaded));
                    }
                }
                Next::Call(loaded, token) => {
                    let begin = self.store.begin(request, loaded, now, now + LEASE);
                    let Some(lease) = time.before.run(begin).await? else { continue };
                    held = Some(lease.fence);
                    if let Some(done) =
                        self.call_vercel(request, &lease, loaded, token, &mut time).await?
                    {
                        return Ok(done);
                    }
                }
            }
        }
    }

    /// Calls Vercel for a request that holds the intent. `None` if the request must load the state again,
    /// because the lease was lost or the installation changed.
    async fn call_vercel(
        &self,
        request: &ConfigurationDeletion,
        lease: &Lease,
        loaded: Loaded<'_>,
        token: &Secret,
        time: &mut Time,
    ) -> Result<Option<Done>, Error> {
        let progress = Progress::default();
        let provenance = request.provenance();
        let attempt =
            Attempt { lease, progress: &progress, provenance: &provenance, request: Some(request) };
        let outcome = match self.attempt(&attempt, loaded, token, time).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.clean_up(lease, &progress, &mut time.after).await;
                return Err(error);
            }
        };
        match outcome {
            SagaResult::Gone => Ok(Some(self.store.jobs_after_commit(loaded))),
            SagaResult::Refused(error) => Err(Error::UpstreamRefused(error)),
            SagaResult::InvoicesOpen => Err(Error::InvoicesOpen),
            SagaResult::Lost => Ok(None),
            SagaResult::Open(failure) => {
                let retry_after = failure.retry_after.unwrap_or(RETRY_AFTER);
                let in_doubt = failure.doubt == Doubt::Known { in_doubt: true };
                let ended = self.retry_later(lease, &progress, failure, &mut time.after).await?;
                // The call to Vercel may have taken effect, so the request reads the state again, and the
                // caller gets the final state.
                if in_doubt && ended == JobResult::Lost {
                    return Ok(None);
                }
                Err(Error::UpstreamUnavailable { retry_after })
            }
        }
    }

    /// Resumes a deletion that a request began and did not end, under the lease of its intent.
    pub(crate) async fn resume(
        &self,
        lease: &Lease,
        progress: &Progress,
    ) -> Result<SagaResult, Error> {
        let id = &lease.installation;
        let now = self.clock.timestamp();
        let mut time = self.time();
        let snapshot = time.before.run(self.store.load(id, None, now)).await?;
        let loaded = snapshot.loaded().filter(|it| !it.installation.is_gone_on_both_sides());
        let Some(loaded) = loaded else {
            let _: LeaseWrite = self.store.complete(lease).await?;
            return Ok(SagaResult::Gone);
        };
        let Some(requested) = &lease.provenance else {
            return Ok(SagaResult::Open(JobFailure::malformed()));
        };
        // If another worker holds the intent, the in-doubt mark may be the other worker's mark. This worker
        // must not use that mark, and stops.
        if snapshot.intent.as_ref().is_none_or(|intent| intent.fence != lease.fence) {
            return Ok(SagaResult::Lost);
        }
        let provenance = Provenance { at: now, ..requested.clone() };
        let Some(token) = loaded.usable_token() else {
            // Vercel cannot be called, so the configuration is deleted only in the table.
            let committer = Committer::Worker { key_sha256: lease.key_sha256.as_deref() };
            let holder = Holder::Fence(lease.fence);
            let commit =
                self.store.commit_configuration(id, &provenance, loaded, holder, committer);
            return Ok(match time.before.run(commit).await? {
                LeaseWrite::Written => SagaResult::Gone,
                LeaseWrite::LeaseLost => SagaResult::Lost,
            });
        };
        if !snapshot.is_in_doubt() && loaded.installation.invoices_are_open(now) {
            let withdraw = self.store.withdraw(lease, loaded, Doubt::Known { in_doubt: false });
            return Ok(match time.before.run(withdraw).await? {
                LeaseWrite::Written => SagaResult::InvoicesOpen,
                LeaseWrite::LeaseLost => SagaResult::Lost,
            });
        }
        let attempt = Attempt { lease, progress, provenance: &provenance, request: None };
        self.attempt(&attempt, loaded, token, &mut time).await
    }
}

//! Delete Configuration: intent, call to Vercel, commit (E). The one operation that cannot be a
//! single transaction, since its effect lies at Vercel too.
//!
//! ```text
//!   load → plan → begin (intent, under a lease) → connect → mark → call Vercel → commit | withdraw | retry
//!                                                                     404 or 410 ↓
//!                                                   ask where it is → move to that team → call Vercel there
//! ```
//!
//! - `load` reads all that the decision needs in one `TransactGetItems`, and `plan` decides.
//! - `begin` writes the intent `work#configuration` with its lease, if the installation is as it
//!   was read. A request that finds an intent without a lease takes it over, parked or not, with 3
//!   new days before it is parked. A request that finds a lease is answered 409.
//! - The mark records that Vercel is about to be called. It comes after the connection: what never
//!   left this machine leaves no doubt (E2).
//! - `verdict` says what Vercel's answer means. *Gone* commits the tombstone, the receipt, the
//!   outcome and the jobs in one transaction. *Refused* withdraws the intent. Any other answer, or
//!   none, schedules a retry as for any job.
//! - *Not there*, a 404 or 410, is confirmed before it is believed: the configuration may have moved to
//!   another team. If it lives on, its team is stored, and Vercel is asked to delete it there, once.
//! - The sweep takes the same steps (`resume`), and the receipt names the caller who had asked.
//!
//! Nothing is deleted in the table before Vercel's side is known to be gone, or there is no token
//! to call Vercel with.
//!
//! A process that crashes leaves an intent whose lease expires; the next request or the sweep
//! resumes it. A worker that lost its lease finds a newer fence and writes nothing, with two
//! exceptions. If it knows that the configuration is gone at Vercel it commits that, because it stays
//! true. If it cannot tell how its own call ended it schedules another: [`doubt`] says why.

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
use crate::store::configuration::{Asked, Holder};
use crate::store::work::{Doubt, JobFailure, Lease, LeaseWrite};
use crate::store::{Done, Store, TimeBudget};
use crate::vercel::{Vercel, VercelError};

/// How long an intent is leased: longer than a request waits for DynamoDB (8 s, and 8 s after Vercel's
/// answer) and for Vercel (12 s), so that nobody else begins while it does.
const LEASE: Duration = Duration::from_secs(30);

/// The time after which a caller should repeat its request, if Vercel does not say: the call has been
/// repeated for some seconds by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Deletes configurations. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct DeleteConfiguration {
    store: Store,
    vercel: Vercel,
    clock: Clock,
}

/// The time for DynamoDB that an attempt has: before Vercel is called, and after. What Vercel answered
/// has to be recorded, however long it took to get there.
struct Time {
    before: TimeBudget,
    after: TimeBudget,
}

/// What came of an attempt, in our store too.
pub(crate) enum SagaResult {
    /// Both sides are gone.
    Gone,
    /// Vercel refuses, and the intent is withdrawn.
    Refused(VercelError),
    /// Invoices are open again, and the intent is withdrawn.
    InvoicesOpen,
    /// Vercel's side is not known to be gone. The intent stays, and so does its lease.
    Open(JobFailure),
    /// Another worker has the lease by now, or the installation changed.
    Lost,
}

impl DeleteConfiguration {
    pub(crate) fn new(store: Store, vercel: Vercel, clock: Clock) -> Self {
        Self { store, vercel, clock }
    }

    fn time(&self) -> Time {
        Time { before: self.store.time_budget(), after: self.store.time_budget() }
    }

    /// Carries out a request.
    ///
    /// # Errors
    ///
    /// The [`Error`] that answers it; nothing was deleted in our store then, as far as is known (B6).
    pub(crate) async fn delete(&self, request: &ConfigurationDeletion) -> Result<Done, Error> {
        let id = &request.grant.installation;
        let provenance = request.provenance();
        let (mut time, mut held) = (self.time(), None);
        loop {
            let now = self.clock.timestamp();
            let load = self.store.load(id, request.key.as_ref(), now);
            let mut snapshot = time.before.run(load).await?;
            // If the installation changed while Vercel was called, this worker still has the lease.
            if let Some(intent) = &mut snapshot.intent {
                intent.own = held == Some(intent.fence);
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
                    let asked = Asked::Now(Recording::of(request));
                    let holder = Holder::of(&snapshot);
                    let commit =
                        self.store.commit_configuration(id, &provenance, loaded, holder, asked);
                    if time.before.run(commit).await? == LeaseWrite::Written {
                        return Ok(self.store.jobs_after_commit(loaded));
                    }
                }
                Next::Call(loaded, token) => {
                    let begin = self.store.begin(request, loaded, now, now + LEASE);
                    let Some(lease) = time.before.run(begin).await? else { continue };
                    held = Some(lease.fence);
                    if let Some(done) = self.ask(request, &lease, loaded, token, &mut time).await? {
                        return Ok(done);
                    }
                }
            }
        }
    }

    /// Calls Vercel for a request that holds the intent. `None` if the request has to look again: the
    /// lease was lost, or the installation changed.
    async fn ask(
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
            SagaResult::Refused(said) => Err(Error::UpstreamRefused(said)),
            SagaResult::InvoicesOpen => Err(Error::InvoicesOpen),
            SagaResult::Lost => Ok(None),
            SagaResult::Open(failure) => {
                let retry_after = failure.retry_after.unwrap_or(RETRY_AFTER);
                let in_doubt = failure.doubt == Doubt::Known { in_doubt: true };
                let ended = self.retry_later(lease, &progress, failure, &mut time.after).await?;
                // The call may have taken effect: read again, so that the caller learns the final state.
                if in_doubt && ended == JobResult::Lost {
                    return Ok(None);
                }
                Err(Error::UpstreamUnavailable { retry_after })
            }
        }
    }

    /// Resumes what a request left, under the lease of its intent.
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
        let Some(asked) = &lease.provenance else {
            return Ok(SagaResult::Open(JobFailure::malformed()));
        };
        // The intent has a new owner: its in-doubt mark must not be read as ours.
        if snapshot.intent.as_ref().is_none_or(|intent| intent.fence != lease.fence) {
            return Ok(SagaResult::Lost);
        }
        let provenance = Provenance { at: now, ..asked.clone() };
        let Some(token) = loaded.usable_token() else {
            // Our side is all there is.
            let asked = Asked::Before { key_sha256: lease.key_sha256.as_deref() };
            let holder = Holder::Fence(lease.fence);
            let commit = self.store.commit_configuration(id, &provenance, loaded, holder, asked);
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

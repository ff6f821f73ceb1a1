//! Runs jobs: claims, tries, retries and parks them (G).
//!
//! [`crate::job`] says which jobs there are, and when a failed job is tried again. `sweep` finds the jobs
//! that are due. `incident` notifies the provider of parked jobs and of late finalizations. This module runs
//! each kind of job under a lease. A worker that loses its lease does not complete the job. What a worker did
//! before it lost its lease may be done twice: a page may be purged again, or a deletion announced again.

mod incident;
mod reconcile;
mod sweep;

use std::time::{Duration, Instant};

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::deletion::FINALIZATION_PERIOD;
use crate::error::Error;
use crate::ids::InstallationId;
use crate::job::announcement::{AnnouncementState, Phase, Turn};
use crate::job::{Job, JobResult};
use crate::outbound::Outbound;
use crate::provider::{Announcement, Delivery, Provider};
use crate::saga::{DeleteConfiguration, Progress, SagaResult};
use crate::store::Store;
use crate::store::purge::{Advance, Purged};
use crate::store::work::{JobFailure, Lease, LeaseWrite};
use crate::telemetry;
use crate::vercel::{Vercel, VercelAnswer};

/// How much longer a lease lasts than its worker's time, so that the worker stops before its lease ends.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// How many pages one attempt purges at most, before other jobs get their turn.
const PURGE_PAGES: usize = 20;

/// How long the purge of one page may take. A purge does not begin a page if its worker has less time left.
const PURGE_PAGE: Duration = Duration::from_secs(1);

/// Runs jobs. All clones share the same connections.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    store: Store,
    vercel: Vercel,
    provider: Option<Provider>,
    delete_configuration: DeleteConfiguration,
    clock: Clock,
}

/// How an attempt at a job ended.
enum AttemptResult {
    /// The attempt has ended or lost its lease.
    Ended(JobResult),
    /// The job has more to do, and is due again immediately.
    More,
    /// The provider is still working on the event, and wants to get it again after this time.
    InProgress(Duration),
    /// The attempt failed.
    Failed(JobFailure),
}

impl Worker {
    pub(crate) fn new(
        config: &Config,
        store: Store,
        delete_configuration: DeleteConfiguration,
        vercel: Vercel,
        outbound: Outbound,
        clock: Clock,
    ) -> Self {
        let provider = config.provider.as_ref().map(|it| Provider::new(it, outbound));
        Self { store, vercel, provider, delete_configuration, clock }
    }

    /// Claims a job that was due at `now`, and runs it until `end` at most. `None` if the job cannot be
    /// claimed.
    pub(crate) async fn run(
        &self,
        installation: &InstallationId,
        job: &Job,
        now: Timestamp,
        end: Instant,
    ) -> Result<Option<JobResult>, Error> {
        let left = end.saturating_duration_since(Instant::now());
        let until = self.clock.timestamp() + left + LEASE_MARGIN;
        let Some(lease) = self.store.claim(installation, job, now, until).await? else {
            return Ok(None);
        };
        let progress = Progress::default();
        let attempt = self.attempt(&lease, &progress, end);
        let attempt = match tokio::time::timeout_at(end.into(), attempt).await {
            Ok(Ok(attempt)) => attempt,
            // An internal error counts as a failure, because a retry seldom cures it: the job backs off, is
            // finally parked, and raises the alarm.
            Ok(Err(Error::Internal(cause))) => {
                let failure = JobFailure::new(telemetry::chain(cause.as_ref()), None);
                // The provider may have received the event before the error happened.
                AttemptResult::Failed(failure.in_doubt_if_final(&lease))
            }
            Ok(Err(error)) => {
                let now = self.clock.timestamp();
                let mut budget = self.store.time_budget();
                let clean_up = self.delete_configuration.clean_up(&lease, &progress, &mut budget);
                if let Some((reason, result)) = clean_up.await {
                    self.report(&lease, reason, result, now, end).await;
                }
                return Err(error);
            }
            Err(_) => AttemptResult::Failed(JobFailure::cut_off(&lease)),
        };
        self.end(&lease, &progress, attempt, end).await.map(Some)
    }

    /// Ends the lease of an attempt.
    async fn end(
        &self,
        lease: &Lease,
        progress: &Progress,
        attempt: AttemptResult,
        end: Instant,
    ) -> Result<JobResult, Error> {
        let now = self.clock.timestamp();
        let (held, result) = match attempt {
            AttemptResult::Ended(result) => return Ok(result),
            AttemptResult::More => {
                (self.store.reschedule(lease, lease.due).await?, JobResult::Unfinished)
            }
            AttemptResult::InProgress(wait) => {
                (self.store.retry_accepted(lease, now + wait).await?, JobResult::Retried)
            }
            AttemptResult::Failed(failure) => {
                let reason = failure.reason.clone();
                let result = if lease.job == Job::DeleteConfiguration {
                    let mut budget = self.store.time_budget();
                    let saga = &self.delete_configuration;
                    saga.retry_later(lease, progress, failure, &mut budget).await?
                } else {
                    self.store.retry_later(lease, failure, now).await?
                };
                self.report(lease, &reason, result, now, end).await;
                return Ok(result);
            }
        };
        Ok(if held == LeaseWrite::Written { result } else { JobResult::Lost })
    }

    async fn attempt(
        &self,
        lease: &Lease,
        progress: &Progress,
        end: Instant,
    ) -> Result<AttemptResult, Error> {
        match &lease.job {
            Job::AnnounceResource(_) | Job::AnnounceInstallation => self.announce(lease).await,
            Job::Purge => self.purge(lease, end).await,
            Job::Finalize => self.finalize(lease).await,
            Job::DeleteConfiguration => self.delete_configuration(lease, progress).await,
            Job::ReconcileProvision(_) => self.reconcile(lease).await,
        }
    }

    /// G1, H1: sends an announcement's next event: the notice first, if there is a grace period.
    async fn announce(&self, lease: &Lease) -> Result<AttemptResult, Error> {
        let malformed = || AttemptResult::Failed(JobFailure::malformed());
        let Some(state) = lease.announcement else { return Ok(malformed()) };
        let turn = state.turn(self.clock.timestamp());
        if turn == Turn::SkipNotice {
            return self.store.begin_final_phase(lease).await.map(AttemptResult::Ended);
        }
        let Some(provider) = &self.provider else {
            return Ok(failed("PROVIDER_URL is not set", None));
        };
        let Some(announcement) = announcement(lease, &state) else { return Ok(malformed()) };
        if turn == Turn::Announce
            && let Some(result) = self.hold_back(lease).await?
        {
            return Ok(AttemptResult::Ended(result));
        }
        Ok(match provider.announce(&announcement, self.clock.timestamp()).await {
            Delivery::Done if turn == Turn::Notify => {
                AttemptResult::Ended(self.store.begin_final_phase(lease).await?)
            }
            Delivery::Done => AttemptResult::Ended(match self.store.complete(lease).await? {
                LeaseWrite::Written => JobResult::Done,
                LeaseWrite::LeaseLost => JobResult::Lost,
            }),
            Delivery::InProgress(wait) => AttemptResult::InProgress(wait),
            Delivery::Failed(reason, retry_after) => {
                let failure = JobFailure::new(format!("the provider: {reason}"), retry_after);
                AttemptResult::Failed(failure.in_doubt_if_final(lease))
            }
        })
    }

    /// H2: the last check before the `deleted` event is sent. `None` if the event may be sent, because no
    /// hold is in force and the lease has not ended since the holds were read.
    async fn hold_back(&self, lease: &Lease) -> Result<Option<JobResult>, Error> {
        let (installation, work) = (&lease.installation, lease.job.to_string());
        while let Some(hold) = self.store.active_hold(lease, self.clock.timestamp()).await? {
            // If the hold was released after the worker read it, it no longer stops the job, and the worker
            // reads the holds again.
            if let Some(held) = self.store.put_on_hold(lease, &hold).await? {
                if held != JobResult::Lost {
                    tracing::info!(%installation, work, "held: a hold is in force");
                }
                return Ok(Some(held));
            }
        }
        if lease.until <= self.clock.timestamp() {
            tracing::warn!(%installation, work, "not announced: the lease is over");
            return Ok(Some(JobResult::Lost));
        }
        Ok(None)
    }

    /// G2: purges some pages.
    async fn purge(&self, lease: &Lease, end: Instant) -> Result<AttemptResult, Error> {
        let id = &lease.installation;
        let Some(tombstone) = self.store.tombstone(id).await? else {
            return Ok(failed("its installation is not deleted", None));
        };
        for _ in 0..PURGE_PAGES {
            match self.store.purge_page(id, &tombstone).await? {
                Purged::Page if Instant::now() + PURGE_PAGE < end => {}
                Purged::Page => return Ok(AttemptResult::More),
                Purged::All => {
                    // If the installation was finalized during the purge, the attempt fails, and a retry
                    // reads the new state.
                    let ended = self.store.end_purge(lease, &tombstone).await?;
                    return Ok(if ended == Advance::Done {
                        AttemptResult::Ended(JobResult::Done)
                    } else {
                        changed()
                    });
                }
            }
        }
        Ok(AttemptResult::More)
    }

    /// G3: finalizes an installation at Vercel, and erases its token.
    async fn finalize(&self, lease: &Lease) -> Result<AttemptResult, Error> {
        let id = &lease.installation;
        let Some(tombstone) = self.store.tombstone(id).await? else {
            return Ok(failed("its installation is not deleted", None));
        };
        if !tombstone.finalized
            && let Some(token) = self.store.token(id).await?
        {
            let over = tombstone.provenance.at + FINALIZATION_PERIOD;
            let reply = self.vercel.finalize(id, &token).await;
            let now = self.clock.timestamp();
            match reply.answer {
                VercelAnswer::Answer { status: 204 | 404 | 410, .. } => {}
                VercelAnswer::Answer { status: 401 | 403, .. } if over <= now => {
                    tracing::warn!(
                        installation = %id, answer = %reply.answer,
                        "Vercel had finalized an installation already"
                    );
                }
                answer => return Ok(failed(answer.to_string(), answer.retry_after())),
            }
        }
        // If the purge ended during the call to Vercel, the write's condition fails. Vercel has already
        // answered, so the worker reads the new state and writes again immediately.
        let mut tombstone = Some(tombstone);
        while let Some(seen) = tombstone {
            if self.store.end_finalization(lease, &seen).await? == Advance::Done {
                return Ok(AttemptResult::Ended(JobResult::Done));
            }
            tombstone = self.store.tombstone(id).await?.filter(|now| *now != seen);
        }
        Ok(changed())
    }

    /// E3: resumes a configuration's deletion that a request began and did not end.
    async fn delete_configuration(
        &self,
        lease: &Lease,
        progress: &Progress,
    ) -> Result<AttemptResult, Error> {
        Ok(match self.delete_configuration.resume(lease, progress).await? {
            SagaResult::Gone => AttemptResult::Ended(JobResult::Done),
            SagaResult::Lost => AttemptResult::Ended(JobResult::Lost),
            SagaResult::Refused(error) => {
                tracing::warn!(
                    installation = %lease.installation, answer = %error,
                    "Vercel refuses to delete a configuration; it stays as it is"
                );
                AttemptResult::Ended(JobResult::Done)
            }
            SagaResult::InvoicesOpen => {
                tracing::warn!(
                    installation = %lease.installation,
                    "invoices are open again: the deletion of a configuration is withdrawn"
                );
                AttemptResult::Ended(JobResult::Done)
            }
            SagaResult::Open(failure) => AttemptResult::Failed(failure),
        })
    }
}

fn changed() -> AttemptResult {
    failed("the installation has changed meanwhile", None)
}

fn failed(reason: impl Into<String>, retry_after: Option<Duration>) -> AttemptResult {
    AttemptResult::Failed(JobFailure::new(reason, retry_after))
}

/// The announcement that a job's item describes. `None` if the item is malformed.
fn announcement(lease: &Lease, state: &AnnouncementState) -> Option<Announcement> {
    let Lease { installation, job, .. } = lease;
    let provenance = lease.provenance.clone()?;
    let resource = match job {
        Job::AnnounceResource(resource) => Some(resource.clone()),
        _ => None,
    };
    let notice = state.phase == Phase::Scheduled;
    Some(Announcement {
        id: job.webhook_id(state.phase, installation, provenance.at)?,
        event: job.event(state.phase)?,
        at: if notice { provenance.at } else { state.at },
        installation: installation.clone(),
        resource,
        provenance,
        teardown_at: notice.then_some(state.at),
        finalizes_at: state.finalizes_at,
    })
}

//! One attempt at a configuration's deletion, under its lease: the attempt calls Vercel, and writes the
//! result to the table (E2, E3, E7).
//!
//! A 404 or 410 does not prove that a configuration is gone. The configuration may have left the stored team
//! for another team. After a 404 or 410, the worker calls Vercel to look the configuration up. If the
//! configuration still exists, the worker stores the team that Vercel names, and calls Vercel once to delete
//! the configuration in that team.

use std::time::Duration;

use super::{DeleteConfiguration, Progress, SagaResult, Time};
use crate::deletion::configuration::{
    ConfigurationDeletion, Loaded, Place, Recording, Snapshot, Verdict, Whereabouts, verdict,
    whereabouts,
};
use crate::error::Error;
use crate::grant::Provenance;
use crate::secret::Secret;
use crate::store::TimeBudget;
use crate::store::configuration::{Committer, Holder};
use crate::store::work::{Doubt, JobFailure, Lease, LeaseWrite};
use crate::vercel::{CallResult, CallTime};

/// An attempt's lease, and the request that the attempt serves.
pub(super) struct Attempt<'a> {
    pub(super) lease: &'a Lease,
    /// The state of the attempt's call to Vercel.
    pub(super) progress: &'a Progress,
    /// Who deletes the configuration, and when, if the attempt leads to a deletion.
    pub(super) provenance: &'a Provenance,
    /// The request that waits for the attempt. `None` if the sweep resumes the deletion.
    pub(super) request: Option<&'a ConfigurationDeletion>,
}

/// The result after the worker looked the configuration up at Vercel.
enum Confirmed {
    /// The configuration is gone.
    Gone,
    /// It is not known whether the configuration is gone.
    Open(JobFailure),
    /// The configuration still exists, and Vercel gave this answer to a call to delete it in the team that
    /// Vercel named.
    CalledAgain(CallResult),
}

/// Why the worker did not call Vercel, though the connection is up.
enum NotSent {
    LeaseLost,
    /// The worker could not record that it is about to call Vercel.
    Error(Error),
}

impl From<Error> for NotSent {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl DeleteConfiguration {
    /// Calls Vercel to delete the configuration, and stores the result.
    pub(super) async fn attempt(
        &self,
        attempt: &Attempt<'_>,
        loaded: Loaded<'_>,
        token: &Secret,
        time: &mut Time,
    ) -> Result<SagaResult, Error> {
        let in_doubt_before = loaded.snapshot.is_in_doubt();
        let mut calls = self.vercel.call_time();
        let call = self.call_in_stored_team(attempt, loaded, token, &mut time.before, &mut calls);
        let mut reply = match call.await {
            Ok(reply) => reply,
            Err(NotSent::LeaseLost) => return Ok(SagaResult::Lost),
            Err(NotSent::Error(error)) => return Err(error),
        };
        let (mut place, mut own_doubt) = (Place::Stored, false);
        loop {
            own_doubt |= reply.in_doubt;
            let in_doubt = in_doubt_before || own_doubt;
            match verdict(&reply, in_doubt, place) {
                // Until the commit, only this worker knows that the configuration is gone, so the doubt stays
                // until the commit.
                Verdict::Gone => {
                    return self.commit(attempt, loaded.snapshot, &mut time.after).await;
                }
                Verdict::Refused => {
                    return self.withdraw(attempt, loaded, reply, in_doubt, &mut time.after).await;
                }
                Verdict::Open { in_doubt } => {
                    if !own_doubt {
                        attempt.progress.answered();
                    }
                    let reason = reply.answer.to_string();
                    return Ok(open(reason, reply.answer.retry_after(), in_doubt));
                }
                Verdict::NotThere => {}
            }
            if !in_doubt {
                attempt.progress.confirming();
            } else if !own_doubt {
                attempt.progress.answered();
            }
            let before = &mut time.before;
            match self.confirm(attempt, loaded, token, in_doubt, before, &mut calls).await? {
                Confirmed::Gone => {
                    // Until the commit, only this worker knows that the configuration is gone, so its call
                    // counts as in doubt until the commit.
                    attempt.progress.calling();
                    return self.commit(attempt, loaded.snapshot, &mut time.after).await;
                }
                Confirmed::Open(failure) => return Ok(SagaResult::Open(failure)),
                Confirmed::CalledAgain(again) => (reply, place) = (again, Place::Named),
            }
        }
    }

    /// Calls Vercel to delete the configuration in the stored team. Before the call, records that Vercel is
    /// about to be called.
    async fn call_in_stored_team(
        &self,
        &Attempt { lease, progress, .. }: &Attempt<'_>,
        loaded: Loaded<'_>,
        token: &Secret,
        before: &mut TimeBudget,
        calls: &mut CallTime,
    ) -> Result<CallResult, NotSent> {
        let mark = async {
            if !loaded.snapshot.is_in_doubt() {
                progress.marking();
                if before.run(self.store.mark_in_doubt(lease)).await? == LeaseWrite::LeaseLost {
                    return Err(NotSent::LeaseLost);
                }
            }
            progress.calling();
            Ok(())
        };
        let (id, team) = (&lease.installation, loaded.installation.team.id.as_deref());
        self.vercel.delete_configuration(id, team, token, calls, mark).await
    }

    /// Looks the configuration up at Vercel, after Vercel did not find it in the stored team. If the
    /// configuration still exists, stores its team, and calls Vercel to delete it in that team (E7).
    async fn confirm(
        &self,
        &Attempt { lease, progress, .. }: &Attempt<'_>,
        loaded: Loaded<'_>,
        token: &Secret,
        in_doubt: bool,
        before: &mut TimeBudget,
        calls: &mut CallTime,
    ) -> Result<Confirmed, Error> {
        let (id, stored) = (&lease.installation, &loaded.installation.team);
        let found = self.vercel.look_up_configuration(id, token, calls).await;
        let team = match whereabouts(&found) {
            Whereabouts::Gone => return Ok(Confirmed::Gone),
            Whereabouts::LivesIn(team) => stored.named(team),
            Whereabouts::Unknown => {
                let reason = format!("Vercel did not confirm that it is gone: {}", found.answer);
                let retry_after = found.answer.retry_after();
                return Ok(Confirmed::Open(failure(reason, retry_after, in_doubt)));
            }
        };
        let store = before.run(self.store.move_to_team(lease, stored, &team));
        if calls.apart(store).await? == LeaseWrite::LeaseLost {
            let reason = "the installation has changed while the configuration was looked up";
            return Ok(Confirmed::Open(failure(reason.to_owned(), None, in_doubt)));
        }
        if team != *stored {
            let team = team.id.as_deref().unwrap_or("none");
            tracing::info!(installation = %id, team, "a configuration has moved to another team");
        }
        progress.calling();
        let team = team.id.as_deref();
        let reply = self.vercel.delete_configuration_there(id, team, token, calls).await;
        Ok(Confirmed::CalledAgain(reply))
    }

    /// Withdraws the intent, because Vercel refuses.
    async fn withdraw(
        &self,
        &Attempt { lease, progress, .. }: &Attempt<'_>,
        loaded: Loaded<'_>,
        reply: CallResult,
        in_doubt: bool,
        after: &mut TimeBudget,
    ) -> Result<SagaResult, Error> {
        // Vercel's refusal is a definite answer to this call (E3).
        progress.answered();
        let withdraw = self.store.withdraw(lease, loaded, Doubt::Known { in_doubt });
        Ok(match after.run(withdraw).await? {
            LeaseWrite::Written => SagaResult::Refused(reply.answer.error().unwrap_or_default()),
            // Another worker holds the lease, and may have deleted the configuration.
            LeaseWrite::LeaseLost => SagaResult::Lost,
        })
    }

    /// Commits that the configuration is gone at Vercel, with or without the lease, because a configuration
    /// that is gone stays gone. If a condition of the commit fails, `commit` reads the installation and tries
    /// again.
    async fn commit(
        &self,
        &Attempt { lease, provenance, request, .. }: &Attempt<'_>,
        snapshot: &Snapshot,
        budget: &mut TimeBudget,
    ) -> Result<SagaResult, Error> {
        let id = &lease.installation;
        let mut holder = Holder::Fence(lease.fence);
        let mut snapshot = snapshot.clone();
        while let Some(loaded) = snapshot.loaded() {
            if loaded.installation.is_gone_on_both_sides() {
                break;
            }
            // If another request used the key after this request's first read, the commit records no outcome
            // for this request.
            let committer = match request.filter(|_| snapshot.recorded.is_none()) {
                Some(request) => Committer::Request(Recording::of(request)),
                None => Committer::Worker { key_sha256: lease.key_sha256.as_deref() },
            };
            let commit = self.store.commit_configuration(id, provenance, loaded, holder, committer);
            if budget.run(commit).await? == LeaseWrite::Written {
                let ours = snapshot.recorded.is_none();
                return Ok(if ours { SagaResult::Gone } else { SagaResult::Lost });
            }
            let key = request.and_then(|request| request.key.as_ref());
            let now = self.clock.timestamp();
            snapshot = budget.run(self.store.load(id, key, now)).await?;
            holder = Holder::of(&snapshot);
        }
        Ok(SagaResult::Lost)
    }
}

/// The result if it is not known whether the configuration is gone at Vercel: the job must be tried again.
fn open(reason: String, retry_after: Option<Duration>, in_doubt: bool) -> SagaResult {
    SagaResult::Open(failure(reason, retry_after, in_doubt))
}

fn failure(reason: String, retry_after: Option<Duration>, in_doubt: bool) -> JobFailure {
    JobFailure { doubt: Doubt::Known { in_doubt }, ..JobFailure::new(reason, retry_after) }
}

//! A worker's next step, and each condition of the store's transactions.

use super::{
    Action, At, FINALIZE, Flaw, INSTALLATION, Job, PURGE, Scope, Stage, State, Sweeps, Tombstone,
    Worker,
};

/// Forbidden: a worker that had lost its lease changed the job.
pub(super) const OVERWROTE: &str = "overwrote";
/// Forbidden: a parked job was claimed.
pub(super) const PARKED: &str = "parked";
/// Forbidden: a worker called Vercel to finalize before the finalization was due.
pub(super) const EARLY: &str = "early";

impl Worker {
    /// Whether the worker's next step calls the provider or Vercel.
    pub(super) fn calls_outside(&self, state: &State) -> bool {
        match (self.job, self.at) {
            (0..=INSTALLATION, At::Taken) => true,
            (FINALIZE, At::Saw(tombstone)) => !tombstone.finalized && state.token,
            _ => false,
        }
    }
}

impl State {
    fn nobody_holds(&mut self, index: usize) {
        for worker in self.workers.iter_mut().flatten().filter(|worker| worker.job == index) {
            worker.fence = false;
        }
    }

    /// Deletes a job that is done.
    fn end(&mut self, index: usize) {
        self.jobs[index] = None;
        self.done[index] = true;
        self.nobody_holds(index);
    }

    /// The effect of a worker's call to Vercel or the provider.
    fn outside(&mut self, worker: Worker) {
        if worker.job == FINALIZE {
            if !self.time {
                self.wrong = Some(EARLY);
            }
            self.finalized = true;
        } else {
            self.notified[worker.job] = true;
        }
    }
}

impl Sweeps {
    /// Writes a resource's announcement as a new job. No worker has the new job's fence.
    fn owe(&self, state: &mut State, resource: usize) {
        if self.scope == Scope::Purge {
            state.jobs[resource] = Some(Job { due: true, leased: false, parked: false });
            state.nobody_holds(resource);
        }
    }

    pub(super) fn may_claim(&self, job: Job) -> bool {
        (job.due || self.has(Flaw::ClaimDue))
            && (!job.parked || self.has(Flaw::ClaimNotParked))
            && (!job.leased || self.has(Flaw::ClaimNotLeased))
    }

    /// Changes the state by a step. `None` if the step is not possible.
    pub(super) fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Claim(index) => {
                let job = state.jobs[index].as_mut()?;
                if job.parked {
                    state.wrong = Some(PARKED);
                }
                *job = Job { due: false, leased: true, parked: false };
                state.nobody_holds(index);
                let worker = Worker { job: index, leased: true, fence: true, at: At::Taken };
                *state.workers.iter_mut().find(|worker| worker.is_none())? = Some(worker);
            }
            Action::Go(index) => self.go(state, index)?,
            // The worker's call takes effect, but the worker stays at its step, because the answer is lost.
            Action::AnswerLost(index) => state.outside(state.workers[index]?),
            Action::RetryLater(index) => {
                self.retry_later(state, index, Job { due: true, leased: false, parked: false })?;
            }
            Action::Park(index) => {
                // A parked job's `dueAt` is the time at which the job was parked, so the job counts as due.
                self.retry_later(state, index, Job { due: true, leased: false, parked: true })?;
            }
            Action::Die(index) => state.workers[index] = None,
            Action::LeaseEnds(index) => {
                let job = state.jobs[index].as_mut()?;
                (job.leased, job.due) = (false, true);
                for worker in state.workers.iter_mut().flatten() {
                    worker.leased &= worker.job != index;
                }
            }
            Action::ComesDue(index) => {
                state.jobs[index].as_mut()?.due = true;
                state.time |= index == FINALIZE;
            }
            Action::RetryParked(index) => {
                state.jobs[index] = Some(Job { due: true, leased: false, parked: false });
            }
            Action::Settle => {
                (state.time, state.settled) = (true, true);
                if let Some(job) = &mut state.jobs[FINALIZE] {
                    (job.due, job.parked) = (true, false);
                    job.leased &= !self.has(Flaw::SettleEndsLease);
                }
            }
            Action::DeleteConfiguration => {
                state.configuration_gone = true;
                state.token = false;
                state.tombstone = state.tombstone.finalize();
                state.jobs[FINALIZE] = None;
                state.nobody_holds(FINALIZE);
            }
        }
        Some(())
    }

    fn go(&self, state: &mut State, index: usize) -> Option<()> {
        let worker = state.workers[index]?;
        let next = match (worker.job, worker.at) {
            (PURGE, At::Taken) => At::Saw(state.tombstone),
            (FINALIZE, At::Taken) => {
                state.token &= !self.has(Flaw::TokenApart);
                At::Saw(state.tombstone)
            }
            (_, At::Taken) => {
                state.outside(worker);
                At::Done(None)
            }
            (PURGE, At::Saw(seen)) => match state.resources {
                [false, false] => At::Done(Some(seen)),
                [first, second] => At::Read(seen, u8::from(first) + 2 * u8::from(second)),
            },
            (_, At::Saw(seen)) => {
                if worker.calls_outside(state) {
                    state.outside(worker);
                }
                At::Done(Some(seen))
            }
            (_, At::Read(seen, page)) => self.swap(state, seen, page),
            (_, At::Swapping(seen, page)) => {
                for resource in (0..2).filter(|resource| page & (1 << resource) != 0) {
                    self.owe(state, resource);
                }
                At::Saw(seen)
            }
            (_, At::Done(None)) => {
                self.finish(state, worker);
                state.workers[index] = None;
                return Some(());
            }
            (_, At::Done(Some(seen))) => {
                if self.end_step(state, worker, seen) {
                    state.workers[index] = None;
                    return Some(());
                }
                // The tombstone has changed since the worker read it. A purge is retried from its start. A
                // finalization tries to end again, with the new tombstone.
                if worker.job == PURGE {
                    let again = Job { due: true, leased: false, parked: false };
                    return self.retry_later(state, index, again);
                }
                At::Done(Some(state.tombstone))
            }
        };
        state.workers[index].as_mut()?.at = next;
        Some(())
    }

    /// Replaces all resources of a page by their announcements, or none of them.
    fn swap(&self, state: &mut State, seen: Tombstone, page: u8) -> At {
        let of_page = |resource: &usize| page & (1 << resource) != 0;
        let there = (0..2).filter(of_page).all(|resource| state.resources[resource]);
        if !there && !self.has(Flaw::SwapThere) {
            return At::Saw(seen);
        }
        for resource in (0..2).filter(of_page) {
            state.resources[resource] = false;
            if !self.has(Flaw::SwapApart) {
                self.owe(state, resource);
            }
        }
        if self.has(Flaw::SwapApart) { At::Swapping(seen, page) } else { At::Saw(seen) }
    }

    fn finish(&self, state: &mut State, worker: Worker) {
        if worker.fence || self.has(Flaw::FinishFence) {
            if !worker.fence && state.jobs[worker.job].is_some() {
                state.wrong = Some(OVERWROTE);
            }
            state.end(worker.job);
        }
    }

    /// Ends a lease, and keeps the job. Without the condition on the fence, the update would write a job
    /// again after it was deleted.
    fn retry_later(&self, state: &mut State, index: usize, job: Job) -> Option<()> {
        let worker = state.workers[index].take()?;
        if worker.fence || self.has(Flaw::RetryFence) {
            if !worker.fence {
                state.wrong = Some(OVERWROTE);
            }
            state.jobs[worker.job] = Some(job);
        }
        Some(())
    }

    /// Ends a purge or a finalization. `false` if the tombstone has changed since the worker read it.
    fn end_step(&self, state: &mut State, worker: Worker, seen: Tombstone) -> bool {
        let (as_seen, fence) = if worker.job == PURGE {
            (Flaw::EndPurgeAsSeen, Flaw::EndPurgeFence)
        } else {
            (Flaw::EndFinalizationAsSeen, Flaw::EndFinalizationFence)
        };
        if state.tombstone != seen && !self.has(as_seen) {
            return false;
        }
        // This worker has lost its lease, so the worker that now has the lease ends the job.
        if !worker.fence && !self.has(fence) {
            return true;
        }
        if !worker.fence && state.jobs[worker.job].is_some() {
            state.wrong = Some(OVERWROTE);
        }
        // Attributes that an update does not name stay as they are.
        if worker.job == PURGE {
            state.tombstone.stage = if seen.finalized { Stage::Finalized } else { Stage::Purged };
        } else {
            state.tombstone.finalized = true;
            if seen.stage != Stage::Deleting {
                state.tombstone.stage = Stage::Finalized;
            }
            state.token = false;
        }
        state.end(worker.job);
        true
    }
}

impl Tombstone {
    /// The tombstone after a finalization: `Store::set_finalized`.
    fn finalize(self) -> Self {
        let stage = if self.stage == Stage::Deleting { Stage::Deleting } else { Stage::Finalized };
        Self { stage, finalized: true }
    }
}

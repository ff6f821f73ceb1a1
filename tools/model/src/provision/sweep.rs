//! The steps of a worker that has claimed the intent. The worker reads the table, and calls Vercel to list
//! the installation's resources. The worker registers or announces each resource that the table lacks. At the
//! end the worker ends the intent, under its fence.

use super::state::{
    ENDED_LATER, Installation, Item, Job, OVERWROTE, Receipt, Resource, State, Worker, WorkerAt,
};
use super::{Flaw, Provisions};

impl Provisions {
    pub(super) fn may_claim(&self, state: &State) -> bool {
        let may = |intent: Item| {
            !intent.leased && !intent.parked && (intent.due || self.has(Flaw::ClaimDue))
        };
        state.intent.is_some_and(may) && state.workers.iter().flatten().count() < self.workers
    }

    pub(super) fn claim(state: &mut State) -> Option<()> {
        for worker in state.workers.iter_mut().flatten() {
            worker.fence = false;
        }
        let intent = state.intent.as_mut()?;
        (intent.leased, intent.due) = (true, false);
        let free = state.workers.iter_mut().find(|worker| worker.is_none())?;
        *free = Some(Worker { fence: true, overtaken: false, at: WorkerAt::Claimed });
        Some(())
    }

    pub(super) fn work(&self, state: &mut State, index: usize) -> Option<()> {
        let at = match state.workers[index]?.at {
            WorkerAt::Claimed => {
                let is_active = matches!(state.installation, Installation::Active { .. });
                if !state.token {
                    // No token will be stored again, so the worker parks the intent.
                    self.end_lease(state, index, true);
                    return Some(());
                }
                let is_known = |it: &usize| {
                    let stored = state.resources[*it];
                    stored.item || stored.receipt != Receipt::None || stored.job != Job::None
                };
                let known = (0..2).filter(is_known).map(|it| 1 << it).sum();
                WorkerAt::Read { is_active, known }
            }
            WorkerAt::Read { is_active, known } => {
                let bits = |of: fn(&Resource) -> bool| -> u8 {
                    (0..2).filter(|it| of(&state.resources[*it])).map(|it| 1 << it).sum()
                };
                let left = bits(|it| it.listed) & !known;
                let unlisted = bits(|it| it.made && !it.listed);
                WorkerAt::Mending { is_active, left, unlisted }
            }
            WorkerAt::Mending { left: 0, unlisted, .. } => {
                self.complete(state, index, unlisted)?;
                return Some(());
            }
            WorkerAt::Mending { is_active, left, unlisted } => {
                let resource = left.trailing_zeros() as usize;
                if is_active {
                    if state.installation == Installation::Deleted && !self.has(Flaw::SweepActive) {
                        self.retry_later(state, index);
                        return Some(());
                    }
                    self.register_listed(state, resource);
                } else {
                    self.announce_listed(state, resource);
                }
                WorkerAt::Mending { is_active, left: left & (left - 1), unlisted }
            }
        };
        state.workers[index].as_mut()?.at = at;
        Some(())
    }

    fn register_listed(&self, state: &mut State, resource: usize) {
        let stored = state.resources[resource];
        let is_absent = !stored.item || self.has(Flaw::SweepAbsent);
        let is_gone = stored.receipt != Receipt::None || stored.job != Job::None;
        if is_absent && (!is_gone || self.has(Flaw::SweepReceipt)) {
            state.register(resource);
        }
    }

    fn announce_listed(&self, state: &mut State, resource: usize) {
        if state.resources[resource].receipt == Receipt::None
            || self.has(Flaw::SweepAnnounceReceipt)
        {
            state.resources[resource].item = false;
            state.announce(resource);
        }
    }

    /// Ends the intent. A resource that Vercel does not list is excused: the real worker logs a warning.
    fn complete(&self, state: &mut State, index: usize, unlisted: u8) -> Option<()> {
        let worker = state.workers[index].take()?;
        if state.intent.is_some() && (worker.fence || self.has(Flaw::CompleteFence)) {
            if worker.overtaken {
                state.wrong = Some(ENDED_LATER);
            }
            state.end_intent();
            for resource in (0..2).filter(|it| unlisted & (1 << it) != 0) {
                state.resources[resource].excused = true;
            }
        }
        Some(())
    }

    /// Ends a worker's lease with a failure. The intent is due again immediately, because no property depends
    /// on the wait.
    pub(super) fn retry_later(&self, state: &mut State, index: usize) {
        self.end_lease(state, index, false);
    }

    fn end_lease(&self, state: &mut State, index: usize, parks: bool) {
        let Some(worker) = state.workers[index].take() else { return };
        if let Some(intent) = &mut state.intent
            && (worker.fence || self.has(Flaw::RetryFence))
        {
            if !worker.fence {
                state.wrong = Some(OVERWROTE);
            }
            (intent.leased, intent.due, intent.parked) = (false, true, parks);
        }
    }
}

//! What a worker does next, and the store's transactions, condition by condition.

use super::{
    Action, At, FINALIZE, Flaw, INSTALLATION, Owed, PURGE, Scope, Stage, State, Sweeps, Tombstone,
    Worker,
};

/// A worker that had lost its lease changed what another holds.
pub(super) const OVERWROTE: &str = "overwrote";
/// What is parked was taken.
pub(super) const PARKED: &str = "parked";
/// Vercel was asked to finalize before it was time.
pub(super) const EARLY: &str = "early";

impl Worker {
    /// Whether its next step asks the provider or Vercel for something.
    pub(super) fn asks_outside(&self, state: &State) -> bool {
        match (self.owed, self.at) {
            (0..=INSTALLATION, At::Taken) => true,
            (FINALIZE, At::Saw(tombstone)) => !tombstone.finalized && state.token,
            _ => false,
        }
    }
}

impl State {
    fn nobody_holds(&mut self, index: usize) {
        for worker in self.workers.iter_mut().flatten().filter(|worker| worker.owed == index) {
            worker.fence = false;
        }
    }

    /// Deletes a thing owed: it is done.
    fn end(&mut self, index: usize) {
        self.owed[index] = None;
        self.done[index] = true;
        self.nobody_holds(index);
    }

    /// What the world does when a worker asks.
    fn outside(&mut self, worker: Worker) {
        if worker.owed == FINALIZE {
            if !self.time {
                self.wrong = Some(EARLY);
            }
            self.finalized = true;
        } else {
            self.told[worker.owed] = true;
        }
    }
}

impl Sweeps {
    /// Writes a resource's announcement, which nobody holds then.
    fn owe(&self, state: &mut State, resource: usize) {
        if self.scope == Scope::Purge {
            state.owed[resource] = Some(Owed { due: true, leased: false, parked: false });
            state.nobody_holds(resource);
        }
    }

    pub(super) fn may_take(&self, owed: Owed) -> bool {
        (owed.due || self.has(Flaw::TakeDue))
            && (!owed.parked || self.has(Flaw::TakeNotParked))
            && (!owed.leased || self.has(Flaw::TakeNotLeased))
    }

    /// The step, in the state; nothing where it cannot be.
    pub(super) fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Take(index) => {
                let owed = state.owed[index].as_mut()?;
                if owed.parked {
                    state.wrong = Some(PARKED);
                }
                *owed = Owed { due: false, leased: true, parked: false };
                state.nobody_holds(index);
                let worker = Worker { owed: index, leased: true, fence: true, at: At::Taken };
                *state.workers.iter_mut().find(|worker| worker.is_none())? = Some(worker);
            }
            Action::Go(index) => self.go(state, index)?,
            // It is as if it had not asked.
            Action::Unheard(index) => state.outside(state.workers[index]?),
            Action::PutOff(index) => {
                self.put_off(state, index, Owed { due: true, leased: false, parked: false })?;
            }
            Action::Park(index) => {
                // `dueAt` is when it was parked.
                self.put_off(state, index, Owed { due: true, leased: false, parked: true })?;
            }
            Action::Die(index) => state.workers[index] = None,
            Action::LeaseEnds(index) => {
                let owed = state.owed[index].as_mut()?;
                (owed.leased, owed.due) = (false, true);
                for worker in state.workers.iter_mut().flatten() {
                    worker.leased &= worker.owed != index;
                }
            }
            Action::ComesDue(index) => {
                state.owed[index].as_mut()?.due = true;
                state.time |= index == FINALIZE;
            }
            Action::Retry(index) => {
                state.owed[index] = Some(Owed { due: true, leased: false, parked: false });
            }
            Action::Settle => {
                (state.time, state.settled) = (true, true);
                if let Some(owed) = &mut state.owed[FINALIZE] {
                    (owed.due, owed.parked) = (true, false);
                    owed.leased &= !self.has(Flaw::SettleEndsLease);
                }
            }
            Action::DeleteConfiguration => {
                state.configuration_gone = true;
                state.token = false;
                state.tombstone = state.tombstone.finalize();
                state.owed[FINALIZE] = None;
                state.nobody_holds(FINALIZE);
            }
        }
        Some(())
    }

    fn go(&self, state: &mut State, index: usize) -> Option<()> {
        let worker = state.workers[index]?;
        let next = match (worker.owed, worker.at) {
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
                if worker.asks_outside(state) {
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
                // The purge is put off, and begins again; the finalization ends otherwise.
                if worker.owed == PURGE {
                    let again = Owed { due: true, leased: false, parked: false };
                    return self.put_off(state, index, again);
                }
                At::Done(Some(state.tombstone))
            }
        };
        state.workers[index].as_mut()?.at = next;
        Some(())
    }

    /// A page's resources for their announcements, all or none of it.
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
            if !worker.fence && state.owed[worker.owed].is_some() {
                state.wrong = Some(OVERWROTE);
            }
            state.end(worker.owed);
        }
    }

    /// Ends a lease: it is owed still. Without a condition an update makes the item that it misses.
    fn put_off(&self, state: &mut State, index: usize, owed: Owed) -> Option<()> {
        let worker = state.workers[index].take()?;
        if worker.fence || self.has(Flaw::PutOffFence) {
            if !worker.fence {
                state.wrong = Some(OVERWROTE);
            }
            state.owed[worker.owed] = Some(owed);
        }
        Some(())
    }

    /// Ends a purge or a finalization; `false` where the tombstone is another by now.
    fn end_step(&self, state: &mut State, worker: Worker, seen: Tombstone) -> bool {
        let (as_seen, fence) = if worker.owed == PURGE {
            (Flaw::EndPurgeAsSeen, Flaw::EndPurgeFence)
        } else {
            (Flaw::EndFinalizationAsSeen, Flaw::EndFinalizationFence)
        };
        if state.tombstone != seen && !self.has(as_seen) {
            return false;
        }
        // A lease that was lost is its successor's to end.
        if !worker.fence && !self.has(fence) {
            return true;
        }
        if !worker.fence && state.owed[worker.owed].is_some() {
            state.wrong = Some(OVERWROTE);
        }
        // What an update does not name stays as it is.
        if worker.owed == PURGE {
            state.tombstone.stage = if seen.finalized { Stage::Finalized } else { Stage::Purged };
        } else {
            state.tombstone.finalized = true;
            if seen.stage != Stage::Deleting {
                state.tombstone.stage = Stage::Finalized;
            }
            state.token = false;
        }
        state.end(worker.owed);
        true
    }
}

impl Tombstone {
    /// `Store::finalized`.
    fn finalize(self) -> Self {
        let stage = if self.stage == Stage::Deleting { Stage::Deleting } else { Stage::Finalized };
        Self { stage, finalized: true }
    }
}

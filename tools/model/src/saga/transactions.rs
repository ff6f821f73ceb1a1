//! The store's transactions, with each of their conditions.

use super::process::{At, Ended};
use super::state::{INVOICES, NOT_CALLED, OVERWROTE, State};
use super::table::{Deletion, Intent, Seen, Stage};
use super::{Flaw, Sagas};

impl Seen {
    pub(super) fn is_in_doubt(&self) -> bool {
        self.installation.in_doubt || self.intent.is_some_and(|intent| intent.in_doubt)
    }

    /// These items without the values that no later step needs.
    pub(super) fn trim(mut self) -> Self {
        self.installation.in_doubt = self.is_in_doubt();
        (self.installation.settled, self.installation.over) = (true, false);
        self.intent = None;
        self
    }

    pub(super) fn is_gone(&self) -> bool {
        self.installation.deletion.is_some_and(|deletion| deletion.gone)
    }

    /// Whether the installation's state has not changed since it was read.
    fn still(&self, state: &State) -> bool {
        self.installation.stage == state.installation.stage
    }
}

impl Sagas {
    /// Writes the intent under a lease, and returns its fence. `None` if a condition fails.
    pub(super) fn begin(&self, state: &mut State, seen: &Seen) -> Option<u8> {
        let open = !state.installation.settled;
        let settled = seen.installation.deletion.is_some() || seen.is_in_doubt() || !open;
        let holds = |flaw: Flaw, holds: bool| holds || self.has(flaw);
        let intent = match (seen.intent, state.intent) {
            (None, there) => holds(Flaw::BeginAbsent, there.is_none()),
            (Some(was), there) => {
                let same = there.is_some_and(|is| is.fence == was.fence);
                let free = was.own || there.is_none_or(|is| !is.leased);
                let clear = there.is_none_or(|is| is.in_doubt == was.in_doubt);
                holds(Flaw::BeginFence, same)
                    && holds(Flaw::BeginNotLeased, free)
                    && holds(Flaw::TakeOverDoubtAsSeen, clear)
            }
        };
        if !(intent
            && holds(Flaw::BeginAsSeen, seen.still(state))
            && holds(
                Flaw::BeginDoubtAsSeen,
                seen.installation.in_doubt || !state.installation.in_doubt,
            )
            && holds(Flaw::BeginNotGone, !state.is_gone())
            && holds(Flaw::BeginSettled, settled))
        {
            return None;
        }
        if open && !seen.is_in_doubt() && state.installation.deletion.is_none() {
            state.wrong = Some(INVOICES);
        }
        // The new fence is one more than the fence that was read, or comes from the clock.
        let fence = match seen.intent {
            Some(was) if state.intent.is_none_or(|is| is.fence != was.fence) => was.fence + 1,
            _ => self.next_fence(state),
        };
        state.intent =
            Some(Intent { fence, leased: true, in_doubt: seen.is_in_doubt(), own: false });
        Some(fence)
    }

    /// Stores the team that Vercel named, and returns the process's next step. Vercel always names the second
    /// team, because the configuration moves only once.
    pub(super) fn move_to_team(&self, state: &mut State, seen: Seen, fence: u8, own: bool) -> At {
        let as_seen = state.team == seen.team && !state.is_gone();
        if !(as_seen || self.has(Flaw::MoveAsSeen)) || !self.held(state, fence, Flaw::MoveFence) {
            return At::Rescheduling {
                fence,
                stored_doubt: Some(seen.is_in_doubt()),
                own_doubt: own,
            };
        }
        if let Some(intent) = &mut state.intent {
            intent.in_doubt = true;
        }
        state.team = 1;
        At::CallingThere { seen, fence, lost: false, own }
    }

    pub(super) fn withdraw(
        &self,
        state: &mut State,
        seen: &Seen,
        fence: u8,
        in_doubt: bool,
    ) -> bool {
        if in_doubt && !seen.still(state) && !self.has(Flaw::WithdrawAsSeen) {
            return false;
        }
        if !self.held(state, fence, Flaw::WithdrawFence) {
            return false;
        }
        state.intent = None;
        state.installation.in_doubt |= in_doubt && !self.has(Flaw::DoubtForgotten);
        true
    }

    /// Writes a new intent after a withdrawal, so that a sweep calls Vercel once more.
    pub(super) fn schedule_again(&self, state: &mut State) {
        let holds = |flaw: Flaw, holds: bool| holds || self.has(flaw);
        if holds(Flaw::AgainAbsent, state.intent.is_none())
            && holds(Flaw::AgainNotGone, !state.is_gone())
        {
            let fence = self.next_fence(state);
            state.intent = Some(Intent { fence, leased: false, in_doubt: true, own: false });
        }
    }

    /// Commits the deletion in the table. `false` if a condition fails.
    pub(super) fn commit(
        &self,
        state: &mut State,
        index: usize,
        seen: &Seen,
        hold: Option<u8>,
    ) -> bool {
        let process = state.processes[index];
        let records = process.is_keyed() && seen.recorded.is_none();
        let holds = |flaw: Flaw, holds: bool| holds || self.has(flaw);
        let free = match (hold, state.intent) {
            (None, there) => holds(Flaw::CommitNobody, there.is_none()),
            (Some(fence), there) => {
                holds(Flaw::CommitFence, there.is_some_and(|intent| intent.fence == fence))
            }
        };
        if !(free
            && holds(Flaw::CommitOutcomeAbsent, !records || state.outcome.is_none())
            && holds(Flaw::CommitNoToken, seen.token || !state.token)
            && holds(Flaw::CommitAsSeen, seen.still(state))
            && holds(Flaw::CommitNotGone, !state.is_gone()))
        {
            return false;
        }
        if hold.is_some() && state.intent.is_some_and(|intent| Some(intent.fence) != hold) {
            state.wrong = Some(OVERWROTE);
        }
        if !process.knows_it_is_gone {
            state.alone = true;
            let finalized = state.installation.deletion.is_some_and(|deletion| deletion.finalized);
            if state.token && !finalized && state.exists {
                state.wrong = Some(NOT_CALLED);
            }
        }
        if hold.is_some() {
            state.intent = None;
        }
        state.token = false;
        state.commits = (state.commits + 1).min(2);
        match seen.installation.deletion {
            None => {
                state.uninstalls = (state.uninstalls + 1).min(2);
                state.installation.stage = Stage::Deleting;
            }
            Some(_) if seen.installation.stage != Stage::Deleting => {
                state.installation.stage = Stage::Finalized;
            }
            Some(_) => {}
        }
        state.installation.deletion = Some(Deletion { finalized: true, gone: true });
        if records && !self.has(Flaw::OutcomeApart) {
            state.outcome = Some(process.request);
        }
        state.processes[index].acted = true;
        true
    }

    /// The next step of a process that has committed.
    pub(super) fn committed(&self, state: &State, index: usize, seen: &Seen) -> At {
        let process = state.processes[index];
        if process.is_keyed() && seen.recorded.is_some() {
            return At::Idle;
        }
        if process.is_keyed() && self.has(Flaw::OutcomeApart) {
            return At::RecordingLate;
        }
        At::Ended(Ended::Gone)
    }
}

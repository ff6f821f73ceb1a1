//! A process's next step, and Vercel's answers.

use super::process::{At, Ended, Process, SWEEP};
use super::state::{OVERWROTE, State};
use super::table::{Deletion, Intent, Stage};
use super::{Action, Flaw, Sagas};

/// The next step of a process that has lost its lease: a request reads the table again, and a sweep ends.
const LOST: At = At::Idle;

impl Sagas {
    /// Changes the state by a step. `None` if the step is not possible.
    pub(super) fn step(&self, state: &mut State, action: Action) -> Option<()> {
        let installation = &mut state.installation;
        match action {
            Action::Go(index) => self.go(state, index)?,
            Action::Answer(index, answer) => self.answered(state, index, answer)?,
            Action::Anew(index) => {
                let process = &mut state.processes[index];
                state.may_stay_unknown |= process.is_busy();
                (process.at, process.knows_it_is_gone, process.own) = (At::Idle, false, None);
            }
            Action::Take(index) => {
                let fence = self.next_fence(state);
                let intent = state.intent.as_mut()?;
                intent.leased = true;
                intent.fence = fence;
                state.processes[index].at = At::Taken(fence);
            }
            Action::TimesUp(index) => {
                let at = state.processes[index].at;
                let fence = state.processes[index].fence()?;
                let (stored_doubt, own_doubt) = match at {
                    At::Calling { seen, .. } => {
                        state.in_flight |= state.is_in(seen.team);
                        (None, true)
                    }
                    At::CallingThere { .. } => {
                        state.in_flight |= state.exists;
                        (None, true)
                    }
                    // Vercel has answered the `DELETE`, so the process removes its mark, unless an attempt is
                    // in doubt.
                    At::Confirming { seen, own, .. } | At::Moving { seen, own, .. } => {
                        (Some(false).filter(|_| !seen.is_in_doubt()), own)
                    }
                    _ => (None, false),
                };
                state.processes[index].at = At::Rescheduling { fence, stored_doubt, own_doubt };
            }
            Action::LeaseEnds => state.intent.as_mut()?.leased = false,
            Action::Arrives => {
                (state.exists, state.in_flight) = (false, false);
                let known = state.processes().any(Process::is_in_doubt);
                state.may_stay_unknown |= !known;
            }
            Action::Vanishes => state.in_flight = false,
            Action::Uninstall => {
                let finalized = installation.settled;
                installation.stage = Stage::Deleting;
                installation.deletion = Some(Deletion { finalized, gone: false });
                state.token &= !finalized;
                state.uninstalls = (state.uninstalls + 1).min(2);
            }
            Action::Settle => installation.settled = true,
            Action::Reopen => installation.settled = false,
            Action::PurgeEnds => {
                let finalized = installation.deletion?.finalized;
                installation.stage = if finalized { Stage::Finalized } else { Stage::Purged };
            }
            Action::FinalizationEnds => {
                installation.deletion.as_mut()?.finalized = true;
                if installation.stage == Stage::Purged {
                    installation.stage = Stage::Finalized;
                }
                state.token = false;
            }
            Action::DayEnds => installation.over = true,
            Action::RegisterToken => state.token = true,
            // A call that Vercel has not answered names the old team, so the call will find nothing.
            Action::Moves => (state.team_at_vercel, state.in_flight) = (1, false),
        }
        Some(())
    }

    /// The fence for a process that claims the intent, or begins a new intent.
    pub(super) fn next_fence(&self, state: &State) -> u8 {
        let fences = state.fences();
        if state.intent.is_none() && self.has(Flaw::FenceAgain) {
            return fences.first().copied().unwrap_or(0);
        }
        // The new fence is higher than each known fence. A real fence comes from the clock, or is one more
        // than the previous fence.
        fences.last().map_or(0, |last| last + 1)
    }

    /// Sends a process's next transaction or read.
    fn go(&self, state: &mut State, index: usize) -> Option<()> {
        let process = state.processes[index];
        let seen = state.seen(process.is_keyed(), process.own);
        let mut own = process.own;
        let next = match process.at {
            At::Idle if process.is_sweep() => return None,
            At::Idle => self.decide(process.request, seen),
            At::Taken(fence) => self.resume(state, fence),
            At::Beginning(seen) => match self.begin(state, &seen) {
                None => At::Idle,
                Some(fence) => {
                    own = Some(fence);
                    if seen.is_in_doubt() || self.has(Flaw::NotMarked) {
                        At::Calling { seen: seen.trim(), fence, lost: false }
                    } else {
                        At::Marking(seen.trim(), fence)
                    }
                }
            },
            At::Marking(..) if !self.held(state, process.fence()?, Flaw::MarkFence) => LOST,
            At::Marking(seen, fence) => {
                if let Some(intent) = &mut state.intent {
                    intent.in_doubt = true;
                }
                // The process is connected to Vercel. Once the mark is written, nobody can know that the call
                // was not sent.
                state.sent |= !self.has(Flaw::MarkedFirst);
                At::Calling { seen, fence, lost: false }
            }
            At::Calling { .. } | At::Confirming { .. } | At::CallingThere { .. } | At::Ended(_) => {
                return None;
            }
            At::Moving { seen, fence, own } => self.move_to_team(state, seen, fence, own),
            At::Committing(seen, hold) => {
                if self.commit(state, index, &seen, hold) {
                    self.committed(state, index, &seen)
                } else if process.knows_it_is_gone {
                    At::Again
                } else {
                    At::Idle
                }
            }
            At::Again if seen.is_gone() => LOST,
            At::Again => At::Committing(seen.trim(), seen.intent.map(|intent| intent.fence)),
            At::Withdrawing { seen, fence, in_doubt, ended } => {
                if self.withdraw(state, &seen, fence, in_doubt) {
                    At::Ended(ended)
                } else {
                    At::Idle
                }
            }
            At::Rescheduling { fence, stored_doubt, own_doubt } => {
                if self.held(state, fence, Flaw::RetryFence) {
                    let fence = state.intent.map_or(fence, |intent| intent.fence);
                    let in_doubt = stored_doubt
                        .unwrap_or_else(|| state.intent.is_some_and(|intent| intent.in_doubt));
                    state.intent = Some(Intent { fence, leased: false, in_doubt, own: false });
                    At::Ended(Ended::Later)
                } else if own_doubt && !self.has(Flaw::NotScheduledAgain) {
                    At::Doubting
                } else if stored_doubt == Some(true) {
                    LOST
                } else {
                    At::Ended(Ended::Later)
                }
            }
            At::Doubting => {
                let fence = self.next_fence(state);
                match &mut state.intent {
                    Some(intent) => {
                        if !self.has(Flaw::AgainHeld) {
                            intent.fence = fence;
                        }
                        LOST
                    }
                    None => At::SchedulingAgain,
                }
            }
            At::SchedulingAgain => {
                self.schedule_again(state);
                LOST
            }
            At::Recording => {
                if state.outcome.is_some() && !self.has(Flaw::RecordOutcomeAbsent) {
                    At::Idle
                } else {
                    state.outcome = Some(process.request);
                    At::Ended(Ended::Gone)
                }
            }
            At::RecordingLate => {
                state.outcome = Some(process.request);
                At::Ended(Ended::Gone)
            }
        };
        let process = &mut state.processes[index];
        (process.at, process.own) = (next, own);
        process.settle();
        Some(())
    }

    /// The next step of a sweep that resumes the intent, as in `DeleteConfiguration::resume`.
    fn resume(&self, state: &State, fence: u8) -> At {
        let seen = state.seen(false, None);
        let ours = seen.intent.is_some_and(|intent| intent.fence == fence);
        if !ours && !self.has(Flaw::ResumeFence) {
            return At::Idle;
        }
        let real = seen.real(&self.requests);
        let Some(loaded) = real.loaded() else { return At::Idle };
        let seen = seen.trim();
        if loaded.usable_token().is_none() {
            return At::Committing(seen, Some(fence));
        }
        if !real.is_in_doubt() && loaded.installation.invoices_are_open(super::table::now()) {
            let ended = Ended::InvoicesOpen;
            return At::Withdrawing { seen, fence, in_doubt: false, ended };
        }
        if real.is_in_doubt() || self.has(Flaw::NotMarked) {
            At::Calling { seen, fence, lost: false }
        } else {
            At::Marking(seen, fence)
        }
    }

    /// Whether the intent has this fence. If the model has this `flaw`, the result is always true, and a
    /// wrong fence is recorded in `State::wrong`.
    pub(super) fn held(&self, state: &mut State, fence: u8, flaw: Flaw) -> bool {
        let held = state.intent.is_some_and(|intent| intent.fence == fence);
        if !held && self.has(flaw) {
            state.wrong = Some(OVERWROTE);
        }
        held || self.has(flaw)
    }
}

impl Process {
    /// Resets what a process no longer needs after its step. A sweep that has ended is idle again, because no
    /// caller waits for its answer. Vercel's answer matters only until the process has ended.
    fn settle(&mut self) {
        if self.request == SWEEP && matches!(self.at, At::Ended(_) | At::RecordingLate) {
            self.at = At::Idle;
        }
        if matches!(self.at, At::Idle | At::Ended(_)) {
            self.knows_it_is_gone = false;
        }
        // A process that knows that the configuration is gone commits under any fence, so it needs no own
        // fence.
        if self.knows_it_is_gone || matches!(self.at, At::Ended(_)) {
            self.own = None;
        }
    }
}

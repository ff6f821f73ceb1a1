//! A process's next step, and Vercel's answers.

use teardown::deletion::configuration::{Place, Verdict, Whereabouts, verdict, whereabouts};
use teardown::vercel::{CallResult, LookupResult, VercelAnswer, VercelConfiguration};

use super::process::{At, Ended, Process, SWEEP};
use super::state::{OVERWROTE, State};
use super::table::{Deletion, Intent, Seen, Stage, TEAMS};
use super::{Action, Flaw, Sagas};

/// An answer of Vercel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 204: it is done.
    Done,
    /// 404: it is not there, in the team that Vercel was asked in, if it was in one.
    Gone,
    /// 200: it lives in this team. To the question where it is, alone.
    Found,
    /// 403: the token is dead; or, where no attempt before is marked as unclear, it refuses.
    Forbidden,
    /// 409: it refuses.
    Conflict,
    /// 429.
    TooMany,
    /// 503.
    Unavailable,
    /// Nothing, whether it is done now, later or never. In one call it may be asked again.
    Silence,
    /// It was not asked: no connection came up.
    Unreached,
}

impl Answer {
    /// All that it may say where it is asked where a configuration is. What is no definite answer comes to
    /// the same.
    pub(super) const TO_A_LOOK: [Self; 4] =
        [Self::Gone, Self::Forbidden, Self::Found, Self::Unavailable];

    /// All that Vercel may say, whether it is true or not.
    pub(super) const ALL: [Self; 8] = [
        Self::Done,
        Self::Gone,
        Self::Forbidden,
        Self::Conflict,
        Self::TooMany,
        Self::Unavailable,
        Self::Silence,
        Self::Unreached,
    ];
}

/// Where somebody else has the lease by now: a request looks anew, a sweep is done.
const LOST: At = At::Idle;

impl Sagas {
    /// The step, in the state; nothing where it cannot be.
    pub(super) fn step(&self, state: &mut State, action: Action) -> Option<()> {
        let installation = &mut state.installation;
        match action {
            Action::Go(index) => self.go(state, index)?,
            Action::Answer(index, answer) => self.answered(state, index, answer)?,
            Action::Anew(index) => {
                let process = &mut state.processes[index];
                state.untold |= process.is_busy();
                (process.at, process.heard, process.own) = (At::Idle, false, None);
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
                let (unclear, in_doubt) = match at {
                    At::Asking { seen, .. } => {
                        state.in_flight |= state.is_in(seen.team);
                        (None, true)
                    }
                    At::AskingThere { .. } => {
                        state.in_flight |= state.exists;
                        (None, true)
                    }
                    // What was asked was answered: the mark is taken back.
                    At::Confirming { seen, own, .. } | At::Moving { seen, own, .. } => {
                        (Some(false).filter(|_| !seen.is_unclear()), own)
                    }
                    _ => (None, false),
                };
                state.processes[index].at = At::PuttingOff { fence, unclear, in_doubt };
            }
            Action::LeaseEnds => state.intent.as_mut()?.leased = false,
            Action::Arrives => {
                (state.exists, state.in_flight) = (false, false);
                let heard = state.processes().any(Process::is_in_doubt);
                state.untold |= !heard;
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
            // What is on its way names the team before: it will find nothing.
            Action::Moves => (state.team_at_vercel, state.in_flight) = (1, false),
        }
        Some(())
    }

    /// The fence of the process that claims the intent, or begins it.
    pub(super) fn next_fence(&self, state: &State) -> u8 {
        let fences = state.fences();
        if state.intent.is_none() && self.has(Flaw::FenceAgain) {
            return fences.first().copied().unwrap_or(0);
        }
        // From the clock, or one more than the one before.
        fences.last().map_or(0, |last| last + 1)
    }

    /// A process's next transaction or read.
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
                    if seen.is_unclear() || self.has(Flaw::NotMarked) {
                        At::Asking { seen: seen.trim(), fence, lost: false }
                    } else {
                        At::Marking(seen.trim(), fence)
                    }
                }
            },
            At::Marking(..) if !self.held(state, process.fence()?, Flaw::MarkFence) => LOST,
            At::Marking(seen, fence) => {
                if let Some(intent) = &mut state.intent {
                    intent.unclear = true;
                }
                // The connection is up: it is sent with the mark, as far as anybody can tell.
                state.sent |= !self.has(Flaw::MarkedFirst);
                At::Asking { seen, fence, lost: false }
            }
            At::Asking { .. } | At::Confirming { .. } | At::AskingThere { .. } | At::Ended(_) => {
                return None;
            }
            At::Moving { seen, fence, own } => self.move_to_team(state, seen, fence, own),
            At::Committing(seen, hold) => {
                if self.commit(state, index, &seen, hold) {
                    self.committed(state, index, &seen)
                } else if process.heard {
                    At::Again
                } else {
                    At::Idle
                }
            }
            At::Again if seen.is_gone() => LOST,
            At::Again => At::Committing(seen.trim(), seen.intent.map(|intent| intent.fence)),
            At::Withdrawing { seen, fence, unclear, ended } => {
                if self.withdraw(state, &seen, fence, unclear) {
                    At::Ended(ended)
                } else {
                    At::Idle
                }
            }
            At::PuttingOff { fence, unclear, in_doubt } => {
                if self.held(state, fence, Flaw::RetryFence) {
                    let fence = state.intent.map_or(fence, |intent| intent.fence);
                    let stored = state.intent.is_some_and(|intent| intent.unclear);
                    let unclear = unclear.unwrap_or(stored);
                    state.intent = Some(Intent { fence, leased: false, unclear, own: false });
                    At::Ended(Ended::Later)
                } else if in_doubt && !self.has(Flaw::NotOwedAgain) {
                    At::Doubting
                } else if unclear == Some(true) {
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
                    None => At::OwingAgain,
                }
            }
            At::OwingAgain => {
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
            At::Owing => {
                state.outcome = Some(process.request);
                At::Ended(Ended::Gone)
            }
        };
        let process = &mut state.processes[index];
        (process.at, process.own) = (next, own);
        process.settle();
        Some(())
    }

    /// A sweep that took the intent carries on: `Configurations::resume`.
    fn resume(&self, state: &State, fence: u8) -> At {
        let seen = state.seen(false, None);
        let ours = seen.intent.is_some_and(|intent| intent.fence == fence);
        if !ours && !self.has(Flaw::CarryOnFence) {
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
            return At::Withdrawing { seen, fence, unclear: false, ended };
        }
        if real.is_in_doubt() || self.has(Flaw::NotMarked) {
            At::Asking { seen, fence, lost: false }
        } else {
            At::Marking(seen, fence)
        }
    }

    /// Vercel answers, or cannot be asked.
    fn answered(&self, state: &mut State, index: usize, answer: Answer) -> Option<()> {
        let (seen, fence, lost, named) = match state.processes[index].at {
            At::Asking { seen, fence, lost } => (seen, fence, lost, None),
            At::AskingThere { seen, fence, lost, own } => (seen, fence, lost, Some(own)),
            At::Confirming { seen, fence, own } => {
                return found(state, index, answer, (seen, fence, own));
            }
            // Before the mark.
            At::Marking(seen, fence) if answer == Answer::Unreached => (seen, fence, false, None),
            _ => return None,
        };
        // Vercel names the team that it has it in.
        let there = if named.is_some() { state.exists } else { state.is_in(seen.team) };
        let status = match answer {
            Answer::Done if there => {
                state.exists = false;
                Some(204)
            }
            Answer::Gone if !there => Some(404),
            Answer::Forbidden if !(state.exists && (lost || (seen.is_unclear() && state.sent))) => {
                Some(403)
            }
            Answer::Conflict if there => Some(409),
            Answer::TooMany => Some(429),
            Answer::Unavailable => Some(503),
            Answer::Silence => {
                if !lost {
                    state.in_flight |= there;
                    state.sent = true;
                    state.processes[index].at = match named {
                        None => At::Asking { seen, fence, lost: true },
                        Some(own) => At::AskingThere { seen, fence, lost: true, own },
                    };
                    return Some(());
                }
                None
            }
            Answer::Unreached => None,
            _ => return None,
        };
        state.sent |= answer != Answer::Unreached;
        let heard = match status {
            Some(status) => VercelAnswer::Answer { status, said: None, retry_after: None },
            None if answer == Answer::Unreached => VercelAnswer::Unreached(String::new()),
            None => VercelAnswer::Nothing(String::new()),
        };
        let is_unclear = match answer {
            Answer::Unavailable | Answer::Silence => true,
            Answer::Unreached => self.has(Flaw::UnreachedUnclear),
            _ => false,
        };
        let unclear = lost || is_unclear;
        let own = unclear || named == Some(true);
        let in_doubt = unclear && !(named.is_some() && self.has(Flaw::NamedDoubtIgnored));
        let place = if named.is_some() { Place::Named } else { Place::Stored };
        let verdict = match verdict(&CallResult { heard, in_doubt }, seen.is_unclear(), place) {
            Verdict::NotThere if self.has(Flaw::BelievedAtOnce) => Verdict::Gone,
            verdict => verdict,
        };
        let process = &mut state.processes[index];
        process.at = match verdict {
            Verdict::Gone => {
                process.heard = true;
                At::Committing(seen, Some(fence))
            }
            Verdict::NotThere => {
                let mut seen = seen;
                seen.installation.unclear |= unclear;
                At::Confirming { seen, fence, own }
            }
            Verdict::Refused => {
                // The call on its way takes effect after that: Vercel contradicts itself.
                state.untold |= state.in_flight;
                let unclear = seen.is_unclear() || in_doubt;
                At::Withdrawing { seen, fence, unclear, ended: Ended::Refused }
            }
            Verdict::Open { in_doubt: stored } => {
                At::PuttingOff { fence, unclear: Some(stored), in_doubt: own }
            }
        };
        Some(())
    }

    /// Whether the intent's fence is this one. Under a flaw it need not be: a change without it is noted.
    pub(super) fn held(&self, state: &mut State, fence: u8, flaw: Flaw) -> bool {
        let held = state.intent.is_some_and(|intent| intent.fence == fence);
        if !held && self.has(flaw) {
            state.wrong = Some(OVERWROTE);
        }
        held || self.has(flaw)
    }
}

/// Vercel says where the configuration is, or does not.
fn found(
    state: &mut State,
    index: usize,
    answer: Answer,
    (seen, fence, own): (Seen, u8, bool),
) -> Option<()> {
    let team = TEAMS[usize::from(state.team_at_vercel)];
    let team = Some(team.to_owned());
    let lives = VercelConfiguration { team, ..VercelConfiguration::default() };
    let (status, configuration) = match answer {
        Answer::Gone if !state.exists => (404, None),
        Answer::Forbidden if !state.exists => (403, None),
        Answer::Found if state.exists => (200, Some(lives)),
        Answer::Unavailable => (503, None),
        _ => return None,
    };
    let heard = VercelAnswer::Answer { status, said: None, retry_after: None };
    let process = &mut state.processes[index];
    process.at = match whereabouts(&LookupResult { heard, configuration }) {
        Whereabouts::Gone => {
            process.heard = true;
            At::Committing(seen, Some(fence))
        }
        Whereabouts::LivesIn(_) => At::Moving { seen, fence, own },
        Whereabouts::Unknown => {
            At::PuttingOff { fence, unclear: Some(seen.is_unclear()), in_doubt: own }
        }
    };
    Some(())
}

impl Process {
    /// A sweep that has ended is idle again; only a request waits for an answer. Vercel's answer matters
    /// until it is committed.
    fn settle(&mut self) {
        if self.request == SWEEP && matches!(self.at, At::Ended(_) | At::Owing) {
            self.at = At::Idle;
        }
        if matches!(self.at, At::Idle | At::Ended(_)) {
            self.heard = false;
        }
        // Where it heard that Vercel's side is gone, it leaves no lease any more.
        if self.heard || matches!(self.at, At::Ended(_)) {
            self.own = None;
        }
    }
}

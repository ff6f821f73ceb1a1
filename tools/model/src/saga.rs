//! Delete Configuration, whose effect lies at Vercel too.
//!
//! Three processes: requests, which are repeated until they are answered and as often as anybody
//! likes, and sweeps that resume them. Each may die at every step, an intent's lease may end at every
//! step while its worker goes on, and a call to Vercel may take effect now, later or never, with any
//! answer or none. Meanwhile Vercel calls Delete Installation, invoices are settled or open
//! again, the purge and the finalization end, a token is registered, and 24 hours pass; or the
//! configuration moves to another team.
//!
//! One thing is taken from the contract (E2): once an attempt is marked as unclear and was sent, Vercel
//! answers 401 or 403 only because the token died with its configuration. Without it, a worker that
//! dies after its mark, or is late with what it heard, and a refusal by 403 after that, end with our
//! side alone deleted: nobody can tell that from a call that was carried out. Of a mark that stands
//! although nothing was sent it is not taken: there Vercel may refuse. Of what Vercel says where it is asked
//! where a configuration is (E7), it is taken that it is true.

mod process;
mod properties;
mod state;
mod steps;
mod table;
mod transactions;

use std::collections::HashMap;
use std::sync::Mutex;

use stateright::{Model, Property};
use teardown::deletion::configuration::{ConfigurationDeletion, Next, plan};

use self::process::{At, Ended, Process, SWEEP};
pub use self::state::State;
pub use self::steps::Answer;
use self::table::{Seen, Stage};
use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// The events beside the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: Vercel alone is in their way.
    Vercel,
    /// Vercel calls Delete Installation, the purge and the finalization end, invoices are settled and
    /// open again, a token is registered, and 24 hours pass.
    Meanwhile,
    /// The configuration moves to another team, once: a `DELETE` in the team before finds nothing, though
    /// it lives on (E7).
    Moves,
}

/// A flaw: a condition of the store that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Begin: the installation is as it was seen.
    BeginAsSeen,
    /// Begin: the installation has no doubt in mind that was not seen.
    BeginDoubtAsSeen,
    /// Begin: the configuration is not gone yet.
    BeginNotGone,
    /// Begin: the invoices are settled, if it is active.
    BeginSettled,
    /// Begin: there is no intent, if none was seen.
    BeginAbsent,
    /// Begin: the intent's fencing token is the one that was seen.
    BeginFence,
    /// Begin: nobody has a lease of the intent.
    BeginNotLeased,
    /// Begin: the intent is marked as unclear if it was seen to be.
    BeginUnclearAsSeen,
    /// Carry on: the fencing token is ours.
    CarryOnFence,
    /// Mark: the fencing token is ours.
    MarkFence,
    /// Withdraw: the fencing token is ours.
    WithdrawFence,
    /// Withdraw in doubt: the installation is as it was seen.
    WithdrawAsSeen,
    /// Retry: the fence is ours.
    RetryFence,
    /// Owe again: the worker that holds the intent by now loses it.
    AgainHeld,
    /// Owe again: there is no intent.
    AgainAbsent,
    /// Owe again: the configuration is not gone yet.
    AgainNotGone,
    /// Commit: no outcome stands under the key.
    CommitOutcomeAbsent,
    /// Commit: there is no intent, if none was seen.
    CommitNobody,
    /// Commit: the fencing token is the one that was seen.
    CommitFence,
    /// Commit: there is no token, if none was seen.
    CommitNoToken,
    /// Commit: the installation is as it was seen.
    CommitAsSeen,
    /// Commit: the configuration is not gone yet.
    CommitNotGone,
    /// Record: no outcome stands under the key.
    RecordOutcomeAbsent,
    /// It is not marked that Vercel is about to be asked.
    NotMarked,
    /// It is marked before a connection to Vercel is up: a worker may die in between.
    MarkedFirst,
    /// An attempt that was not sent counts as one without a definite answer.
    UnreachedUnclear,
    /// A withdrawal in doubt is not kept in mind.
    DoubtForgotten,
    /// A late worker in doubt does not schedule a call again.
    NotOwedAgain,
    /// A new intent has the fencing token of one before it.
    FenceAgain,
    /// The outcome is written after the commit.
    OutcomeApart,
    /// Our side is deleted before Vercel is asked.
    CommittedFirst,
    /// Move: the fencing token is ours.
    MoveFence,
    /// Move: the team is as it was seen, and the configuration not gone.
    MoveAsSeen,
    /// A 404 is believed at once: nobody asks where the configuration is.
    BelievedAtOnce,
    /// A 404 in the team that Vercel has just named is a refusal, though an attempt of this very `DELETE`
    /// may have taken effect.
    NamedDoubtIgnored,
}

/// The model.
#[derive(Debug)]
pub struct Sagas {
    scope: Scope,
    processes: usize,
    flaw: Option<Flaw>,
    requests: Vec<ConfigurationDeletion>,
    decisions: Mutex<HashMap<(u8, Seen), At>>,
    ends: Ends,
    under_one_key: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A process sends its next transaction or read.
    Go(usize),
    /// Vercel answers a process.
    Answer(usize, Answer),
    /// A process dies, or asks anew.
    Anew(usize),
    /// A sweep takes the intent.
    Take(usize),
    /// A sweep's time is over.
    TimesUp(usize),
    /// The intent's lease ends.
    LeaseEnds,
    /// A call that Vercel did not answer takes effect.
    Arrives,
    /// It never will be.
    Vanishes,
    /// Vercel calls Delete Installation.
    Uninstall,
    /// The invoices are settled.
    Settle,
    /// They are open again.
    Reopen,
    /// The purge ends.
    PurgeEnds,
    /// The finalization ends.
    FinalizationEnds,
    /// The uninstall is 24 hours ago.
    DayEnds,
    /// The installation is registered again, with a token.
    RegisterToken,
    /// The configuration moves to another team.
    Moves,
}

impl Sagas {
    /// With so many processes, 3 at most; broken, if it is said how.
    #[must_use]
    pub fn new(scope: Scope, processes: usize, flaw: Option<Flaw>) -> Self {
        let (requests, decisions) = (state::requests(), Mutex::default());
        let ends = Ends::default();
        Self { scope, processes, flaw, requests, decisions, ends, under_one_key: false }
    }

    /// Only with a sweep and the two requests that differ under one key.
    ///
    /// # Panics
    ///
    /// With fewer than 3 processes.
    #[must_use]
    pub fn under_one_key(self) -> Self {
        assert_eq!(self.processes, 3, "a sweep and two requests");
        Self { under_one_key: true, ..self }
    }

    /// Goes through the states.
    #[must_use]
    pub fn check(self, search: Search) -> Report {
        check(self, search)
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Where a request is that saw this: what the program does next. It is asked once for each: it
    /// depends on nothing else.
    fn decide(&self, request: u8, seen: Seen) -> At {
        let Ok(mut decisions) = self.decisions.lock() else { return At::Idle };
        *decisions.entry((request, seen)).or_insert_with(|| {
            let real = seen.real(&self.requests);
            match plan(&self.requests[usize::from(request)], &real, table::now()) {
                Next::Answer(_) => At::Ended(Ended::Gone),
                Next::Refuse(error) => At::Ended(Ended::of(&error)),
                Next::Record(..) => At::Recording,
                Next::Call(..) if !self.has(Flaw::CommittedFirst) => At::Beginning(seen),
                Next::Commit(_) | Next::Call(..) => {
                    At::Committing(seen.trim(), seen.intent.map(|intent| intent.fence))
                }
            }
        })
    }
}

impl Model for Sagas {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut states = State::all(self.processes);
        if self.scope == Scope::Moves {
            // What tells requests apart here is whether they name the team.
            states.retain(|state| state.processes().all(|process| process.request != 0));
        }
        if self.under_one_key {
            let requests = |state: &State| state.processes.map(|process| process.request);
            states.retain(|state| requests(state) == [0, 1, SWEEP]);
        }
        states
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.fair(state, actions);
        for (index, process) in state.processes().enumerate() {
            if !matches!(process.at, At::Idle) {
                actions.push(Action::Anew(index));
            }
            let attempting = matches!(
                process.at,
                At::Taken(_)
                    | At::Marking(..)
                    | At::Asking { .. }
                    | At::Confirming { .. }
                    | At::Moving { .. }
                    | At::AskingThere { .. }
                    | At::Withdrawing { .. }
            );
            if process.is_sweep() && attempting {
                actions.push(Action::TimesUp(index));
            }
            if let At::Asking { .. } | At::AskingThere { .. } = process.at {
                actions.extend(Answer::ALL.map(|answer| Action::Answer(index, answer)));
            }
            if let At::Confirming { .. } = process.at {
                actions.extend(Answer::TO_A_LOOK.map(|answer| Action::Answer(index, answer)));
            }
            if let At::Marking(..) = process.at {
                actions.push(Action::Answer(index, Answer::Unreached));
            }
        }
        let installation = state.installation;
        if state.intent.is_some_and(|intent| intent.leased) {
            actions.push(Action::LeaseEnds);
        }
        if state.in_flight {
            actions.push(Action::Vanishes);
        }
        match self.scope {
            Scope::Vercel => return,
            Scope::Moves => {
                if state.exists && state.team_at_vercel == 0 {
                    actions.push(Action::Moves);
                }
                return;
            }
            Scope::Meanwhile => {}
        }
        match installation.deletion {
            None => {
                actions.push(Action::Uninstall);
                actions.push(if installation.settled { Action::Reopen } else { Action::Settle });
                if !state.token && state.exists {
                    actions.push(Action::RegisterToken);
                }
            }
            Some(deletion) => {
                if installation.stage == Stage::Deleting {
                    actions.push(Action::PurgeEnds);
                }
                if !deletion.finalized {
                    actions.push(Action::FinalizationEnds);
                }
                if !installation.over {
                    actions.push(Action::DayEnds);
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.step(&mut state, action)?;
        state.processes[..].sort_unstable();
        state.normalise();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::properties(self.scope);
        properties.push(Property::always(ENDS_WELL, ends_well));
        properties
    }
}

impl Protocol for Sagas {
    fn fair(&self, state: &State, actions: &mut Vec<Action>) {
        let held = |process: &Process| {
            state.intent.is_some_and(|intent| process.fence() == Some(intent.fence))
        };
        let held = state.processes().any(held);
        let leased = state.intent.is_some_and(|intent| intent.leased);
        for (index, process) in state.processes().enumerate() {
            match process.at {
                At::Idle if process.is_sweep() => {
                    if state.intent.is_some() && !leased {
                        actions.push(Action::Take(index));
                    }
                }
                // A caller that is told to come again does so, once nobody is at it any more.
                At::Ended(Ended::Later) => {
                    if !leased {
                        actions.push(Action::Anew(index));
                    }
                }
                At::Ended(_) => {}
                At::Asking { seen, .. } => actions.push(Action::Answer(
                    index,
                    if state.is_in(seen.team) { Answer::Done } else { Answer::Gone },
                )),
                At::AskingThere { .. } => actions.push(Action::Answer(
                    index,
                    if state.exists { Answer::Done } else { Answer::Gone },
                )),
                At::Confirming { .. } => actions.push(Action::Answer(
                    index,
                    if state.exists { Answer::Found } else { Answer::Gone },
                )),
                _ => actions.push(Action::Go(index)),
            }
        }
        // Nobody is left who would end it before.
        if leased && !held {
            actions.push(Action::LeaseEnds);
        }
        if state.in_flight {
            actions.push(Action::Arrives);
        }
    }

    /// Nothing is intended any more, and every request has its last answer: 204, unless Vercel
    /// refused or may not be asked, or the key stands for another request.
    fn is_well(&self, state: &State) -> bool {
        state.intent.is_none()
            && state.processes().all(|process| match process.at {
                At::Idle => process.is_sweep(),
                At::Ended(Ended::InvoicesOpen | Ended::Refused | Ended::Gone) => true,
                At::Ended(Ended::KeyReused) => process.is_keyed(),
                // It named the team that the configuration has moved from (E1).
                At::Ended(Ended::OtherTeam) => process.names_the_first_team() && state.team == 1,
                _ => false,
            })
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn describe(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Go(index)
            | Action::Answer(index, _)
            | Action::Anew(index)
            | Action::TimesUp(index)
            | Action::Take(index) => format!("{action:?} {:?}", state.processes[*index]),
            _ => format!("{action:?}"),
        }
    }
}

//! Delete Configuration, which deletes an installation in the table and its configuration at Vercel.
//!
//! **Processes**, at most three: requests, and sweeps that resume a request's intent. A caller repeats its
//! request until it is answered, and may repeat it after the answer. In each step, a process sends one
//! transaction or read, or gets one answer from Vercel. A process may die at every step. An intent's lease
//! may end at every step while its worker continues. A call to Vercel may take effect now, later or never,
//! with any answer or without an answer.
//!
//! **While the processes run**, other things happen, which depend on the [`Scope`]. In one scope, Vercel
//! calls Delete Installation, invoices are settled or open again, the purge and the finalization end, a token
//! is registered, and 24 hours pass. In another scope, the configuration moves to another team.
//!
//! **Checked:** a request is answered 204 only once the installation and the configuration are gone. A
//! process commits without Vercel's answer only if there is no usable token. No deletion and no doubt is
//! lost. Each deletion has its effect once, and its outcome. A worker that lost its lease does not change its
//! successor's intent. In every order, the steps come to an end.
//!
//! **Assumed** (E2): once an attempt is marked in doubt and sent, Vercel answers 401 or 403 only because the
//! token died with its configuration. Without this assumption, teardown could delete the installation while
//! its configuration still exists. For example, a worker marks an attempt and dies, or records Vercel's
//! answer too late, and Vercel refuses the next attempt with 403. Nobody can distinguish such a refusal from
//! the 403 after a deletion that took effect. If an attempt is marked in doubt but was not sent, the model
//! lets Vercel refuse the next attempt.
//!
//! **Assumed** (E7): if Vercel says where a configuration is, the configuration is in that place.

mod answers;
mod flaw;
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

pub use self::answers::Answer;
pub use self::flaw::Flaw;
use self::process::{At, Ended, Process, SWEEP};
pub use self::state::State;
use self::table::{Seen, Stage};
use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// What happens while the processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only Vercel's answers vary: nothing else happens while the processes run.
    Vercel,
    /// Vercel calls Delete Installation. The purge and the finalization end, invoices are settled and open
    /// again, a token is registered, and 24 hours pass.
    Meanwhile,
    /// The configuration moves to another team, once. After the move, a `DELETE` in the old team finds
    /// nothing, though the configuration exists (E7).
    Moves,
}

/// The model of Delete Configuration.
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

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A process sends its next transaction or read.
    Go(usize),
    /// Vercel answers a process.
    Answer(usize, Answer),
    /// A process dies and starts again, or a caller repeats a request.
    Anew(usize),
    /// A sweep claims the intent.
    Take(usize),
    /// A sweep's time is over.
    TimesUp(usize),
    /// The intent's lease ends, even if its worker still runs.
    LeaseEnds,
    /// A call that Vercel did not answer takes effect.
    Arrives,
    /// A call that Vercel did not answer will never take effect.
    Vanishes,
    /// Vercel calls Delete Installation.
    Uninstall,
    /// The invoices are settled.
    Settle,
    /// The invoices are open again.
    Reopen,
    /// The purge ends.
    PurgeEnds,
    /// The finalization ends.
    FinalizationEnds,
    /// 24 hours have passed since the uninstall.
    DayEnds,
    /// The installation is registered again, with a token.
    RegisterToken,
    /// The configuration moves to another team.
    Moves,
}

impl Sagas {
    /// The model with `processes` processes, at most 3. If `flaw` is `Some`, the model has this flaw.
    #[must_use]
    pub fn new(scope: Scope, processes: usize, flaw: Option<Flaw>) -> Self {
        let (requests, decisions) = (state::requests(), Mutex::default());
        let ends = Ends::default();
        Self { scope, processes, flaw, requests, decisions, ends, under_one_key: false }
    }

    /// The model restricted to one sweep and two different requests under one key.
    ///
    /// # Panics
    ///
    /// If the model does not have 3 processes.
    #[must_use]
    pub fn under_one_key(self) -> Self {
        assert_eq!(self.processes, 3, "a sweep and two requests");
        Self { under_one_key: true, ..self }
    }

    /// Visits the states, and reports the properties that failed.
    #[must_use]
    pub fn check(self, search: Search) -> Report {
        check(self, search)
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The step that a request takes after it read these items, as `configuration::plan` decides. The result
    /// is cached, because it depends only on the request and these items.
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
            // In the scope `Moves`, requests differ only by whether they name the team, so requests 1 and 2
            // are enough.
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
                    | At::Calling { .. }
                    | At::Confirming { .. }
                    | At::Moving { .. }
                    | At::CallingThere { .. }
                    | At::Withdrawing { .. }
            );
            if process.is_sweep() && attempting {
                actions.push(Action::TimesUp(index));
            }
            if let At::Calling { .. } | At::CallingThere { .. } = process.at {
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
                // A caller that has to try again later repeats its request once the lease has ended.
                At::Ended(Ended::Later) => {
                    if !leased {
                        actions.push(Action::Anew(index));
                    }
                }
                At::Ended(_) => {}
                At::Calling { seen, .. } => actions.push(Action::Answer(
                    index,
                    if state.is_in(seen.team) { Answer::Done } else { Answer::Gone },
                )),
                At::CallingThere { .. } => actions.push(Action::Answer(
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
        // The process that holds the lease is gone, so nobody can end the lease earlier.
        if leased && !held {
            actions.push(Action::LeaseEnds);
        }
        if state.in_flight {
            actions.push(Action::Arrives);
        }
    }

    /// No intent is left, and each request has its final answer. The final answer is 204, unless Vercel
    /// refused, invoices are open, the key belongs to another request, or the request names the old team.
    fn is_well(&self, state: &State) -> bool {
        state.intent.is_none()
            && state.processes().all(|process| match process.at {
                At::Idle => process.is_sweep(),
                At::Ended(Ended::InvoicesOpen | Ended::Refused | Ended::Gone) => true,
                At::Ended(Ended::KeyReused) => process.is_keyed(),
                // The request named the team that the configuration has left (E1).
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

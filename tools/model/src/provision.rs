//! A Provision and its intent, while an uninstall, a deletion, an operator's `keep` and the sweep happen.
//!
//! **Attempts**, at most three: Vercel sends one Provision several times, under one key. An attempt does what
//! the front does. First the attempt calls `provision::begin`, and writes the intent. Then the attempt calls
//! the backend, which makes a resource or refuses. At the end the attempt calls `provision::plan`, and
//! commits. If conditions fail, DynamoDB reports some of them, and the attempt decides again with the
//! corrected belief. An attempt may die before and after each step. A lost answer counts as a death. An
//! attempt may be delayed for 15 minutes before it calls the backend. Vercel lists a resource once an
//! attempt's answer with this resource has reached Vercel.
//!
//! **Workers**, at most two: a worker claims the intent when 15 minutes have passed since the last attempt
//! began. The worker compares the installation with Vercel, and ends the intent. A worker may fail or die.
//!
//! **While attempts and workers run**, the installation is uninstalled and purged, and the resource is
//! deleted, or kept by an operator.
//!
//! **Checked:** no resource that the backend made is lost, unless Vercel does not list it when a worker ends
//! the intent. No attempt begins and no resource is registered in a deleted installation. The stored number
//! of resources is right. No process ends an intent that other attempts need. In every order, the steps come
//! to an end.
//!
//! The model stores no fences and no times. The model stores whether a worker's fence is still the intent's
//! fence, and whether 15 minutes have passed since the last attempt began. The model itself decides which
//! resources the table lacks, and does not call `teardown`'s code for this decision.

mod attempt;
mod flaw;
mod properties;
mod state;
mod sweep;

use stateright::{Model, Property};
use teardown::grant::{Membership, Scope as Vouched};
use teardown::ids::InstallationId;

pub use self::flaw::Flaw;
use self::state::{At, Installation, Job, Purge, Receipt, State};
use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// What happens while the attempts run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The installation is uninstalled, purged and finalized. The installation may be unknown at the start.
    Uninstall,
    /// The installation is uninstalled and purged. The backend ignores the key, and makes a new resource at
    /// each call.
    WithoutKeys,
    /// The installation is uninstalled and purged. Delete Resource deletes the resource before the uninstall,
    /// or an operator keeps the resource. The backend never refuses.
    Deletion,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Uninstall, Self::WithoutKeys, Self::Deletion];
}

/// The model of a Provision.
#[derive(Debug)]
pub struct Provisions {
    scope: Scope,
    attempts: usize,
    workers: usize,
    flaw: Option<Flaw>,
    membership: Option<Membership>,
    ends: Ends,
}

impl Provisions {
    /// The model with `attempts` attempts, at most 3, and `workers` workers, at most 2. If `flaw` is `Some`,
    /// the model has this flaw.
    #[must_use]
    pub fn new(scope: Scope, attempts: usize, workers: usize, flaw: Option<Flaw>) -> Self {
        let membership = InstallationId::parse("icfg_1").ok().map(|installation| Membership {
            installation,
            account: "acc_1".to_owned(),
            scope: Vouched::Installation,
        });
        Self { scope, attempts, workers, flaw, membership, ends: Ends::default() }
    }

    /// Visits the states, and reports the properties that failed.
    #[must_use]
    pub fn check(self, search: Search) -> Report {
        check(self, search)
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Vercel sends the Provision, for the first time or again.
    Send,
    /// An attempt takes its next step. The bits are the items whose failed conditions DynamoDB reports.
    Go(usize, u8),
    /// An attempt calls the backend, which makes a resource, or names the resource that the backend made
    /// before under the key.
    Makes(usize),
    /// An attempt calls the backend, which refuses.
    Refuses(usize),
    /// An attempt cannot reach DynamoDB. The attempt still passes the backend's answer on to Vercel.
    Unrecorded(usize),
    /// An attempt dies, or its answer is lost.
    Die(usize),
    /// 15 minutes have passed since the last attempt began.
    Time,
    /// A worker claims the intent.
    Claim,
    /// A worker takes its next step.
    Work(usize),
    /// A worker fails, because Vercel did not answer with its list of resources.
    Fail(usize),
    /// A worker dies.
    WorkerDies(usize),
    /// The intent's lease ends, even if its worker still runs.
    LeaseEnds,
    /// The installation is uninstalled.
    Uninstall,
    /// The purge takes its next step.
    Purge,
    /// The installation is finalized, and its token is erased.
    Finalize,
    /// A resource's announcement takes its next step: a worker claims it, then the provider receives it.
    Tell(usize),
    /// Vercel deletes the first resource. If the value is `true`, Vercel gets the answer, and no longer lists
    /// the resource.
    Delete(bool),
    /// An operator keeps the first resource after the uninstall.
    Keep,
}

impl Model for Provisions {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let active = State::new(Installation::Active { count: 0 });
        // The first intent registers an unknown installation, which is active from then on.
        let unknown = State::new(Installation::Absent);
        if self.scope == Scope::Uninstall { vec![active, unknown] } else { vec![active] }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.fair(state, actions);
        let attempts = &state.attempts[..];
        if attempts.iter().filter(|attempt| attempt.at != At::Idle).count() < self.attempts {
            actions.push(Action::Send);
        }
        for (index, attempt) in attempts.iter().enumerate() {
            match attempt.at {
                At::Idle | At::Ended => continue,
                At::Begun { old: false } if self.scope != Scope::Deletion => {
                    actions.push(Action::Refuses(index));
                }
                At::Ending(_, belief) => {
                    actions.push(Action::Unrecorded(index));
                    if self.has(Flaw::AskAgain) && belief == state::Belief::default() {
                        actions.push(Action::Makes(index));
                    }
                }
                _ => {}
            }
            actions.push(Action::Die(index));
        }
        for (index, worker) in state.workers.iter().enumerate() {
            let Some(worker) = worker else { continue };
            actions.push(Action::WorkerDies(index));
            if matches!(worker.at, state::WorkerAt::Read { .. }) {
                actions.push(Action::Fail(index));
            }
        }
        if state.intent.is_some_and(|intent| intent.leased) {
            actions.push(Action::LeaseEnds);
        }
        if state.installation != Installation::Deleted {
            actions.push(Action::Uninstall);
        } else if state.token && self.scope == Scope::Uninstall {
            actions.push(Action::Finalize);
        }
        if self.scope == Scope::Deletion {
            if state.resources[0].listed {
                actions.extend([Action::Delete(true), Action::Delete(false)]);
            }
            actions.push(Action::Keep);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        // After a forbidden event, the model stops, because later states do not matter.
        if before.wrong.is_some() {
            return None;
        }
        let mut state = before.clone();
        self.step(&mut state, action)?;
        state.attempts[..].sort_unstable();
        state.workers[..].sort_unstable();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::properties();
        properties.extend(properties::possibilities(self.scope));
        properties.push(Property::always(ENDS_WELL, ends_well));
        properties
    }
}

impl Provisions {
    /// Changes the state by a step. `None` if the step is not possible.
    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Send => {
                let idle = state.attempts.iter().position(|attempt| attempt.at == At::Idle)?;
                state.attempts[idle].at = if self.has(Flaw::IntentAfter) {
                    At::Begun { old: false }
                } else {
                    At::Beginning(state::Seen::Assumed)
                };
            }
            Action::Go(index, failed_rows) => self.go(state, index, failed_rows)?,
            Action::Makes(index) => self.makes(state, index)?,
            Action::Refuses(index) => {
                state.attempts[index].at = At::Refusing(state::Intent::Sole);
            }
            Action::Unrecorded(index) => {
                let At::Ending(resource, _) = state.attempts[index].at else { return None };
                state.attempts[index].at = At::Passing(resource);
            }
            Action::Die(index) => state.attempts[index].at = At::Ended,
            Action::Time => {
                state.intent.as_mut()?.due = true;
                for attempt in &mut state.attempts {
                    if let At::Begun { old } = &mut attempt.at {
                        *old = true;
                    }
                }
            }
            Action::Claim => Self::claim(state)?,
            Action::Work(index) => self.work(state, index)?,
            Action::Fail(index) => self.retry_later(state, index),
            Action::WorkerDies(index) => state.workers[index] = None,
            Action::LeaseEnds => {
                let intent = state.intent.as_mut()?;
                (intent.leased, intent.due) = (false, true);
            }
            Action::Uninstall => {
                state.installation = Installation::Deleted;
                state.purge = Purge::Pending;
            }
            Action::Purge => state.purge_on()?,
            Action::Finalize => state.token = false,
            Action::Tell(index) => {
                let resource = &mut state.resources[index];
                match resource.job {
                    Job::None => return None,
                    Job::Pending => resource.job = Job::Taken,
                    Job::Taken => (resource.job, resource.notified) = (Job::None, true),
                }
            }
            Action::Delete(answered) => state.delete(answered),
            Action::Keep => state.keep()?,
        }
        Some(())
    }
}

impl Protocol for Provisions {
    fn fair(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, attempt) in state.attempts.iter().enumerate() {
            match attempt.at {
                At::Idle | At::Ended => {}
                At::Begun { old: false } => actions.push(Action::Makes(index)),
                // The attempt was delayed for 15 minutes before it called the backend.
                At::Begun { old: true } if self.has(Flaw::NotTooLate) => {
                    actions.push(Action::Makes(index));
                }
                _ => match self.rows_that_fail(state, index) {
                    0 => actions.push(Action::Go(index, 0)),
                    // DynamoDB reports at least one of the failed conditions, but perhaps not all.
                    failed => actions.extend(
                        (1..32)
                            .filter(|failed_rows| failed_rows & !failed == 0)
                            .map(|failed_rows| Action::Go(index, failed_rows)),
                    ),
                },
            }
        }
        if let Some(intent) = state.intent
            && !intent.parked
        {
            if self.may_claim(state) {
                actions.push(Action::Claim);
            }
            // The worker that holds the lease is gone, so nobody can end the lease earlier.
            if intent.leased && !state.workers.iter().flatten().any(|worker| worker.fence) {
                actions.push(Action::LeaseEnds);
            }
            if !intent.due && !intent.leased {
                actions.push(Action::Time);
            }
        }
        for (index, worker) in state.workers.iter().enumerate() {
            if worker.is_some() {
                actions.push(Action::Work(index));
            }
        }
        if state.purge != Purge::None {
            actions.push(Action::Purge);
        }
        for (index, resource) in state.resources.iter().enumerate() {
            if resource.job != Job::None {
                actions.push(Action::Tell(index));
            }
        }
    }

    /// All attempts and workers have ended, and nothing is left to purge or announce. An intent is left only
    /// if it is parked. Unless an intent is parked, each resource that the backend made is live, announced,
    /// kept, excused or deleted by Delete Resource.
    fn is_well(&self, state: &State) -> bool {
        let ended = |attempt: &state::Attempt| matches!(attempt.at, At::Idle | At::Ended);
        let is_parked = state.intent.is_some_and(|intent| intent.parked);
        let is_active = matches!(state.installation, Installation::Active { .. });
        state.attempts.iter().all(ended)
            && state.workers == [None; 2]
            && state.purge == Purge::None
            && (state.intent.is_none() || is_parked)
            && state.resources.iter().all(|resource| {
                let has_its_end = (resource.item && is_active)
                    || resource.notified
                    || resource.receipt != Receipt::None
                    || resource.excused
                    || is_parked;
                resource.job == Job::None && (!resource.made || has_its_end)
            })
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn describe(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Go(index, _)
            | Action::Makes(index)
            | Action::Refuses(index)
            | Action::Unrecorded(index)
            | Action::Die(index) => format!("{action:?} {:?}", state.attempts[*index]),
            Action::Work(index) | Action::Fail(index) | Action::WorkerDies(index) => {
                format!("{action:?} {:?}", state.workers[*index])
            }
            _ => format!("{action:?}"),
        }
    }
}

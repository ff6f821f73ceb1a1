//! A Provision's intent, beside an uninstall, a deletion and the sweep.
//!
//! Vercel sends a Provision some times under one key. Each attempt goes as the front does: ask
//! `provision::begin`, write the intent, ask the backend, ask `provision::plan`, commit; where conditions fail,
//! learn from any of them and ask again. An attempt may die before and after each step, which an answer
//! that is lost is too, and may be stopped for long before it asks the backend. The backend makes a resource
//! or refuses. What it answered reaches Vercel or not, and Vercel lists what has reached it. Meanwhile the
//! installation is uninstalled and purged, the resource is deleted, or kept by an operator, and workers claim
//! the intent once 15 minutes have passed since its last attempt, compare the installation with Vercel, and
//! end the intent, fail or die.
//!
//! A fence is modelled as what it is compared for: whether it is still the item's. Time is whether 15 minutes
//! have passed since the last attempt began. A worker's choice of what is missing here is the model's own.

mod attempt;
mod properties;
mod state;
mod sweep;

use stateright::{Model, Property};
use teardown::grant::{Membership, Scope as Vouched};
use teardown::ids::InstallationId;

use self::state::{At, Installation, Job, Purge, Receipt, State};
use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// What can be broken: a condition that is dropped, or a write that is done apart or too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The intent's transaction: the installation is active.
    BeginActive,
    /// The intent's transaction that registers the installation: it is not there.
    BeginAbsent,
    /// The intent's transaction: it raises the fence.
    BeginFence,
    /// The intent's transaction: it is due 15 minutes later.
    BeginDue,
    /// A new intent has a fence that none before it had.
    FenceAgain,
    /// The intent is written after the backend was asked.
    IntentAfter,
    /// An attempt that was stopped for 15 minutes does not ask the backend.
    NotTooLate,
    /// An attempt asks the backend once.
    AskAgain,
    /// A resource is registered after its attempt was ended.
    RegisterApart,
    /// The end of an attempt that takes the intent along: it is the only one.
    EndSole,
    /// The end of an attempt that takes the intent along: it is one of the intent's.
    EndMine,
    /// The end of an attempt that leaves the intent: there are others.
    EndShared,
    /// Register: the installation is active.
    RegisterActive,
    /// Register: the resource is not there.
    RegisterAbsent,
    /// Register: no receipt stands.
    RegisterReceipt,
    /// Register: no announcement is pending.
    RegisterAnnouncement,
    /// Update: the installation is active.
    UpdateActive,
    /// Update: the resource is there.
    UpdateThere,
    /// Announce: the installation is deleted.
    AnnounceDeleted,
    /// Announce: no receipt stands.
    AnnounceReceipt,
    /// Announce: a pending announcement stays.
    AnnounceWhereNone,
    /// Announce: the resource's item goes.
    AnnounceDeletes,
    /// Claim: it is due.
    ClaimDue,
    /// Complete: the fence is ours.
    CompleteFence,
    /// Retry, park: the fence is ours.
    RetryFence,
    /// A worker registers: the installation is active.
    SweepActive,
    /// A worker registers: the resource is not there.
    SweepAbsent,
    /// A worker registers: no receipt stands.
    SweepReceipt,
    /// A worker announces: no receipt stands.
    SweepAnnounceReceipt,
}

/// What happens beside the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The installation is uninstalled, purged and finalized. It may be unknown at first.
    Uninstall,
    /// It is uninstalled and purged, and the backend makes another resource each time it is asked.
    WithoutKeys,
    /// It is uninstalled and purged, and the resource is deleted before, or kept. The backend refuses
    /// nothing.
    Deletion,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Uninstall, Self::WithoutKeys, Self::Deletion];
}

/// The model.
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
    /// With so many attempts, 3 at most, and workers, 2 at most; broken, if it is said how.
    #[must_use]
    pub fn new(scope: Scope, attempts: usize, workers: usize, flaw: Option<Flaw>) -> Self {
        let membership = InstallationId::parse("icfg_1").ok().map(|installation| Membership {
            installation,
            account: "acc_1".to_owned(),
            scope: Vouched::Installation,
        });
        Self { scope, attempts, workers, flaw, membership, ends: Ends::default() }
    }

    /// Goes through the states.
    #[must_use]
    pub fn check(self, search: Search) -> Report {
        check(self, search)
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Vercel sends the Provision, for the first time or again.
    Send,
    /// An attempt goes on. Of the conditions that fail, DynamoDB tells of these.
    Go(usize, u8),
    /// An attempt asks the backend, which makes a resource, or says what it has made under the key.
    Makes(usize),
    /// An attempt asks the backend, which refuses.
    Refuses(usize),
    /// DynamoDB is out of reach for an attempt: it passes the backend's answer on all the same.
    Unrecorded(usize),
    /// An attempt dies, or its answer is lost.
    Die(usize),
    /// 15 minutes pass since the last attempt.
    Time,
    /// A worker claims the intent.
    Claim,
    /// A worker goes on.
    Work(usize),
    /// A worker fails: Vercel did not say.
    Fail(usize),
    /// A worker dies.
    WorkerDies(usize),
    /// A lease ends.
    LeaseEnds,
    /// The installation is uninstalled.
    Uninstall,
    /// The purge goes on.
    Purge,
    /// It is finalized: the token is gone.
    Finalize,
    /// A resource's announcement goes on: to a worker, then to the provider.
    Tell(usize),
    /// Vercel has the first resource deleted, and hears the answer, or not.
    Delete(bool),
    /// An operator keeps the first resource, which was uninstalled.
    Keep,
}

impl Model for Provisions {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let active = State::new(Installation::Active { count: 0 });
        // An unknown installation is registered with its first intent, and is like any other then.
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
        // What comes after something that must not happen does not matter.
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
    /// The step, in the state; nothing where it cannot be.
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
            Action::Go(index, told) => self.go(state, index, told)?,
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
                state.purge = Purge::Owed;
            }
            Action::Purge => state.purge_on()?,
            Action::Finalize => state.token = false,
            Action::Tell(index) => {
                let resource = &mut state.resources[index];
                match resource.job {
                    Job::None => return None,
                    Job::Owed => resource.job = Job::Taken,
                    Job::Taken => (resource.job, resource.told) = (Job::None, true),
                }
            }
            Action::Delete(heard) => state.delete(heard),
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
                // Stopped before it asked.
                At::Begun { old: true } if self.has(Flaw::NotTooLate) => {
                    actions.push(Action::Makes(index));
                }
                _ => match self.rows_that_fail(state, index) {
                    0 => actions.push(Action::Go(index, 0)),
                    // It may tell of any of them, and tells of one at least.
                    failed => actions.extend(
                        (1..32)
                            .filter(|told| told & !failed == 0)
                            .map(|told| Action::Go(index, told)),
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
            // Nobody is left who would end it before.
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

    /// Every request and every worker has ended, nothing is left to purge or to announce, an intent is left
    /// only where it is parked, and what the backend made is live, or its deletion was announced; but for
    /// what was kept or excused, or was deleted by itself.
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
                    || resource.told
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

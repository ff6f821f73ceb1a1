//! The jobs of an installation's deletion: the purge, the announcements, the finalization.
//!
//! An installation was deleted; three workers claim jobs that are due, run them step by step, and complete
//! them. Each may die at every step, a lease may end at every step while its worker goes on, and a call to
//! the provider or to Vercel may take effect although its answer is lost. Meanwhile invoices are settled,
//! jobs are parked and made due by hand, and the configuration is deleted. A job that is to be retried is
//! due again at once: no property depends on the wait. Jobs that have nothing to do with each other are in
//! [`Scope`]s of their own.
//!
//! A fencing token is modelled as what it is compared for: whether the worker's is still the item's.

mod steps;

mod properties;

use stateright::{Model, Property};

use self::steps::{EARLY, OVERWROTE, PARKED};
use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// A flaw: a condition of the store that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Claim: it is due.
    ClaimDue,
    /// Claim: it is not parked.
    ClaimNotParked,
    /// Claim: nobody has a lease of it.
    ClaimNotLeased,
    /// Finish: the fence is ours.
    FinishFence,
    /// Retry, park: the fence is ours.
    RetryFence,
    /// The purge's end: the fence is ours.
    EndPurgeFence,
    /// The purge's end: the tombstone is as it was seen.
    EndPurgeAsSeen,
    /// The finalization's end: the fence is ours.
    EndFinalizationFence,
    /// The finalization's end: the tombstone is as it was seen.
    EndFinalizationAsSeen,
    /// A resource is swapped for its announcement: it is there.
    SwapThere,
    /// Tried again by hand: it is parked.
    RetryParked,
    /// A resource's announcement is written after its item was purged.
    SwapApart,
    /// The token is erased when the finalization begins.
    TokenApart,
    /// Settling ends the lease, too.
    SettleEndsLease,
}

/// The jobs that a model begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The installation's announcement.
    Announcement,
    /// The purge of two resources, and their announcements.
    Purge,
    /// The purge, and the finalization.
    Finalization,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Announcement, Self::Purge, Self::Finalization];
}

/// The announcement of the installation, the purge and the finalization; before them are the
/// announcements of the two resources.
const INSTALLATION: usize = 2;
const PURGE: usize = 3;
const FINALIZE: usize = 4;

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Job {
    due: bool,
    leased: bool,
    parked: bool,
}

/// How far the tombstone says that the installation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    Deleting,
    Purged,
    Finalized,
}

/// The tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Tombstone {
    stage: Stage,
    finalized: bool,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// It took the lease.
    Taken,
    /// It saw the tombstone.
    Saw(Tombstone),
    /// It read a page of resources, as bits.
    Read(Tombstone, u8),
    /// It deleted those resources, and is to write their announcements. Only a flaw leads here.
    Swapping(Tombstone, u8),
    /// It is done, and is to say so; where it ends with the tombstone, as it saw that.
    Done(Option<Tombstone>),
}

/// A worker that carries out something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Worker {
    job: usize,
    /// Whether its lease is not over yet.
    leased: bool,
    /// Whether its fencing token is the item's.
    fence: bool,
    at: At,
}

/// The table, the workers and the world outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    tombstone: Tombstone,
    token: bool,
    resources: [bool; 2],
    jobs: [Option<Job>; 5],
    workers: [Option<Worker>; 3],
    /// The announcements that the provider heard.
    told: [bool; 3],
    /// Whether Vercel has finalized, and whether it was time to.
    finalized: bool,
    time: bool,
    settled: bool,
    configuration_gone: bool,
    /// Whether there was a token to finalize with.
    had_token: bool,
    /// The jobs that were completed.
    done: [bool; 5],
    /// The thing that must never happen and did.
    wrong: Option<&'static str>,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A worker claims a job.
    Claim(usize),
    /// A worker goes on; what it asks for outside is done, and heard.
    Go(usize),
    /// A worker's call takes effect, and its answer is lost.
    Unheard(usize),
    /// A worker schedules a retry: its call failed, or its time is over, or there is more to do.
    RetryLater(usize),
    /// A worker parks it: it failed for too long.
    Park(usize),
    /// A worker dies.
    Die(usize),
    /// A lease ends.
    LeaseEnds(usize),
    /// A job that is due later comes due.
    ComesDue(usize),
    /// A parked job is made due by hand.
    RetryParked(usize),
    /// Invoices are settled.
    Settle,
    /// The configuration is deleted on both sides.
    DeleteConfiguration,
}

/// The model.
#[derive(Debug)]
pub struct Sweeps {
    scope: Scope,
    workers: usize,
    flaw: Option<Flaw>,
    ends: Ends,
}

impl Sweeps {
    /// With so many workers, 3 at most; broken, if it is said how.
    #[must_use]
    pub fn new(scope: Scope, workers: usize, flaw: Option<Flaw>) -> Self {
        Self { scope, workers, flaw, ends: Ends::default() }
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

impl Model for Sweeps {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let now = Some(Job { due: true, leased: false, parked: false });
        let later = Some(Job { due: false, leased: false, parked: false });
        let end = State {
            tombstone: Tombstone { stage: Stage::Finalized, finalized: true },
            token: false,
            resources: [false; 2],
            jobs: [None; 5],
            workers: [None; 3],
            told: [true; 3],
            finalized: false,
            time: true,
            settled: true,
            configuration_gone: true,
            had_token: false,
            done: [false; 5],
            wrong: None,
        };
        let stage = Stage::Deleting;
        match self.scope {
            Scope::Announcement => {
                let told = [true, true, false];
                vec![State { jobs: [None, None, now, None, None], told, ..end }]
            }
            // The other resource may have been deleted by itself, and its announcement be due.
            Scope::Purge => [true, false]
                .map(|purged| State {
                    tombstone: Tombstone { stage, finalized: true },
                    resources: [true, purged],
                    jobs: [None, now.filter(|_| !purged), None, now, None],
                    told: [false, false, true],
                    ..end.clone()
                })
                .into(),
            Scope::Finalization => [true, false]
                .map(|token| State {
                    tombstone: Tombstone { stage, finalized: false },
                    token,
                    resources: [true, false],
                    jobs: [None, None, None, now, later],
                    time: false,
                    settled: false,
                    configuration_gone: false,
                    had_token: token,
                    ..end.clone()
                })
                .into(),
        }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.fair(state, actions);
        for (index, worker) in state.workers.iter().enumerate() {
            let Some(worker) = worker else { continue };
            actions.push(Action::Die(index));
            actions.push(Action::RetryLater(index));
            if matches!(worker.job, INSTALLATION | FINALIZE) {
                actions.push(Action::Park(index));
            }
            if worker.asks_outside(state) {
                actions.push(Action::Unheard(index));
            }
        }
        for (index, job) in state.jobs.iter().enumerate() {
            let Some(job) = job else { continue };
            if job.leased {
                actions.push(Action::LeaseEnds(index));
            }
            if self.has(Flaw::RetryParked) && !job.parked {
                actions.push(Action::RetryParked(index));
            }
        }
        if !state.settled {
            actions.push(Action::Settle);
        }
        if !state.configuration_gone {
            actions.push(Action::DeleteConfiguration);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.step(&mut state, action)?;
        state.workers[..].sort_unstable();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::properties(self.scope);
        properties.push(Property::always(ENDS_WELL, ends_well));
        properties
    }
}

impl Protocol for Sweeps {
    fn fair(&self, state: &State, actions: &mut Vec<Action>) {
        let idle = state.workers.iter().take(self.workers).any(Option::is_none)
            && state.workers.iter().flatten().count() < self.workers;
        for (index, job) in state.jobs.iter().enumerate() {
            let Some(job) = job else { continue };
            if idle && self.may_claim(*job) {
                actions.push(Action::Claim(index));
            }
            let holder = |worker: &&Worker| worker.job == index && worker.fence;
            // Nobody is left who would end it before.
            if job.leased && !state.workers.iter().flatten().any(|worker| holder(&worker)) {
                actions.push(Action::LeaseEnds(index));
            }
            if job.parked {
                actions.push(Action::RetryParked(index));
            } else if !job.due && !job.leased {
                actions.push(Action::ComesDue(index));
            }
        }
        for (index, worker) in state.workers.iter().enumerate() {
            if worker.is_some() {
                actions.push(Action::Go(index));
            }
        }
    }

    /// No job is left, the provider knows of everything, and the tombstone has come to its end.
    fn is_well(&self, state: &State) -> bool {
        let end = Tombstone { stage: Stage::Finalized, finalized: true };
        state.jobs == [None; 5]
            && state.told == [true; 3]
            && state.tombstone == end
            && !state.token
            && state.workers == [None; 3]
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn describe(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Go(index)
            | Action::Unheard(index)
            | Action::RetryLater(index)
            | Action::Park(index)
            | Action::Die(index) => {
                format!("{action:?} {:?}", state.workers[*index])
            }
            _ => format!("{action:?}"),
        }
    }
}

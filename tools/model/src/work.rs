//! The jobs of an installation's deletion: the purge, the announcements, the finalization.
//!
//! At the start, an installation is deleted, and its jobs are in the table.
//!
//! **Workers**, at most three: a worker claims a job, takes the job's steps one by one, and completes the
//! job. In a step, a worker sends one transaction or read, or makes one call to the provider or Vercel. A
//! worker may die at every step. A worker's lease may end at every step while the worker continues. A call
//! may take effect although its answer is lost. A job that is retried is due immediately, because no property
//! depends on the wait.
//!
//! **While the workers run**, invoices are settled, jobs are parked and made due by an operator, and the
//! configuration is deleted. Jobs that do not affect each other are in separate [`Scope`]s.
//!
//! **Checked:** no announcement is lost. Two workers never have a valid lease of one job, and a worker that
//! lost its lease does not change the job. A parked job stays parked until an operator or `settle` makes it
//! due. Vercel is not called to finalize before the finalization is due. The token is kept until the
//! installation is finalized. In every order, the steps come to an end.
//!
//! The model stores no fences. The model stores whether a worker's fence is still the job's fence.

mod steps;

mod properties;

use stateright::{Model, Property};

use self::steps::{EARLY, OVERWROTE, PARKED};
use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// A way to break the model: a condition is dropped, or a write is done at the wrong time. Each flaw's
/// comment says what the broken code does. Tests check which property fails with each flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Flaw: a worker claims a job without checking that the job is due.
    ClaimDue,
    /// Flaw: a worker claims a job without checking whether the job is parked.
    ClaimNotParked,
    /// Flaw: a worker claims a job without checking whether another worker leases the job.
    ClaimNotLeased,
    /// Flaw: a worker completes a job without checking the job's fence.
    FinishFence,
    /// Flaw: a worker schedules a retry or parks a job without checking the job's fence.
    RetryFence,
    /// Flaw: a worker ends the purge without checking the job's fence.
    EndPurgeFence,
    /// Flaw: a worker ends the purge without checking that the tombstone has not changed since it was read.
    EndPurgeAsSeen,
    /// Flaw: a worker ends the finalization without checking the job's fence.
    EndFinalizationFence,
    /// Flaw: a worker ends the finalization without checking that the tombstone has not changed since it was
    /// read.
    EndFinalizationAsSeen,
    /// Flaw: the purge replaces resources by their announcements without checking that the resources' items
    /// exist.
    SwapThere,
    /// Flaw: an operator's retry makes a job due without checking that the job is parked.
    RetryParked,
    /// Flaw: the purge deletes a resource's item, and writes the resource's announcement in a later write.
    SwapApart,
    /// Flaw: a worker erases the token when the finalization begins, and not when the finalization ends.
    TokenApart,
    /// Flaw: `settle` also ends the lease of the finalization's worker.
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
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Announcement, Self::Purge, Self::Finalization];
}

/// The index of the installation's announcement among a state's jobs. The announcements of the two resources
/// have lower indexes. The purge and the finalization have higher indexes.
const INSTALLATION: usize = 2;
const PURGE: usize = 3;
const FINALIZE: usize = 4;

/// A job in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Job {
    due: bool,
    leased: bool,
    parked: bool,
}

/// The installation's state, as the tombstone stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    Deleting,
    Purged,
    Finalized,
}

/// The tombstone: the item of the deleted installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Tombstone {
    stage: Stage,
    finalized: bool,
}

/// The step that a worker has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// The worker claimed the job.
    Taken,
    /// The worker read the tombstone.
    Saw(Tombstone),
    /// The worker read the tombstone, and a page of resources, as bits.
    Read(Tombstone, u8),
    /// The worker deleted these resources, and is about to write their announcements. Only a flaw leads to
    /// this step.
    Swapping(Tombstone, u8),
    /// The worker is about to complete its job. `Some` is the tombstone as the worker read it, if the job
    /// changes the tombstone.
    Done(Option<Tombstone>),
}

/// A worker that has claimed a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Worker {
    job: usize,
    /// Whether the worker's lease still lasts.
    leased: bool,
    /// Whether the worker's fence is still the job's fence.
    fence: bool,
    at: At,
}

/// A state: the table, the workers, the provider and Vercel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    tombstone: Tombstone,
    token: bool,
    resources: [bool; 2],
    jobs: [Option<Job>; 5],
    workers: [Option<Worker>; 3],
    /// For each announcement, whether the provider received it.
    notified: [bool; 3],
    /// Whether Vercel has finalized the installation.
    finalized: bool,
    /// Whether the finalization has become due.
    time: bool,
    settled: bool,
    configuration_gone: bool,
    /// Whether there was a token at the start.
    had_token: bool,
    /// Which jobs were completed.
    done: [bool; 5],
    /// The forbidden event that has happened. `None` if nothing forbidden has happened.
    wrong: Option<&'static str>,
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A worker claims a job.
    Claim(usize),
    /// A worker takes its next step. If the worker calls the provider or Vercel, the call takes effect and is
    /// answered.
    Go(usize),
    /// A worker's call takes effect, and its answer is lost.
    AnswerLost(usize),
    /// A worker schedules a retry, because its call failed, its time is over, or there is more to do.
    RetryLater(usize),
    /// A worker parks a job that failed for too long.
    Park(usize),
    /// A worker dies.
    Die(usize),
    /// A job's lease ends, even if its worker still runs.
    LeaseEnds(usize),
    /// A job that was due later becomes due.
    ComesDue(usize),
    /// An operator makes a parked job due.
    RetryParked(usize),
    /// The installation's invoices are settled.
    Settle,
    /// The configuration is deleted, in the table and at Vercel.
    DeleteConfiguration,
}

/// The model of an installation's jobs.
#[derive(Debug)]
pub struct Sweeps {
    scope: Scope,
    workers: usize,
    flaw: Option<Flaw>,
    ends: Ends,
}

impl Sweeps {
    /// The model with `workers` workers, at most 3. If `flaw` is `Some`, the model has this flaw.
    #[must_use]
    pub fn new(scope: Scope, workers: usize, flaw: Option<Flaw>) -> Self {
        Self { scope, workers, flaw, ends: Ends::default() }
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
            notified: [true; 3],
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
                let notified = [true, true, false];
                vec![State { jobs: [None, None, now, None, None], notified, ..end }]
            }
            // In one first state, the second resource is live. In the other first state, Delete Resource has
            // deleted the second resource, and its announcement is due.
            Scope::Purge => [true, false]
                .map(|purged| State {
                    tombstone: Tombstone { stage, finalized: true },
                    resources: [true, purged],
                    jobs: [None, now.filter(|_| !purged), None, now, None],
                    notified: [false, false, true],
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
            if worker.calls_outside(state) {
                actions.push(Action::AnswerLost(index));
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
            // The worker that holds the lease is gone, so nobody can end the lease earlier.
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

    /// No job or worker is left, the provider received each announcement, the tombstone is in its last state,
    /// and the token is erased.
    fn is_well(&self, state: &State) -> bool {
        let end = Tombstone { stage: Stage::Finalized, finalized: true };
        state.jobs == [None; 5]
            && state.notified == [true; 3]
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
            | Action::AnswerLost(index)
            | Action::RetryLater(index)
            | Action::Park(index)
            | Action::Die(index) => {
                format!("{action:?} {:?}", state.workers[*index])
            }
            _ => format!("{action:?}"),
        }
    }
}

//! The announcement of one deletion: the notice, the `deleted` event, and the commands that an operator
//! types.
//!
//! At the start, a deletion is committed, and its announcement is due. With a grace period, the announcement
//! is in the phase `scheduled`. Without a grace period, the announcement is in the phase `deleted`.
//!
//! **Workers**, at most two: a worker claims the job when it is due, reads the holds, sends an event, and
//! records the result. A worker may die at every step. A worker's lease may end at every step while the
//! worker continues. The provider may receive an event although the worker records a failure.
//!
//! **An operator** types `hold` and `release`, up to two times, or types `keep`. A command may be cut off at
//! every step, and the operator may type it again. `teardown`'s own `AnnouncementState::turn` and
//! `AnnouncementState::timing` decide what a worker and a command do next.
//!
//! **Checked:** if `hold` reports that it is in time, no `deleted` event is sent while the hold is in force.
//! No `deleted` event is sent for a resource that is kept. Two workers with valid leases never both send the
//! `deleted` event. The announcement is never lost, and every order of the steps ends.
//!
//! The model stores no fences and no times. The model stores whether a worker's fence is still the job's
//! fence, whether `teardownAt` has come, and whether each lease has ended. All processes read the same clock.

mod properties;
mod steps;

use stateright::{Model, Property};
use teardown::clock::Timestamp;
use teardown::job::announcement::{AnnouncementState, Phase, Timing, Turn};

use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// A way to break the model: each flaw's comment says what the broken code does. Tests check which property
/// fails with each flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Flaw: a worker claims the job without checking whether another worker leases the job.
    ClaimNotLeased,
    /// Flaw: a worker claims the job without checking whether the job is held.
    ClaimNotHeld,
    /// Flaw: a worker records no doubt when it claims a job whose previous lease ran out.
    ClaimDoubt,
    /// Flaw: a worker that fails after it sent the `deleted` event records no doubt.
    FailureDoubt,
    /// Flaw: a worker that puts the job on hold erases the job's doubt.
    HeldDoubt,
    /// Flaw: a worker moves the job to the phase `deleted` without checking the job's fence.
    GoOnFence,
    /// Flaw: a worker completes the job without checking the job's fence.
    CompleteFence,
    /// Flaw: a worker records a failure without checking the job's fence.
    FailFence,
    /// Flaw: a worker puts the job on hold without checking the job's fence.
    PutOnHoldFence,
    /// Flaw: a worker puts the job on hold without checking that the hold is still in force.
    PutOnHoldStands,
    /// Flaw: a worker sends the `deleted` event without reading the holds.
    Look,
    /// Flaw: a worker reads the holds before it claims the job, and not under its lease.
    LookUnderLease,
    /// Flaw: a worker sends the `deleted` event without checking that its lease still lasts.
    LeaseNotOver,
    /// Flaw: a worker that claimed the job in the phase `scheduled` may send the `deleted` event.
    ScheduledAnnounces,
    /// Flaw: `hold` reads the job before it writes its hold.
    HoldBeforeLook,
    /// Flaw: `hold` does not wait for the end of a worker's lease.
    WaitForLease,
    /// Flaw: `release` makes the held job due before it ends the hold.
    ReleaseBeforeWake,
    /// Flaw: `keep` withdraws the job without checking whether a worker claimed the job after `keep` read it.
    KeepFence,
}

/// The announcement's job in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Job {
    deleted: bool,
    due: bool,
    /// `Some` if the job has a lease that its worker has not ended. `Some(true)` while that lease lasts.
    lease: Option<bool>,
    held: bool,
    in_doubt: bool,
}

/// What a worker found if it read the holds before its claim. Only [`Flaw::LookUnderLease`] makes a worker
/// read the holds before its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Early {
    No,
    Found(Option<u8>),
}

/// The step that a worker has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// The worker has read the holds, and has no lease. Only a flaw leads to this step.
    Early,
    /// The worker claimed the job.
    Claimed,
    /// The worker read the holds. The worker found the hold with this number, or found no hold if it is
    /// `None`.
    Looked(Option<u8>),
    /// The worker sent the notice.
    Notified,
    /// The worker sent the `deleted` event.
    Announced,
}

/// A worker that has claimed the job, or is about to claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Worker {
    /// Whether the job was in the phase `deleted` when the worker claimed it.
    deleted: bool,
    in_doubt: bool,
    /// Whether the worker's lease still lasts.
    leased: bool,
    /// Whether the worker's fence is still the job's fence.
    fence: bool,
    early: Early,
    at: At,
}

/// The operator's command, and the step that it has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Command {
    /// No command runs.
    Idle,
    /// `hold` read the job before it wrote its hold. Only a flaw leads to this step.
    LookedFirst { in_time: bool },
    /// `hold` wrote its hold.
    Placed,
    /// The command `hold` has ended, and has reported whether its hold is in time.
    Said { in_time: bool },
    /// `release` took one of its two steps. One step ends the hold, and the other makes the held job due.
    Releasing,
    /// `keep` read the job. `fence` is true while no worker has claimed the job after `keep` read it.
    Read { fence: bool },
    /// `keep` ended, and reported that the resource is kept.
    Kept,
}

/// A state: the table, the workers, the operator and the provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    job: Option<Job>,
    /// The number of the hold that is in force.
    hold: Option<u8>,
    /// How many holds the operator has placed.
    holds: u8,
    workers: [Option<Worker>; 2],
    command: Command,
    /// Whether a `release` was cut off, and the operator has not typed it again.
    cut_off: bool,
    /// Whether `teardownAt` has come.
    time: bool,
    /// Whether the provider received the `deleted` event.
    notified: bool,
    /// Whether a worker sent the `deleted` event while a hold was in force, after the command `hold` had
    /// ended.
    notified_late: bool,
    /// Whether two workers sent the `deleted` event while the leases of both lasted.
    twice: bool,
    /// How often workers have recorded a failure.
    failures: u8,
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A worker claims the job.
    Claim,
    /// A worker takes its next step. If the worker sends an event, the provider receives the event and
    /// answers 2xx.
    Go(usize),
    /// The provider received a worker's event, but the worker records a failure.
    Fail(usize),
    /// A worker dies.
    Die(usize),
    /// The job's lease ends, even if its worker still runs.
    LeaseEnds,
    /// The job becomes due.
    ComesDue,
    /// `teardownAt` comes.
    Time,
    /// The operator types `hold`.
    Hold,
    /// The operator types `release`.
    Release,
    /// The operator types `keep`.
    Keep,
    /// The operator's command takes its next step.
    Type,
    /// The operator's command is cut off.
    CutOff,
}

/// The model of an announcement.
#[derive(Debug)]
pub struct Teardowns {
    /// Whether the operator types `keep` instead of `hold` and `release`.
    keeps: bool,
    workers: usize,
    flaw: Option<Flaw>,
    ends: Ends,
}

impl Teardowns {
    /// The model with `workers` workers, at most 2. If `keeps` is true, the operator types `keep`. If `keeps`
    /// is false, the operator types `hold` and `release`. If `flaw` is `Some`, the model has this flaw.
    #[must_use]
    pub fn new(keeps: bool, workers: usize, flaw: Option<Flaw>) -> Self {
        Self { keeps, workers, flaw, ends: Ends::default() }
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

/// `teardownAt`, in seconds. `teardown`'s decisions only compare `teardownAt` with other times.
const NOW: u64 = 1000;

impl Job {
    fn announcement(self) -> AnnouncementState {
        let phase = if self.deleted { Phase::Deleted } else { Phase::Scheduled };
        let at = Timestamp::from_secs(NOW);
        AnnouncementState { phase, at, finalizes_at: None, in_doubt: self.in_doubt, retains: false }
    }

    /// What `hold` or `keep` finds when it reads the job (`AnnouncementState::timing`).
    fn timing(self) -> Timing {
        let now = Timestamp::from_secs(NOW);
        let until = self.lease.map(|lasts| Timestamp::from_secs(NOW + u64::from(lasts)));
        self.announcement().timing(until, now)
    }
}

impl Worker {
    /// What the worker does next (`AnnouncementState::turn`).
    fn turn(self, time: bool) -> Turn {
        let job = Job {
            deleted: self.deleted,
            due: true,
            lease: None,
            held: false,
            in_doubt: self.in_doubt,
        };
        job.announcement().turn(Timestamp::from_secs(if time { NOW } else { NOW - 1 }))
    }
}

impl Model for Teardowns {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        // There are two first states: one with a grace period, and one without a grace period.
        let begins = |deleted| State {
            job: Some(Job { deleted, due: true, lease: None, held: false, in_doubt: false }),
            hold: None,
            holds: 0,
            workers: [None; 2],
            command: Command::Idle,
            cut_off: false,
            time: deleted,
            notified: false,
            notified_late: false,
            twice: false,
            failures: 0,
        };
        vec![begins(false), begins(true)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.fair(state, actions);
        for (index, worker) in state.workers.iter().enumerate() {
            let Some(worker) = worker else { continue };
            actions.push(Action::Die(index));
            if matches!(worker.at, At::Notified | At::Announced) && state.failures < 2 {
                actions.push(Action::Fail(index));
            }
        }
        if state.job.is_some_and(|job| job.lease == Some(true)) {
            actions.push(Action::LeaseEnds);
        }
        let idle = !matches!(state.command, Command::Placed | Command::Releasing);
        if self.keeps {
            actions.extend([Action::Keep, Action::CutOff]);
        } else if idle && state.holds < 2 {
            actions.push(Action::Hold);
        }
        if !self.keeps {
            actions.push(Action::CutOff);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.step(&mut state, action)?;
        state.workers[..].sort_unstable();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::properties();
        properties.push(Property::always(ENDS_WELL, ends_well));
        properties
    }
}

impl Protocol for Teardowns {
    fn fair(&self, state: &State, actions: &mut Vec<Action>) {
        let count = state.workers.iter().flatten().count();
        if let Some(job) = state.job {
            if count < self.workers && self.may_claim(job) {
                actions.push(Action::Claim);
            }
            let holds = state.workers.iter().flatten().any(|worker| worker.fence);
            // The worker that holds the lease is gone, so nobody can end the lease earlier.
            if job.lease == Some(true) && !holds {
                actions.push(Action::LeaseEnds);
            }
            if !job.due && !job.held && job.lease != Some(true) && (state.time || !job.deleted) {
                actions.push(Action::ComesDue);
            }
        }
        if !state.time {
            actions.push(Action::Time);
        }
        for (index, worker) in state.workers.iter().enumerate() {
            if worker.is_some() {
                actions.push(Action::Go(index));
            }
        }
        match state.command {
            Command::LookedFirst { .. }
            | Command::Placed
            | Command::Releasing
            | Command::Read { .. } => {
                actions.push(Action::Type);
            }
            // The operator releases each hold at some time.
            Command::Idle | Command::Said { .. } if state.hold.is_some() => {
                actions.push(Action::Release);
            }
            // The operator saw that `release` was cut off, and types it again.
            Command::Idle if state.cut_off => actions.push(Action::Release),
            Command::Idle | Command::Said { .. } | Command::Kept => {}
        }
    }

    /// No job, worker or hold is left, and the provider received the `deleted` event or the resource is kept.
    fn is_well(&self, state: &State) -> bool {
        state.job.is_none()
            && state.workers == [None; 2]
            && state.hold.is_none()
            && (state.notified || state.command == Command::Kept)
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn describe(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Go(index) | Action::Fail(index) | Action::Die(index) => {
                format!("{action:?} {:?}", state.workers[*index])
            }
            Action::Type => format!("{action:?} {:?}", state.command),
            _ => format!("{action:?}"),
        }
    }
}

//! The announcement of one deletion: its notice, its `deleted` event, and the acts of an operator.
//!
//! A deletion was committed with a grace period. Workers take its announcement when it is due, in either
//! phase; each may die at every step, a lease may end at every step while its worker goes on, and what a
//! worker sends may be heard or not. An operator holds, looks, releases, holds once more, or keeps; the
//! command may be cut off at every step and typed again. What a worker and a command do next is asked of
//! `teardown`'s own `AnnouncementState::turn` and `AnnouncementState::timing`.
//!
//! A fence is modelled as what it is compared for: whether it is still the item's. Time is whether
//! `teardownAt` has come, and whether each lease is over; every process reads the same clock.

mod steps;

use stateright::{Model, Property};
use teardown::clock::Timestamp;
use teardown::job::announcement::{AnnouncementState, Phase, Timing, Turn};

use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Claim: nobody has a lease of it.
    ClaimNotLeased,
    /// Claim: it is not held.
    ClaimNotHeld,
    /// Claim: a lease that nobody ended leaves a doubt.
    ClaimDoubt,
    /// A failure of the `deleted` event leaves a doubt.
    FailureDoubt,
    /// A worker that puts it on hold keeps the doubt.
    HeldDoubt,
    /// Go on: the fence is ours.
    GoOnFence,
    /// Complete: the fence is ours.
    CompleteFence,
    /// Fail: the fence is ours.
    FailFence,
    /// Put on hold: the fence is ours.
    PutOnHoldFence,
    /// Put on hold: the hold is as it was read.
    PutOnHoldStands,
    /// The worker looks at the holds before it announces.
    Look,
    /// The worker looks at the holds after it has taken its lease.
    LookUnderLease,
    /// The worker compares its clock with its lease before it announces.
    LeaseNotOver,
    /// A claim in the phase `scheduled` never sends the `deleted` event.
    ScheduledAnnounces,
    /// The command writes its hold before it looks.
    HoldBeforeLook,
    /// The command waits for the end of a lease.
    WaitForLease,
    /// Release: the hold ends before what it held is woken.
    ReleaseBeforeWake,
    /// Keep: nobody has claimed the job since it was read.
    KeepFence,
}

/// The announcement's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Job {
    deleted: bool,
    due: bool,
    /// Whether it has a lease that nobody ended, and whether that is not over.
    lease: Option<bool>,
    held: bool,
    in_doubt: bool,
}

/// What a worker that looks at the holds before it takes its lease found. Only a flaw has it look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Early {
    No,
    Found(Option<u8>),
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// It has looked at the holds, and has no lease yet. Only a flaw leads here.
    Early,
    /// It took the lease.
    Claimed,
    /// It read the holds: none, or the one of this number.
    Looked(Option<u8>),
    /// It sent the notice.
    Notified,
    /// It sent the `deleted` event.
    Announced,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Worker {
    /// What it saw in the item when it claimed it.
    deleted: bool,
    in_doubt: bool,
    /// Whether its lease is not over yet.
    leased: bool,
    /// Whether its fence is the item's.
    fence: bool,
    early: Early,
    at: At,
}

/// What the operator has typed, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Command {
    /// Nothing, or it has ended.
    Idle,
    /// `hold`: it looked first. Only a flaw leads here.
    LookedFirst { in_time: bool },
    /// `hold`: the hold is written.
    Placed,
    /// `hold` has ended, and said whether it is in time.
    Said { in_time: bool },
    /// `release`: one of its two steps is done.
    Releasing,
    /// `keep`: it read the job; whether nobody has claimed it since.
    Read { fence: bool },
    /// `keep` has ended, and said that it is kept.
    Kept,
}

/// The table, the workers, the operator and the provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    job: Option<Job>,
    /// The hold that stands.
    hold: Option<u8>,
    /// How many there were.
    holds: u8,
    workers: [Option<Worker>; 2],
    command: Command,
    /// Whether a release was cut off, and not typed again.
    cut_off: bool,
    /// Whether `teardownAt` has come.
    time: bool,
    /// Whether the provider received the `deleted` event.
    told: bool,
    /// Whether a worker began to tell it after a hold that stands had ended its look.
    told_late: bool,
    /// Whether a job was announced that was claimed while it was due to another.
    twice: bool,
    /// How often workers have failed.
    failures: u8,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A worker claims the job.
    Claim,
    /// A worker goes on; what it sends is heard, and answered with 2xx.
    Go(usize),
    /// What a worker sent is heard, and it fails.
    Fail(usize),
    /// A worker dies.
    Die(usize),
    /// The lease ends.
    LeaseEnds,
    /// The job comes due.
    ComesDue,
    /// `teardownAt` comes.
    Time,
    /// The operator types `hold`.
    Hold,
    /// The operator types `release`.
    Release,
    /// The operator types `keep`.
    Keep,
    /// The command takes its next step.
    Type,
    /// The command is cut off.
    CutOff,
}

/// The model.
#[derive(Debug)]
pub struct Teardowns {
    /// Whether the operator keeps, and does not hold.
    keeps: bool,
    workers: usize,
    flaw: Option<Flaw>,
    ends: Ends,
}

impl Teardowns {
    /// With so many workers, 2 at most, and an operator who holds and releases, or who keeps; broken, if
    /// it is said how.
    #[must_use]
    pub fn new(keeps: bool, workers: usize, flaw: Option<Flaw>) -> Self {
        Self { keeps, workers, flaw, ends: Ends::default() }
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

/// Moments by which the shared decisions tell before from after.
const NOW: u64 = 1000;

impl Job {
    fn announcement(self) -> AnnouncementState {
        let phase = if self.deleted { Phase::Deleted } else { Phase::Scheduled };
        let at = Timestamp::from_secs(NOW);
        AnnouncementState { phase, at, finalizes_at: None, in_doubt: self.in_doubt, retains: false }
    }

    /// What a hold finds (`AnnouncementState::timing`).
    fn timing(self) -> Timing {
        let now = Timestamp::from_secs(NOW);
        let until = self.lease.map(|lasts| Timestamp::from_secs(NOW + u64::from(lasts)));
        self.announcement().timing(until, now)
    }
}

impl Worker {
    /// What it does next (`AnnouncementState::turn`).
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
        // With a grace period, and without one.
        let begins = |deleted| State {
            job: Some(Job { deleted, due: true, lease: None, held: false, in_doubt: false }),
            hold: None,
            holds: 0,
            workers: [None; 2],
            command: Command::Idle,
            cut_off: false,
            time: deleted,
            told: false,
            told_late: false,
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
        type P = Property<Teardowns>;
        vec![
            P::always("a hold that says it is in time is", |_, state| {
                let in_time = state.command == Command::Said { in_time: true };
                !(in_time && state.hold.is_some() && state.told)
            }),
            P::always("nothing is announced while a hold stands that has looked", |_, state| {
                !state.told_late
            }),
            P::always("what is kept is never announced", |_, state| {
                !(state.command == Command::Kept && state.told)
            }),
            P::always("nothing is announced twice at a time", |_, state| !state.twice),
            P::always("no lost announcement", |_, state| {
                state.job.is_some() || state.told || state.command == Command::Kept
            }),
            P::sometimes("a hold is in time", |model, state| {
                model.keeps || state.command == Command::Said { in_time: true }
            }),
            P::sometimes("a hold is too late", |model, state| {
                model.keeps || state.command == Command::Said { in_time: false }
            }),
            P::sometimes("it is held", |model, state| {
                model.keeps || state.job.is_some_and(|job| job.held)
            }),
            P::sometimes("it is kept", |model, state| {
                !model.keeps || state.command == Command::Kept
            }),
            P::sometimes("it is announced", |_, state| state.told && state.job.is_none()),
            P::always(ENDS_WELL, ends_well),
        ]
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
            // Nobody is left who would end it before.
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
            // The operator sees to it in the end.
            Command::Idle | Command::Said { .. } if state.hold.is_some() => {
                actions.push(Action::Release);
            }
            // That it was cut off, the operator has seen.
            Command::Idle if state.cut_off => actions.push(Action::Release),
            Command::Idle | Command::Said { .. } | Command::Kept => {}
        }
    }

    /// The provider was told, or it is kept, and nothing is left.
    fn is_well(&self, state: &State) -> bool {
        state.job.is_none()
            && state.workers == [None; 2]
            && state.hold.is_none()
            && (state.told || state.command == Command::Kept)
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

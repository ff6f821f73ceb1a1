//! The processes, which are requests and sweeps, and the steps that they reach.

use teardown::error::Error;

use super::table::Seen;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Ended {
    Gone,
    Refused,
    InvoicesOpen,
    KeyReused,
    OtherTeam,
    /// The caller has to try again later.
    Later,
    Else,
}

/// The step that a process has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum At {
    /// A request is about to read the table, or a sweep has not claimed the intent.
    Idle,
    /// A sweep claimed the intent, and is about to read the table.
    Taken(u8),
    Beginning(Seen),
    Marking(Seen, u8),
    /// The process sends the `DELETE` to Vercel. `lost` is true if this attempt has already sent the `DELETE`
    /// once, and got no answer.
    Calling {
        seen: Seen,
        fence: u8,
        lost: bool,
    },
    /// Vercel found no configuration in the stored team. The process looks the configuration up at Vercel.
    /// `seen` includes the doubt that the process read, and the doubt of the process's own attempt.
    Confirming {
        seen: Seen,
        fence: u8,
        /// Whether the process's own attempt is in doubt.
        own: bool,
    },
    /// The configuration is in another team, which the process is about to store.
    Moving {
        seen: Seen,
        fence: u8,
        own: bool,
    },
    /// The process sends the `DELETE` to Vercel, in the team that Vercel named. `lost` is true if this
    /// attempt has already sent the `DELETE` in that team once, and got no answer.
    CallingThere {
        seen: Seen,
        fence: u8,
        lost: bool,
        own: bool,
    },
    /// The configuration is gone at Vercel, or there is no usable token. The process is about to commit under
    /// this fence. The fence is `None` if the process read no intent.
    Committing(Seen, Option<u8>),
    /// The process's commit failed, though the configuration is gone at Vercel. The process is about to read
    /// the table again.
    Again,
    Withdrawing {
        seen: Seen,
        fence: u8,
        in_doubt: bool,
        ended: Ended,
    },
    /// The process is about to schedule a retry. `stored_doubt` is the doubt to store, or `None` if the
    /// stored doubt stays.
    Rescheduling {
        fence: u8,
        stored_doubt: Option<bool>,
        /// Whether the process does not know how its own attempt ended.
        own_doubt: bool,
    },
    /// The process has lost its lease, and does not know how its attempt ended. The process is about to take
    /// the fence from the worker that holds the intent.
    Doubting,
    /// The process found no intent to take the fence from. The process is about to write a new intent.
    SchedulingAgain,
    Recording,
    /// The process has committed, and is about to record the outcome. Only a flaw leads to this step.
    RecordingLate,
    Ended(Ended),
}

/// A request or a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Process {
    /// The index of the process's request, or [`SWEEP`], or [`NOBODY`].
    pub(super) request: u8,
    pub(super) at: At,
    /// Whether the process got Vercel's answer that the configuration is gone.
    pub(super) knows_it_is_gone: bool,
    /// The fence under which a request began its intent, until the request is answered.
    pub(super) own: Option<u8>,
    /// Whether the process made the commit in the table.
    pub(super) acted: bool,
}

/// The value of [`Process::request`] for a sweep.
pub(super) const SWEEP: u8 = 100;

/// The value of [`Process::request`] for an absent process.
pub(super) const NOBODY: u8 = 101;

impl Ended {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvoicesOpen => Self::InvoicesOpen,
            Error::IdempotencyKeyReused => Self::KeyReused,
            Error::OtherTeam => Self::OtherTeam,
            Error::RequestInProgress { .. } => Self::Later,
            _ => Self::Else,
        }
    }
}

impl Process {
    pub(super) fn is_sweep(&self) -> bool {
        self.request == SWEEP
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.request < 2
    }

    /// Whether the request names the team that the configuration is in at the start.
    pub(super) fn names_the_first_team(&self) -> bool {
        self.request == 1
    }

    /// Whether the process is neither idle nor answered.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.at, At::Idle | At::Ended(_))
    }

    /// Whether the process knows that its own call to Vercel is in doubt.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(
            self.at,
            At::Calling { lost: true, .. }
                | At::CallingThere { lost: true, .. }
                | At::Confirming { own: true, .. }
                | At::Moving { own: true, .. }
                | At::CallingThere { own: true, .. }
                | At::Rescheduling { own_doubt: true, .. }
                | At::Doubting
                | At::SchedulingAgain
        )
    }

    /// Whether the process read that the deletion is in doubt, or knows that its own call is in doubt.
    pub(super) fn knows_a_doubt(&self) -> bool {
        match self.at {
            At::Beginning(seen)
            | At::Marking(seen, _)
            | At::Calling { seen, .. }
            | At::Confirming { seen, .. }
            | At::Moving { seen, .. }
            | At::CallingThere { seen, .. }
            | At::Committing(seen, _) => seen.is_in_doubt(),
            At::Withdrawing { in_doubt, .. } => in_doubt,
            At::Rescheduling { stored_doubt, .. } => stored_doubt != Some(false),
            _ => self.is_in_doubt(),
        }
    }

    /// The fence that the process works under.
    pub(super) fn fence(&self) -> Option<u8> {
        match self.at {
            At::Taken(fence)
            | At::Marking(_, fence)
            | At::Calling { fence, .. }
            | At::Confirming { fence, .. }
            | At::Moving { fence, .. }
            | At::CallingThere { fence, .. }
            | At::Withdrawing { fence, .. }
            | At::Rescheduling { fence, .. } => Some(fence),
            At::Committing(_, fence) => fence,
            _ => None,
        }
    }

    /// Changes every fence that the process knows.
    pub(super) fn renumber(&mut self, number: impl Fn(u8) -> u8) {
        let of = |seen: &mut Seen| {
            if let Some(intent) = &mut seen.intent {
                intent.fence = number(intent.fence);
            }
        };
        self.own = self.own.map(&number);
        match &mut self.at {
            At::Beginning(seen) => of(seen),
            At::Taken(fence) | At::Rescheduling { fence, .. } => *fence = number(*fence),
            At::Marking(seen, fence)
            | At::Calling { seen, fence, .. }
            | At::Confirming { seen, fence, .. }
            | At::Moving { seen, fence, .. }
            | At::CallingThere { seen, fence, .. }
            | At::Withdrawing { seen, fence, .. } => {
                of(seen);
                *fence = number(*fence);
            }
            At::Committing(seen, fence) => {
                of(seen);
                *fence = fence.map(&number);
            }
            At::Idle
            | At::Again
            | At::Doubting
            | At::SchedulingAgain
            | At::Recording
            | At::RecordingLate
            | At::Ended(_) => {}
        }
    }

    pub(super) fn fences(mut self, into: &mut Vec<u8>) {
        let found = std::cell::RefCell::new(into);
        self.renumber(|fence| {
            found.borrow_mut().push(fence);
            fence
        });
    }
}

//! The processes: requests and sweeps, and where they are.

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
    /// It is to come again.
    Later,
    Else,
}

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum At {
    /// A request is to see what there is; a sweep has nothing.
    Idle,
    /// A sweep took the intent, and is to see what there is.
    Taken(u8),
    Beginning(Seen),
    Marking(Seen, u8),
    /// Vercel is asked. It may have been asked before in vain, in this call too.
    Asking {
        seen: Seen,
        fence: u8,
        lost: bool,
    },
    /// Vercel found nothing in the stored team, and is asked where it is. What was in doubt by then is
    /// seen so.
    Confirming {
        seen: Seen,
        fence: u8,
        /// Whether an attempt of its own is in doubt.
        own: bool,
    },
    /// It lives in another team, which is to be stored.
    Moving {
        seen: Seen,
        fence: u8,
        own: bool,
    },
    /// Vercel is asked in the team that it has named. It may have been asked there in vain.
    AskingThere {
        seen: Seen,
        fence: u8,
        lost: bool,
        own: bool,
    },
    /// It heard that it is gone, or there is nothing to ask: it commits under this fencing token.
    Committing(Seen, Option<u8>),
    /// Its commit did not go through, though it heard that Vercel's side is gone: it looks again.
    Again,
    Withdrawing {
        seen: Seen,
        fence: u8,
        unclear: bool,
        ended: Ended,
    },
    /// It leaves it open; it is not said how unclear it is where a sweep's time was over.
    PuttingOff {
        fence: u8,
        unclear: Option<bool>,
        /// Whether it does not know what became of its own attempt.
        in_doubt: bool,
    },
    /// It has lost its lease, and does not know how its attempt ended: it takes the intent from the worker
    /// that holds it.
    Doubting,
    /// There was none: the deletion is scheduled again.
    OwingAgain,
    Recording,
    /// It committed, and has to write the outcome yet. Only a flaw leads here.
    Owing,
    Ended(Ended),
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Process {
    /// Its request, by its index; [`SWEEP`] or [`NOBODY`].
    pub(super) request: u8,
    pub(super) at: At,
    /// Whether it heard of Vercel that it is gone.
    pub(super) heard: bool,
    /// The fencing token under which a request has begun, until it is answered.
    pub(super) own: Option<u8>,
    /// Whether it deleted our side.
    pub(super) acted: bool,
}

/// Not a request, but a sweep.
pub(super) const SWEEP: u8 = 100;

/// No process.
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

    /// Whether its request is on behalf of the team that the configuration is in at first.
    pub(super) fn names_the_first_team(&self) -> bool {
        self.request == 1
    }

    /// Whether it is at something.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.at, At::Idle | At::Ended(_))
    }

    /// Whether it hears yet what Vercel does, or knows that it may not have.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(
            self.at,
            At::Asking { lost: true, .. }
                | At::AskingThere { lost: true, .. }
                | At::Confirming { own: true, .. }
                | At::Moving { own: true, .. }
                | At::AskingThere { own: true, .. }
                | At::PuttingOff { in_doubt: true, .. }
                | At::Doubting
                | At::OwingAgain
        )
    }

    /// Whether it saw a mark, or has left one.
    pub(super) fn knows_a_doubt(&self) -> bool {
        match self.at {
            At::Beginning(seen)
            | At::Marking(seen, _)
            | At::Asking { seen, .. }
            | At::Confirming { seen, .. }
            | At::Moving { seen, .. }
            | At::AskingThere { seen, .. }
            | At::Committing(seen, _) => seen.is_unclear(),
            At::Withdrawing { unclear, .. } => unclear,
            At::PuttingOff { unclear, .. } => unclear != Some(false),
            _ => self.is_in_doubt(),
        }
    }

    /// The fencing token that it works under.
    pub(super) fn fence(&self) -> Option<u8> {
        match self.at {
            At::Taken(fence)
            | At::Marking(_, fence)
            | At::Asking { fence, .. }
            | At::Confirming { fence, .. }
            | At::Moving { fence, .. }
            | At::AskingThere { fence, .. }
            | At::Withdrawing { fence, .. }
            | At::PuttingOff { fence, .. } => Some(fence),
            At::Committing(_, fence) => fence,
            _ => None,
        }
    }

    /// Changes every fencing token that it knows of.
    pub(super) fn renumber(&mut self, number: impl Fn(u8) -> u8) {
        let of = |seen: &mut Seen| {
            if let Some(intent) = &mut seen.intent {
                intent.fence = number(intent.fence);
            }
        };
        self.own = self.own.map(&number);
        match &mut self.at {
            At::Beginning(seen) => of(seen),
            At::Taken(fence) | At::PuttingOff { fence, .. } => *fence = number(*fence),
            At::Marking(seen, fence)
            | At::Asking { seen, fence, .. }
            | At::Confirming { seen, fence, .. }
            | At::Moving { seen, fence, .. }
            | At::AskingThere { seen, fence, .. }
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
            | At::OwingAgain
            | At::Recording
            | At::Owing
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

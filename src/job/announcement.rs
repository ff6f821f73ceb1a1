//! The two phases of an announcement, and what a hold does to an announcement (H1, H2). This module does no
//! I/O.
//!
//! ```text
//!   scheduled   due immediately      sends the notice, ….deletion_scheduled    then: deleted, due at teardownAt
//!   deleted     due at teardownAt    sends ….deleted, unless a hold is in force   then: done
//! ```
//!
//! Without a grace period an announcement is in the phase `deleted` from the start.

use crate::clock::Timestamp;

/// Which of its two events an announcement sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The notice: the deletion is scheduled, and can still be stopped.
    Scheduled,
    /// The `deleted` event, after which nothing can be undone.
    Deleted,
}

impl Phase {
    /// The value of the item's attribute `phase`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Deleted => "deleted",
        }
    }

    /// The phase that a deletion's announcement begins with.
    #[must_use]
    pub fn first(deleted_at: Timestamp, teardown_at: Timestamp) -> Self {
        if teardown_at > deleted_at { Self::Scheduled } else { Self::Deleted }
    }
}

/// What an announcement's item stores in addition to what every job's item stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncementState {
    /// The event that is sent next.
    pub phase: Phase,
    /// `teardownAt`: when the `deleted` event is due.
    pub at: Timestamp,
    /// `finalizesAt`: when the installation's finalization is due, if there is one (H4).
    pub finalizes_at: Option<Timestamp>,
    /// Whether the provider may have received the `deleted` event: an attempt failed, was answered 202, or
    /// ended because its worker died.
    pub in_doubt: bool,
    /// Whether receipts or the tombstone wait for this job, and expire only after the job has ended.
    pub retains: bool,
}

/// What a worker does with an announcement that it has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send the notice.
    Notify,
    /// Drop the notice, because `teardownAt` has come. The `deleted` event is next.
    SkipNotice,
    /// Send the `deleted` event, unless a hold is in force.
    Announce,
}

impl AnnouncementState {
    /// Says what a worker that claimed this announcement does at `now`. A worker that claimed the
    /// announcement in the phase `scheduled` never sends the `deleted` event. A hold that finds the phase
    /// `scheduled` is therefore in time.
    #[must_use]
    pub fn turn(&self, now: Timestamp) -> Turn {
        match self.phase {
            Phase::Scheduled if now < self.at => Turn::Notify,
            Phase::Scheduled => Turn::SkipNotice,
            Phase::Deleted => Turn::Announce,
        }
    }

    /// Until when the notice may be sent. `None` in the phase `deleted`.
    #[must_use]
    pub fn notice_ends(&self) -> Option<Timestamp> {
        (self.phase == Phase::Scheduled).then_some(self.at)
    }
}

/// Whether a hold or a `keep` comes in time for a pending announcement (H2, H3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timing {
    /// The `deleted` event was not sent. A worker that read the holds before this hold was written cannot
    /// send the event.
    InTime,
    /// A worker may be sending the `deleted` event. The caller must read the job again at this time, when the
    /// worker's lease ends.
    LeasedUntil(Timestamp),
    /// The provider may have received the `deleted` event.
    InDoubt,
}

impl AnnouncementState {
    /// Says whether a hold is in time. The hold must have been written before this announcement was read.
    /// `lease_until` is the item's `leaseUntil`, and `now` is the reader's clock. If the reader's clock is
    /// ahead of the worker's clock, a valid lease looks like the lease of a dead worker, and the result is
    /// [`Timing::InDoubt`].
    #[must_use]
    pub fn timing(&self, lease_until: Option<Timestamp>, now: Timestamp) -> Timing {
        match (self.phase, lease_until) {
            (Phase::Scheduled, _) => Timing::InTime,
            // Even if an earlier attempt is in doubt, the worker may send the event once more until the lease
            // ends.
            (Phase::Deleted, Some(until)) if until > now => Timing::LeasedUntil(until),
            (Phase::Deleted, None) if !self.in_doubt => Timing::InTime,
            // The provider may have received the `deleted` event in an earlier attempt, or from a worker that
            // died under its lease.
            (Phase::Deleted, _) => Timing::InDoubt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn teardown(phase: Phase, in_doubt: bool) -> AnnouncementState {
        let at = Timestamp::from_secs(1000);
        AnnouncementState { phase, at, finalizes_at: None, in_doubt, retains: false }
    }

    /// H1: at `teardownAt` a worker drops the notice, and the `deleted` event is next.
    #[test]
    fn a_late_notice_is_dropped() {
        let turn = |phase, now| teardown(phase, false).turn(Timestamp::from_secs(now));
        assert_eq!(turn(Phase::Scheduled, 999), Turn::Notify);
        assert_eq!(turn(Phase::Scheduled, 1000), Turn::SkipNotice);
        assert_eq!(turn(Phase::Deleted, 0), Turn::Announce);
    }

    /// H2: a hold is in time unless the `deleted` event may have been sent, or a worker may be sending it.
    #[test]
    fn a_hold_never_claims_to_be_in_time_when_it_is_not() {
        let now = Timestamp::from_secs(2000);
        let (live, dead) = (Some(now + std::time::Duration::from_secs(1)), Some(now));
        for lease in [None, live, dead] {
            assert_eq!(teardown(Phase::Scheduled, false).timing(lease, now), Timing::InTime);
        }
        for lease in [None, dead] {
            assert_eq!(teardown(Phase::Deleted, true).timing(lease, now), Timing::InDoubt);
        }
        let leased = teardown(Phase::Deleted, true).timing(live, now);
        assert_eq!(leased, Timing::LeasedUntil(live.unwrap()), "it may be announced once more");
        let timing = |lease| teardown(Phase::Deleted, false).timing(lease, now);
        assert_eq!(timing(None), Timing::InTime);
        assert_eq!(timing(live), Timing::LeasedUntil(live.unwrap()));
        assert_eq!(timing(dead), Timing::InDoubt);
    }
}

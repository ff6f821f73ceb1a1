//! When a failed job is tried again, and when it is parked (G1). This module does no I/O.

use std::time::Duration;

use super::{FailureStreak, Job};
use crate::clock::Timestamp;
use crate::outbound::jitter;

/// The back-off after a job's first failure. Each further failure doubles the back-off. The wait before a
/// retry is half of the back-off and a random part of the other half, so no job is tried again immediately.
const FIRST_BACKOFF: Duration = Duration::from_secs(15);

/// The longest back-off of a job that is not a finalization. A finalization waits at most this long for a
/// `Retry-After`, because it must be done within Vercel's 24 hours.
const MAX_BACKOFF: Duration = Duration::from_hours(1);

/// The longest back-off of a finalization, which must be done within Vercel's 24 hours. A `Retry-After` may
/// make the wait longer, up to [`MAX_BACKOFF`].
const MAX_FINALIZE_BACKOFF: Duration = Duration::from_mins(10);

/// How long failures in a row may last before the job is parked.
pub(crate) const PARKED_AFTER: Duration = Duration::from_hours(3 * 24);

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Try the job again at this time.
    Again(Timestamp),
    /// Park the job.
    Park,
    /// Drop the notice: the `deleted` event is next (H1).
    SkipNotice,
}

/// Says what to do after a job failed at `now`, and returns when the job's failures in a row began.
/// `retry_after` is the wait that Vercel or the provider requested. `notice_ends` is when the notice is
/// dropped, if the job's next event is a notice.
pub(crate) fn after_failure(
    job: &Job,
    streak: FailureStreak,
    now: Timestamp,
    retry_after: Option<Duration>,
    notice_ends: Option<Timestamp>,
) -> (Timestamp, Retry) {
    let since = streak.failing_since.unwrap_or(now);
    if since + PARKED_AFTER <= now {
        let next = if notice_ends.is_some() { Retry::SkipNotice } else { Retry::Park };
        return (since, next);
    }
    let most = if *job == Job::Finalize { MAX_FINALIZE_BACKOFF } else { MAX_BACKOFF };
    let backoff = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(streak.failures)).min(most);
    let requested = retry_after.unwrap_or_default();
    let requested = if *job == Job::Finalize { requested.min(MAX_BACKOFF) } else { requested };
    // The wait is at least half of the back-off, so that Vercel or the provider is not called again
    // immediately.
    let wait = (backoff / 2 + jitter(backoff / 2)).max(requested);
    let due = now + wait;
    (since, Retry::Again(notice_ends.map_or(due, |end| due.min(end))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    proptest! {
        /// G1: the back-off doubles after each failure, up to 1 h, or up to 10 min for a finalization. The
        /// wait before a retry is never shorter than `Retry-After`, but a finalization never waits longer
        /// than 1 h. After 3 days of failures the job is parked.
        #[test]
        fn the_wait_doubles_and_ends_after_3_days(
            failures in 0..400_u32,
            failing_for in 0..5 * 86_400_u64,
            requested in proptest::option::of(0..10_000_u64),
            finalize in any::<bool>(),
        ) {
            let job = if finalize { Job::Finalize } else { Job::AnnounceInstallation };
            let now = Timestamp::from_secs(NOW);
            let since = Timestamp::from_secs(NOW - failing_for);
            let streak = FailureStreak { failures, failing_since: Some(since) };
            let (failing_since, next) =
                after_failure(&job, streak, now, requested.map(Duration::from_secs), None);
            prop_assert_eq!(failing_since, since);
            match next {
                Retry::SkipNotice => prop_assert!(false, "it is not at a notice"),
                Retry::Park => prop_assert!(failing_for >= 3 * 86_400),
                Retry::Again(due) => {
                    prop_assert!(failing_for < 3 * 86_400);
                    let wait = due.as_secs() - NOW;
                    let most = if finalize { 600 } else { 3600 };
                    let backoff = most.min(15 * 2_u64.saturating_pow(failures.min(20)));
                    let requested = requested.unwrap_or(0).min(if finalize { 3600 } else { 10_000 });
                    prop_assert!(wait >= (backoff / 2).max(requested), "{wait}");
                    prop_assert!(wait <= backoff.max(requested), "{wait}");
                }
            }
        }
    }

    /// G1: the 3 days until a job is parked begin with its first failure.
    #[test]
    fn the_first_failure_is_never_the_last() {
        let now = Timestamp::from_secs(NOW);
        let (since, next) = after_failure(&Job::Purge, FailureStreak::default(), now, None, None);
        assert_eq!(since, now);
        assert!(matches!(next, Retry::Again(due) if due > now));
    }

    /// H1: the retries of a notice end at `teardownAt`, and after 3 days the notice is dropped.
    #[test]
    fn a_notice_is_never_parked() {
        let (now, job) = (Timestamp::from_secs(NOW), Job::AnnounceInstallation);
        let after = |failing_for, requested, ends| {
            let failing_since = Some(Timestamp::from_secs(NOW - failing_for));
            let streak = FailureStreak { failures: 40, failing_since };
            let ends = Some(now + Duration::from_secs(ends));
            after_failure(&job, streak, now, Some(Duration::from_secs(requested)), ends).1
        };
        assert_eq!(after(0, 500, 100), Retry::Again(now + Duration::from_secs(100)));
        assert_eq!(after(0, 5000, 100_000), Retry::Again(now + Duration::from_secs(5000)));
        assert_eq!(after(3 * 86_400, 0, 100_000), Retry::SkipNotice);
    }
}

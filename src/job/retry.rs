//! When a job that failed is tried again, and when no more (G1). Decisions alone.

use std::time::Duration;

use super::{Job, Tries};
use crate::clock::Timestamp;
use crate::outbound::jitter;

/// The first wait after a failure; it doubles. Half of it is random, and half is not: no job is
/// tried again at once.
const FIRST_BACKOFF: Duration = Duration::from_secs(15);

/// The longest wait: what was down for long is tried once an hour. It is also the longest
/// `Retry-After` of a finalization, which has Vercel's 24 hours.
const MAX_BACKOFF: Duration = Duration::from_hours(1);

/// The longest back-off of a finalization, which has Vercel's 24 hours. A `Retry-After` may exceed it,
/// up to [`MAX_BACKOFF`].
const MAX_FINALIZE_BACKOFF: Duration = Duration::from_mins(10);

/// How long failures in a row may last before the job is parked.
const PARKED_AFTER: Duration = Duration::from_hours(3 * 24);

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Try again then.
    Again(Timestamp),
    /// Park it.
    Park,
}

/// Says what to do after a failure at `now`, and since when there was nothing but failures.
/// `retry_after` is what the other side asked for.
pub(crate) fn after_failure(
    job: &Job,
    tries: Tries,
    now: Timestamp,
    retry_after: Option<Duration>,
) -> (Timestamp, Retry) {
    let since = tries.failing_since.unwrap_or(now);
    if since + PARKED_AFTER <= now {
        return (since, Retry::Park);
    }
    let most = if *job == Job::Finalize { MAX_FINALIZE_BACKOFF } else { MAX_BACKOFF };
    let backoff = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(tries.failures)).min(most);
    let asked = retry_after.unwrap_or_default();
    let asked = if *job == Job::Finalize { asked.min(MAX_BACKOFF) } else { asked };
    // Half of it at least, so that nobody is asked at once again.
    let wait = (backoff / 2 + jitter(backoff / 2)).max(asked);
    (since, Retry::Again(now + wait))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    proptest! {
        /// G1: the wait doubles up to an hour, and never falls under what was asked for; after 3 days
        /// of failures it is parked.
        #[test]
        fn the_wait_doubles_and_ends_after_3_days(
            failures in 0..400_u32,
            failing_for in 0..5 * 86_400_u64,
            asked in proptest::option::of(0..10_000_u64),
            finalize in any::<bool>(),
        ) {
            let job = if finalize { Job::Finalize } else { Job::AnnounceInstallation };
            let now = Timestamp::from_secs(NOW);
            let since = Timestamp::from_secs(NOW - failing_for);
            let tries = Tries { failures, failing_since: Some(since) };
            let (failing_since, next) =
                after_failure(&job, tries, now, asked.map(Duration::from_secs));
            prop_assert_eq!(failing_since, since);
            match next {
                Retry::Park => prop_assert!(failing_for >= 3 * 86_400),
                Retry::Again(due) => {
                    prop_assert!(failing_for < 3 * 86_400);
                    let wait = due.as_secs() - NOW;
                    let most = if finalize { 600 } else { 3600 };
                    let backoff = most.min(15 * 2_u64.saturating_pow(failures.min(20)));
                    let asked = asked.unwrap_or(0).min(if finalize { 3600 } else { 10_000 });
                    prop_assert!(wait >= (backoff / 2).max(asked), "{wait}");
                    prop_assert!(wait <= backoff.max(asked), "{wait}");
                }
            }
        }
    }

    /// G1: the 3 days begin with the first failure.
    #[test]
    fn the_first_failure_is_never_the_last() {
        let now = Timestamp::from_secs(NOW);
        let (since, next) = after_failure(&Job::Purge, Tries::default(), now, None);
        assert_eq!(since, now);
        assert!(matches!(next, Retry::Again(due) if due > now));
    }
}

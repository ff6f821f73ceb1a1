//! The clock that teardown reads the time from. All code that compares times uses one clock, so that tests
//! can move the clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock, or a stopped clock of a test. A test can move a clock forward. If a test moves a clock,
/// all clones of the clock move too.
///
/// The clock shows wall time, because a monotonic clock may stop while a host freezes the function. The
/// issuer's keys must grow old even while the function is frozen.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// The time at which the clock was stopped, since the Unix epoch. `None` if the clock was not stopped.
    stopped_at: Option<Duration>,
    advanced_ms: Arc<AtomicU64>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that was stopped at the system's time. The clock shows another time only if a test moves the
    /// clock.
    #[must_use]
    pub fn stopped() -> Self {
        Self { stopped_at: Some(Self::system().now()), ..Self::default() }
    }

    /// Moves the clock and its clones forward by `by`, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.advanced_ms.fetch_add(by, Ordering::SeqCst);
    }

    /// The time since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> Duration {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.stopped_at.unwrap_or_else(system)
            + Duration::from_millis(self.advanced_ms.load(Ordering::SeqCst))
    }

    /// The clock's time in whole seconds, as the table stores times.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp(self.now().as_secs())
    }
}

/// A moment in whole seconds since the Unix epoch, displayed as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
    const MAX: u64 = 253_402_300_799;

    /// The latest timestamp.
    pub(crate) const LAST: Self = Self(Self::MAX);

    /// Makes a timestamp from seconds since the Unix epoch. A time after the year 9999 becomes the end of
    /// 9999.
    #[must_use]
    pub fn from_secs(secs: u64) -> Self {
        Self(secs.min(Self::MAX))
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self::from_secs(self.0.saturating_add(by.as_secs()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G1: a timestamp is written as RFC 3339 in UTC. A time after the year 9999 becomes the end of 9999.
    #[test]
    fn a_timestamp_is_rfc_3339() {
        assert_eq!(Timestamp::from_secs(1_763_769_600).to_string(), "2025-11-22T00:00:00Z");
        assert_eq!(Timestamp::from_secs(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(
            (Timestamp::from_secs(u64::MAX) + Duration::MAX).to_string(),
            "9999-12-31T23:59:59Z"
        );
    }
}

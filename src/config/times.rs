//! Durations, such as `90d` or `36h`.

use std::time::Duration;

use super::ConfigError;
use crate::deletion::FINALIZATION_PERIOD;

/// The longest retention: longer ones are typing errors, as are those under 1 s and a margin of 24 h
/// or more.
const MAX_RETENTION: Duration = Duration::from_hours(100 * 366 * 24);

pub(super) fn retention(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_secs(1)..=MAX_RETENTION).contains(&time) => Ok(time),
        Ok(_) => Err(ConfigError::new("RECEIPT_RETENTION", "must be 1 second to 100 years")),
        Err(_) => Err(ConfigError::new("RECEIPT_RETENTION", "is no time such as 90d or 36h")),
    }
}

/// The longest grace period (H1): a database that is kept is paid for.
const MAX_GRACE: Duration = Duration::from_hours(90 * 24);

pub(super) fn grace(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        // A deletion is stored to the second: part of one would be lost.
        Ok(time) if time <= MAX_GRACE && time.subsec_nanos() == 0 => Ok(time),
        Ok(_) => Err(ConfigError::new("GRACE_PERIOD", "must be 0s to 90d, in whole seconds")),
        Err(_) => Err(ConfigError::new("GRACE_PERIOD", "is no time such as 7d or 36h")),
    }
}

pub(super) fn provisioning_limit(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        // A write is stored to the second, and part of one would count as `0s`.
        Ok(time) if time.subsec_nanos() == 0 => Ok(time),
        Ok(_) => Err(ConfigError::new("PROVISIONING_LIMIT", "must be in whole seconds")),
        Err(_) => Err(ConfigError::new("PROVISIONING_LIMIT", "is no time such as 1h or 30m")),
    }
}

pub(super) fn margin(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        Ok(time) if time < FINALIZATION_PERIOD => Ok(time),
        Ok(_) => Err(ConfigError::new("FINALIZE_MARGIN", "must be under 24h")),
        Err(_) => Err(ConfigError::new("FINALIZE_MARGIN", "is no time such as 2h or 90m")),
    }
}

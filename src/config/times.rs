//! Reads durations, such as `90d` or `36h`.

use std::time::Duration;

use super::ConfigError;
use crate::deletion::FINALIZATION_PERIOD;

/// The longest `RECEIPT_RETENTION`, 100 years. A `RECEIPT_RETENTION` of more than 100 years is surely a
/// typing error.
const MAX_RETENTION: Duration = Duration::from_hours(100 * 366 * 24);

pub(super) fn retention(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_secs(1)..=MAX_RETENTION).contains(&time) => Ok(time),
        Ok(_) => Err(ConfigError::new("RECEIPT_RETENTION", "must be 1 second to 100 years")),
        Err(_) => Err(ConfigError::new("RECEIPT_RETENTION", "is no time such as 90d or 36h")),
    }
}

/// The longest grace period (H1). The provider pays for a deleted database until the grace period ends.
const MAX_GRACE: Duration = Duration::from_hours(90 * 24);

pub(super) fn grace(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        // The time of a deletion is stored in whole seconds, so a fraction of a second in `GRACE_PERIOD`
        // would be lost.
        Ok(time) if time <= MAX_GRACE && time.subsec_nanos() == 0 => Ok(time),
        Ok(_) => Err(ConfigError::new("GRACE_PERIOD", "must be 0s to 90d, in whole seconds")),
        Err(_) => Err(ConfigError::new("GRACE_PERIOD", "is no time such as 7d or 36h")),
    }
}

pub(super) fn provisioning_limit(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        // The time of a resource's last write is stored in whole seconds, so a limit of `500ms` would count
        // as `0s`.
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

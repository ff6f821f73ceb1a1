//! What an answer may cost.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The most CPU time that an answer may take, in the thread that gives it.
const MOST: Duration = Duration::from_millis(100);

/// Does a piece of work, and fails where it takes more than `times` what an answer may.
pub(crate) fn bounded<T>(input: &[u8], times: u32, work: impl FnOnce() -> T) -> T {
    let before = thread_cpu();
    let result = work();
    let took = thread_cpu().saturating_sub(before);
    assert!(took <= times * MOST, "{took:?} of CPU for {}", input.escape_ascii());
    result
}

fn thread_cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

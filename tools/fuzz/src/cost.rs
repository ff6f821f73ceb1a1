//! How much CPU time and memory an answer may take.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The limits for a piece of work, counted only in the thread that does the work.
pub(crate) struct Most {
    /// CPU time.
    pub(crate) cpu: Duration,
    /// The most memory that is held at one time, in bytes.
    pub(crate) bytes: u64,
}

/// The limits for an answer, however long its request is.
pub(crate) const ANSWER: Most = Most { cpu: Duration::from_millis(100), bytes: 2 * 1024 * 1024 };

/// Does a piece of work, and panics if the work takes more than `most`.
pub(crate) fn bounded<T>(input: &[u8], most: &Most, work: impl FnOnce() -> T) -> T {
    let before = thread_cpu();
    let mut result = None;
    // If a panic leaves `measure`, the measurement never ends. A caller that catches panics and continues, as
    // proptest does, would soon reach the limit of nested measurements. To prevent this, `bounded` catches
    // the panic, and resumes it after the measurement.
    let memory = allocation_counter::measure(|| {
        result = Some(catch_unwind(AssertUnwindSafe(work)));
    });
    let took = thread_cpu().saturating_sub(before);
    let result = result.expect("it is done").unwrap_or_else(|panic| resume_unwind(panic));
    assert!(took <= most.cpu, "{took:?} of CPU for {}", input.escape_ascii());
    let bytes = memory.bytes_max;
    assert!(bytes <= most.bytes, "{bytes} bytes of memory for {}", input.escape_ascii());
    result
}

fn thread_cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

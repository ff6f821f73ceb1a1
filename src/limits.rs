//! How long teardown waits for DynamoDB, Vercel, the issuer, the provider's backend and a caller's body.
//!
//! Functions have the defaults: nothing in the environment changes them. A test hands in shorter ones,
//! as it hands in a clock, and so waits no real time-out out.

use std::time::Duration;

/// The waits, each with its default and the reason for it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request waits for DynamoDB in all (F6). Delete Configuration has this time until it
    /// calls Vercel, and as much again to record the answer. `LEASE` in `saga`, and `LAST` and
    /// `FOLLOW_UP` in `work::sweep`, count on it. 8 s.
    pub dynamodb: Duration,
    /// How long one attempt at Vercel may take; all of them together have `vercel_call`. 5 s.
    pub vercel_attempt: Duration,
    /// How long calls to Vercel may take with all of their attempts, together if one leads to the next:
    /// the caller of Delete Configuration waits. `LEASE` in `saga`, and `LAST` and `FOLLOW_UP` in `work::sweep`, count on it. 12 s.
    pub vercel_call: Duration,
    /// The longest wait before the second attempt at Vercel; it doubles, with full jitter, and
    /// `Retry-After` may make it longer. A failure that passes, passes soon. 200 ms.
    pub vercel_backoff: Duration,
    /// How long a fetch of the issuer's keys may take (A7): a caller waits for it, and Vercel waits for
    /// the caller. 3 s.
    pub keys: Duration,
    /// How long a body may take to arrive (B3): hosts hand it over whole, so this is only for a caller
    /// that holds the connection. 5 s.
    pub body: Duration,
    /// How long a body may take to arrive that passes through to the provider's backend: it may have
    /// 4 MiB (J6). 10 s.
    pub passing_body: Duration,
    /// How long the provider's backend may take to answer, unless its host's time ends before (J6).
    /// Vercel waits for the whole of it. 50 s.
    pub backend: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dynamodb: Duration::from_secs(8),
            vercel_attempt: Duration::from_secs(5),
            vercel_call: Duration::from_secs(12),
            vercel_backoff: Duration::from_millis(200),
            keys: Duration::from_secs(3),
            body: Duration::from_secs(5),
            passing_body: Duration::from_secs(10),
            backend: Duration::from_secs(50),
        }
    }
}

//! How long teardown waits for DynamoDB, Vercel, the issuer, the provider's backend and a caller's body.
//!
//! Functions have the default limits, which no environment variable changes. A test passes shorter limits, so
//! that it need not wait for a real time-out.

use std::time::Duration;

/// The limits. Each field names its default and the reason for it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request waits for DynamoDB in all (F6). Delete Configuration has this time until it calls
    /// Vercel, and the same time again to record the answer. `LEASE` in `saga`, and `LAST` and `FOLLOW_UP` in
    /// `work::sweep`, depend on this limit. Default: 8 s.
    pub dynamodb: Duration,
    /// How long one attempt to call Vercel may take. All attempts together may take `vercel_call`. Default: 5
    /// s.
    pub vercel_attempt: Duration,
    /// How long a worker's calls to Vercel may take together, with all of their attempts: the caller of
    /// Delete Configuration waits for them. `LEASE` in `saga`, and `LAST` and `FOLLOW_UP` in `work::sweep`,
    /// depend on this limit. Default: 12 s.
    pub vercel_call: Duration,
    /// The longest wait before the second attempt to call Vercel. This limit doubles for each further
    /// attempt. The actual wait is random, from zero to the limit, and `Retry-After` may make it longer. Most
    /// failures that pass do so soon. Default: 200 ms.
    pub vercel_backoff: Duration,
    /// How long a fetch of the issuer's keys may take (A7), because the caller waits for it. Default: 3 s.
    pub keys: Duration,
    /// How long a body may take to arrive (B3). Hosts pass a body on in full, so this limit is only against a
    /// caller that keeps a connection open. Default: 5 s.
    pub body: Duration,
    /// How long a body that passes through to the provider's backend may take to arrive. The body may have 4
    /// MiB (J6). Default: 10 s.
    pub passing_body: Duration,
    /// How long the provider's backend may take to answer, if its host's time does not end before (J6).
    /// Vercel waits for all of this time. Default: 50 s.
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

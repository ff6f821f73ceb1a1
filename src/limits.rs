//! How long teardown waits for DynamoDB, Vercel, the issuer, the provider's backend and a caller's body.
//!
//! Functions have the default limits, which no environment variable changes. A test passes shorter limits, so
//! that the test need not wait for a real time-out.

use std::time::Duration;

/// teardown's time limits. The comment of each limit says the default and the reason of the limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request waits for DynamoDB in total (F6). Delete Configuration may wait for `dynamodb`
    /// twice: before it calls Vercel, and after the call. `LEASE` in `saga`, and `LAST` and `FOLLOW_UP` in
    /// `work::sweep`, depend on `dynamodb`. Default: 8 s.
    pub dynamodb: Duration,
    /// How long one attempt to call Vercel may take. All attempts of one call to Vercel together may take at
    /// most `vercel_call`. Default: 5 s.
    pub vercel_attempt: Duration,
    /// How long a worker's calls to Vercel, with all of their attempts, may take together. The caller of
    /// Delete Configuration waits for a worker's calls to Vercel. `LEASE` in `saga`, and `LAST` and
    /// `FOLLOW_UP` in `work::sweep`, depend on `vercel_call`. Default: 12 s.
    pub vercel_call: Duration,
    /// The longest wait before the second attempt to call Vercel. The longest wait doubles for each further
    /// attempt. The actual wait is random, from zero to the longest wait, and `Retry-After` may make it
    /// longer. The first wait is short, because most temporary failures of Vercel end soon. Default: 200 ms.
    pub vercel_backoff: Duration,
    /// How long a fetch of the issuer's keys may take (A7). The caller may have to wait for the fetch.
    /// Default: 3 s.
    pub keys: Duration,
    /// How long a request's body may take to arrive (B3). Hosts pass on only complete bodies. Without a host,
    /// the limit ends a request whose caller keeps the connection open. Default: 5 s.
    pub body: Duration,
    /// How long the body of a call to the provider's backend may take to arrive. A body for the backend may
    /// be 4 MiB long (J6). Default: 10 s.
    pub passing_body: Duration,
    /// How long the provider's backend may take to answer, if teardown's host does not grant less time (J6).
    /// Vercel waits for an answer at least as long as this limit. Default: 50 s.
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

//! What a run is told: the backend, how Vercel is played, what it may make.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::Value;
use teardown::clock::Clock;

use super::signer::Signer;

/// The issuer of Vercel's tokens.
pub const ISSUER: &str = "https://marketplace.vercel.com";

/// The address of the account's contact, and of the user that tokens are of.
pub(super) const EMAIL: &str = "teardown-check@example.com";

/// How long an answer may take until it is called slow.
pub(super) const SLOW: Duration = Duration::from_secs(10);

/// How long what was deleted may still be seen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// After so many requests in a row without an answer the rest is not run.
pub(super) const SILENCES_IN_A_ROW: u32 = 3;

/// After so many requests without an answer in all the rest is not run.
pub(super) const SILENCES: u32 = 6;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the backend's `/v1/installations` is, without a slash at its end.
    pub base_url: String,
    /// The `aud` of tokens; without it no token is good.
    pub integration: Option<String>,
    /// The `iss` of tokens.
    pub issuer: String,
    /// The `account_id` of tokens.
    pub account: String,
    /// What signs tokens.
    pub signer: Arc<Signer>,
    /// The addresses of the JWKS documents, where one is served.
    pub keys: Option<KeyUrls>,
    /// Where installations and resources come from.
    pub supply: Supply,
    /// What Provision is sent.
    pub product: Product,
    /// Sends what has to be refused, and nothing else.
    pub read_only: bool,
    /// The integration's secret, which signs webhooks.
    pub client_secret: Option<String>,
    /// The webhook's path or address, if it is known.
    pub webhook: Option<String>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// How long what was deleted may still be seen: the data may be cleaned up after the answer.
    pub patience: Duration,
    /// How long the checks may take together.
    pub limit: Duration,
    /// What measures answers and dates tokens.
    pub clock: Clock,
    /// Makes the ids of a run its own.
    pub run: String,
}

/// Where the keys are served.
#[derive(Clone, Debug)]
pub struct KeyUrls {
    /// The issuer's own keys, which the backend should read.
    pub own: String,
    /// A stranger's keys, which no backend should read.
    pub strange: String,
    /// How often the issuer's own keys were asked for.
    pub asked: Arc<AtomicU64>,
}

/// Where installations and resources come from.
#[derive(Clone, Debug)]
pub enum Supply {
    /// From Upsert Installation and Provision Resource.
    Made,
    /// The caller names an installation, and resources in it; without resources they are provisioned there.
    Given {
        /// The installation's id.
        installation: String,
        /// The resources' ids.
        resources: Vec<String>,
    },
}

/// What Provision Resource is sent.
#[derive(Clone, Debug)]
pub struct Product {
    /// `productId`.
    pub id: String,
    /// `billingPlanId`.
    pub plan: String,
    /// `metadata`.
    pub metadata: Value,
}

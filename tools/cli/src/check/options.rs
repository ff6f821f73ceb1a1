//! The options of a run: which backend it checks, how it plays Vercel, and what it may make.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::Value;
use teardown::clock::Clock;

use super::signer::Signer;

/// The issuer of Vercel's tokens.
pub const ISSUER: &str = "https://marketplace.vercel.com";

/// The email address of the account's contact, and of the user in tokens.
pub(super) const EMAIL: &str = "teardown-check@example.com";

/// The longest time that an answer may take. The checks of the group `time` report answers that take longer.
pub(super) const SLOW: Duration = Duration::from_secs(10);

/// How long a deleted resource may still be seen. `teardown check` always uses this value.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The run ends after this many requests in a row without an answer.
pub(super) const SILENCES_IN_A_ROW: u32 = 3;

/// The run ends after this many requests without an answer in total.
pub(super) const SILENCES: u32 = 6;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The backend's address: the part before `/v1/installations`, without a slash at its end.
    pub base_url: String,
    /// The `aud` of tokens. Without this `aud`, the checks that need a good token are skipped.
    pub integration: Option<String>,
    /// The `iss` of tokens.
    pub issuer: String,
    /// The `account_id` of tokens.
    pub account: String,
    /// Signs the tokens.
    pub signer: Arc<Signer>,
    /// The addresses of the JWKS documents, if the run serves them.
    pub keys: Option<KeyUrls>,
    /// Where installations and resources come from.
    pub supply: Supply,
    /// The product that Provision Resource asks for.
    pub product: Product,
    /// Whether the run makes and deletes nothing. A run that makes and deletes nothing sends only requests
    /// that the backend has to refuse, and Get Resource.
    pub read_only: bool,
    /// The integration's secret, which signs webhooks.
    pub client_secret: Option<String>,
    /// The webhook's path or address, if it is known.
    pub webhook: Option<String>,
    /// How long the run waits for an answer.
    pub timeout: Duration,
    /// How long a deleted resource may still be seen. A backend may delete a resource's data after its
    /// answer.
    pub patience: Duration,
    /// How long all the checks together may take.
    pub limit: Duration,
    /// The clock that measures answers and dates tokens.
    pub clock: Clock,
    /// A part of the ids that the run makes up, so that the ids of two runs differ.
    pub run: String,
}

/// The addresses of the JWKS documents that the run serves.
#[derive(Clone, Debug)]
pub struct KeyUrls {
    /// The issuer's own keys, which the backend should read.
    pub own: String,
    /// A stranger's keys, which no backend should read.
    pub strange: String,
    /// How many requests for the issuer's own keys the run has received.
    pub fetches: Arc<AtomicU64>,
}

/// Where installations and resources come from.
#[derive(Clone, Debug)]
pub enum Supply {
    /// The run makes installations by Upsert Installation, and resources by Provision Resource.
    Made,
    /// The options name an installation, and maybe resources in this installation. If the options name no
    /// resource, the run provisions resources in the installation.
    Given {
        /// The installation's id.
        installation: String,
        /// The resources' ids.
        resources: Vec<String>,
    },
}

/// The product that Provision Resource asks for.
#[derive(Clone, Debug)]
pub struct Product {
    /// `productId`.
    pub id: String,
    /// `billingPlanId`.
    pub plan: String,
    /// `metadata`.
    pub metadata: Value,
}

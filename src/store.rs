//! The store: the only module that reads and writes DynamoDB.
//!
//! | module | has |
//! |---|---|
//! | `client` | the DynamoDB client, with its retries and timeouts |
//! | `keys`, `attr` | the key of each item, and how its attributes are written |
//! | `transaction`, `conditions` | one `TransactWriteItems`, and conditions that several transactions have |
//! | `deletion`, `configuration` | the transactions that carry out what `plan` decided |
//! | `evidence`, `outcome` | what failed conditions show, and the answers under idempotency keys |
//! | `receipt`, `provisioning` | how long receipts stay, and which resources are still being provisioned |
//! | `work`, `announcement`, `purge` | jobs and leases, announcements' phases and holds, and the purge |
//! | `front`, `provision` | what the front records of the calls that it passes on to the backend |
//! | `webhook` | the changes that Vercel's webhooks make |
//! | [`registry`] | the registration of installations, resources, webhooks and so on |
//! | [`comparison`] | the stored items that a comparison with Vercel needs |
//! | [`admin`] | what operators read and change, for the tool `teardown` only |

pub mod admin;
pub(crate) mod announcement;
mod attr;
mod client;
pub mod comparison;
mod conditions;
pub(crate) mod configuration;
mod deletion;
mod evidence;
pub(crate) mod front;
pub(crate) mod keys;
mod outcome;
pub(crate) mod provision;
mod provisioning;
pub(crate) mod purge;
mod receipt;
pub mod registry;
mod transaction;
mod webhook;
pub(crate) mod work;

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{Get, TransactGetItem};

pub use self::client::Aws;
use self::client::{store_error, within};
pub(crate) use self::work::job_at;
use crate::clock::Clock;
use crate::config::Config;
use crate::deletion::Answer;
use crate::error::{Cause, Error};
use crate::job::Job;
use crate::limits::Limits;

/// The table, and the settings that its deletions need. Clones of a store share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
    /// Whether deletions are announced to the provider (G1).
    announces: bool,
    /// The time from a deletion until its `deleted` event is sent (H1).
    grace: Duration,
    /// How long a resource counts as being provisioned (C2).
    provisioning_limit: Duration,
    receipt_retention: Duration,
    finalize_margin: Duration,
    clock: Clock,
    limits: Limits,
}

impl Store {
    /// Makes a store that uses a client of [`Aws::dynamodb`].
    #[must_use]
    pub fn new(client: Client, config: &Config, clock: Clock) -> Self {
        Self {
            client,
            table: config.table_name.clone(),
            announces: config.provider.is_some(),
            grace: config.grace_period,
            provisioning_limit: config.provisioning_limit,
            receipt_retention: config.receipt_retention,
            finalize_margin: config.finalize_margin,
            clock,
            limits: Limits::default(),
        }
    }

    /// Returns this store with the given limits. An [`App`](crate::App) that uses the store has these limits
    /// too.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How long this store, and an app that uses it, wait for other services.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// A new budget: the total time that one request or job may wait for DynamoDB (F6).
    pub(crate) fn time_budget(&self) -> TimeBudget {
        TimeBudget(self.limits.dynamodb)
    }

    /// The current time in milliseconds since the Unix epoch, the unit of Vercel's webhooks.
    fn now_millis(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }

    /// A fence for a new job. The new fence differs from the fence of each earlier job under the same key,
    /// because an earlier job's worker may still be running.
    fn new_fence(&self) -> i64 {
        self.now_millis()
    }

    /// Runs `work`, and aborts it after the time that a request may wait for DynamoDB (F6). `work` is boxed,
    /// because a future of the SDK takes kilobytes, and each move in memory would copy it.
    fn in_time<'a, T: 'a>(
        &'a self,
        work: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        within(self.limits.dynamodb, Box::pin(work))
    }

    /// Reads an item with a consistent read.
    async fn get(&self, key: keys::Item) -> Result<Option<keys::Item>, Error> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key));
        self.in_time(async {
            Ok(get.consistent_read(true).send().await.map_err(store_error)?.item)
        })
        .await
    }

    /// Reads the items under these keys with consistent reads, all at the same moment.
    async fn read_together(&self, keys: &[keys::Item]) -> Result<Vec<Option<keys::Item>>, Error> {
        if let [key] = keys {
            return Ok(vec![self.get(key.clone()).await?]);
        }
        let gets = keys.iter().map(|key| {
            let get = Get::builder().table_name(&self.table).set_key(Some(key.clone())).build()?;
            Ok(TransactGetItem::builder().get(get).build())
        });
        let gets = gets.collect::<Result<Vec<_>, BuildError>>();
        let gets = gets.map_err(|error| Error::Internal(error.into()))?;
        let read = self.client.transact_get_items().set_transact_items(Some(gets));
        let read = self.in_time(async { read.send().await.map_err(store_error) }).await?;
        Ok(read.responses.unwrap_or_default().into_iter().map(|response| response.item).collect())
    }
}

/// The result of a deletion.
#[derive(Debug)]
pub(crate) struct Done {
    /// The answer.
    pub(crate) answer: Answer,
    /// The deletion's jobs that are due immediately.
    pub(crate) due: Vec<Job>,
}

impl Done {
    /// The result of a request that is answered with `answer` and starts no jobs.
    pub(crate) fn without_jobs(answer: Answer) -> Self {
        Self { answer, due: Vec::new() }
    }
}

/// The time that a request or a job may still wait for DynamoDB. Calls to Vercel do not use up this time
/// (F6).
pub(crate) struct TimeBudget(Duration);

impl TimeBudget {
    /// Runs `work`, and aborts it when the budget's time is used up.
    pub(crate) fn run<'a, T: 'a>(
        &'a mut self,
        work: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        let work = Box::pin(work);
        async move {
            let began = Instant::now();
            let ended = within(self.0, work).await;
            self.0 = self.0.saturating_sub(began.elapsed());
            ended
        }
    }
}

/// The error for a stored item that lacks an attribute, or has an attribute with an invalid value.
#[derive(Debug, thiserror::Error)]
#[error("the item {pk} {sk} is malformed: {problem}")]
struct Malformed {
    pk: String,
    sk: String,
    problem: &'static str,
}

impl Malformed {
    fn error(item: &keys::Item, problem: &'static str) -> Error {
        let text = |name| attr::str(item, name).unwrap_or_default().to_owned();
        let cause: Cause = Self { pk: text("pk"), sk: text("sk"), problem }.into();
        Error::Internal(cause)
    }
}

//! How operators settle invoices, list parked jobs, and retry parked jobs (G3, G6).

use super::Act;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::InstallationId;
use crate::job::{Job, PARKED_SHARD};
use crate::store::attr::{self, s, time};
use crate::store::conditions::{absent, active, deleted};
use crate::store::keys::DUE_INDEX;
use crate::store::keys::{self, Item};
use crate::store::transaction::{Committed, Expression, Part, Transaction};
use crate::store::{Store, store_error, work};

/// The effect of settling an installation's invoices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The installation is active, and teardown will answer its uninstall with `finalized: true`.
    Active,
    /// The installation was uninstalled, and its finalization is due immediately, even if the finalization
    /// was parked.
    Due,
    /// The installation was uninstalled, and no finalization is pending.
    Finalized,
}

/// A parked job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedJob {
    /// The job's installation.
    pub installation: InstallationId,
    /// The job's sort key, after `work#`.
    pub what: String,
    /// When the job was parked.
    pub since: Timestamp,
    /// How often workers have claimed the job.
    pub attempts: u64,
    /// The error of the last failed attempt.
    pub last_error: String,
}

impl Store {
    /// Marks an installation's invoices as settled. If the installation is already uninstalled, its
    /// finalization is due immediately. `None` if the installation is not registered.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn settle_invoices(&self, id: &InstallationId) -> Result<Option<Settled>, Error> {
        self.settle_invoices_by(id, None).await
    }

    /// Does what [`Store::settle_invoices`] does. If `act` is given, the installation's item stores the
    /// operator and the reason (H5).
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn settle_invoices_by(
        &self,
        id: &InstallationId,
        act: Option<&Act>,
    ) -> Result<Option<Settled>, Error> {
        let now = self.clock.timestamp();
        self.in_time(async {
            // Each transaction of the loop is for one state of the installation. If the state changes between
            // two transactions, the loop reaches the transaction for the new state later.
            loop {
                for settled in [Settled::Active, Settled::Due, Settled::Finalized] {
                    if self.mark_settled(id, now, settled, act).await? {
                        return Ok(Some(settled));
                    }
                }
                let Some(item) = self.get(keys::installation(id)).await? else { return Ok(None) };
                keys::stage(&item)?;
            }
        })
        .await
    }

    /// Marks an installation's invoices as settled, if the installation is in the state that `settled`
    /// describes. Returns whether the invoices were marked.
    async fn mark_settled(
        &self,
        id: &InstallationId,
        now: Timestamp,
        settled: Settled,
        act: Option<&Act>,
    ) -> Result<bool, Error> {
        let mut change = Expression::new("SET billing = :settled, updatedAt = :now")
            .value(":settled", s("settled"))
            .value(":now", time(now));
        if let Some(act) = act {
            change = change
                .set("settledBy = :by, settleReason = :why")
                .value(":by", s(&act.by))
                .value(":why", s(&act.reason));
        }
        let condition = match settled {
            Settled::Active => active(),
            Settled::Due | Settled::Finalized => deleted(),
        };
        let mut transaction = Transaction::on(&self.table);
        transaction.update(Part::Installation, keys::installation(id), change, condition);
        let finalization = work::key(&Job::Finalize, id);
        match settled {
            Settled::Due => {
                let due = Expression::new(
                    "SET dueShard = :shard, dueAt = :now REMOVE failures, failingSince",
                )
                .value(":shard", s(Job::Finalize.shard(id)))
                .value(":now", time(now));
                let there = Expression::new("attribute_exists(pk)");
                transaction.update(Part::Other, finalization, due, there);
            }
            // This condition fails if an uninstall has added a finalization since the transaction for
            // [`Settled::Due`] failed.
            Settled::Finalized => transaction.check(Part::Other, finalization, absent()),
            // An active installation has no finalization.
            Settled::Active => {}
        }
        Ok(matches!(transaction.commit(&self.client).await?, Committed::Yes))
    }

    /// Lists at most `limit` parked jobs. The job that was parked first comes first.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn parked(&self, limit: usize) -> Result<Vec<ParkedJob>, Error> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(DUE_INDEX)
            .key_condition_expression("dueShard = :parked")
            .expression_attribute_values(":parked", s(PARKED_SHARD))
            .into_paginator()
            .items()
            .send();
        let mut parked = Vec::new();
        while let Some(entry) = pages.next().await {
            let entry = entry.map_err(store_error)?;
            let key: Item =
                entry.into_iter().filter(|(name, _)| name == "pk" || name == "sk").collect();
            // This filter drops a job that the index still lists although the job is no longer parked.
            let item = self
                .get(key)
                .await?
                .filter(|item| attr::str(item, "dueShard") == Some(PARKED_SHARD));
            parked.extend(item.as_ref().and_then(ParkedJob::of));
            if parked.len() >= limit {
                break;
            }
        }
        Ok(parked)
    }

    /// Makes a parked job due immediately. The job may fail for 3 more days before it is parked again.
    /// Returns `false` if the job is not parked.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn retry_parked(&self, parked: &ParkedJob) -> Result<bool, Error> {
        self.retry_parked_by(parked, None).await
    }

    /// Does what [`Store::retry_parked`] does. If `act` is given, the job's item stores the operator and the
    /// reason (H5).
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn retry_parked_by(
        &self,
        parked: &ParkedJob,
        act: Option<&Act>,
    ) -> Result<bool, Error> {
        let Some(job) = Job::parse(&format!("work#{}", parked.what)) else { return Ok(false) };
        let now = self.clock.timestamp();
        let mut change = Expression::new("SET dueShard = :shard, dueAt = :now")
            .value(":shard", s(job.shard(&parked.installation)))
            .value(":now", time(now));
        if let Some(act) = act {
            change = change
                .set("retriedBy = :by, retryReason = :why")
                .value(":by", s(&act.by))
                .value(":why", s(&act.reason));
        }
        let change = change.remove("failures, failingSince, leaseUntil");
        let condition = Expression::new("dueShard = :parked").value(":parked", s(PARKED_SHARD));
        if self.update_work(&parked.installation, &job, change, condition).await?.is_some() {
            return Ok(true);
        }
        // The SDK repeats a write whose answer was lost, and DynamoDB refuses the repeat. The job's item
        // shows whether the first write made the job due.
        let item = self.get(work::key(&job, &parked.installation)).await?;
        let parked_since = item.as_ref().and_then(|item| attr::timestamp(item, "dueAt"));
        Ok(parked_since == Some(now))
    }
}

impl ParkedJob {
    fn of(item: &Item) -> Option<Self> {
        let installation = attr::str(item, "installationId")?;
        Some(Self {
            installation: InstallationId::parse(installation).ok()?,
            what: attr::str(item, "sk")?.strip_prefix("work#")?.to_owned(),
            since: attr::timestamp(item, "dueAt")?,
            attempts: attr::i64(item, "attempts").unwrap_or(0).try_into().unwrap_or(0),
            last_error: attr::str(item, "lastError").unwrap_or_default().to_owned(),
        })
    }
}

//! Operators' acts that buttons start. Each act does what the command with the act's name does, and needs a
//! reason.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use teardown::ids::{InstallationId, ResourceId};
use teardown::store::Store;
use teardown::store::admin::Act;
use teardown::store::admin::holds::Subject;
use teardown::store::admin::keep::Kept;
use teardown::store::admin::operations::{ParkedJob, Settled};

use crate::phrases;

/// The longest reason, in bytes. The commands limit a reason to the same length.
const MAX_REASON: usize = 1024;

/// How many parked jobs are read to find the job to retry.
const PARKED: usize = 1000;

/// The kind of act that an operator asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    Retry,
    Hold,
    Release,
    Keep,
    Settle,
}

/// An act, as the form sends it.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) act: What,
    pub(crate) installation: String,
    #[serde(default)]
    pub(crate) resource: String,
    /// For a retry, the part of the job's sort key after `work#`.
    #[serde(default)]
    pub(crate) job: String,
    #[serde(default)]
    pub(crate) reason: String,
}

/// Carries out acts in the name of an operator.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) store: Store,
    pub(crate) by: String,
}

impl Operator {
    /// Carries out an act, and returns the act's result as a sentence.
    pub(crate) async fn run(&self, order: &Order) -> anyhow::Result<String> {
        let reason = order.reason.trim();
        if reason.is_empty() {
            bail!("Say why: the reason is recorded with your name.");
        }
        if reason.len() > MAX_REASON {
            bail!("The reason is longer than {MAX_REASON} bytes.");
        }
        let act = Act { by: self.by.clone(), reason: reason.to_owned() };
        let installation = InstallationId::parse(&order.installation)?;
        let resource = match order.resource.as_str() {
            "" => None,
            id => Some(ResourceId::parse(id)?),
        };
        match order.act {
            What::Retry => self.retry(&installation, &order.job, &act).await,
            What::Hold => self.hold(Subject { installation, resource }, &act).await,
            What::Release => self.release(Subject { installation, resource }, &act).await,
            What::Keep => {
                self.keep(&installation, &resource.context("which resource?")?, &act).await
            }
            What::Settle => self.settle(&installation, &act).await,
        }
    }

    async fn retry(&self, id: &InstallationId, job: &str, act: &Act) -> anyhow::Result<String> {
        let is_it = |parked: &ParkedJob| parked.installation == *id && parked.what == job;
        let parked = self.store.parked(PARKED).await?.into_iter().find(is_it);
        let due_again = match parked {
            Some(parked) => self.store.retry_parked_by(&parked, Some(act)).await?,
            None => false,
        };
        Ok(if due_again {
            format!("{job} of {id} is due again, with 3 days before it is parked anew.")
        } else {
            format!("{job} of {id} is not parked: nothing was changed.")
        })
    }

    async fn hold(&self, subject: Subject, act: &Act) -> anyhow::Result<String> {
        // The look before the hold finds the resources whose `deleted` event is pending. If the look after
        // the hold finds such a resource announced, the event was sent between the two looks.
        let before = self.store.look(&subject, &BTreeSet::new()).await.unwrap_or_default();
        self.store
            .hold(&subject, act, None)
            .await
            .context("it is not known whether the hold is in force: repeat this")?;
        let look = self.store.look(&subject, &before.unfinished()).await;
        let look = look.context("the hold is in force; whether it is in time is not known")?;
        let what = phrases::subject(&subject);
        Ok(if let Some(until) = look.leased_until {
            format!(
                "{what} is held. A worker may be announcing it: hold it again after {until} to learn \
                 whether that was in time."
            )
        } else if look.is_in_time() {
            let states = look.installation.iter().chain(look.resources.values());
            let texts: BTreeSet<_> = states.map(phrases::teardown_state).collect();
            let texts = texts.into_iter().collect::<Vec<_>>().join("; ");
            format!("{what} is held, in time: {texts}.")
        } else {
            format!(
                "{what} is held, but it is too late, or may be, for some of it: the provider may have \
                 been told. The hold is in force for the rest."
            )
        })
    }

    async fn release(&self, subject: Subject, act: &Act) -> anyhow::Result<String> {
        let released = self.store.release_hold(&subject, act).await;
        let released =
            released.context("it is not known whether the hold is released: repeat this")?;
        let what = phrases::subject(&subject);
        Ok(if released.was_held || released.due_again > 0 {
            format!("{what} is released; held up until now: {}.", released.due_again)
        } else {
            format!("There is no hold on {what}: nothing was changed.")
        })
    }

    async fn keep(
        &self,
        id: &InstallationId,
        resource: &ResourceId,
        act: &Act,
    ) -> anyhow::Result<String> {
        Ok(match self.store.keep(id, resource, act).await? {
            Kept::Now => format!("{resource} of {id} is kept: it is never torn down."),
            Kept::Before => format!("{resource} of {id} was kept before: nothing was changed."),
            Kept::LeasedUntil(until) => {
                format!("A worker may be announcing {resource}: try again after {until}.")
            }
            Kept::No(state) => {
                format!("{resource} of {id} is not kept: {}.", phrases::teardown_state(&state))
            }
        })
    }

    async fn settle(&self, id: &InstallationId, act: &Act) -> anyhow::Result<String> {
        Ok(match self.store.settle_invoices_by(id, Some(act)).await? {
            Some(Settled::Active) => {
                format!("The invoices of {id} are settled: an uninstall will be final at once.")
            }
            Some(Settled::Due) => {
                format!("The invoices of {id} are settled: its finalization is due now.")
            }
            Some(Settled::Finalized) => {
                format!("The invoices of {id} are settled: no finalization is outstanding.")
            }
            None => format!("{id} is not registered: nothing was changed."),
        })
    }
}

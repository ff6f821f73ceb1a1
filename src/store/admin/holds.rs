//! How operators place, release and list holds (H2).
//!
//! `teardown hold` writes its hold, then reads the pending announcements. A worker takes its lease, then
//! reads the holds. Because both write before they read, the worker sees the hold, or `teardown hold` sees
//! the lease. If `teardown hold` finds an announcement without a lease, its hold stops this announcement.

use std::collections::BTreeSet;

use super::Act;
use super::teardown_state::Look;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{InstallationId, ResourceId};
use crate::job::{HOLDS_SHARD, Job};
use crate::store::announcement::parse;
use crate::store::attr::{self, s, time};
use crate::store::keys::DUE_INDEX;
use crate::store::keys::{self, Item};
use crate::store::transaction::Expression;
use crate::store::{Store, store_error, work};

/// The installation or resource that a hold is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The installation.
    pub installation: InstallationId,
    /// The resource. `None` if the hold is on the whole installation, with all its resources.
    pub resource: Option<ResourceId>,
}

/// A hold that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The installation or resource that the hold is on.
    pub subject: Subject,
    /// When the hold was placed.
    pub at: Timestamp,
    /// Who placed the hold.
    pub by: String,
    /// Why the hold was placed.
    pub reason: String,
    /// When the hold ends automatically. `None` if only an operator ends the hold.
    pub until: Option<Timestamp>,
    /// How many announcements the hold stops.
    pub holds_up: u64,
    /// When the first of the stopped announcements would be due without the hold.
    pub first_due: Option<Timestamp>,
}

/// The result of releasing a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Whether a hold was in force before the release.
    pub was_held: bool,
    /// How many held announcements the release made due again.
    pub due_again: u64,
}

impl Subject {
    fn key(&self) -> Item {
        keys::hold(&self.installation, self.resource.as_ref())
    }

    /// The sort key of the subject's hold, which is the `heldUnder` of the jobs that the hold stops.
    fn name(&self) -> String {
        attr::str(&self.key(), "sk").unwrap_or_default().to_owned()
    }

    fn of(item: &Item) -> Option<Self> {
        let installation = attr::str(item, "pk")?.strip_prefix("installation#")?;
        let on = attr::str(item, "sk")?.strip_prefix("hold#")?;
        let resource = match on {
            "installation" => None,
            other => Some(ResourceId::parse(other.strip_prefix("resource#")?).ok()?),
        };
        Some(Self { installation: InstallationId::parse(installation).ok()?, resource })
    }
}

impl Store {
    /// Places a hold until `until`, or until an operator releases it. The new hold replaces an existing hold.
    /// A call of [`Store::look`] after this call shows whether the hold is in time.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`]. The hold may be in force in spite of the error.
    pub async fn hold(
        &self,
        subject: &Subject,
        act: &Act,
        until: Option<Timestamp>,
    ) -> Result<(), Error> {
        let now = self.clock.timestamp();
        if let Some(until) = until {
            // Before the new hold is written, the jobs that the earlier hold stopped become due at `until`.
            // In the opposite order, a call that is cut off could leave these jobs held for ever.
            self.wake(subject, until).await?;
        }
        let mut item = subject.key();
        item.extend([
            ("heldAt".to_owned(), time(now)),
            ("heldBy".to_owned(), s(&act.by)),
            ("reason".to_owned(), s(&act.reason)),
            // The `id` distinguishes this hold from an earlier hold under the same key.
            ("id".to_owned(), s(format!("{:016x}", fastrand::u64(..)))),
            ("dueShard".to_owned(), s(HOLDS_SHARD)),
            ("dueAt".to_owned(), time(now)),
        ]);
        if let Some(until) = until {
            item.insert("until".to_owned(), time(until));
            // DynamoDB's TTL removes the hold's item some time after the hold ends.
            item.insert("expiresAt".to_owned(), time(until));
        }
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        self.in_time(async { put.send().await.map_err(store_error) }).await?;
        if let Some(until) = until {
            // Jobs that an earlier hold stopped without a time limit become due when the new hold ends.
            self.wake(subject, until).await?;
        }
        Ok(())
    }

    /// Reads the state of everything that a hold on `subject` is on. `under_way` contains
    /// [`Look::unfinished`] of the look before the hold, and [`Look::under_way`] of each look after the hold.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn look(
        &self,
        subject: &Subject,
        under_way: &BTreeSet<ResourceId>,
    ) -> Result<Look, Error> {
        let now = self.clock.timestamp();
        let id = &subject.installation;
        let Some(resource) = &subject.resource else {
            return Look::at_installation(&self.items(id).await?, now, under_way);
        };
        let found = self.resource_state(id, resource, now).await?;
        Ok(Look::at_resource(resource, found.teardown_state(now)))
    }

    /// Ends a hold. The announcements that the hold stopped are due again. If this call is cut off, a second
    /// call does the rest of the work.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn release_hold(&self, subject: &Subject, act: &Act) -> Result<Released, Error> {
        let now = self.clock.timestamp();
        let released = Expression::new(
            "SET releasedAt = :now, releasedBy = :by, releaseReason = :why, expiresAt = :expiry",
        )
        .value(":now", time(now))
        .value(":by", s(&act.by))
        .value(":why", s(&act.reason))
        .value(":expiry", time(self.expiry(now)))
        .remove("dueShard, dueAt");
        let in_force = Expression::new(
            "attribute_exists(pk) AND attribute_not_exists(releasedAt) \
             AND (attribute_not_exists(#until) OR #until > :now)",
        );
        let in_force = in_force.name("#until", "until");
        let mut was_held = self.update_item(subject.key(), released, in_force).await?.is_some();
        if !was_held {
            // The SDK repeats a write whose answer was lost, and DynamoDB refuses the repeat. The hold's item
            // shows whether the first write released the hold.
            let item = self.get(subject.key()).await?.unwrap_or_default();
            let by = attr::str(&item, "releasedBy");
            was_held = attr::timestamp(&item, "releasedAt") == Some(now) && by == Some(&act.by);
        }
        let due_again = self.wake(subject, now).await?;
        Ok(Released { was_held, due_again })
    }

    /// Sets the due time of the announcements that a hold stops: `due`, or the announcement's `teardownAt` if
    /// `teardownAt` is later. Returns the number of changed announcements.
    async fn wake(&self, subject: &Subject, due: Timestamp) -> Result<u64, Error> {
        let name = subject.name();
        let mut woken = 0;
        for item in self.announcements(&subject.installation).await? {
            let job = attr::str(&item, "sk").and_then(Job::parse);
            let Some(job) = job.filter(|_| attr::str(&item, "heldUnder") == Some(&name)) else {
                continue;
            };
            let due = due.max(parse(&item).at);
            let change = Expression::new("SET dueShard = :shard, dueAt = :due REMOVE heldUnder");
            let change = change
                .value(":shard", s(job.shard(&subject.installation)))
                .value(":due", time(due));
            let held = Expression::new("heldUnder = :hold").value(":hold", s(&name));
            let id = &subject.installation;
            woken += u64::from(self.update_work(id, &job, change, held).await?.is_some());
        }
        Ok(woken)
    }

    /// Reads the pending announcements of an installation.
    async fn announcements(&self, id: &InstallationId) -> Result<Vec<Item>, Error> {
        let mut pages = self.pending_announcements(id).into_paginator().send();
        let mut items = Vec::new();
        while let Some(page) = self.in_time(async { Ok(pages.next().await) }).await? {
            items.extend(page.map_err(store_error)?.items.unwrap_or_default());
        }
        Ok(items)
    }

    /// Lists at most `limit` holds that are in force, the oldest first. Each hold has the number of
    /// announcements that it stops.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn holds(&self, limit: usize) -> Result<Vec<Hold>, Error> {
        let now = self.clock.timestamp();
        let mut entries = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(DUE_INDEX)
            .key_condition_expression("dueShard = :holds")
            .expression_attribute_values(":holds", s(HOLDS_SHARD))
            .into_paginator()
            .items()
            .send();
        let mut holds = Vec::new();
        while let Some(entry) = self.in_time(async { Ok(entries.next().await) }).await? {
            let entry = entry.map_err(store_error)?;
            let Some(subject) = Subject::of(&entry) else { continue };
            // This filter drops a hold that the index still lists although the hold was released.
            let item = self
                .get(subject.key())
                .await?
                .filter(|item| attr::str(item, "dueShard") == Some(HOLDS_SHARD));
            let Some(item) = item else { continue };
            let until = attr::timestamp(&item, "until");
            if until.is_some_and(|until| until <= now) {
                continue;
            }
            holds.push(self.describe(subject, &item, until).await?);
            if holds.len() >= limit {
                break;
            }
        }
        Ok(holds)
    }

    async fn describe(
        &self,
        subject: Subject,
        item: &Item,
        until: Option<Timestamp>,
    ) -> Result<Hold, Error> {
        let pending = match &subject.resource {
            None => self.announcements(&subject.installation).await?,
            Some(resource) => {
                let job = Job::AnnounceResource(resource.clone());
                self.get(work::key(&job, &subject.installation)).await?.into_iter().collect()
            }
        };
        let text = |name| attr::str(item, name).unwrap_or_default().to_owned();
        Ok(Hold {
            at: attr::timestamp(item, "heldAt").unwrap_or(Timestamp::from_secs(0)),
            by: text("heldBy"),
            reason: text("reason"),
            until,
            holds_up: u64::try_from(pending.len()).unwrap_or(u64::MAX),
            first_due: pending.iter().map(|job| parse(job).at).min(),
            subject,
        })
    }
}

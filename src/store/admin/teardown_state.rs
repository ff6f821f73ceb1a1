//! How far the teardown of a resource or an installation is, as the stored items say. Whether a hold or
//! `keep` is in time depends on the state of the teardown (H2, H3).

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::job::announcement::Timing;
use crate::store::announcement::parse;
use crate::store::attr;
use crate::store::keys::{self, Item};
use crate::store::{Store, work};

/// How far the teardown of a resource or an installation is when a hold is placed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TeardownState {
    /// The resource or installation is not deleted. The hold stops the `deleted` event of a later deletion.
    Live,
    /// The resource or installation is not in the table. The hold stops the `deleted` event of a later
    /// deletion.
    Unknown,
    /// The resource or installation is deleted, and its `deleted` event is sent at this time at the earliest.
    /// The hold stops the pending `deleted` event.
    Pending(Timestamp),
    /// The resource or installation is deleted, and the provider is not notified.
    Unannounced,
    /// The resource was moved to this installation, or `out` of the marketplace.
    Moved(String),
    /// The resource is kept: its `deleted` event is never sent.
    Kept,
    /// The resource was deleted alone, not with its installation. The resource's `deleted` event was sent
    /// before the hold was placed.
    AnnouncedSeparately,
    /// The provider may have received the `deleted` event: an attempt to send it failed or was answered 202,
    /// or a worker died.
    InDoubt,
    /// The provider has received the `deleted` event, so a hold is too late.
    Announced,
    /// The resource is purged, and no item is left that says whether its `deleted` event was sent.
    NoRecord,
}

impl TeardownState {
    /// Whether a hold is in time if it finds the resource or installation in this state (H2).
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        match self {
            Self::Live
            | Self::Unknown
            | Self::Pending(_)
            | Self::Unannounced
            | Self::Moved(_)
            | Self::Kept
            | Self::AnnouncedSeparately => true,
            Self::InDoubt | Self::Announced | Self::NoRecord => false,
        }
    }
}

/// The state of everything that a hold is on, as one call of [`Store::look`] found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The caller must call [`Store::look`] again at this time, because a worker may be announcing a deletion
    /// until then.
    pub leased_until: Option<Timestamp>,
    /// The resources whose deletion a worker may be announcing now.
    pub under_way: BTreeSet<ResourceId>,
    /// The state of the installation itself. `None` if the hold is on a resource, or a worker may be
    /// announcing the installation's deletion.
    pub installation: Option<TeardownState>,
    /// The state of each resource that is not in `under_way`.
    pub resources: BTreeMap<ResourceId, TeardownState>,
    /// How many resources of an uninstall have no item left, because their `deleted` events were sent.
    pub announced: u64,
}

impl Look {
    /// The resources whose `deleted` event is pending, in doubt or under way. If the next [`Look`] finds such
    /// a resource announced, the resource's `deleted` event was sent between the two looks.
    #[must_use]
    pub fn unfinished(&self) -> BTreeSet<ResourceId> {
        let is_unfinished = |state: &TeardownState| {
            matches!(state, TeardownState::Pending(_) | TeardownState::InDoubt)
        };
        let unfinished = self.resources.iter().filter(|(_, state)| is_unfinished(state));
        unfinished.map(|(resource, _)| resource.clone()).chain(self.under_way.clone()).collect()
    }

    /// Whether the hold is in time for everything that it is on.
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        let mut states = self.installation.iter().chain(self.resources.values());
        self.leased_until.is_none() && self.announced == 0 && states.all(TeardownState::is_in_time)
    }
}

impl Store {
    /// Reads the items that decide a resource's [`TeardownState`], all at the same moment.
    pub(super) async fn resource_state(
        &self,
        id: &InstallationId,
        resource: &ResourceId,
        now: Timestamp,
    ) -> Result<ResourceState, Error> {
        let keys = [
            work::key(&Job::AnnounceResource(resource.clone()), id),
            keys::resource_receipt(id, resource),
            keys::resource(id, resource),
            keys::installation(id),
        ];
        let mut found = self.read_together(&keys).await?.into_iter();
        let mut next = || found.next().flatten();
        let state = ResourceState {
            job: next(),
            receipt: next(),
            item: next(),
            installation: InstallationState::of(next().as_ref())?,
        };
        Ok(state.without_an_old_receipt(now))
    }
}

/// The items that decide a resource's [`TeardownState`], all read at the same moment.
pub(super) struct ResourceState {
    pub(super) job: Option<Item>,
    pub(super) receipt: Option<Item>,
    pub(super) item: Option<Item>,
    pub(super) installation: InstallationState,
}

/// The parts of an installation's state that a hold depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstallationState {
    Unknown,
    Active,
    /// The installation is deleted. `teardown_at` is when the installation's `deleted` event is due, or
    /// `None` if the provider is not notified.
    Deleted {
        teardown_at: Option<Timestamp>,
    },
}

impl InstallationState {
    fn of(item: Option<&Item>) -> Result<Self, Error> {
        let Some(item) = item else { return Ok(Self::Unknown) };
        if keys::stage(item)?.is_none() {
            return Ok(Self::Active);
        }
        let at = attr::timestamp(item, "teardownAt").or(attr::timestamp(item, "deletedAt"));
        Ok(Self::Deleted { teardown_at: at.filter(|_| !attr::bool(item, "unannounced")) })
    }
}

/// A [`TeardownState`], or the time until which a worker may be changing this state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    State(TeardownState),
    LeasedUntil(Timestamp),
}

/// Whether a receipt has expired by the clock, even if DynamoDB's TTL has not deleted it yet.
fn is_over(receipt: &Item, now: Timestamp) -> bool {
    attr::timestamp(receipt, "expiresAt").is_some_and(|expiry| expiry <= now)
}

/// The [`TeardownState`] that a pending announcement shows, or the time until which a worker may be changing
/// this state.
fn announcement_state(job: &Item, now: Timestamp) -> Found {
    let teardown = parse(job);
    match teardown.timing(attr::timestamp(job, "leaseUntil"), now) {
        Timing::InTime => Found::State(TeardownState::Pending(teardown.at)),
        Timing::LeasedUntil(until) => Found::LeasedUntil(until),
        Timing::InDoubt => Found::State(TeardownState::InDoubt),
    }
}

/// The [`TeardownState`] that a receipt shows, if no announcement is pending.
fn receipted(receipt: &Item) -> TeardownState {
    if receipt.contains_key("kept") {
        return TeardownState::Kept;
    }
    match attr::str(receipt, "movedTo") {
        Some(to) => TeardownState::Moved(to.to_owned()),
        None if attr::bool(receipt, "unannounced") => TeardownState::Unannounced,
        None => TeardownState::Announced,
    }
}

impl ResourceState {
    /// Ignores an expired receipt if the resource has an item or a job, or if its installation is deleted.
    /// After its receipt has expired, a resource can be registered again, and deleted with its installation.
    fn without_an_old_receipt(mut self, now: Timestamp) -> Self {
        let deleted = matches!(self.installation, InstallationState::Deleted { .. });
        if self.job.is_some() || self.item.is_some() || deleted {
            self.receipt = self.receipt.filter(|receipt| !is_over(receipt, now));
        }
        self
    }

    /// The resource's [`TeardownState`] at `now`, or the time until which a worker may be changing this
    /// state.
    pub(super) fn teardown_state(&self, now: Timestamp) -> Found {
        if let Some(job) = &self.job {
            return announcement_state(job, now);
        }
        Found::State(match (&self.item, &self.receipt, self.installation) {
            (Some(_), _, InstallationState::Active) => TeardownState::Live,
            (Some(_), _, InstallationState::Deleted { teardown_at: Some(at) }) => {
                TeardownState::Pending(at)
            }
            (None, Some(receipt), _) | (_, Some(receipt), InstallationState::Unknown) => {
                receipted(receipt)
            }
            (_, _, InstallationState::Deleted { teardown_at: None }) => TeardownState::Unannounced,
            (None, None, InstallationState::Deleted { .. }) => TeardownState::NoRecord,
            (_, None, _) => TeardownState::Unknown,
        })
    }
}

impl Look {
    /// The [`Look`] of a hold on one resource.
    pub(super) fn at_resource(resource: &ResourceId, found: Found) -> Self {
        let mut look = Self::default();
        look.resource(resource, found);
        look
    }

    /// The [`Look`] of a hold on an installation. `items` are all items of the installation's partition, in
    /// the order of their sort keys.
    pub(super) fn at_installation(
        items: &[Item],
        now: Timestamp,
        under_way: &BTreeSet<ResourceId>,
    ) -> Result<Self, Error> {
        Partition::read(items).look(now, under_way)
    }

    fn resource(&mut self, resource: &ResourceId, found: Found) {
        match found {
            Found::State(state) => {
                self.resources.insert(resource.clone(), state);
            }
            Found::LeasedUntil(until) => {
                self.leased_until = self.leased_until.max(Some(until));
                self.under_way.insert(resource.clone());
            }
        }
    }
}

/// The items of an installation that a hold depends on. The items are read in the order of their sort keys,
/// so resources come before jobs. If a resource is purged during the read, the read still finds the
/// resource's item, its job or both.
struct Partition<'a> {
    installation: Option<&'a Item>,
    announcement: Option<&'a Item>,
    resources: BTreeMap<ResourceId, Parts<'a>>,
}

#[derive(Clone, Copy, Default)]
struct Parts<'a> {
    job: Option<&'a Item>,
    receipt: Option<&'a Item>,
    item: Option<&'a Item>,
}

impl<'a> Partition<'a> {
    fn read(items: &'a [Item]) -> Self {
        let mut partition =
            Self { installation: None, announcement: None, resources: BTreeMap::new() };
        for item in items {
            let Some(sort_key) = attr::str(item, "sk") else { continue };
            let named = |prefix: &str| ResourceId::parse(sort_key.strip_prefix(prefix)?).ok();
            if sort_key == "#installation" {
                partition.installation = Some(item);
            } else if let Some(job) = Job::parse(sort_key) {
                match job {
                    Job::AnnounceInstallation => partition.announcement = Some(item),
                    Job::AnnounceResource(resource) => {
                        partition.resources.entry(resource).or_default().job = Some(item);
                    }
                    Job::Purge
                    | Job::Finalize
                    | Job::DeleteConfiguration
                    | Job::ReconcileProvision(_) => {}
                }
            } else if let Some(resource) = named(keys::RESOURCES) {
                partition.resources.entry(resource).or_default().item = Some(item);
            } else if let Some(resource) = named("receipt#resource#") {
                partition.resources.entry(resource).or_default().receipt = Some(item);
            }
        }
        partition
    }

    fn look(&self, now: Timestamp, under_way: &BTreeSet<ResourceId>) -> Result<Look, Error> {
        let mut look = Look::default();
        let installation = InstallationState::of(self.installation)?;
        match (self.announcement, installation) {
            (Some(job), _) => match announcement_state(job, now) {
                Found::State(state) => look.installation = Some(state),
                Found::LeasedUntil(until) => look.leased_until = Some(until),
            },
            (None, InstallationState::Unknown) => look.installation = Some(TeardownState::Unknown),
            (None, InstallationState::Active) => look.installation = Some(TeardownState::Live),
            (None, InstallationState::Deleted { teardown_at: None }) => {
                look.installation = Some(TeardownState::Unannounced);
            }
            (None, InstallationState::Deleted { .. }) => {
                look.installation = Some(TeardownState::Announced);
            }
        }
        for (resource, parts) in &self.resources {
            let state = ResourceState {
                job: parts.job.cloned(),
                receipt: parts.receipt.cloned(),
                item: parts.item.cloned(),
                installation,
            };
            let state = state.without_an_old_receipt(now);
            let found = match state.teardown_state(now) {
                // The resource was deleted alone, and its `deleted` event was sent before an operator placed
                // the hold.
                Found::State(TeardownState::Announced) if !under_way.contains(resource) => {
                    Found::State(TeardownState::AnnouncedSeparately)
                }
                found => found,
            };
            look.resource(resource, found);
        }
        look.announced = self.announced(installation, now);
        Ok(look)
    }

    /// How many resources of an uninstall have no item left. From the number of live resources at the
    /// uninstall, this function subtracts the resources that are not yet purged, have a pending announcement,
    /// or are kept.
    fn announced(&self, installation: InstallationState, now: Timestamp) -> u64 {
        let InstallationState::Deleted { teardown_at: Some(_) } = installation else { return 0 };
        let live = self.installation.and_then(|item| attr::i64(item, "resources")).unwrap_or(0);
        let receipt = |parts: &Parts<'a>| parts.receipt.filter(|receipt| !is_over(receipt, now));
        let left = self.resources.values().filter(|parts| match receipt(parts) {
            // A resource with a receipt is subtracted only if `keep` wrote the receipt after the uninstall.
            // All other receipts are of resources that were deleted alone or moved before the uninstall.
            Some(receipt) => attr::bool(receipt, "underUninstall"),
            None => parts.item.is_some() || parts.job.is_some(),
        });
        u64::try_from(live).unwrap_or(0).saturating_sub(u64::try_from(left.count()).unwrap_or(0))
    }
}

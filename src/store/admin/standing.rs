//! How far something is on its way to being torn down, as its items tell: what a hold goes by (H2, H3).

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

/// How far something is on its way to being torn down, as a hold finds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is not deleted. A deletion to come is stopped.
    Live,
    /// Nothing is stored of it. A deletion to come is stopped.
    Unknown,
    /// It is deleted, and announced for good at this time at the earliest. That is stopped.
    Owed(Timestamp),
    /// It is deleted, and the provider is not told.
    Unannounced,
    /// It was moved to this installation, or `out` of the marketplace.
    Moved(String),
    /// It is kept, whatever becomes of its deletion.
    Kept,
    /// Its deletion was announced before, and has nothing to do with its installation's.
    AnnouncedBefore,
    /// The provider may have been told: an attempt failed or was answered 202, or its worker died.
    InDoubt,
    /// It is too late: the provider was told.
    Announced,
    /// It was purged, and nothing is left that says whether the provider was told.
    Untold,
}

impl Standing {
    /// Whether a hold is in time for it (H2).
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        match self {
            Self::Live
            | Self::Unknown
            | Self::Owed(_)
            | Self::Unannounced
            | Self::Moved(_)
            | Self::Kept
            | Self::AnnouncedBefore => true,
            Self::InDoubt | Self::Announced | Self::Untold => false,
        }
    }
}

/// What a hold finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// A worker may be announcing something until then: look again.
    pub leased_until: Option<Timestamp>,
    /// The resources that a worker may be announcing.
    pub under_way: BTreeSet<ResourceId>,
    /// How the installation itself stands; none where the hold is on a resource.
    pub installation: Option<Standing>,
    /// How each resource stands.
    pub resources: BTreeMap<ResourceId, Standing>,
    /// How many resources of an uninstall were announced for good, of which nothing is left.
    pub announced: u64,
}

impl Look {
    /// The resources whose deletion is announced, or may be: one of these that is announced by the next
    /// look was announced meanwhile.
    #[must_use]
    pub fn owed(&self) -> BTreeSet<ResourceId> {
        let is_owed =
            |standing: &Standing| matches!(standing, Standing::Owed(_) | Standing::InDoubt);
        let owed = self.resources.iter().filter(|(_, standing)| is_owed(standing));
        owed.map(|(resource, _)| resource.clone()).chain(self.under_way.clone()).collect()
    }

    /// Whether the hold stops everything that it is on.
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        let mut standings = self.installation.iter().chain(self.resources.values());
        self.leased_until.is_none() && self.announced == 0 && standings.all(Standing::is_in_time)
    }
}

impl Store {
    /// Reads all that says how far a resource is on its way, at one moment.
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

/// What is stored of a resource, at one moment.
pub(super) struct ResourceState {
    pub(super) job: Option<Item>,
    pub(super) receipt: Option<Item>,
    pub(super) item: Option<Item>,
    pub(super) installation: InstallationState,
}

/// What is stored of an installation, as far as a hold goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstallationState {
    Unknown,
    Active,
    /// Deleted, and announced then, or not at all.
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

/// A standing, or that a worker may be changing it until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Stands(Standing),
    LeasedUntil(Timestamp),
}

/// Whether a receipt has expired: by the clock, and not by when DynamoDB's TTL gets to it.
fn is_over(receipt: &Item, now: Timestamp) -> bool {
    attr::timestamp(receipt, "expiresAt").is_some_and(|expiry| expiry <= now)
}

/// How an announcement that is owed stands.
fn owed(job: &Item, now: Timestamp) -> Found {
    let teardown = parse(job);
    match teardown.timing(attr::timestamp(job, "leaseUntil"), now) {
        Timing::InTime => Found::Stands(Standing::Owed(teardown.at)),
        Timing::LeasedUntil(until) => Found::LeasedUntil(until),
        Timing::InDoubt => Found::Stands(Standing::InDoubt),
    }
}

/// How something stands by its receipt, with nothing owed.
fn receipted(receipt: &Item) -> Standing {
    if receipt.contains_key("kept") {
        return Standing::Kept;
    }
    match attr::str(receipt, "movedTo") {
        Some(to) => Standing::Moved(to.to_owned()),
        None if attr::bool(receipt, "unannounced") => Standing::Unannounced,
        None => Standing::Announced,
    }
}

impl ResourceState {
    /// A receipt that has expired says nothing of what came after it: of a resource that was registered
    /// again, or went with its installation.
    fn without_an_old_receipt(mut self, now: Timestamp) -> Self {
        let deleted = matches!(self.installation, InstallationState::Deleted { .. });
        if self.job.is_some() || self.item.is_some() || deleted {
            self.receipt = self.receipt.filter(|receipt| !is_over(receipt, now));
        }
        self
    }

    /// How the resource stands at `now`.
    pub(super) fn standing(&self, now: Timestamp) -> Found {
        if let Some(job) = &self.job {
            return owed(job, now);
        }
        Found::Stands(match (&self.item, &self.receipt, self.installation) {
            (Some(_), _, InstallationState::Active) => Standing::Live,
            (Some(_), _, InstallationState::Deleted { teardown_at: Some(at) }) => {
                Standing::Owed(at)
            }
            (None, Some(receipt), _) | (_, Some(receipt), InstallationState::Unknown) => {
                receipted(receipt)
            }
            (_, _, InstallationState::Deleted { teardown_at: None }) => Standing::Unannounced,
            (None, None, InstallationState::Deleted { .. }) => Standing::Untold,
            (_, None, _) => Standing::Unknown,
        })
    }
}

impl Look {
    /// What a hold on one resource finds.
    pub(super) fn at_resource(resource: &ResourceId, found: Found) -> Self {
        let mut look = Self::default();
        look.resource(resource, found);
        look
    }

    /// What a hold on an installation finds in all that is stored of it, in the order of its sort keys.
    pub(super) fn at_installation(
        items: &[Item],
        now: Timestamp,
        under_way: &BTreeSet<ResourceId>,
    ) -> Result<Self, Error> {
        Partition::read(items).look(now, under_way)
    }

    fn resource(&mut self, resource: &ResourceId, found: Found) {
        match found {
            Found::Stands(standing) => {
                self.resources.insert(resource.clone(), standing);
            }
            Found::LeasedUntil(until) => {
                self.leased_until = self.leased_until.max(Some(until));
                self.under_way.insert(resource.clone());
            }
        }
    }
}

/// All that is stored of an installation, as far as a hold goes by it. It is read in the order of its
/// sort keys, resources before jobs: what is purged in between is in both, and in neither never.
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
            (Some(job), _) => match owed(job, now) {
                Found::Stands(standing) => look.installation = Some(standing),
                Found::LeasedUntil(until) => look.leased_until = Some(until),
            },
            (None, InstallationState::Unknown) => look.installation = Some(Standing::Unknown),
            (None, InstallationState::Active) => look.installation = Some(Standing::Live),
            (None, InstallationState::Deleted { teardown_at: None }) => {
                look.installation = Some(Standing::Unannounced);
            }
            (None, InstallationState::Deleted { .. }) => {
                look.installation = Some(Standing::Announced);
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
            let found = match state.standing(now) {
                // Deleted by itself, and announced before anybody asked for a hold.
                Found::Stands(Standing::Announced) if !under_way.contains(resource) => {
                    Found::Stands(Standing::AnnouncedBefore)
                }
                found => found,
            };
            look.resource(resource, found);
        }
        look.announced = self.announced(installation, now);
        Ok(look)
    }

    /// How many resources of an uninstall have left nothing: those that were live, less those that are
    /// to be purged, that are owed, and that are kept.
    fn announced(&self, installation: InstallationState, now: Timestamp) -> u64 {
        let InstallationState::Deleted { teardown_at: Some(_) } = installation else { return 0 };
        let live = self.installation.and_then(|item| attr::i64(item, "resources")).unwrap_or(0);
        let receipt = |parts: &Parts<'a>| parts.receipt.filter(|receipt| !is_over(receipt, now));
        let left = self.resources.values().filter(|parts| match receipt(parts) {
            // One that was deleted by itself is not counted, unless it was kept from the uninstall.
            Some(receipt) => attr::bool(receipt, "underUninstall"),
            None => parts.item.is_some() || parts.job.is_some(),
        });
        u64::try_from(live).unwrap_or(0).saturating_sub(u64::try_from(left.count()).unwrap_or(0))
    }
}

//! A state of the Provision model: the table, the attempts, the workers and Vercel.

use teardown::deletion::{self, Billing};
use teardown::provision;

/// The installation's item. `count` is the stored number of the installation's resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Installation {
    Absent,
    Active { count: u8 },
    Deleted,
}

/// A resource's receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Receipt {
    None,
    Deleted,
    Kept,
}

/// The announcement of a resource's deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Job {
    None,
    Pending,
    /// A worker has claimed the announcement.
    Taken,
}

/// A resource, as the table, the backend, Vercel and the provider know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Resource {
    pub(super) made: bool,
    pub(super) item: bool,
    pub(super) receipt: Receipt,
    pub(super) job: Job,
    pub(super) notified: bool,
    pub(super) listed: bool,
    /// Whether a worker ended the intent with a warning, because Vercel did not list this resource.
    pub(super) excused: bool,
}

/// The intent's item. Each [`Attempt`] stores whether the intent lists the attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) due: bool,
    pub(super) leased: bool,
    pub(super) parked: bool,
}

/// What an attempt believes about its installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Seen {
    #[default]
    Assumed,
    Active,
    Deleted,
    Absent,
}

/// What an attempt believes about its intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Intent {
    #[default]
    Sole,
    Shared,
    Gone,
}

/// What an attempt believes once the backend has made a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Belief {
    pub(super) installation: Seen,
    pub(super) is_registered: bool,
    pub(super) receipt: bool,
    pub(super) intent: Intent,
}

/// The step that an attempt has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum At {
    /// Vercel has not sent the attempt.
    Idle,
    /// The attempt is about to write its intent, with this belief about the installation.
    Beginning(Seen),
    /// The attempt has written its intent. `old` is true once 15 minutes have passed since the attempt wrote
    /// its intent.
    Begun { old: bool },
    /// The backend answered with this resource, and the attempt is about to write its intent. Only a flaw
    /// leads to this step.
    Late(usize, Seen),
    /// The backend answered with this resource, and the attempt is about to record it.
    Ending(usize, Belief),
    /// The attempt's end is recorded, but its resource is not recorded. Only a flaw leads to this step.
    Apart(usize),
    /// The backend refused, and the attempt is about to record its end in the intent.
    Refusing(Intent),
    /// The attempt's 2xx, with this resource, is on its way to Vercel.
    Passing(usize),
    /// The attempt has ended, or died.
    Ended,
}

/// The step that the purge has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purge {
    /// There is no purge, or the purge has ended.
    None,
    /// The purge is about to read a page.
    Pending,
    /// The purge has read these resources, as bits.
    Read(u8),
}

/// An attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) at: At,
    /// Whether the intent lists this attempt, because the attempt has no definite answer.
    pub(super) open: bool,
}

/// The step that a worker has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum WorkerAt {
    /// The worker claimed the intent.
    Claimed,
    /// The worker read the installation. `known` has the resources that the table knows, as bits.
    Read { is_active: bool, known: u8 },
    /// Vercel listed the installation's resources. `left` has the listed resources that the table still
    /// lacks, as bits. `unlisted` has the resources that the backend made and Vercel does not list, as bits.
    Mending { is_active: bool, left: u8, unlisted: u8 },
}

/// A worker that has claimed the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Worker {
    /// Whether the worker's fence is still the intent's fence, if the intent exists.
    pub(super) fence: bool,
    /// Whether an attempt has begun since the worker's claim.
    pub(super) overtaken: bool,
    pub(super) at: WorkerAt,
}

/// A state of the Provision model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) installation: Installation,
    pub(super) resources: [Resource; 2],
    pub(super) intent: Option<Item>,
    pub(super) attempts: [Attempt; 3],
    pub(super) workers: [Option<Worker>; 2],
    pub(super) purge: Purge,
    pub(super) token: bool,
    /// The forbidden event that has happened. `None` if nothing forbidden has happened.
    pub(super) wrong: Option<&'static str>,
}

/// Forbidden: an attempt began in a deleted installation.
pub(super) const BEGAN_DELETED: &str = "began in a deleted installation";
/// Forbidden: a deleted installation is active again.
pub(super) const REVIVED: &str = "revived";
/// Forbidden: a resource was registered in a deleted installation.
pub(super) const REGISTERED_DELETED: &str = "registered in a deleted installation";
/// Forbidden: an attempt that the backend refused ended the intent of other attempts.
pub(super) const ENDED_OTHERS: &str = "a refusal ended the intent of others";
/// Forbidden: a worker ended the intent of an attempt that began after the worker's claim.
pub(super) const ENDED_LATER: &str = "a worker ended the intent of a later attempt";
/// Forbidden: a worker that had lost its lease changed the intent.
pub(super) const OVERWROTE: &str = "overwrote";
/// Forbidden: a pending announcement was replaced.
pub(super) const ANNOUNCED_ANEW: &str = "announced anew";
/// Forbidden: a condition failed, but the returned item only confirmed what the attempt believed.
pub(super) const CONTRADICTED: &str = "contradicted";

impl State {
    pub(super) fn new(installation: Installation) -> Self {
        let resource = Resource {
            made: false,
            item: false,
            receipt: Receipt::None,
            job: Job::None,
            notified: false,
            listed: false,
            excused: false,
        };
        Self {
            installation,
            resources: [resource; 2],
            intent: None,
            attempts: [Attempt { at: At::Idle, open: false }; 3],
            workers: [None; 2],
            purge: Purge::None,
            token: true,
            wrong: None,
        }
    }

    /// How many attempts the intent has.
    pub(super) fn open(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.open).count()
    }

    /// Deletes the intent.
    pub(super) fn end_intent(&mut self) {
        self.intent = None;
        for attempt in &mut self.attempts {
            attempt.open = false;
        }
    }

    /// Adds a resource to the installation, and counts it.
    pub(super) fn register(&mut self, resource: usize) {
        match &mut self.installation {
            Installation::Active { count } => *count = count.saturating_add(1),
            Installation::Absent => self.installation = Installation::Active { count: 1 },
            Installation::Deleted => self.wrong = Some(REGISTERED_DELETED),
        }
        self.resources[resource].item = true;
    }

    /// Writes a resource's announcement, unless the announcement is already pending.
    pub(super) fn announce(&mut self, resource: usize) {
        let job = &mut self.resources[resource].job;
        if *job == Job::None {
            *job = Job::Pending;
        }
    }

    /// Writes a resource's announcement, even if the announcement is already pending.
    pub(super) fn announce_anew(&mut self, resource: usize) {
        if self.resources[resource].job != Job::None {
            self.wrong = Some(ANNOUNCED_ANEW);
        }
        self.resources[resource].job = Job::Pending;
    }

    /// `Store::purge_page`: reads a page, then replaces all resources of the page by their announcements, or
    /// none of them.
    pub(super) fn purge_on(&mut self) -> Option<()> {
        let there = (0..2).filter(|it| self.resources[*it].item);
        let there = there.map(|it| 1 << it).sum::<u8>();
        self.purge = match self.purge {
            Purge::None => return None,
            Purge::Pending if there == 0 => Purge::None,
            Purge::Pending => Purge::Read(there),
            Purge::Read(page) => {
                if page & !there == 0 {
                    for resource in (0..2).filter(|it| page & (1 << it) != 0) {
                        self.resources[resource].item = false;
                        self.announce_anew(resource);
                    }
                }
                Purge::Pending
            }
        };
        Some(())
    }

    /// Delete Resource for the first resource (C1).
    pub(super) fn delete(&mut self, answered: bool) {
        let resource = &mut self.resources[0];
        resource.listed &= !answered;
        if self.installation == Installation::Deleted || resource.receipt != Receipt::None {
            return;
        }
        resource.receipt = Receipt::Deleted;
        if resource.item {
            resource.item = false;
            if let Installation::Active { count } = &mut self.installation {
                *count = count.saturating_sub(1);
            }
            self.announce_anew(0);
        } else {
            self.announce(0);
        }
    }

    /// The command `keep` for the first resource, whose announcement must not be claimed.
    pub(super) fn keep(&mut self) -> Option<()> {
        let resource = &mut self.resources[0];
        let may = self.installation == Installation::Deleted
            && resource.receipt == Receipt::None
            && !resource.notified
            && (resource.job == Job::Pending || (resource.job == Job::None && resource.item));
        may.then(|| {
            resource.receipt = Receipt::Kept;
            (resource.item, resource.job) = (false, Job::None);
        })
    }
}

impl Seen {
    pub(super) fn of(installation: Installation) -> Self {
        match installation {
            Installation::Absent => Self::Absent,
            Installation::Active { .. } => Self::Active,
            Installation::Deleted => Self::Deleted,
        }
    }

    /// This belief as a value of `teardown`'s own type.
    pub(super) fn real(self) -> deletion::Installation {
        match self {
            Self::Assumed => deletion::Installation::Assumed,
            Self::Active => deletion::Installation::Active {
                account: None,
                billing: Billing::Open,
                resources: 0,
            },
            Self::Deleted => deletion::Installation::Deleted { account: None, finalized: false },
            Self::Absent => deletion::Installation::Absent,
        }
    }
}

impl Intent {
    /// What an attempt learns when it reads the intent's item.
    pub(super) fn of(state: &State, index: usize) -> Self {
        match (state.attempts[index].open, state.open()) {
            (false, _) => Self::Gone,
            (true, 1) => Self::Sole,
            (true, _) => Self::Shared,
        }
    }
}

impl Belief {
    /// This belief as a value of `teardown`'s own type.
    pub(super) fn real(self) -> provision::Belief {
        provision::Belief {
            installation: self.installation.real(),
            is_registered: self.is_registered,
            receipt: if self.receipt {
                deletion::Receipt::Present
            } else {
                deletion::Receipt::None
            },
            intent: match self.intent {
                Intent::Sole => provision::Intent::OnlyThisAttempt,
                Intent::Shared => provision::Intent::OtherAttemptsToo,
                Intent::Gone => provision::Intent::WithoutThisAttempt,
            },
        }
    }
}

//! A state: the table, the attempts, the workers and Vercel.

use teardown::deletion::{self, Billing};
use teardown::provision;

/// The installation, and how many resources it says that it has.
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
    Owed,
    /// A worker is at it, or has been.
    Taken,
}

/// A resource: in the table, at the backend, at Vercel and at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Resource {
    pub(super) made: bool,
    pub(super) item: bool,
    pub(super) receipt: Receipt,
    pub(super) job: Job,
    pub(super) told: bool,
    pub(super) listed: bool,
    /// Whether the intent was ended, with a warning, because Vercel did not list it.
    pub(super) excused: bool,
}

/// The intent's item. Which attempts it has, they say themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) due: bool,
    pub(super) leased: bool,
    pub(super) parked: bool,
}

/// What an attempt believes of its installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Seen {
    #[default]
    Assumed,
    Active,
    Deleted,
    Absent,
}

/// What an attempt believes of its intent.
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

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum At {
    /// It was not sent.
    Idle,
    /// It writes its intent.
    Beginning(Seen),
    /// Its intent is written; whether 15 minutes have passed since.
    Begun { old: bool },
    /// The backend answered with this resource, and the intent is to be written. Only a flaw leads here.
    Late(usize, Seen),
    /// The backend answered with this resource, and that is to be recorded.
    Ending(usize, Belief),
    /// Its end is recorded, and this resource is not. Only a flaw leads here.
    Apart(usize),
    /// The backend refused, and the attempt is to be ended.
    Refusing(Intent),
    /// Its 2xx, with this resource, is on its way to Vercel.
    Passing(usize),
    /// It has ended, or died.
    Ended,
}

/// The purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purge {
    /// There is none, or it has ended.
    None,
    /// It is to read a page.
    Owed,
    /// It has read these resources, as bits.
    Read(u8),
}

/// An attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) at: At,
    /// Whether the intent has it among those without a definite answer.
    pub(super) open: bool,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum WorkerAt {
    /// It took the lease.
    Claimed,
    /// It read the installation; what is known of it, as bits.
    Read { is_active: bool, known: u8 },
    /// Vercel told what it has. What is missing here is left to be mended.
    Mending { is_active: bool, left: u8, unlisted: u8 },
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Worker {
    /// Whether its fence is the item's, if that is there.
    pub(super) fence: bool,
    /// Whether an attempt has begun since its claim.
    pub(super) overtaken: bool,
    pub(super) at: WorkerAt,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) installation: Installation,
    pub(super) resources: [Resource; 2],
    pub(super) intent: Option<Item>,
    pub(super) attempts: [Attempt; 3],
    pub(super) workers: [Option<Worker>; 2],
    pub(super) purge: Purge,
    pub(super) token: bool,
    /// The thing that must never happen and did.
    pub(super) wrong: Option<&'static str>,
}

/// An attempt began in a deleted installation.
pub(super) const BEGAN_DELETED: &str = "began in a deleted installation";
/// A deleted installation is active again.
pub(super) const REVIVED: &str = "revived";
/// A resource was registered in a deleted installation.
pub(super) const REGISTERED_DELETED: &str = "registered in a deleted installation";
/// A refusal ended the intent of others.
pub(super) const ENDED_OTHERS: &str = "a refusal ended the intent of others";
/// A worker ended the intent of an attempt that began after its claim.
pub(super) const ENDED_LATER: &str = "a worker ended the intent of a later attempt";
/// A worker that had lost its lease changed the intent.
pub(super) const OVERWROTE: &str = "overwrote";
/// A pending announcement was written anew.
pub(super) const ANNOUNCED_ANEW: &str = "announced anew";
/// The conditions that failed taught nothing.
pub(super) const CONTRADICTED: &str = "contradicted";

impl State {
    pub(super) fn new(installation: Installation) -> Self {
        let resource = Resource {
            made: false,
            item: false,
            receipt: Receipt::None,
            job: Job::None,
            told: false,
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

    /// Adds a resource, and counts it.
    pub(super) fn register(&mut self, resource: usize) {
        match &mut self.installation {
            Installation::Active { count } => *count = count.saturating_add(1),
            Installation::Absent => self.installation = Installation::Active { count: 1 },
            Installation::Deleted => self.wrong = Some(REGISTERED_DELETED),
        }
        self.resources[resource].item = true;
    }

    /// Writes an announcement, if none is pending.
    pub(super) fn announce(&mut self, resource: usize) {
        let job = &mut self.resources[resource].job;
        if *job == Job::None {
            *job = Job::Owed;
        }
    }

    /// Writes an announcement, even if one is pending.
    pub(super) fn announce_anew(&mut self, resource: usize) {
        if self.resources[resource].job != Job::None {
            self.wrong = Some(ANNOUNCED_ANEW);
        }
        self.resources[resource].job = Job::Owed;
    }

    /// `Store::purge_page`: it reads a page, then swaps all of it for its announcements or nothing.
    pub(super) fn purge_on(&mut self) -> Option<()> {
        let there = (0..2).filter(|it| self.resources[*it].item);
        let there = there.map(|it| 1 << it).sum::<u8>();
        self.purge = match self.purge {
            Purge::None => return None,
            Purge::Owed if there == 0 => Purge::None,
            Purge::Owed => Purge::Read(there),
            Purge::Read(page) => {
                if page & !there == 0 {
                    for resource in (0..2).filter(|it| page & (1 << it) != 0) {
                        self.resources[resource].item = false;
                        self.announce_anew(resource);
                    }
                }
                Purge::Owed
            }
        };
        Some(())
    }

    /// Delete Resource, of the first one (C1).
    pub(super) fn delete(&mut self, heard: bool) {
        let resource = &mut self.resources[0];
        resource.listed &= !heard;
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

    /// `keep`, of the first one: nobody has claimed its announcement.
    pub(super) fn keep(&mut self) -> Option<()> {
        let resource = &mut self.resources[0];
        let may = self.installation == Installation::Deleted
            && resource.receipt == Receipt::None
            && !resource.told
            && (resource.job == Job::Owed || (resource.job == Job::None && resource.item));
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

    /// As the program has it.
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
    /// What the item says to an attempt.
    pub(super) fn of(state: &State, index: usize) -> Self {
        match (state.attempts[index].open, state.open()) {
            (false, _) => Self::Gone,
            (true, 1) => Self::Sole,
            (true, _) => Self::Shared,
        }
    }
}

impl Belief {
    /// As the program has it.
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

//! The comparison of what is stored of an installation with what Vercel has: decisions alone, without I/O
//! (L1).
//!
//! [`compare`] names the problems. The tool tells them and mends what it is asked to. A sweep that
//! reconciles one installation registers what is [`missing_here`].

mod vercel_side;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::vercel_side::{Listing, VercelSide};
use crate::clock::Timestamp;
use crate::deletion::configuration::{InstallationState, Team};
use crate::deletion::{Cascade, Deletion, OpenInvoices, Target};
use crate::grant::{Actor, Grant, Scope};
use crate::ids::{InstallationId, ResourceId};
use crate::vercel::{Disabled, ListedResource, ResourceList};

/// How old a resource must be that Vercel does not list: Vercel lists it only after the provider's answer
/// has arrived there.
pub const YOUNG: Duration = Duration::from_mins(15);

/// How long ago Vercel was asked to uninstall if an uninstall counts as hanging: it waits 24 hours for final
/// invoices, and needs some time itself.
pub const HANGING: Duration = Duration::from_hours(25);

/// The reason of an uninstall that follows Vercel's removal (K3).
pub const REMOVED_AT_VERCEL: &str = "removed at Vercel";

/// What is stored of an installation, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The installation.
    pub installation: InstallationState,
    /// Its resources; each with the time of its registration, else of its last write, if there is one.
    pub resources: BTreeMap<ResourceId, Option<Timestamp>>,
    /// Resources that were deleted, moved or kept: they have a receipt, or a pending announcement.
    pub deleted: BTreeSet<ResourceId>,
    /// Whether a resource is being provisioned under an intent (J4). It may be any.
    pub provisioning: bool,
}

/// How far an installation is, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is active: all of it is compared.
    Active,
    /// It is uninstalled, and not finalized: Vercel's side is there for a while.
    Uninstalled,
    /// Nothing is left to compare.
    Over,
}

impl Life {
    /// How far this installation is.
    #[must_use]
    pub fn of(installation: &InstallationState) -> Self {
        match installation.deletion {
            None => Self::Active,
            Some(deletion) if deletion.finalized || deletion.configuration_gone => Self::Over,
            Some(_) => Self::Uninstalled,
        }
    }
}

/// Something in which the two sides do not agree, or why they cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Vercel removed the configuration.
    Removed,
    /// Vercel disabled the configuration.
    Disabled(Disabled),
    /// Vercel was asked then to uninstall, and has not done so.
    Hanging(Timestamp),
    /// The stored team is not Vercel's.
    OtherTeam {
        /// The stored team.
        here: Option<String>,
        /// Vercel's.
        there: Option<String>,
    },
    /// No access token is stored to ask with.
    NoToken,
    /// Vercel does not take the stored token.
    DeadToken,
    /// Vercel gave no answer that says anything.
    Unreachable(String),
    /// Vercel has a resource that is not stored.
    MissingHere(ListedResource),
    /// A resource is stored that Vercel does not have.
    MissingThere(ResourceId),
    /// Vercel has a resource that was deleted, moved or kept here.
    DeletedHere(ResourceId),
    /// Vercel has a resource whose id cannot be one of ours.
    BadId(String),
}

impl Problem {
    /// The name of its kind, for other programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Disabled(_) => "disabled",
            Self::Hanging(_) => "hanging",
            Self::OtherTeam { .. } => "other_team",
            Self::NoToken => "no_token",
            Self::DeadToken => "dead_token",
            Self::Unreachable(_) => "unreachable",
            Self::MissingHere(_) => "missing_here",
            Self::MissingThere(_) => "missing_there",
            Self::DeletedHere(_) => "deleted_here",
            Self::BadId(_) => "bad_id",
        }
    }

    /// The resource that it is about.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        match self {
            Self::MissingHere(listed) => Some(listed.id.as_str()),
            Self::MissingThere(id) | Self::DeletedHere(id) => Some(id.as_str()),
            Self::BadId(id) => Some(id),
            Self::Removed
            | Self::Disabled(_)
            | Self::Hanging(_)
            | Self::OtherTeam { .. }
            | Self::NoToken
            | Self::DeadToken
            | Self::Unreachable(_) => None,
        }
    }
}

/// Names the problems of an installation. Vercel's side was asked before what is stored was read: what is
/// provisioned in between is stored, and young.
#[must_use]
pub fn compare(stored: &Stored, vercel: &VercelSide, now: Timestamp) -> Vec<Problem> {
    let life = Life::of(&stored.installation);
    let is_active = life == Life::Active;
    let (configuration, listing) = match vercel {
        _ if life == Life::Over => return Vec::new(),
        VercelSide::There(configuration, listing) => (configuration, listing),
        VercelSide::Unreachable(why) => return vec![Problem::Unreachable(why.clone())],
        VercelSide::DeadToken => return vec![Problem::DeadToken],
        // An uninstall ends so, and what has no token is finalized without a call.
        VercelSide::Removed | VercelSide::NoToken if !is_active => return Vec::new(),
        VercelSide::Removed => return vec![Problem::Removed],
        VercelSide::NoToken => return vec![Problem::NoToken],
    };
    let mut problems = Vec::new();
    if is_active {
        problems.extend(configuration.disabled.clone().map(Problem::Disabled));
    }
    let requested = configuration.delete_requested_at;
    problems.extend(requested.filter(|at| *at + HANGING < now).map(Problem::Hanging));
    let Team { id: here, .. } = &stored.installation.team;
    if *here != configuration.team {
        let (here, there) = (here.clone(), configuration.team.clone());
        problems.push(Problem::OtherTeam { here, there });
    }
    match listing {
        Listing::Known(list) if is_active => {
            problems.extend(missing_here(stored, list).cloned().map(Problem::MissingHere));
            problems.extend(missing_there(stored, list, now).map(Problem::MissingThere));
            problems.extend(deleted_here(stored, list).map(Problem::DeletedHere));
            problems.extend(list.bad_ids.iter().cloned().map(Problem::BadId));
        }
        Listing::Known(_) | Listing::NotAsked => {}
        Listing::DeadToken => problems.push(Problem::DeadToken),
        Listing::Unreachable(why) => problems.push(Problem::Unreachable(why.clone())),
    }
    problems
}

/// The resources that Vercel has and that are to be registered.
pub fn missing_here<'a>(
    stored: &Stored,
    list: &'a ResourceList,
) -> impl Iterator<Item = &'a ListedResource> {
    let is_known = |id| stored.resources.contains_key(id) || stored.deleted.contains(id);
    list.resources.values().filter(move |listed| !is_known(&listed.id))
}

/// The resources that are stored and that Vercel should have, but does not.
fn missing_there(
    stored: &Stored,
    list: &ResourceList,
    now: Timestamp,
) -> impl Iterator<Item = ResourceId> {
    let is_young = move |since: &Option<Timestamp>| since.is_some_and(|at| at + YOUNG > now);
    let settled = stored.resources.iter().filter(|_| !stored.provisioning);
    let missing =
        settled.filter(move |(id, since)| !list.resources.contains_key(*id) && !is_young(since));
    missing.map(|(id, _)| id.clone())
}

/// The resources that Vercel has, though they were deleted, moved or kept here.
fn deleted_here(stored: &Stored, list: &ResourceList) -> impl Iterator<Item = ResourceId> {
    let is_gone = |id| stored.deleted.contains(id) && !stored.resources.contains_key(id);
    list.resources.keys().filter(move |id| is_gone(id)).cloned()
}

/// The uninstall of an installation that Vercel removed: by the system, as Delete Installation without a
/// key (K3).
#[must_use]
pub fn removal(installation: InstallationId, account: String, at: Timestamp) -> Deletion {
    Deletion {
        grant: Grant { installation, by: Actor::System { account }, scope: Scope::Installation },
        target: Target::Installation {
            cascade: Cascade::Yes,
            reason: Some(REMOVED_AT_VERCEL.to_owned()),
            // It is gone at Vercel already: a refusal would reach nobody (D7).
            open_invoices: OpenInvoices::Accept,
        },
        key: None,
        at,
    }
}

#[cfg(test)]
mod tests;

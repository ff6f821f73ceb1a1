//! Compares, without I/O, what is stored of an installation with what Vercel has (L1).
//!
//! [`compare`] lists the problems. The command `reconcile` reports the problems, and repairs those that the
//! operator chooses. A sweep that reconciles one installation registers the resources that are
//! [`missing_here`].

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

/// A stored resource that is younger than this is not reported as missing at Vercel. Vercel lists a resource
/// only after Vercel has received the provider's answer.
pub const YOUNG: Duration = Duration::from_mins(15);

/// If Vercel was asked to uninstall an installation longer ago than this, the uninstall counts as hanging.
/// Vercel waits 24 hours for final invoices, and then needs some more time.
pub const HANGING: Duration = Duration::from_hours(25);

/// The reason of an uninstall that teardown does because Vercel removed the installation (K3).
pub const REMOVED_AT_VERCEL: &str = "removed at Vercel";

/// What is stored of an installation and is compared with Vercel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The installation.
    pub installation: InstallationState,
    /// The installation's resources, each with the time when it was registered. If no registration time is
    /// stored, the time is that of the item's last write. `None` if neither of the two times is stored.
    pub resources: BTreeMap<ResourceId, Option<Timestamp>>,
    /// Resources that were deleted, moved or kept: they have a receipt, or a pending announcement.
    pub deleted: BTreeSet<ResourceId>,
    /// Whether any resource, known or not, is being provisioned under an intent (J4).
    pub provisioning: bool,
}

/// The state of an installation, which decides what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The installation is active: everything is compared.
    Active,
    /// The installation is uninstalled and not finalized: its configuration still exists at Vercel for a
    /// while.
    Uninstalled,
    /// The installation is finalized, or its configuration is deleted: nothing is left to compare.
    Over,
}

impl Life {
    /// The state of this installation.
    #[must_use]
    pub fn of(installation: &InstallationState) -> Self {
        match installation.deletion {
            None => Self::Active,
            Some(deletion) if deletion.finalized || deletion.configuration_gone => Self::Over,
            Some(_) => Self::Uninstalled,
        }
    }
}

/// A difference between the table and Vercel, or the reason why they cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Vercel removed the configuration.
    Removed,
    /// Vercel disabled the configuration.
    Disabled(Disabled),
    /// Vercel was asked at this time to uninstall, and has not finished.
    Hanging(Timestamp),
    /// The stored team is not the team that Vercel names.
    OtherTeam {
        /// The stored team.
        here: Option<String>,
        /// Vercel's team.
        there: Option<String>,
    },
    /// No access token is stored to call Vercel with.
    NoToken,
    /// Vercel does not accept the stored token.
    DeadToken,
    /// Vercel gave no usable answer.
    Unreachable(String),
    /// Vercel has a resource that is not stored.
    MissingHere(ListedResource),
    /// A resource is stored, and Vercel does not have it.
    MissingThere(ResourceId),
    /// Vercel has a resource that was deleted, moved or kept according to the table.
    DeletedHere(ResourceId),
    /// Vercel has a resource whose id teardown does not accept.
    BadId(String),
}

impl Problem {
    /// The name of the problem's kind, for other programs.
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

    /// The resource that the problem is about. `None` if the problem is about the installation.
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

/// Lists the problems of an installation. The caller must call Vercel first and then read the table. A
/// resource that is provisioned between the call and the read is stored, and younger than [`YOUNG`].
#[must_use]
pub fn compare(stored: &Stored, vercel: &VercelSide, now: Timestamp) -> Vec<Problem> {
    let life = Life::of(&stored.installation);
    let is_active = life == Life::Active;
    let (configuration, listing) = match vercel {
        _ if life == Life::Over => return Vec::new(),
        VercelSide::There(configuration, listing) => (configuration, listing),
        VercelSide::Unreachable(why) => return vec![Problem::Unreachable(why.clone())],
        VercelSide::DeadToken => return vec![Problem::DeadToken],
        // If an installation is uninstalled, it is no problem that Vercel has removed its configuration. A
        // missing token is no problem, because teardown then finalizes the uninstall without a call to
        // Vercel.
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

/// The resources that Vercel has and that must be registered: they are not stored, and the table does not say
/// that they were deleted, moved or kept.
pub fn missing_here<'a>(
    stored: &Stored,
    list: &'a ResourceList,
) -> impl Iterator<Item = &'a ListedResource> {
    let is_known = |id| stored.resources.contains_key(id) || stored.deleted.contains(id);
    list.resources.values().filter(move |listed| !is_known(&listed.id))
}

/// The stored resources that Vercel does not list, and that are not young.
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

/// The resources that Vercel has, though they were deleted, moved or kept according to the table.
fn deleted_here(stored: &Stored, list: &ResourceList) -> impl Iterator<Item = ResourceId> {
    let is_gone = |id| stored.deleted.contains(id) && !stored.resources.contains_key(id);
    list.resources.keys().filter(move |id| is_gone(id)).cloned()
}

/// The uninstall of an installation that Vercel removed. This uninstall is the same as a Delete Installation
/// that Vercel sends without a key (K3).
#[must_use]
pub fn removal(installation: InstallationId, account: String, at: Timestamp) -> Deletion {
    Deletion {
        grant: Grant { installation, by: Actor::System { account }, scope: Scope::Installation },
        target: Target::Installation {
            cascade: Cascade::Yes,
            reason: Some(REMOVED_AT_VERCEL.to_owned()),
            // The installation is already gone at Vercel: nobody would see a refusal (D7).
            open_invoices: OpenInvoices::Accept,
        },
        key: None,
        at,
    }
}

#[cfg(test)]
mod tests;

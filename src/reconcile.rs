//! The comparison of what is stored of an installation with what Vercel has: decisions alone, without I/O
//! (L1).
//!
//! [`compare`] names the problems. The tool tells them and mends what it is asked to. A sweep that
//! reconciles an installation by itself registers what is [`missing_here`].

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

/// How long ago Vercel was asked to uninstall where an uninstall hangs: it waits 24 hours for final
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
    /// What was deleted, moved or kept: its receipt stands, or its announcement is owed.
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deletion::configuration::Deleted;
    use crate::deletion::{Billing, Stage};
    use crate::vercel::VercelConfiguration;

    /// What time it is, in seconds.
    const NOW: u64 = 1_000_000;

    fn now() -> Timestamp {
        Timestamp::from_secs(NOW)
    }

    fn id(text: &str) -> ResourceId {
        ResourceId::parse(text).unwrap()
    }

    /// An installation of `team_1`, with resources of this age in seconds.
    fn stored(resources: &[(&str, u64)]) -> Stored {
        let aged = |(name, age): &(&str, u64)| (id(name), Some(Timestamp::from_secs(NOW - age)));
        Stored {
            installation: InstallationState {
                account: None,
                team: Team { id: Some("team_1".to_owned()), slug: None },
                billing: Billing::Open,
                in_doubt: false,
                deletion: None,
            },
            resources: resources.iter().map(aged).collect(),
            deleted: BTreeSet::new(),
            provisioning: false,
        }
    }

    fn uninstalled(finalized: bool) -> Stored {
        let mut stored = stored(&[]);
        stored.installation.deletion = Some(Deleted {
            at: now(),
            stage: Stage::Deleting,
            finalized,
            configuration_gone: false,
        });
        stored
    }

    fn listed(name: &str) -> ListedResource {
        ListedResource { id: id(name), name: None, product: None, status: None }
    }

    fn list(names: &[&str]) -> Listing {
        let resources = names.iter().map(|name| (id(name), listed(name))).collect();
        Listing::Known(ResourceList { resources, bad_ids: Vec::new() })
    }

    fn configuration() -> VercelConfiguration {
        let team = Some("team_1".to_owned());
        VercelConfiguration { team, ..VercelConfiguration::default() }
    }

    fn there(names: &[&str]) -> VercelSide {
        VercelSide::There(configuration(), list(names))
    }

    /// The kinds of the problems, each with its resource.
    fn found(stored: &Stored, vercel: &VercelSide) -> Vec<String> {
        let named = |problem: Problem| match problem.resource() {
            Some(resource) => format!("{} {resource}", problem.kind()),
            None => problem.kind().to_owned(),
        };
        compare(stored, vercel, now()).into_iter().map(named).collect()
    }

    /// L1: resources on one side alone are named; a young one, and any under an intent, is not missing at
    /// Vercel; one of unknown age is.
    #[test]
    fn resources_on_one_side_are_named() {
        let mut stored = stored(&[("both", 9999), ("old", 900), ("young", 899)]);
        stored.resources.insert(id("ageless"), None);
        stored.deleted.extend([id("gone"), id("both")]);
        let vercel = there(&["both", "gone", "new"]);
        let expected =
            ["missing_here new", "missing_there ageless", "missing_there old", "deleted_here gone"];
        assert_eq!(found(&stored, &vercel), expected);
        stored.provisioning = true;
        assert_eq!(found(&stored, &vercel), ["missing_here new", "deleted_here gone"]);
    }

    /// L1: a configuration that is removed, disabled, hanging or another team's is told as that; a team on
    /// one side alone is another, both ways.
    #[test]
    fn a_configuration_is_compared() {
        let mut stored = stored(&[("old", 9999)]);
        assert_eq!(found(&stored, &VercelSide::Removed), ["removed"], "and nothing else");
        let mut odd = configuration();
        odd.disabled = Some(Disabled::default());
        odd.delete_requested_at = Some(Timestamp::from_secs(NOW - 25 * 3600 - 1));
        odd.team = Some("team_2".to_owned());
        let odd = VercelSide::There(odd, list(&["old"]));
        assert_eq!(found(&stored, &odd), ["disabled", "hanging", "other_team"]);
        let mut pending = configuration();
        pending.delete_requested_at = Some(Timestamp::from_secs(NOW - 25 * 3600));
        let pending = VercelSide::There(pending, list(&["old"]));
        assert_eq!(found(&stored, &pending), [""; 0], "an uninstall has 25 hours");
        let without = VercelConfiguration { team: None, ..configuration() };
        let without = VercelSide::There(without, list(&["old"]));
        assert_eq!(found(&stored, &without), ["other_team"]);
        stored.installation.team.id = None;
        assert_eq!(found(&stored, &without), [""; 0]);
        assert_eq!(found(&stored, &there(&["old"])), ["other_team"]);
    }

    /// L1: of an installation that is uninstalled only what hangs, another team and a dead token are told;
    /// of one that is finalized nothing.
    #[test]
    fn an_uninstalled_installation_is_hardly_compared() {
        let mut hanging = configuration();
        hanging.delete_requested_at = Some(Timestamp::from_secs(1));
        hanging.disabled = Some(Disabled::default());
        hanging.team = None;
        let hanging = VercelSide::There(hanging, list(&["left"]));
        let unreachable = VercelSide::Unreachable("down".to_owned());
        for (vercel, expected) in [
            (&hanging, &["hanging", "other_team"][..]),
            (&VercelSide::DeadToken, &["dead_token"]),
            (&unreachable, &["unreachable"]),
            (&VercelSide::Removed, &[]),
            (&VercelSide::NoToken, &[]),
        ] {
            assert_eq!(found(&uninstalled(false), vercel), expected);
            assert_eq!(found(&uninstalled(true), vercel), [""; 0], "it is over");
        }
    }

    /// L1: no resource is missing in a list that is not known.
    #[test]
    fn a_list_that_is_not_known_says_nothing() {
        for listing in [Listing::DeadToken, Listing::Unreachable("down".to_owned())] {
            let vercel = VercelSide::There(configuration(), listing);
            let told = compare(&stored(&[("old", 9999)]), &vercel, now());
            assert_eq!(
                told.len(),
                1,
                "no resource is missing in a list that is not known: {told:?}"
            );
        }
    }

    proptest! {
        /// L1: each resource is named once at most, and only for a side that it is not on; once what is
        /// missing here is registered, nothing is missing here any more, and nothing else has changed.
        #[test]
        fn registering_what_is_missing_ends_it(
            here in proptest::collection::btree_map(0..9_u8, proptest::option::of(0..2000_u64), 0..9),
            gone in proptest::collection::btree_set(0..9_u8, 0..9),
            at_vercel in proptest::collection::btree_set(0..9_u8, 0..9),
            provisioning: bool,
        ) {
            let name = |number: &u8| id(&format!("db_{number}"));
            let mut stored = stored(&[]);
            stored.provisioning = provisioning;
            let since = |age: &Option<u64>| age.map(|age| Timestamp::from_secs(NOW - age));
            stored.resources = here.iter().map(|(it, age)| (name(it), since(age))).collect();
            stored.deleted = gone.iter().map(name).collect();
            let names: Vec<_> = at_vercel.iter().map(name).collect();
            let names: Vec<_> = names.iter().map(ResourceId::as_str).collect();
            let vercel = there(&names);
            let before = compare(&stored, &vercel, now());
            let mut told = BTreeSet::new();
            for problem in &before {
                let resource = problem.resource().unwrap();
                prop_assert!(told.insert(resource), "{resource} is named twice");
                let is_here = stored.resources.contains_key(&id(resource));
                match problem {
                    Problem::MissingHere(_) | Problem::DeletedHere(_) => {
                        prop_assert!(!is_here && names.contains(&resource));
                    }
                    Problem::MissingThere(_) => {
                        prop_assert!(is_here && !names.contains(&resource) && !provisioning);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            for problem in &before {
                if let Problem::MissingHere(listed) = problem {
                    stored.resources.insert(listed.id.clone(), Some(now()));
                }
            }
            let is_left = |problem: &Problem| !matches!(problem, Problem::MissingHere(_));
            let left: Vec<_> = before.into_iter().filter(is_left).collect();
            prop_assert_eq!(compare(&stored, &vercel, now()), left);
        }
    }
}

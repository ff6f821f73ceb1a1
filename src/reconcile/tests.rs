use proptest::prelude::*;

use super::*;
use crate::deletion::configuration::Deleted;
use crate::deletion::{Billing, Stage};
use crate::vercel::VercelConfiguration;

/// The present time, in seconds.
const NOW: u64 = 1_000_000;

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).unwrap()
}

/// An installation of `team_1`, with resources of these ages in seconds.
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
    stored.installation.deletion =
        Some(Deleted { at: now(), stage: Stage::Deleting, finalized, configuration_gone: false });
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

/// L1: a resource is reported if only the table or only Vercel has it. A young resource, or any resource
/// under an intent, is not missing at Vercel. A resource of unknown age may be reported as missing at Vercel.
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

/// L1: a configuration that is removed, disabled, hanging or in another team is reported as `removed`,
/// `disabled`, `hanging` or `other_team`. If only the table or only Vercel has a team, the problem is
/// `other_team`.
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

/// L1: for an uninstalled installation, only a hanging uninstall, another team, a dead token and an
/// unreachable Vercel are reported. For a finalized installation, nothing is reported.
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

/// L1: if Vercel's list of resources is not known, no resource is reported as missing.
#[test]
fn a_list_that_is_not_known_says_nothing() {
    for listing in [Listing::DeadToken, Listing::Unreachable("down".to_owned())] {
        let vercel = VercelSide::There(configuration(), listing);
        let problems = compare(&stored(&[("old", 9999)]), &vercel, now());
        assert_eq!(
            problems.len(),
            1,
            "no resource is missing in a list that is not known: {problems:?}"
        );
    }
}

proptest! {
    /// L1: each resource is reported at most once. A resource is reported as missing in the table only if the
    /// table lacks it, and as missing at Vercel only if Vercel lacks it. After the resources that the table
    /// lacks are registered, all other problems are still reported, unchanged.
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
        let mut problems = BTreeSet::new();
        for problem in &before {
            let resource = problem.resource().unwrap();
            prop_assert!(problems.insert(resource), "{resource} is named twice");
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

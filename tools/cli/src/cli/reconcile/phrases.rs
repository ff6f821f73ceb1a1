//! A finding as text: a JSON object for programs, or rows of a table for people.

use serde_json::{Map, Value, json};
use teardown::reconcile::Problem;

use super::finding::Finding;

/// A finding as a JSON object.
pub(super) fn object(finding: &Finding, fix: bool) -> Value {
    let all = |problems: &[Problem]| problems.iter().map(problem).collect::<Value>();
    let mut object = json!({
        "installation": finding.installation.as_str(),
        "agrees": finding.left.is_empty(),
        "problems": all(&finding.left),
    });
    if fix {
        object["fixed"] = all(&finding.fixed);
    }
    object
}

/// A problem as a JSON object.
fn problem(problem: &Problem) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("kind", problem.kind().into());
    if let Some(resource) = problem.resource() {
        set("resource", resource.into());
    }
    match problem {
        Problem::Disabled(disabled) => {
            set("since", disabled.at.map(|at| at.to_string()).into());
            set("reason", disabled.reason.clone().into());
        }
        Problem::Hanging(since) => {
            set("since", since.to_string().into());
        }
        Problem::OtherTeam { here, there } => {
            set("here", here.clone().into());
            set("there", there.clone().into());
        }
        Problem::Unreachable(why) => {
            set("why", why.clone().into());
        }
        Problem::MissingHere(listed) => {
            set("name", listed.name.clone().into());
            set("status", listed.status.clone().into());
        }
        Problem::Removed
        | Problem::NoToken
        | Problem::DeadToken
        | Problem::MissingThere(_)
        | Problem::DeletedHere(_)
        | Problem::BadId(_) => {}
    }
    Value::Object(object)
}

/// The rows of a finding: first the problems that were fixed, then the problems that are left.
pub(super) fn rows(finding: &Finding) -> impl Iterator<Item = [String; 5]> {
    let fixed = finding.fixed.iter().map(|problem| (problem, fixed(problem)));
    let left = finding.left.iter().map(|problem| (problem, "left"));
    fixed.chain(left).map(|(problem, now)| {
        let resource = problem.resource().unwrap_or("-").to_owned();
        let (id, kind) = (finding.installation.to_string(), problem.kind().to_owned());
        [id, kind, resource, what(problem), now.to_owned()]
    })
}

/// A text that says how a problem was fixed.
fn fixed(problem: &Problem) -> &'static str {
    match problem {
        Problem::MissingHere(_) => "registered",
        Problem::MissingThere(_) => "deleted",
        Problem::OtherTeam { .. } => "stored",
        Problem::Removed => "uninstalled",
        _ => "fixed",
    }
}

/// A text that describes a problem.
fn what(problem: &Problem) -> String {
    match problem {
        Problem::Removed => "Vercel removed the configuration".to_owned(),
        Problem::Disabled(disabled) => {
            let reason = disabled.reason.as_deref().unwrap_or("no reason given");
            let since = disabled.at.map_or_else(String::new, |at| format!(" since {at}"));
            format!("Vercel disabled the configuration{since}: {reason}")
        }
        Problem::Hanging(since) => format!("its uninstall hangs at Vercel since {since}"),
        Problem::OtherTeam { here, there } => {
            let name = |team: &Option<String>| team.clone().unwrap_or_else(|| "none".to_owned());
            format!("stored team {}, Vercel's {}", name(here), name(there))
        }
        Problem::NoToken => "no access token is stored".to_owned(),
        Problem::DeadToken => "Vercel does not take the stored token".to_owned(),
        Problem::Unreachable(why) => why.clone(),
        Problem::MissingHere(listed) => {
            let name = listed.name.as_deref().unwrap_or("without a name");
            let status = listed.status.as_deref().unwrap_or("no status");
            format!("Vercel has it, not stored: {name}, {status}")
        }
        Problem::MissingThere(_) => "stored, Vercel does not list it".to_owned(),
        Problem::DeletedHere(_) => "deleted here, Vercel lists it".to_owned(),
        Problem::BadId(_) => "Vercel lists it, its id is not a valid one".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use teardown::clock::Timestamp;
    use teardown::ids::{InstallationId, ResourceId};
    use teardown::vercel::{Disabled, ListedResource};

    use super::*;

    /// L1: each kind of problem has its own row and its own JSON object, which has only the fields of this
    /// kind.
    #[test]
    fn each_problem_is_printed() {
        let at = Timestamp::from_secs(1_763_769_600);
        let id = || ResourceId::parse("db_1").unwrap();
        let named = |name: &str| Some(name.to_owned());
        let listed = ListedResource { id: id(), name: named("one"), product: None, status: None };
        let disabled = Disabled { at: Some(at), reason: named("by-owner") };
        for (found, row, object) in [
            (
                Problem::Removed,
                "removed - Vercel removed the configuration",
                json!({ "kind": "removed" }),
            ),
            (
                Problem::Disabled(disabled),
                "disabled - Vercel disabled the configuration since 2025-11-22T00:00:00Z: by-owner",
                json!({ "kind": "disabled", "since": "2025-11-22T00:00:00Z", "reason": "by-owner" }),
            ),
            (
                Problem::Hanging(at),
                "hanging - its uninstall hangs at Vercel since 2025-11-22T00:00:00Z",
                json!({ "kind": "hanging", "since": "2025-11-22T00:00:00Z" }),
            ),
            (
                Problem::OtherTeam { here: named("team_1"), there: None },
                "other_team - stored team team_1, Vercel's none",
                json!({ "kind": "other_team", "here": "team_1", "there": null }),
            ),
            (
                Problem::NoToken,
                "no_token - no access token is stored",
                json!({ "kind": "no_token" }),
            ),
            (
                Problem::DeadToken,
                "dead_token - Vercel does not take the stored token",
                json!({ "kind": "dead_token" }),
            ),
            (
                Problem::Unreachable("down".to_owned()),
                "unreachable - down",
                json!({ "kind": "unreachable", "why": "down" }),
            ),
            (
                Problem::MissingHere(listed),
                "missing_here db_1 Vercel has it, not stored: one, no status",
                json!({ "kind": "missing_here", "resource": "db_1", "name": "one", "status": null }),
            ),
            (
                Problem::MissingThere(id()),
                "missing_there db_1 stored, Vercel does not list it",
                json!({ "kind": "missing_there", "resource": "db_1" }),
            ),
            (
                Problem::DeletedHere(id()),
                "deleted_here db_1 deleted here, Vercel lists it",
                json!({ "kind": "deleted_here", "resource": "db_1" }),
            ),
            (
                Problem::BadId("a/b".to_owned()),
                "bad_id a/b Vercel lists it, its id is not a valid one",
                json!({ "kind": "bad_id", "resource": "a/b" }),
            ),
        ] {
            assert_eq!(problem(&found), object);
            let id = InstallationId::parse("icfg_1").unwrap();
            let finding = Finding::of(&id, None, vec![found]);
            let rows: Vec<_> = rows(&finding).map(|row| row.join(" ")).collect();
            assert_eq!(rows, [format!("icfg_1 {row} left")]);
        }
    }
}

//! `teardown reconcile`: it compares the table with Vercel's data (L1).

mod fake;
mod page;
mod sides;

use serde_json::json;

use self::sides::{Sides, lines};
use crate::support::world::ACCOUNT;

/// L1, I1: a resource that is stored at another installation, for example after a move at Vercel alone, is
/// not registered a second time. If a resource were registered twice, the first installation's uninstall
/// would destroy it.
#[tokio::test]
async fn a_resource_of_another_installation_is_not_registered() {
    let sides = Sides::new().await;
    sides.install("source", &["db_1"]).await;
    sides.install("target", &[]).await;
    sides.vercel.has("source", &[]);
    sides.vercel.has("target", &["db_1", "db_2"]);
    let run = sides.reconcile(&["--fix", "--grace", "7d"]).await;
    assert_eq!(run.status, 2, "{}", run.err);
    let printed = run.out + &run.err;
    let remark =
        "db_1 is not registered, it is stored at source: if it was moved, `teardown move` it";
    assert!(printed.contains(remark), "{printed}");
    assert_eq!(sides.world.sort_keys("target").await, ["#installation", "#token", "resource#db_2"]);
    assert_eq!(sides.world.items("target").await["#installation"]["resources"], 1);
    assert!(sides.world.is_live("source", "db_1").await);
}

/// L1: `reconcile` reports each kind of difference, for all installations except finished uninstalls. A
/// resource is not reported as missing at Vercel if it was registered a short time ago, or if a Provision of
/// its installation is under way. Without `--fix`, `reconcile` changes nothing.
#[tokio::test]
async fn every_kind_is_reported() {
    let sides = Sides::new().await;
    let (world, vercel) = (&sides.world, &sides.vercel);
    let now = || world.clock.now().as_secs();
    for id in ["agrees", "410", "404", "deletedAt", "disabled", "401", "403", "down", "pending"] {
        sides.install(id, &["db_1"]).await;
        vercel.has(id, &["db_1"]);
    }
    vercel.configuration("410", 410, json!({}));
    vercel.configuration("404", 404, json!({}));
    vercel.configuration("deletedAt", 200, json!({ "deletedAt": 1 }));
    let disabled = json!({ "disabledAt": 1_763_769_600_000_u64, "disabledReason": "by-owner" });
    vercel.configuration("disabled", 200, disabled);
    vercel.configuration("401", 401, json!({}));
    vercel.configuration("403", 403, json!({ "deletedAt": 1 }));
    vercel.later("down", 500, "0");
    let pending = json!({ "deleteRequestedAt": (now() - 24 * 3600) * 1000 });
    vercel.configuration("pending", 200, pending);
    let hanging = json!({ "deleteRequestedAt": (now() - 26 * 3600) * 1000, "teamId": "team_2" });
    sides.install("hanging", &[]).await;
    vercel.configuration("hanging", 200, hanging.clone());
    sides.install("resources", &["both", "old"]).await;
    sides.register("resources", "young").await;
    sides.register("resources", "gone").await;
    let gone = "/v1/installations/resources/resources/gone";
    assert_eq!(world.delete(gone).send().await.status, 204);
    vercel.has("resources", &["both", "new", "gone", "a/b", "new"]);
    sides.install("intent", &["old"]).await;
    world.put(json!({ "pk": "installation#intent", "sk": "work#provision#1f", "kind": "x" })).await;
    sides.install("list", &["old"]).await;
    vercel.list("list", 403, json!({}));
    sides.install("unread", &["old"]).await;
    vercel.list("unread", 200, json!({ "items": [] }));
    sides.install("none", &["old"]).await;
    vercel.list("none", 404, json!({}));
    world.install("tokenless", &["db_1"]).await;
    sides.install("uninstalled", &["old"]).await;
    world.delete("/v1/installations/uninstalled").send().await;
    vercel.configuration("uninstalled", 200, hanging);
    sides.install("over", &["old"]).await;
    world.settle("over").await;
    world.delete("/v1/installations/over").send().await;
    let before = world.all().await;
    let run = sides.reconcile(&["--json"]).await;
    assert_eq!(
        run.lines(),
        lines(&[
            ("agrees", &[]),
            ("410", &["removed"]),
            ("404", &["removed"]),
            ("deletedAt", &["removed"]),
            ("disabled", &["disabled"]),
            ("401", &["dead_token"]),
            ("403", &["dead_token"]),
            ("down", &["unreachable"]),
            ("pending", &[]),
            ("hanging", &["hanging", "other_team"]),
            (
                "resources",
                &["missing_here new", "missing_there old", "deleted_here gone", "bad_id a/b"]
            ),
            ("intent", &[]),
            ("list", &["dead_token"]),
            ("unread", &["unreachable"]),
            ("none", &["missing_there old"]),
            ("tokenless", &["no_token"]),
            ("uninstalled", &["hanging", "other_team"]),
        ])
    );
    assert_eq!(run.status, 2, "{}", run.err);
    assert!(run.err.ends_with("3 agree, 12 differ, 2 not compared\n"), "{}", run.err);
    assert_eq!(world.all().await, before);
    let requests =
        |id: &str| vercel.received().iter().filter(|it| it.contains(&format!("/{id}"))).count();
    assert_eq!(
        (requests("down"), requests("404"), requests("tokenless"), requests("over")),
        (4, 1, 0, 0)
    );
    assert!(
        vercel
            .received()
            .contains(&"GET /installations/agrees/resources token-of-agrees".to_owned())
    );
}

/// L1: the exit status says whether the table and Vercel agree, whether an installation could not be
/// compared, and whether differences are left. If one installation cannot be compared, the others are still
/// compared. The output has no line for an unknown installation.
#[tokio::test]
async fn the_exit_status_says_whether_both_agree() {
    let sides = Sides::new().await;
    let vercel = &sides.vercel;
    for id in ["icfg_1", "icfg_2", "icfg_3"] {
        sides.install(id, &[]).await;
    }
    let agree = sides.reconcile(&[]).await;
    assert_eq!(agree.status, 0, "{}", agree.err);
    assert!(agree.out.ends_with(": 3 agree\n") && agree.out.lines().count() == 1, "{}", agree.out);
    let unknown = sides.reconcile(&["--json", "icfg_x", "icfg_1"]).await;
    assert_eq!((unknown.status, unknown.lines()), (1, lines(&[("icfg_1", &[])])));
    assert!(unknown.err.contains("icfg_x is not known at http://127.0.0.1:"), "{}", unknown.err);
    vercel.later("icfg_2", 429, "3600");
    let not_compared = sides.reconcile(&["--json"]).await;
    assert_eq!(
        (not_compared.status, not_compared.lines()),
        (1, lines(&[("icfg_1", &[]), ("icfg_2", &["unreachable"]), ("icfg_3", &[])]))
    );
    let why = r#""why":"Vercel answered 429: not now (later)""#;
    assert!(not_compared.out.contains(why), "{}", not_compared.out);
    vercel.configuration("icfg_3", 200, json!({ "teamId": "team_3" }));
    let differs = sides.reconcile(&[]).await;
    assert_eq!(differs.status, 2, "{}", differs.err);
    let rows =
        ["icfg_2", "unreachable", "icfg_3", "other_team", "stored team none, Vercel's team_3"];
    assert!(rows.iter().all(|part| differs.out.contains(part)), "{}", differs.out);
    assert!(differs.out.ends_with(": 1 agrees, 1 differs, 1 not compared\n"), "{}", differs.out);

    let malformed = json!({ "pk": "installation#icfg_1", "sk": "#installation", "state": "odd" });
    sides.world.put(malformed).await;
    let run = sides.reconcile(&["--json", "icfg_1"]).await;
    assert_eq!((run.status, run.lines()), (1, lines(&[("icfg_1", &["unreachable"])])));
    assert!(run.out.contains("the table: "), "{}", run.out);
    for wrong in [
        &["--delete-missing"][..],
        &["--delete-missing", "--fix", "--yes"],
        &["--delete-missing", "--reason", "x", "--yes"],
        &["--delete-missing", "--fix", "--reason", "x"],
        &["--reason", "x"],
        &["--yes"],
        &["--grace", "1d"],
        &["--unannounced"],
        &["--rate", "0"],
        &["a/b"],
    ] {
        let run = sides.reconcile(wrong).await;
        assert_eq!((run.status, run.out.as_str()), (2, ""), "{wrong:?}: {}", run.err);
    }
}

/// L1, K3: `--fix` registers the resources that Vercel lists, stores Vercel's team, and uninstalls, as the
/// system, the installations that Vercel removed. A second run with `--fix` changes nothing. `--fix` leaves
/// the differences that it cannot fix.
#[tokio::test]
async fn fix_changes_each_difference_once() {
    let sides = Sides::new().await;
    let (world, vercel) = (&sides.world, &sides.vercel);
    for id in ["missing", "team", "removed", "dead"] {
        sides.install(id, &["db_1"]).await;
    }
    vercel.has("team", &["db_1"]);
    vercel.has("missing", &["db_1", "db_2"]);
    vercel.configuration("team", 200, json!({ "teamId": "team_2" }));
    vercel.configuration("removed", 404, json!({}));
    vercel.configuration("dead", 401, json!({}));
    let dead = world.items("dead").await;
    let run = sides.reconcile(&["--fix", "--json", "--grace", "7d"]).await;
    let fixed = [
        ("missing", "fixed missing_here db_2"),
        ("team", "fixed other_team"),
        ("removed", "fixed removed"),
    ];
    let mut expected = lines(&[("dead", &["dead_token"])]);
    let fixed = fixed.map(|(id, problem)| (id.to_owned(), (true, vec![problem.to_owned()])));
    expected.extend(fixed);
    assert_eq!((run.status, run.lines()), (2, expected), "{}", run.err);
    assert_eq!(world.items("dead").await, dead, "a dead token is not a removal");

    let missing = world.items("missing").await;
    let added = &missing["resource#db_2"];
    assert_eq!((&added["name"], &added["status"]), (&"my db_2".into(), &"suspended".into()));
    assert_eq!(missing["#installation"]["resources"], 2);
    assert_eq!(world.items("team").await["#installation"]["teamId"], "team_2");
    let removed = world.items("removed").await;
    let receipt = &removed["receipt#installation"];
    let at = receipt["deletedAt"].as_u64().unwrap();
    assert_eq!(receipt["reason"], "removed at Vercel");
    assert_eq!(receipt["deletedBy"], json!({ "kind": "system", "accountId": ACCOUNT }));
    assert_eq!(receipt["teardownAt"], at + 7 * 24 * 3600);
    assert!(removed.contains_key("work#purge") && removed.contains_key("work#finalize"));
    assert!(removed.contains_key("work#announce#installation"));

    let before = world.all().await;
    vercel.forget();
    vercel.has("dead", &["db_1"]);
    vercel.has("missing", &["db_1", "db_2"]);
    vercel.has("team", &["db_1"]);
    vercel.configuration("team", 200, json!({ "teamId": "team_2" }));
    vercel.configuration("removed", 404, json!({}));
    for arguments in [&["--fix", "--json"][..], &["--json"]] {
        let run = sides.reconcile(arguments).await;
        let all = lines(&[("missing", &[]), ("team", &[]), ("dead", &[]), ("removed", &[])]);
        assert_eq!((run.status, run.lines()), (0, all), "{}", run.err);
        assert_eq!(world.all().await, before, "{arguments:?}");
    }
}

/// L1: if Vercel's address answers 404 to every request, `--fix` uninstalls nothing. If the operator names
/// the installations, `--fix` uninstalls them nevertheless.
#[tokio::test]
async fn an_address_without_configurations_uninstalls_nothing() {
    let sides = Sides::new().await;
    let ids = ["icfg_1", "icfg_2", "icfg_3", "icfg_4", "icfg_5", "icfg_6"];
    for id in ids {
        sides.install(id, &[]).await;
        sides.vercel.configuration(id, 404, json!({}));
    }
    let before = sides.world.all().await;
    let run = sides.reconcile(&["--fix", "--json"]).await;
    assert_eq!(
        (run.status, run.lines()),
        (2, ids.map(|id| (id.to_owned(), (false, vec!["removed".to_owned()]))).into())
    );
    assert!(
        run.err.contains("6 configurations are gone at Vercel, more than it has"),
        "{}",
        run.err
    );
    assert_eq!(sides.world.all().await, before);
    let named = sides.reconcile(&[&["--fix"][..], &ids].concat()).await;
    assert_eq!(named.status, 0, "{}", named.err);
    let state = async |id| sides.world.items(id).await["#installation"]["state"].clone();
    assert_eq!(state("icfg_6").await, "deleting");
}

/// L1, H5: only an operator can delete a resource that Vercel does not list, and the receipt names the
/// operator. The announcement of this deletion names the system. A resource that is still being provisioned
/// is not deleted.
#[tokio::test]
async fn a_resource_missing_at_vercel_is_deleted_by_an_operator() {
    let sides = Sides::new().await;
    let world = &sides.world;
    sides.install("icfg_1", &["db_1", "db_2", "busy"]).await;
    sides.vercel.has("icfg_1", &["db_2"]);
    let mut busy = world.items("icfg_1").await["resource#busy"].clone();
    busy["status"] = json!("provisioning");
    world.put(busy).await;
    let run = sides.reconcile(&["--fix"]).await;
    assert_eq!(run.status, 2);
    assert!(world.is_live("icfg_1", "db_1").await, "not without being told to");
    let delete = ["--fix", "--delete-missing", "--reason", "ticket 42", "--by", "ivan", "--yes"];
    let run = sides.reconcile(&[&delete[..], &["--grace", "1h"]].concat()).await;
    assert_eq!(run.status, 2, "{}", run.err);
    let busy = "icfg_1: busy is not deleted: it is still being provisioned\n";
    assert!(run.err.contains(busy), "{}", run.err);
    let rows: Vec<_> =
        run.out.lines().map(|row| row.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!((rows[1][2], *rows[1].last().unwrap()), ("db_1", "deleted"), "{}", run.out);
    assert_eq!((rows[2][2], *rows[2].last().unwrap()), ("busy", "left"), "{}", run.out);
    let items = world.items("icfg_1").await;
    let receipt = &items["receipt#resource#db_1"];
    let at = receipt["deletedAt"].as_u64().unwrap();
    assert_eq!(
        *receipt,
        json!({
            "pk": "installation#icfg_1", "sk": "receipt#resource#db_1", "deletedAt": at,
            "deletedBy": { "kind": "system", "accountId": ACCOUNT }, "reason": "ticket 42",
            "teardownAt": at + 3600, "expiresAt": at + 90 * 24 * 3600, "reconciledBy": "ivan",
        })
    );
    let job = &items["work#announce#resource#db_1"];
    assert_eq!((&job["phase"], &job["deletedBy"]), (&"scheduled".into(), &receipt["deletedBy"]));
    assert_eq!(items["#installation"]["resources"], 2);
    assert!(!items.contains_key("resource#db_1") && items.contains_key("resource#db_2"));

    sides.vercel.forget();
    sides.vercel.has("icfg_1", &["db_2", "busy"]);
    assert_eq!(sides.reconcile(&delete).await.status, 0);
}

/// L1: if Vercel answers with `Retry-After`, `reconcile` sends the request again at the time in
/// `Retry-After`. If `Retry-After` is too long, the exit status is 1.
#[tokio::test]
async fn a_throttled_request_is_repeated() {
    let sides = Sides::new().await;
    sides.install("icfg_1", &[]).await;
    for (status, after) in [(429, "0"), (503, "0"), (429, "0")] {
        sides.vercel.later("icfg_1", status, after);
    }
    sides.vercel.configuration("icfg_1", 200, json!({}));
    assert_eq!(sides.reconcile(&[]).await.status, 0);
    assert_eq!(sides.vercel.received().len(), 3 + 2);
    sides.vercel.forget();
    sides.vercel.later("icfg_1", 429, "61");
    assert_eq!(sides.reconcile(&[]).await.status, 1);
    assert_eq!(sides.vercel.received().len(), 5 + 1);
}

/// L1: `reconcile` never has more than eight requests to Vercel under way at the same time.
#[tokio::test]
async fn eight_requests_are_under_way_at_most() {
    let sides = Sides::new().await;
    for n in 1..=20 {
        sides.install(&format!("icfg_{n}"), &[]).await;
    }
    sides.vercel.hold_eight();
    assert_eq!(sides.reconcile(&[]).await.status, 0);
    assert_eq!((sides.vercel.most_at_once(), sides.vercel.received().len()), (8, 40));
}

/// L1: `reconcile` finds each installation once, even if the table has several pages, and prints tables of
/// limited length.
#[tokio::test]
async fn many_installations_are_paged_through() {
    let sides = Sides::new().await;
    // The items together exceed 1 MiB, the most that DynamoDB reads for one page.
    let padding = "x".repeat(4000);
    let item = |n: u32| {
        json!({ "pk": format!("installation#icfg_{n}"), "sk": "#installation", "state": "active",
                "accountId": ACCOUNT, "resources": 0, "padding": padding })
    };
    sides.world.put_all((0..600).map(item).collect()).await;
    let calls = sides.world.dynamodb.calls();
    let run = sides.reconcile(&["--json"]).await;
    assert_eq!((run.status, run.lines().len(), run.out.lines().count()), (2, 600, 600));
    let scans = sides.world.dynamodb.calls() - calls - 1 - 2 * 600;
    assert!((3..=4).contains(&scans), "{scans} pages");
    assert!(run.err.starts_with("100 compared, 100 not agreed\n200 compared"), "{}", run.err);
    let run = sides.reconcile(&[]).await;
    assert_eq!(run.out.lines().filter(|line| line.starts_with("installation ")).count(), 2);
    assert_eq!(run.out.lines().filter(|line| line.starts_with("icfg_")).count(), 600);
}

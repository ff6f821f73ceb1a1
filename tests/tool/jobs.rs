//! Jobs of deletions in `cargo dev`, and the stand-ins that these jobs call.

use aws_sdk_dynamodb::types::AttributeValue::{M, N, S};
use teardown_cli::embedded::local_client;

use super::{Tool, text};
use crate::support::backend::Backend;
use crate::support::world::http_client;

/// B1, J1: `cargo dev` sends the same calls to a backend as the hosts' routes do. The backend also gets calls
/// for an endpoint's path with another method, except for the sweep's path.
#[tokio::test]
async fn other_calls_are_passed_on_to_the_given_backend() {
    let (backend, url) = Backend::start().await;
    let tool = Tool::start(&["--backend", &url]);
    assert!(tool.welcome.contains(&format!("your backend at {url}/")), "{}", tool.welcome);
    let get = async |path: &str| {
        let answer = http_client().get(format!("{}{path}", tool.url)).send().await.unwrap();
        answer.status().as_u16()
    };
    for (path, status) in [("/v1/installations/icfg_open1", 200), ("/v1/products", 404)] {
        assert_eq!(get(path).await, status, "{path}");
    }
    assert_eq!(get("/api/webhook").await, 405);
    let alone = Tool::start(&[]);
    let get = http_client().get(format!("{}/v1/installations/icfg_open1", alone.url));
    assert_eq!(
        get.send().await.unwrap().status(),
        405,
        "the sample backend does not get this call"
    );
    let targets: Vec<_> = backend.received().into_iter().map(|it| it.target).collect();
    assert_eq!(targets, ["/v1/installations/icfg_open1", "/v1/products"]);
}

/// `cargo dev` runs the jobs of an uninstall without a further command: the purge immediately, and the
/// finalization at Vercel when invoices are settled.
#[tokio::test]
async fn settling_invoices_finalizes_an_uninstalled_installation() {
    let tool = Tool::start(&[]);
    let settle = |id: &str| {
        let output = tool.run(&["settle", id]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    assert_eq!(
        settle("icfg_settled1"),
        "the invoices of icfg_settled1 are settled: an uninstall will be final at once\n"
    );
    assert_eq!(tool.delete_as_admin("/v1/installations/icfg_open1", "icfg_open1").await, 200);
    tool.prints("provider  installation.deleted  icfg_open1  msg_");
    let shown = tool.shows("icfg_open1", &["state           purged", "finalize"]);
    assert!(shown.contains("access token    stored"), "{shown}");
    assert_eq!(
        settle("icfg_open1"),
        "the invoices of icfg_open1 are settled: its finalization at Vercel is due now\n"
    );
    tool.prints("vercel    finalize icfg_open1: 204");
    tool.shows("icfg_open1", &["state           finalized", "access token    none", "job: none"]);
    assert_eq!(
        settle("icfg_open1"),
        "the invoices of icfg_open1 are settled: no finalization is outstanding\n"
    );
    let output = tool.run(&["settle", "icfg_unknown"]);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("icfg_unknown is not registered at http://127.0.0.1:"), "{error}");
}

/// Delete Configuration also deletes the configuration at the stand-in for Vercel. With `--call-back`, the
/// stand-in for Vercel calls Delete Installation during that deletion, and both deletions succeed.
#[tokio::test]
async fn a_configuration_is_deleted_on_both_sides() {
    for (arguments, by) in [
        (&[][..], "user user_local (ADMIN) of acc_local"),
        (&["--call-back"], "system of acc_local"),
    ] {
        let tool = Tool::start(arguments);
        let path = "/v1/integrations/configuration/icfg_settled1?teamId=team_local";
        assert_eq!(tool.delete_as_admin(path, "icfg_settled1").await, 204);
        if !arguments.is_empty() {
            tool.prints("vercel    Delete Installation of icfg_settled1 answered 200");
        }
        tool.prints("vercel    delete the configuration icfg_settled1: 204");
        let shown = tool.shows("icfg_settled1", &["job: none", "configuration deleted"]);
        let deleted = shown.lines().find(|line| line.starts_with("deleted")).unwrap();
        assert!(deleted.ends_with(&format!("by {by}")), "{shown}");
        let receipts: Vec<_> = shown
            .lines()
            .skip_while(|line| !line.starts_with("receipt"))
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let expected = ["configuration", "installation"];
        assert_eq!(receipts, expected[usize::from(arguments.is_empty())..], "{shown}");
        assert_eq!(tool.delete_as_admin(path, "icfg_settled1").await, 204);
    }
}

/// `teardown parked` lists parked jobs. With `--retry`, `teardown parked` also makes parked jobs due.
/// `teardown show` says when the lease of a job ends.
#[tokio::test]
async fn parked_jobs_are_listed_and_tried_again() {
    let tool = Tool::start(&[]);
    assert_eq!(text(&tool.run(&["parked"]).stdout), "parked job: none\n");
    let client = local_client(&tool.url).await.unwrap();
    let s = |text: &str| S(text.to_owned());
    let n = |number: u64| N(number.to_string());
    let by = [("kind", "system"), ("accountId", "acc_1")];
    let by = M(by.into_iter().map(|(name, value)| (name.to_owned(), s(value))).collect());
    let announcement = |resource: &str, shard: &str| {
        client
            .put_item()
            .table_name("teardown")
            .item("pk", s("installation#icfg_parked"))
            .item("sk", s(&format!("work#announce#resource#{resource}")))
            .item("kind", s("announce"))
            .item("installationId", s("icfg_parked"))
            .item("dueShard", s(shard))
            .item("attempts", n(90))
            .item("fence", n(90))
            .item("deletedAt", n(1_763_769_600))
            .item("deletedBy", by.clone())
            .item("lastError", s("the provider: answered 500"))
    };
    announcement("db_1", "parked").item("dueAt", n(1_764_028_800)).send().await.unwrap();
    let end = n(4_102_444_800);
    let leased = announcement("db_2", "0").item("dueAt", end.clone()).item("leaseUntil", end);
    leased.send().await.unwrap();

    let shown = tool.shows("icfg_parked", &["last error"]);
    let row = |resource: &str| {
        let row =
            shown.lines().find(|line| line.starts_with(&format!("announce#resource#{resource}")));
        row.unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    let error = "the provider: answered 500";
    assert_eq!(row("db_1"), ["announce#resource#db_1", "announce", "parked", "90", "no", error]);
    assert_eq!(row("db_2")[2..5], ["2100-01-01T00:00:00Z", "90", "until 2100-01-01T00:00:00Z"]);

    let listed = tool.run(&["parked"]);
    let expected = "\
installation  parked job              since                 attempts  last error
icfg_parked   announce#resource#db_1  2025-11-25T00:00:00Z  90        the provider: answered 500
";
    assert_eq!(text(&listed.stdout), expected);
    let listed = tool.run(&["parked", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let parked = serde_json::json!({
        "installation": "icfg_parked", "job": "announce#resource#db_1",
        "parkedAt": "2025-11-25T00:00:00Z", "attempts": 90, "lastError": error,
    });
    assert_eq!(object, parked);
    let retried = tool.run(&["parked", "--retry", "--reason", "it is up again"]);
    assert_eq!(text(&retried.stdout), format!("{expected}due again: 1\n"));
    tool.prints(
        "provider  resource.deleted  icfg_parked  db_1  msg_7d79e38f6d1dc094a3e87aa968bfd6ab",
    );
    assert_eq!(text(&tool.run(&["parked"]).stdout), "parked job: none\n");
}

/// The stand-in for the provider accepts only signed events, and the stand-in for Vercel accepts only calls
/// with a token.
#[tokio::test]
async fn the_stand_ins_refuse_strangers() {
    let tool = Tool::start(&[]);
    let post = |path: &str| http_client().post(format!("{}{path}", tool.url));
    let forged = post("/provider")
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", "1763769600")
        .header("webhook-signature", "v1,aaaa")
        .body("{}");
    for (request, status) in [
        (forged, 401),
        (post("/provider").body("{}"), 401),
        (post("/vercel/v1/installations/icfg_1/billing/finalize"), 401),
        (post("/vercel/v1/installations/icfg_1/billing/finalize").bearer_auth("t"), 204),
        (post("/vercel/v1/nothing").bearer_auth("t"), 404),
    ] {
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
    }
}

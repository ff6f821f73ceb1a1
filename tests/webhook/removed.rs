//! The removal of a configuration at Vercel (K3), and webhooks of removals that are repeated or out of order
//! (K4).

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{FutureExt as _, join_all};
use serde_json::{Value, json};
use teardown::Endpoint;
use teardown::limits::Limits;

use super::{event, removed};
use crate::support::dynamodb::Fault;
use crate::support::log::Log;
use crate::support::world::{
    ACCOUNT, CLIENT_SECRET, CONFIGURATION, INSTALLATION, World, limits, signature, system,
};

const UNINSTALL: &str = r#"{"reason":"removed at Vercel"}"#;

/// K3, D1, D2, D6: the webhook of a removal writes the same items as a Delete Installation that the system
/// sends with the same reason and without a key.
#[tokio::test]
async fn a_removal_is_an_uninstall_by_the_system() {
    for (settled, calls) in [(true, 2), (false, 2)] {
        let tables = [true, false].map(async |by_webhook| {
            let world = World::announcing_with(&[("GRACE_PERIOD", "1d")]).await;
            world.install_whole("icfg_1", &["db_1", "db_2"]).await;
            if !settled {
                world.reopen("icfg_1").await;
            }
            if by_webhook {
                let reply = world.webhook(&removed()).send().await;
                assert_eq!((reply.whole(), reply.calls), ((200, Value::Null), calls));
            } else {
                let token = world.token(&system("icfg_1"));
                let reply = world.delete_as(INSTALLATION, &token).body(UNINSTALL).send().await;
                assert_eq!(reply.whole(), (200, json!({ "finalized": settled })));
            }
            let before = timeless(&world, world.all().await);
            world.sweep_all().await;
            (before, timeless(&world, world.all().await), world.provider.ids())
        });
        let [by_webhook, by_request] = tables;
        let (by_webhook, by_request) = tokio::join!(by_webhook, by_request);
        let receipt = &by_webhook.0["installation#icfg_1"]["receipt#installation"];
        assert_eq!(receipt["deletedBy"], json!({ "kind": "system", "accountId": ACCOUNT }));
        assert_eq!(receipt["reason"], "removed at Vercel");
        assert_eq!(by_webhook.0, by_request.0);
        assert_eq!(by_webhook.1, by_request.1);
        assert_eq!(
            by_webhook.2.keys().collect::<Vec<_>>(),
            by_request.2.keys().collect::<Vec<_>>()
        );
    }
}

type Table = BTreeMap<String, BTreeMap<String, Value>>;

/// The table, with times that count from the clock of the test's world.
fn timeless(world: &World, mut table: Table) -> Table {
    let now = world.clock.now().as_secs();
    for item in table.values_mut().flat_map(BTreeMap::values_mut) {
        for (name, value) in item.as_object_mut().unwrap() {
            let of_seconds = value.as_u64().filter(|_| name != "fence");
            if let Some(time) = of_seconds.filter(|time| *time > 1_000_000_000) {
                *value = json!(i128::from(time) - i128::from(now));
            } else if name == "fence" {
                *value = json!("from the clock");
            }
        }
    }
    table
}

/// K3, D7: the webhook of a removal is never refused, because Vercel has removed the configuration already.
/// Open invoices, live resources and resources that are being provisioned do not stop a removal.
#[tokio::test]
async fn a_removal_is_never_refused() {
    let world = World::announcing_with(&[("UNINSTALL_WITH_OPEN_INVOICES", "refuse")]).await;
    world.install("icfg_1", &["db_1"]).await;
    let busy = json!({ "installationId": "icfg_1", "id": "db_2", "status": "provisioning" });
    world.register(json!({ "resource": busy })).await;
    assert_eq!(world.delete(INSTALLATION).send().await.error(), (409, "invoices_open"));
    assert_eq!(world.webhook(&removed()).send().await.status, 200);
    world.sweep_all().await;
    let announced = [
        r#""installation.deleted" "icfg_1" null"#,
        r#""resource.deleted" "icfg_1" "db_1""#,
        r#""resource.deleted" "icfg_1" "db_2""#,
    ];
    assert_eq!(world.provider.ids().into_keys().collect::<Vec<_>>(), announced);
}

/// K3, D5: the removal of an installation that was never known leaves a tombstone, a receipt and an
/// announcement, and a warning is logged. The tombstone's account is the team that Vercel names. If Vercel
/// names no team, the account is the configuration's id.
#[tokio::test]
async fn a_removal_of_the_unknown_is_recorded() {
    for (team, account) in [
        (json!({ "id": "team_1" }), "team_1"),
        (json!({ "id": null }), "icfg_1"),
        (Value::Null, "icfg_1"),
    ] {
        let world = World::announcing().await;
        let payload = json!({
            "team": team, "user": { "id": null },
            "configuration": { "id": "icfg_1", "projectSelection": "all", "projects": [] },
        });
        let body = event("integration-configuration.removed", 1, &payload);
        let request = http::Request::post("/api/webhook")
            .header("x-vercel-signature", signature(CLIENT_SECRET, &body))
            .body(body.clone());
        let (process, log) = (world.process().await, Log::start());
        let answer = process.handle(Endpoint::Webhook, request.unwrap()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(log.take("WARN"), ["deleted an installation that was never known"]);
        let items = world.items("icfg_1").await;
        let by = json!({ "kind": "system", "accountId": account });
        for item in ["#installation", "receipt#installation", "work#announce#installation"] {
            assert_eq!(items[item]["deletedBy"], by, "{item}");
        }
        assert_eq!(items["#installation"]["accountId"], account);
        let late = json!({ "installation": { "id": "icfg_1", "accountId": ACCOUNT } });
        assert!(world.try_register(late).await.is_err(), "it is never revived");
        let reply = world.webhook(&body).send().await;
        assert_eq!((reply.status, reply.calls), (200, 1));
        assert_eq!(world.items("icfg_1").await, items);
    }
}

/// K3, K4, F4: a removal and a Delete Installation leave one receipt of the uninstall, and one announcement
/// of the installation and of each resource. The removal and the Delete Installation may come in any order,
/// at the same time and repeatedly.
#[tokio::test]
async fn a_removal_and_an_uninstall_converge() {
    for order in ["wu", "uw", "wuwu", "uwwu", "at once"] {
        let world = World::announcing().await;
        world.install_whole("icfg_1", &["db_1"]).await;
        let body = removed();
        let webhook = || world.webhook(&body).send().map(|reply| reply.status).boxed_local();
        let uninstall =
            || world.delete(INSTALLATION).send().map(|reply| reply.status).boxed_local();
        if order == "at once" {
            let all = (0..8).flat_map(|_| [webhook(), uninstall()]);
            assert_eq!(join_all(all).await, [200; 16]);
        }
        let mut receipt = None;
        for what in order.chars().filter(|what| "wu".contains(*what)) {
            assert_eq!(if what == 'w' { webhook() } else { uninstall() }.await, 200);
            let now = world.items("icfg_1").await["receipt#installation"].clone();
            assert_eq!(*receipt.get_or_insert(now.clone()), now, "the first one stands");
        }
        world.sweep_all().await;
        assert_eq!(webhook().await, 200);
        world.sweep_all().await;
        let ids = world.provider.ids();
        let announced: Vec<_> = ids.iter().map(|(what, ids)| (what.as_str(), ids.len())).collect();
        let expected = [
            (r#""installation.deleted" "icfg_1" null"#, 1),
            (r#""resource.deleted" "icfg_1" "db_1""#, 1),
        ];
        assert_eq!(announced, expected, "{order}");
        let keys = world.sort_keys("icfg_1").await;
        assert_eq!(keys, ["#installation", "receipt#installation"], "{order}");
    }
}

/// K3, E5: after teardown's own Delete Configuration, Vercel's webhook of the removal changes nothing. If the
/// webhook of the removal comes during a Delete Configuration, both succeed.
#[tokio::test]
async fn a_removal_after_our_own_deletion_does_nothing() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 204);
    let before = world.all().await;
    let reply = world.webhook(&removed()).send().await;
    assert_eq!((reply.status, reply.calls), (200, 1));
    assert_eq!(world.all().await, before);

    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let body = removed();
    let (deleted, told) = tokio::join!(world.delete(CONFIGURATION).send(), async {
        crate::support::waiting::until(|| world.vercel.is_gone("icfg_1")).await;
        world.webhook(&body).send().await
    });
    assert_eq!((deleted.status, told.status), (204, 200));
    world.sweep_all().await;
    let ids = world.provider.ids();
    assert_eq!(ids.values().map(std::collections::BTreeSet::len).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(world.items("icfg_1").await["#installation"]["state"], "finalized");
}

/// K3, F6: if DynamoDB is out of reach, the webhook is answered 503, so that Vercel sends it again. When
/// Vercel sends the webhook again, it takes effect.
#[tokio::test]
async fn a_webhook_is_503_if_dynamodb_is_out_of_reach() {
    let moved = event(
        "integration-configuration.transferred",
        1,
        &json!({ "configuration": { "id": "icfg_1" }, "newAccountId": "acc_2" }),
    );
    for body in [removed(), moved] {
        let limits = Limits { dynamodb: Duration::from_millis(200), ..limits() };
        let world = World::announcing_within(limits).await;
        world.install("icfg_1", &["db_1"]).await;
        let before = world.all().await;
        world.dynamodb.lasting(Fault::Throttle);
        let reply = world.webhook(&body).send().await;
        assert_eq!(reply.error(), (503, "store_unavailable"));
        assert_eq!(reply.headers["retry-after"], "2");
        assert_eq!(world.all().await, before);
        world.dynamodb.heal();
        assert_eq!(world.webhook(&body).send().await.status, 200);
        assert_ne!(world.all().await, before);
    }
}

/// K3, G1: if the host continues to run the process after an answer, the due jobs run after the webhook's
/// answer, as they do after Delete Installation's answer.
#[tokio::test]
async fn a_removal_is_followed_up() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let body = removed();
    let request = http::Request::post("/api/webhook")
        .header("x-vercel-signature", signature(CLIENT_SECRET, &body))
        .body(body.clone());
    let app = world.process().await;
    let (answer, follow_up) = app.handle_and_follow_up(Endpoint::Webhook, request.unwrap()).await;
    assert_eq!((answer.status().as_u16(), world.provider.received().len()), (200, 0));
    follow_up.unwrap().run().await;
    assert_eq!(world.provider.received().len(), 1, "the resource's is the sweep's");
    let keys = world.sort_keys("icfg_1").await;
    assert_eq!(keys, ["#installation", "receipt#installation", "work#announce#resource#db_1"]);
}

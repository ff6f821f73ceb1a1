//! The purge of deleted installations (G2), and the states of these installations.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use teardown::app::HostTime;

use crate::support::outside::Answer;
use crate::support::steps::Moment;
use crate::support::world::{INSTALLATION, World, id};

/// D6, G2, G3: an installation with settled invoices is finalized once it is purged. The tombstone and the
/// receipt stay for `RECEIPT_RETENTION`, counted from the deletion. Each purged resource is announced like a
/// resource that was deleted alone.
#[tokio::test]
async fn a_settled_installation_is_purged() {
    let world = World::announcing_with(&[("RECEIPT_RETENTION", "36h")]).await;
    world.install_whole("icfg_1", &["db_1", "db_2"]).await;
    assert_eq!(world.delete(&format!("{INSTALLATION}/resources/db_1")).send().await.status, 204);
    let reason = json!({ "reason": "moved away" });
    let reply = world.delete(INSTALLATION).json(&reason).send().await;
    assert_eq!(reply.whole(), (200, json!({ "finalized": true })));
    let at = world.items("icfg_1").await["#installation"]["deletedAt"].as_u64().unwrap();
    world.clock.advance(Duration::from_hours(1));

    world.sweep_all().await;

    let items = world.items("icfg_1").await;
    let keys: Vec<_> = items.keys().collect();
    assert_eq!(keys, ["#installation", "receipt#installation", "receipt#resource#db_1"]);
    let tombstone = &items["#installation"];
    assert_eq!((&tombstone["state"], &tombstone["finalized"]), (&json!("finalized"), &json!(true)));
    for item in [tombstone, &items["receipt#installation"]] {
        assert_eq!(item["expiresAt"], at + 36 * 3600);
    }
    let received = world.provider.received();
    assert_eq!(received.len(), 3, "db_1 by itself, db_2 and the installation");
    for event in &received {
        let data = &event.body["data"];
        let by_itself = data["resourceId"] == "db_1";
        assert_eq!(data.get("reason").is_none(), by_itself, "{data}");
        assert_eq!(data["by"]["userId"], "user_1");
    }
    assert!(world.vercel.received().is_empty(), "after `finalized: true` there is no call");
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": true }))
    );
    assert_eq!(world.delete(&format!("{INSTALLATION}/resources/db_2")).send().await.status, 204);
    assert_eq!(world.items("icfg_1").await, items);
}

/// G2, G3, D6: the state of an uninstalled installation with open invoices is first `deleting`, then
/// `purged`, then `finalized`. Before the installation is finalized, the token stays, and the tombstone has
/// no expiry.
#[tokio::test]
async fn an_open_installation_is_purged_before_it_is_finalized() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    world.reopen("icfg_1").await;
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": false }))
    );
    world.provider.lasting(Answer::Status(500));
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    let keys: Vec<_> = items.keys().collect();
    assert_eq!(
        keys,
        [
            "#installation",
            "#token",
            "receipt#installation",
            "work#announce#installation",
            "work#announce#resource#db_1",
            "work#finalize",
        ],
        "it does not wait for the provider"
    );
    let tombstone = &items["#installation"];
    assert_eq!((&tombstone["state"], tombstone.get("expiresAt")), (&json!("purged"), None));

    world.store.settle_invoices(&id("icfg_1")).await.unwrap();
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("#token") && !items.contains_key("work#finalize"));
    assert_eq!(items["#installation"]["state"], "finalized");
    assert!(items["#installation"]["expiresAt"].is_u64());
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": true }))
    );
}

/// G3: an installation may be finalized before its purge ends.
#[tokio::test]
async fn an_installation_may_be_finalized_before_it_is_purged() {
    let world = World::new().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.remove("installation#icfg_1", "work#purge").await;
    world.clock.advance(Duration::from_hours(23));
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    let tombstone = &items["#installation"];
    assert_eq!((&tombstone["state"], &tombstone["finalized"]), (&json!("deleting"), &json!(true)));
    assert!(tombstone.get("expiresAt").is_none(), "what hangs on it would be live without it");
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "work#purge", "kind": "purge", "dueShard": "3",
            "dueAt": 1, "attempts": 0, "fence": 0, "installationId": "icfg_1",
        }))
        .await;
    world.sweep_all().await;
    let keys = world.sort_keys("icfg_1").await;
    assert_eq!(keys, ["#installation", "receipt#installation"]);
    assert_eq!(world.items("icfg_1").await["#installation"]["state"], "finalized");
}

/// D5, G2: an installation that was never known is purged and finalized, too, without a call to Vercel.
#[tokio::test]
async fn an_unknown_installation_is_finalized_without_a_call() {
    let world = World::new().await;
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": false }))
    );
    world.sweep_all().await;
    assert_eq!(world.items("icfg_1").await["#installation"]["state"], "purged");
    world.clock.advance(Duration::from_hours(22));
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    assert_eq!(items.keys().collect::<Vec<_>>(), ["#installation", "receipt#installation"]);
    assert_eq!(items["#installation"]["state"], "finalized");
    assert!(world.vercel.received().is_empty());
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": true }))
    );
}

/// F5, G2, G4: 10,000 resources are purged by sweeps that are each killed after 100 calls. Each sweep
/// continues the purge where the sweep before it was killed.
#[tokio::test]
async fn ten_thousand_resources_are_purged_by_repeated_sweeps() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    let resource =
        |n: usize| json!({ "pk": "installation#icfg_1", "sk": format!("resource#db_{n}") });
    world.put_all((0..10_000).map(resource).collect()).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let (mut killed, mut left) = (0, 10_000);
    loop {
        world.steps.kill_at(100, Moment::Before);
        let process = world.process().await;
        tokio::select! {
            response = process.sweep(HostTime::default()) => {
                assert_eq!(response.status(), 200);
                break;
            }
            () = world.steps.killed() => {}
        }
        let resources = world.sort_keys("icfg_1").await;
        let now = resources.iter().filter(|key| key.starts_with("resource#")).count();
        assert!(now < left, "each sweep gets on: {now} of {left}");
        (killed, left) = (killed + 1, now);
        // These 3 minutes are longer than any lease.
        world.clock.advance(Duration::from_mins(3));
    }
    assert!(killed > 3, "{killed}");
    world.steps.begin();
    let items = world.items("icfg_1").await;
    assert_eq!(
        items.keys().collect::<Vec<_>>(),
        ["#installation", "receipt#installation", "work#finalize"]
    );
    assert_eq!(items["#installation"]["state"], "purged");
}

/// G1, G2: if an uninstall purges more resources than one transaction can hold, each resource is announced
/// once, with its own `webhook-id`.
#[tokio::test]
async fn every_purged_resource_is_announced_once() {
    let world = World::announcing().await;
    world.install("icfg_1", &[]).await;
    let resource =
        |n: usize| json!({ "pk": "installation#icfg_1", "sk": format!("resource#db_{n}") });
    world.put_all((0..230).map(resource).collect()).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let (left, right) = tokio::join!(world.sweep(), world.sweep());
    assert!(left[1] + right[1] > 0);
    world.sweep_all().await;
    let ids = world.provider.ids();
    assert_eq!(ids.len(), 231);
    let distinct: BTreeSet<_> = ids.values().flatten().collect();
    assert_eq!((distinct.len(), world.provider.received().len()), (231, 231));
    let keys = ["#installation", "receipt#installation", "work#finalize"];
    assert_eq!(world.sort_keys("icfg_1").await, keys);
}

//! A Provision whose result was not recorded: the sweep compares the installation with Vercel (J4).

use std::time::Duration;

use serde_json::{Value, json};

use super::{intents, provision, upsert};
use crate::support::backend::{Answer, Backend};
use crate::support::gate::Gate;
use crate::support::outside;
use crate::support::world::{INSTALLATION, RESOURCE, World};

/// An installation with an intent that is due: the backend has made `db_1`, but its answer was lost.
async fn lost() -> (World, Backend) {
    let (world, backend) = Backend::behind().await;
    assert_eq!(upsert(&world).send().await.status, 200);
    backend.script([Answer::EffectThenReset]);
    assert_eq!(provision(&world, "k1").send().await.status, 502);
    world.clock.advance(Duration::from_mins(15));
    (world, backend)
}

/// Sets the resources that Vercel lists for the installation.
fn lists(world: &World, resources: &[&str]) {
    let resources: Vec<_> = resources.iter().map(|id| (*id).to_owned()).collect();
    world.vercel.lists("icfg_1", &resources);
}

async fn keys(world: &World, prefix: &str) -> Vec<String> {
    let keys = world.sort_keys("icfg_1").await;
    keys.into_iter().filter(|key| key.starts_with(prefix)).collect()
}

/// J4: 15 minutes after the last attempt of a Provision, the sweep registers the resources that Vercel lists,
/// and ends the intent.
#[tokio::test]
async fn a_resource_that_vercel_lists_is_registered() {
    let (world, backend) = lost().await;
    backend.script([Answer::with_body(503, "{}")]);
    assert_eq!(provision(&world, "k1").send().await.status, 503);
    assert_eq!(world.sweep().await, [0; 4], "the last attempt is the one that counts");
    world.clock.advance(Duration::from_mins(15));
    lists(&world, &["db_1", "db_2"]);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert_eq!(world.vercel.lines(), ["GET /v1/installations/icfg_1/resources"]);
    assert_eq!(world.vercel.received()[0].authorization, "Bearer t0ken-of-icfg_1");
    assert_eq!(keys(&world, "resource#").await, ["resource#db_1", "resource#db_2"]);
    let installation = world.item("installation#icfg_1", "#installation").await.unwrap();
    assert_eq!(installation["resources"], 2);
    assert_eq!(intents(&world).await, [""; 0]);
    assert_eq!(backend.received().len(), 3, "it is not asked again");
}

/// J4: the sweep does not register a resource if Vercel does not list it, or if it has a receipt in the
/// table. The sweep ends the intent, even if it registers nothing.
#[tokio::test]
async fn a_resource_that_vercel_does_not_list_is_not_registered() {
    for (listed, deleted) in [(vec![], false), (vec!["db_1"], true)] {
        let (world, _backend) = lost().await;
        if deleted {
            assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        }
        lists(&world, &listed);
        world.sweep_all().await;
        assert_eq!(keys(&world, "resource#").await, [""; 0], "{listed:?}");
        assert_eq!(intents(&world).await, [""; 0], "{listed:?}");
    }
    // Vercel does not know the installation.
    let (world, _backend) = lost().await;
    world.vercel.script([outside::Answer::Status(404)]);
    world.sweep_all().await;
    assert_eq!(intents(&world).await, [""; 0]);
}

/// J4, G1: while Vercel does not answer with the installation's resources, the sweep retries the intent.
/// After 3 days of failures, the intent is parked, and it is never dropped.
#[tokio::test]
async fn an_intent_that_cannot_be_reconciled_is_parked() {
    for answer in [403, 401, 500, 429] {
        let (world, _backend) = lost().await;
        world.vercel.lasting(outside::Answer::Status(answer));
        assert_eq!(world.sweep().await, [1, 0, 1, 0], "{answer}");
        world.clock.advance(Duration::from_hours(73));
        assert_eq!(world.sweep().await, [1, 0, 0, 1], "{answer}");
        let [intent] = &intents(&world).await[..] else { panic!("it is dropped") };
        let item = world.item("installation#icfg_1", intent).await.unwrap();
        assert_eq!(item["dueShard"], "parked");
        // A Provision with the same key takes over the intent, even if the intent is parked.
        world.vercel.forget_script();
        world.vercel.lasting(outside::Answer::Honest);
        assert_eq!(provision(&world, "k1").send().await.status, 200);
        assert_eq!(keys(&world, "resource#").await, ["resource#db_1"]);
    }
}

/// J4: if a Provision with the same key comes while a sweep reconciles the intent, the Provision is passed
/// on, and the sweep does not end the intent.
#[tokio::test]
async fn a_sweep_does_not_end_the_intent_of_a_later_attempt() {
    let (world, backend) = lost().await;
    let at_vercel = Gate::default();
    let nothing = outside::Answer::Body(200, r#"{"resources":[]}"#);
    world.vercel.script([outside::Answer::Held(at_vercel.clone(), Box::new(nothing))]);
    let (report, ()) = tokio::join!(world.sweep(), async {
        at_vercel.reached().await;
        backend.script([Answer::with_body(500, "{}")]);
        assert_eq!(provision(&world, "k1").send().await.status, 500);
        at_vercel.open();
    });
    assert_eq!(report[..2], [1, 0]);
    let [intent] = &intents(&world).await[..] else { panic!("the attempt's intent is gone") };
    let item = world.item("installation#icfg_1", intent).await.unwrap();
    assert_eq!(item["dueAt"], (world.clock.now() + Duration::from_mins(15)).as_secs());
    assert_eq!(item["openAttempts"].as_array().unwrap().len(), 2);
}

/// J4: if the installation is deleted, the sweep announces each resource that Vercel still lists, unless the
/// resource has its own receipt.
#[tokio::test]
async fn in_a_deleted_installation_the_resource_is_announced() {
    let (world, _backend) = lost().await;
    world
        .register(json!({ "installation": {
        "id": "icfg_1", "accountId": "acc_test", "billing": "open",
    } }))
        .await;
    world.install("icfg_1", &["db_2"]).await;
    let deleted = format!("{INSTALLATION}/resources/db_2");
    assert_eq!(world.delete(&deleted).send().await.status, 204);
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    lists(&world, &["db_1", "db_2"]);
    world.sweep_all().await;
    assert_eq!(intents(&world).await, [""; 0]);
    let announced: Vec<_> = world.provider.received().into_iter().map(|event| event.body).collect();
    let of = |id: &str| {
        let named = announced.iter().filter(|body| body["data"]["resourceId"] == id);
        named.map(|body| body["data"]["deletedAt"].clone()).collect::<Vec<Value>>()
    };
    let uninstall = announced.iter().find(|body| body["type"] == "installation.deleted").unwrap();
    assert_eq!(of("db_1"), [uninstall["data"]["deletedAt"].clone()]);
    assert_eq!(of("db_2").len(), 1);
}

/// J4, L3: if an uninstall with settled invoices has erased the token, Vercel cannot be called any more, and
/// the intent is parked immediately.
#[tokio::test]
async fn an_intent_without_a_token_is_parked_at_once() {
    let (world, _backend) = lost().await;
    assert_eq!(world.delete(INSTALLATION).send().await.body["finalized"], true);
    world.sweep_all().await;
    let [intent] = &intents(&world).await[..] else { panic!("it is dropped") };
    let item = world.item("installation#icfg_1", intent).await.unwrap();
    assert_eq!(item["dueShard"], "parked");
    assert!(world.vercel.lines().is_empty());
}

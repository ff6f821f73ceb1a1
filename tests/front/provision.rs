//! Provision Resource: the front writes an intent, calls the backend, and commits (J4).

use std::time::Duration;

use serde_json::{Value, json};

use super::{RESOURCES, call, call_as, intents, provision, upsert};
use crate::support::backend::{Answer, Backend};
use crate::support::dynamodb::Fault;
use crate::support::gate::Gate;
use crate::support::waiting::within;
use crate::support::world::{INSTALLATION, RESOURCE, World, user};

async fn resources(world: &World) -> (Value, Vec<String>) {
    let items = world.items("icfg_1").await;
    let names = items.keys().filter_map(|key| key.strip_prefix("resource#"));
    (items["#installation"]["resources"].clone(), names.map(str::to_owned).collect())
}

/// J4: a Provision takes two calls to DynamoDB. The first call writes the intent, before the backend is
/// called. The second call to DynamoDB registers the resource and ends the intent.
#[tokio::test]
async fn a_provision_registers_what_the_backend_made() {
    let (world, backend) = Backend::behind().await;
    upsert(&world).send().await;
    let gate = Gate::default();
    backend.script([Answer::Held(gate.clone(), Box::new(Answer::Honest))]);
    let sent = provision(&world, "k1").send();
    let (reply, ()) = tokio::join!(sent, async {
        gate.reached().await;
        let [intent] = &intents(&world).await[..] else { panic!("one intent") };
        let item = world.item("installation#icfg_1", intent).await.unwrap();
        assert_eq!(
            (&item["kind"], &item["installationId"]),
            (&json!("provision"), &json!("icfg_1"))
        );
        let due = (world.clock.now() + Duration::from_mins(15)).as_secs();
        assert_eq!(item["dueAt"], due);
        assert_eq!(resources(&world).await, (json!(0), vec![]));
        gate.open();
    });
    assert_eq!((reply.status, reply.calls), (200, 2));
    assert_eq!(reply.body["secrets"][0]["value"], "s3cret");
    assert_eq!(resources(&world).await, (json!(1), vec!["db_1".to_owned()]));
    let item = world.item("installation#icfg_1", "resource#db_1").await.unwrap();
    assert_eq!((&item["name"], &item["productId"]), (&json!("my db"), &json!("prod_1")));
    assert_eq!(intents(&world).await, [""; 0]);
    // A registered resource is deleted like any other resource.
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(resources(&world).await, (json!(0), vec![]));
}

/// J2, J4: a Provision's intent registers its installation, if the installation is not known. The
/// installation stays registered, even if the backend refuses the Provision.
#[tokio::test]
async fn a_provision_registers_an_unknown_installation() {
    let (world, backend) = Backend::behind().await;
    backend.script([Answer::with_body(400, "{}")]);
    assert_eq!(provision(&world, "k1").send().await.status, 400);
    assert_eq!(world.sort_keys("icfg_1").await, ["#installation"]);
    let reply = provision(&world, "k2").send().await;
    assert_eq!((reply.status, reply.calls), (200, 2));
    assert_eq!(resources(&world).await, (json!(1), vec!["db_1".to_owned()]));
}

/// J4: if the backend answers with a 4xx, the Provision's intent ends. The intent stays if the backend gives
/// no answer, or answers 3xx, 5xx, or 2xx without a usable `id`. If the intent stays, the next Provision with
/// the same key takes it over.
#[tokio::test]
async fn an_intent_stays_without_a_definite_answer() {
    let (world, backend) = Backend::behind().await;
    upsert(&world).send().await;
    for status in [400, 403, 409, 422, 429] {
        backend.script([Answer::with_body(status, "{}")]);
        let reply = provision(&world, "k1").send().await;
        assert_eq!((reply.status, reply.calls), (status, 2));
        assert_eq!(intents(&world).await, [""; 0], "{status}");
    }
    for answer in [
        Answer::with_body(302, ""),
        Answer::with_body(500, "{}"),
        Answer::Reset,
        Answer::EffectThenReset,
        Answer::with_body(200, r#"{"id":"a/b"}"#),
        Answer::with_body(200, ""),
    ] {
        backend.script([answer.clone()]);
        let status = provision(&world, "k1").send().await.status;
        let passed = match &answer {
            Answer::Whole(status, ..) => *status,
            _ => 502,
        };
        assert_eq!(status, passed, "{answer:?}");
        assert_eq!(intents(&world).await.len(), 1, "{answer:?}");
    }
    // The backend's refusal of one attempt does not end the other attempts.
    backend.script([Answer::with_body(409, "{}")]);
    assert_eq!(provision(&world, "k1").send().await.status, 409);
    assert_eq!(intents(&world).await.len(), 1);
    // The success of one attempt does not end the other attempts.
    assert_eq!(provision(&world, "k1").send().await.status, 200);
    assert_eq!(resources(&world).await, (json!(1), vec!["db_1".to_owned()]));
    assert_eq!(intents(&world).await.len(), 1, "others may have made something else");
    // Each Provision without a key has its own intent.
    for _ in 0..2 {
        backend.script([Answer::with_body(500, "{}")]);
        call(&world, "POST", RESOURCES).json(&json!({})).send().await;
    }
    assert_eq!(intents(&world).await.len(), 3);
}

/// J4: if the backend refuses two attempts at one Provision at the same time, their intent ends, whichever of
/// the two attempts ends first.
#[tokio::test]
async fn attempts_that_are_refused_together_leave_no_intent() {
    let (world, backend) = Backend::behind().await;
    upsert(&world).send().await;
    let gates = [(); 4].map(|()| Gate::default());
    let [first, second, sole, shared] = &gates;
    let refused = |gate: &Gate| Answer::Held(gate.clone(), Box::new(Answer::with_body(409, "{}")));
    backend.script([refused(first), refused(second)]);
    let one = async { provision(&world, "k1").send().await.status };
    let other = async {
        first.reached().await;
        let (status, ()) = tokio::join!(provision(&world, "k1").send(), async {
            second.reached().await;
            // The first attempt learns that it is not the only attempt, and waits before its next write.
            world.dynamodb.hold("TransactWriteItems", sole.clone());
            first.open();
            sole.reached().await;
            world.dynamodb.hold("TransactWriteItems", shared.clone());
            sole.open();
            shared.reached().await;
            second.open();
        });
        shared.open();
        status.status
    };
    assert_eq!(within(async { tokio::join!(one, other) }).await, (409, 409));
    assert_eq!(intents(&world).await, [""; 0]);
}

/// J4: an attempt at a Provision that is delayed for 15 minutes does not call the backend, because a sweep
/// may have ended its intent.
#[tokio::test]
async fn an_attempt_stopped_for_too_long_does_not_call_the_backend() {
    let (world, backend) = Backend::behind().await;
    upsert(&world).send().await;
    let gate = Gate::default();
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let sent = provision(&world, "k1").send();
    let (reply, ()) = tokio::join!(sent, async {
        gate.reached().await;
        world.clock.advance(Duration::from_mins(15));
        gate.open();
    });
    assert_eq!(reply.error(), (502, "backend_unavailable"));
    assert_eq!((backend.made(), intents(&world).await.len()), (vec![], 1));
}

/// J4: if a Provision is repeated and the backend repeats its answer, the resource is registered only once.
#[tokio::test]
async fn a_retry_is_passed_on_to_the_backend() {
    let (world, backend) = Backend::behind().await;
    upsert(&world).send().await;
    for _ in 0..2 {
        assert_eq!(provision(&world, "k1").send().await.body["id"], "db_1");
        assert_eq!(resources(&world).await, (json!(1), vec!["db_1".to_owned()]));
        assert_eq!(intents(&world).await, [""; 0]);
    }
    // After the resource is deleted, it has a receipt, and a repeated Provision does not register it again.
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(provision(&world, "k1").send().await.status, 200);
    assert_eq!(resources(&world).await, (json!(0), vec![]));
    assert_eq!((intents(&world).await, backend.received().len()), (vec![], 4));
}

/// J4: a Provision for a deleted installation is answered 409. A Provision for a deleted installation writes
/// nothing and does not call the backend.
#[tokio::test]
async fn nothing_is_provisioned_in_a_deleted_installation() {
    let (world, backend) = Backend::behind().await;
    world.install("icfg_1", &[]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let before = world.items("icfg_1").await;
    let reply = provision(&world, "k1").send().await;
    assert_eq!(reply.error(), (409, "installation_deleted"));
    assert!(reply.body["error"]["user"]["message"].is_string());
    assert!(backend.received().is_empty());
    assert_eq!(world.items("icfg_1").await, before);
}

/// J4, G1: if the backend makes a resource while its installation is uninstalled, the resource's deletion is
/// announced once, as part of that uninstall.
#[tokio::test]
async fn a_resource_made_during_an_uninstall_is_announced() {
    for is_registered in [false, true] {
        let (world, backend) = Backend::behind().await;
        upsert(&world).send().await;
        if is_registered {
            assert_eq!(provision(&world, "k1").send().await.status, 200);
        }
        let gate = Gate::default();
        backend.script([Answer::Held(gate.clone(), Box::new(Answer::Honest))]);
        let sent = provision(&world, "k1").send();
        let (reply, ()) = tokio::join!(sent, async {
            gate.reached().await;
            assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
            gate.open();
        });
        assert_eq!(reply.error(), (409, "installation_deleted"), "{is_registered}");
        assert!(reply.body["error"]["user"]["message"].is_string());
        assert_eq!(intents(&world).await, [""; 0]);
        world.sweep_all().await;
        let ids = world.provider.ids();
        let announced = "\"resource.deleted\" \"icfg_1\" \"db_1\"";
        assert_eq!(ids[announced].len(), 1, "{ids:?}");
        let tombstone = world.item("installation#icfg_1", "#installation").await.unwrap();
        let received = world.provider.received();
        let of_resource = received.iter().find(|event| event.body["type"] == "resource.deleted");
        let data = &of_resource.unwrap().body["data"];
        assert_eq!(data["by"]["userId"], tombstone["deletedBy"]["userId"]);
        let keys = world.sort_keys("icfg_1").await;
        assert!(!keys.iter().any(|key| key.starts_with("resource#") || key.starts_with("work#")));
    }
}

/// J4: if the installation is deleted while the backend handles a Provision, the answer is 409, even if the
/// provider has no address for announcements.
#[tokio::test]
async fn a_resource_made_during_an_uninstall_is_refused_without_a_provider() {
    let (backend, url) = Backend::start().await;
    let world = World::with(&[("BACKEND_URL", &url)]).await;
    upsert(&world).send().await;
    let gate = Gate::default();
    backend.script([Answer::Held(gate.clone(), Box::new(Answer::Honest))]);
    let sent = provision(&world, "k1").send();
    let (reply, ()) = tokio::join!(sent, async {
        gate.reached().await;
        assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
        gate.open();
    });
    assert_eq!(reply.error(), (409, "installation_deleted"));
    assert_eq!(intents(&world).await, [""; 0]);
}

/// J6: if DynamoDB fails before the backend is called, the backend makes nothing. If DynamoDB fails after the
/// backend has made a resource, the backend's answer is passed on, and the Provision's intent stays.
#[tokio::test]
async fn a_store_that_fails_loses_nothing() {
    let limits = teardown::limits::Limits {
        dynamodb: Duration::from_millis(150),
        ..crate::support::world::limits()
    };
    let (backend, url) = Backend::start().await;
    let world = World::with_within(&[("BACKEND_URL", &url)], limits).await;
    upsert(&world).send().await;
    world.dynamodb.lasting(Fault::Throttle);
    assert_eq!(provision(&world, "k1").send().await.error(), (503, "store_unavailable"));
    assert!(backend.made().is_empty());
    world.dynamodb.heal();
    world.dynamodb.script([Fault::None]);
    world.dynamodb.lasting(Fault::Throttle);
    let reply = provision(&world, "k1").send().await;
    assert_eq!((reply.status, &reply.body["id"]), (200, &json!("db_1")));
    world.dynamodb.heal();
    assert_eq!(intents(&world).await.len(), 1);
    assert_eq!(resources(&world).await, (json!(0), vec![]));
    assert_eq!(provision(&world, "k1").send().await.body["id"], "db_1");
    assert_eq!(resources(&world).await, (json!(1), vec!["db_1".to_owned()]));
}

/// J4: if the caller of a Provision hangs up, the Provision is still recorded.
#[tokio::test]
async fn a_caller_that_hangs_up_changes_nothing() {
    let (world, backend) = Backend::behind().await;
    upsert(&world).send().await;
    let gate = Gate::default();
    backend.script([Answer::Held(gate.clone(), Box::new(Answer::Honest))]);
    tokio::select! {
        reply = provision(&world, "k1").send() => panic!("answered: {reply:?}"),
        _ = gate.reached() => {}
    }
    gate.open();
    within(async { while !world.is_live("icfg_1", "db_1").await {} }).await;
    assert_eq!(intents(&world).await, [""; 0]);
}

/// J4: a malformed `Idempotency-Key` is passed on to the backend unchanged. A Provision with a malformed key
/// is recorded like a Provision without a key.
#[tokio::test]
async fn a_malformed_key_counts_as_no_key() {
    let (world, backend) = Backend::behind().await;
    let call = call_as(&world, "POST", RESOURCES, &user("icfg_1"));
    let reply = call.header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(reply.json(&json!({ "name": "n" })).send().await.status, 200);
    let received = backend.received();
    let keys: Vec<_> = received[0].headers.get_all("idempotency-key").iter().collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(resources(&world).await, (json!(1), vec!["db_1".to_owned()]));
}

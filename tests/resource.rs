//! Delete Resource (C) and its idempotency (F).

mod account;
mod provisioning;

use std::time::Duration;

use serde_json::json;
use teardown::store::registry::RegisterError;

use crate::support::dynamodb::Fault;
use crate::support::world::{ACCOUNT, RESOURCE, World, account, system};

const NOTHING: (u16, serde_json::Value) = (204, serde_json::Value::Null);

/// C1, C3, G5: the first deletion of a resource takes one call to DynamoDB, and leaves a receipt and the job
/// of its announcement.
#[tokio::test]
async fn a_live_resource_is_deleted_in_one_call() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let at = world.clock.timestamp().as_secs();

    let reply = world.delete(RESOURCE).key("k1").send().await;

    assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
    assert!(!reply.headers.contains_key("content-type"));
    let items = world.items("icfg_1").await;
    let keys: Vec<_> = items.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["#installation", "receipt#resource#db_1", "resource#db_2", "work#announce#resource#db_1"]
    );
    assert_eq!(items["#installation"]["resources"], 1);

    let receipt = &items["receipt#resource#db_1"];
    let deleted_at = receipt["deletedAt"].as_u64().unwrap();
    assert!((at..at + 10).contains(&deleted_at), "{receipt}");
    assert_eq!(
        *receipt,
        json!({
            "pk": "installation#icfg_1", "sk": "receipt#resource#db_1",
            "deletedAt": deleted_at, "expiresAt": deleted_at + 90 * 24 * 3600,
            "teardownAt": deleted_at,
            "deletedBy": {
                "kind": "user", "accountId": ACCOUNT, "userId": "user_1", "role": "ADMIN",
            },
            // SHA-256 of "k1".
            "keySha256": "6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0",
        })
    );
    let job = &items["work#announce#resource#db_1"];
    assert_eq!(
        *job,
        json!({
            "pk": "installation#icfg_1", "sk": "work#announce#resource#db_1",
            "kind": "announce", "installationId": "icfg_1", "phase": "deleted", "teardownAt": deleted_at,
            "deletedAt": deleted_at, "deletedBy": receipt["deletedBy"],
            "attempts": 0, "fence": deleted_at * 1000, "dueAt": deleted_at, "dueShard": "5",
        })
    );
}

/// G1: if the provider has no address, nothing is announced.
#[tokio::test]
async fn without_a_provider_nothing_is_announced() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.whole(), NOTHING);
    assert_eq!(world.sort_keys("icfg_1").await, ["#installation", "receipt#resource#db_1"]);
    assert_eq!(world.all().await.len(), 1, "no outcome is recorded without a key");
}

/// F1: a replay takes one call to DynamoDB, gets the first answer and changes nothing.
#[tokio::test]
async fn a_replay_returns_the_first_answer() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).key("k1").send().await.whole(), NOTHING);
    let before = world.all().await;

    let replay = world.delete(RESOURCE).key("k1").send().await;

    assert_eq!((replay.whole(), replay.calls), (NOTHING, 1));
    assert_eq!(world.all().await, before);
}

/// C1: a second deletion of a resource, without a key or with another key, is answered 204, and the first
/// receipt stays.
#[tokio::test]
async fn a_second_deletion_is_204_too() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.whole(), NOTHING);
    let before = world.items("icfg_1").await;

    let without_key = world.delete(RESOURCE).send().await;
    assert_eq!((without_key.whole(), without_key.calls), (NOTHING, 1));
    let with_key = world.delete(RESOURCE).key("k2").send().await;
    assert_eq!((with_key.whole(), with_key.calls), (NOTHING, 2), "its outcome is recorded (F1)");
    let replay = world.delete(RESOURCE).key("k2").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOTHING, 1));
    assert_eq!(world.items("icfg_1").await, before);
}

/// C1: the deletion of a resource that a known installation never had is answered 204, and leaves a receipt
/// and an announcement.
#[tokio::test]
async fn a_resource_that_was_never_known_gets_a_receipt() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_2"]).await;

    let reply = world.delete(RESOURCE).send().await;

    assert_eq!((reply.whole(), reply.calls), (NOTHING, 2));
    assert_eq!(
        world.sort_keys("icfg_1").await,
        ["#installation", "receipt#resource#db_1", "resource#db_2", "work#announce#resource#db_1"]
    );
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 1);
    let again = world.delete(RESOURCE).send().await;
    assert_eq!((again.whole(), again.calls), (NOTHING, 1));
}

/// C1: the deletion of a resource whose installation was never known is answered 204, and leaves a receipt
/// and an announcement. If such a resource has an item nevertheless, the item is deleted.
#[tokio::test]
async fn a_resource_of_an_unknown_installation_gets_a_receipt() {
    let world = World::announcing().await;
    world
        .put(json!({ "pk": "installation#icfg_1", "sk": "resource#db_1", "status": "ready" }))
        .await;

    let reply = world.delete(RESOURCE).key("k1").send().await;

    assert_eq!((reply.whole(), reply.calls), (NOTHING, 2));
    assert_eq!(
        world.sort_keys("icfg_1").await,
        ["receipt#resource#db_1", "work#announce#resource#db_1"]
    );
    let again = world.delete(RESOURCE).send().await;
    assert_eq!((again.whole(), again.calls), (NOTHING, 1));
}

/// C1: after an uninstall, the deletion of any resource of the installation is answered 204. The deletion
/// leaves no receipt of the resource, because the uninstall's receipt is enough.
#[tokio::test]
async fn a_resource_is_gone_with_its_installation() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
    let before = world.items("icfg_1").await;

    for resource in ["db_1", "db_never"] {
        let path = format!("/v1/installations/icfg_1/resources/{resource}");
        let reply = world.delete(&path).send().await;
        assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
        let reply = world.delete(&path).key(resource).send().await;
        assert_eq!((reply.whole(), reply.calls), (NOTHING, 2), "its outcome is recorded (F1)");
        let reply = world.delete(&path).key(resource).send().await;
        assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
    }
    assert_eq!(world.items("icfg_1").await, before);
}

/// C4: a resource's id cannot be registered again before its receipt expires. An expired receipt counts as
/// absent, even if DynamoDB's TTL has not removed it yet.
#[tokio::test]
async fn a_deleted_id_is_not_registered_again_before_its_receipt_expires() {
    let world = World::with(&[("RECEIPT_RETENTION", "36h")]).await;
    world.install("icfg_1", &["db_1"]).await;
    let line = json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } });
    assert_eq!(world.delete(RESOURCE).send().await.whole(), NOTHING);

    world.clock.advance(Duration::from_hours(36) - Duration::from_secs(5));
    let refused = world.try_register(line.clone()).await;
    assert!(matches!(refused, Err(RegisterError::ResourceDeleted)), "{refused:?}");

    world.clock.advance(Duration::from_secs(5));
    world.register(line).await;
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 1);
    let reply = world.delete(RESOURCE).send().await;
    assert_eq!((reply.whole(), reply.calls), (NOTHING, 1), "an expired receipt is overwritten");
    assert!(!world.is_live("icfg_1", "db_1").await);
}

/// C1: if somebody writes a resource's item although its receipt exists, the resource can be deleted again.
#[tokio::test]
async fn a_live_resource_beside_its_receipt_is_deleted() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.whole(), NOTHING);
    world.put(json!({ "pk": "installation#icfg_1", "sk": "resource#db_1" })).await;

    let reply = world.delete(RESOURCE).send().await;

    assert_eq!((reply.whole(), reply.calls), (NOTHING, 2));
    assert!(!world.is_live("icfg_1", "db_1").await);
}

/// F2: a different request with a used key is refused, and changes nothing. An idempotency key belongs to one
/// installation and one operation (F1).
#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let world = World::announcing().await;
    for id in ["icfg_1", "icfg_2"] {
        world.install(id, &["db_1", "db_2"]).await;
    }
    assert_eq!(world.delete(RESOURCE).key("k1").send().await.whole(), NOTHING);
    let before = world.all().await;

    let reused = world.delete("/v1/installations/icfg_1/resources/db_2").key("k1").send().await;

    assert_eq!((reused.error(), reused.calls), ((409, "idempotency_key_reused"), 1));
    assert!(reused.body["error"]["user"]["message"].is_string());
    assert_eq!(world.all().await, before);

    let escaped = world.delete("/v1/installations/icfg_1/resources/%64b_1").key("k1").send().await;
    assert_eq!(escaped.whole(), NOTHING, "the same request, once decoded");
    let elsewhere = world.delete("/v1/installations/icfg_2/resources/db_2").key("k1").send().await;
    assert_eq!(elsewhere.whole(), NOTHING);
    assert!(!world.is_live("icfg_2", "db_2").await);
    let other_operation = world.delete("/v1/installations/icfg_1").key("k1").send().await;
    assert_eq!(other_operation.status, 200);
}

/// F1: an outcome is replayed for 7 days. After 7 days, a different request under the same key overwrites the
/// outcome, even if DynamoDB's TTL has not removed it.
#[tokio::test]
async fn an_outcome_is_kept_for_7_days() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let other = "/v1/installations/icfg_1/resources/db_2";
    assert_eq!(world.delete(RESOURCE).key("k1").send().await.whole(), NOTHING);

    world.clock.advance(Duration::from_hours(7 * 24) - Duration::from_secs(5));
    assert_eq!(world.delete(other).key("k1").send().await.error(), (409, "idempotency_key_reused"));
    world.clock.advance(Duration::from_secs(5));
    let reply = world.delete(other).key("k1").send().await;
    assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
    assert!(!world.is_live("icfg_1", "db_2").await);
}

//! Delete Resource (C) and its idempotency (F).

use std::time::Duration;

use serde_json::json;
use teardown::store::registry::RegisterError;

use crate::support::dynamodb::Fault;
use crate::support::world::{ACCOUNT, RESOURCE, World, account, system};

const NOTHING: (u16, serde_json::Value) = (204, serde_json::Value::Null);

/// C1, C3, G5: a first deletion is one call, and leaves a receipt and what it owes.
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

/// G1: without a provider's address nothing is announced.
#[tokio::test]
async fn without_a_provider_nothing_is_announced() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.whole(), NOTHING);
    assert_eq!(world.sort_keys("icfg_1").await, ["#installation", "receipt#resource#db_1"]);
    assert_eq!(world.all().await.len(), 1, "no outcome is recorded without a key");
}

/// F1: a replay is one call, gives the first answer and changes nothing.
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

/// C1: deleted before, with no key or another one: gone is gone, and the first receipt stays.
#[tokio::test]
async fn a_second_deletion_is_answered_alike() {
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

/// C1: never known to an installation that is: a receipt, an announcement, and 204.
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

/// C1: never known, like its installation; what is left of it goes too.
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

/// C1: gone with its installation, purged or not: 204, and the uninstall's receipt is enough.
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

/// C2, B6, F3: a resource that is being provisioned is busy; the error is not stored.
#[tokio::test]
async fn a_provisioning_resource_is_busy() {
    let world = World::announcing().await;
    world.install("icfg_1", &[]).await;
    let line = |status| json!({ "resource": { "installationId": "icfg_1", "id": "db_1", "status": status } });
    world.register(line("provisioning")).await;
    let before = world.all().await;

    let reply = world.delete(RESOURCE).key("k1").send().await;

    assert_eq!(reply.calls, 2, "whether its installation is there is looked up");
    insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"409 {"error":{"code":"resource_busy","message":"the resource is still being provisioned","user":{"message":"This resource is still being set up. Try again when it is ready."}}}"#);
    assert_eq!(world.all().await, before);

    world.register(line("ready")).await;
    assert_eq!(world.delete(RESOURCE).key("k1").send().await.whole(), NOTHING);
}

/// C2: Vercel's `pending` is busy too; no other status is.
#[tokio::test]
async fn of_vercels_statuses_only_pending_is_busy() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    for status in ["ready", "pending", "onboarding", "suspended", "resumed", "uninstalled", "error"]
    {
        let line = json!({ "installationId": "icfg_1", "id": status, "status": status });
        world.register(json!({ "resource": line })).await;
        let path = format!("/v1/installations/icfg_1/resources/{status}");
        let reply = world.delete(&path).send().await;
        if status == "pending" {
            assert_eq!((reply.error(), reply.calls), ((409, "resource_busy"), 2));
        } else {
            assert_eq!((reply.whole(), reply.calls), (NOTHING, 1), "{status}");
        }
    }
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 1);
}

/// C2: an hour after its last write a resource may be deleted like any other, with its receipt and its
/// announcement; a write in between renews the hour.
#[tokio::test]
async fn what_is_provisioning_for_too_long_can_be_deleted() {
    for status in ["provisioning", "pending"] {
        let world = World::announcing().await;
        world.install("icfg_1", &[]).await;
        let line = json!({ "installationId": "icfg_1", "id": "db_1", "status": status });
        for _ in 0..2 {
            world.register(json!({ "resource": line })).await;
            world.clock.advance(Duration::from_secs(3599));
            let reply = world.delete(RESOURCE).send().await;
            assert_eq!(reply.error(), (409, "resource_busy"));
        }
        world.clock.advance(Duration::from_secs(1));
        let reply = world.delete(RESOURCE).key("k1").send().await;
        assert_eq!((reply.whole(), reply.calls), (NOTHING, 1), "{status}");
        let items = world.items("icfg_1").await;
        assert_eq!(items["#installation"]["resources"], 0);
        let keys = ["#installation", "receipt#resource#db_1", "work#announce#resource#db_1"];
        assert_eq!(items.keys().collect::<Vec<_>>(), keys);
    }
}

/// C2: an item without the time of its last write, as a number, is past the limit; a backend's fractions
/// of a second count.
#[tokio::test]
async fn what_is_busy_and_what_is_not() {
    let world = World::new().await;
    let now = world.clock.timestamp().as_secs();
    let hour_ago = now - 3600;
    for (updated_at, busy) in [
        (json!(hour_ago + 1), true),
        (json!(format!("{hour_ago}.5").parse::<f64>().unwrap()), true),
        (json!(now + 3600), true),
        (json!(hour_ago), false),
        (json!(format!("{}.5", hour_ago - 1).parse::<f64>().unwrap()), false),
        (json!(-1), false),
        (json!("yesterday"), false),
        (json!(null), false),
    ] {
        for status in ["provisioning", "pending"] {
            world.install("icfg_1", &["db_1"]).await;
            let mut item = json!({
                "pk": "installation#icfg_1", "sk": "resource#db_1",
                "status": status, "updatedAt": updated_at,
            });
            item.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            world.put(item).await;
            let reply = world.delete(RESOURCE).send().await;
            if busy {
                let busy = (409, "resource_busy");
                assert_eq!((reply.error(), reply.calls), (busy, 2), "{updated_at}");
            } else {
                assert_eq!((reply.whole(), reply.calls), (NOTHING, 1), "{updated_at}");
            }
            world.remove("installation#icfg_1", "receipt#resource#db_1").await;
            world.remove("installation#icfg_1", "resource#db_1").await;
        }
    }
}

/// C2: with a limit of `0s` nothing is ever busy.
#[tokio::test]
async fn without_a_limit_nothing_is_busy() {
    let world = World::with(&[("PROVISIONING_LIMIT", "0s")]).await;
    world.install("icfg_1", &["db_1"]).await;
    let later = world.clock.timestamp().as_secs() + 3600;
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "resource#db_1",
            "status": "provisioning", "updatedAt": later,
        }))
        .await;
    let reply = world.delete(RESOURCE).send().await;
    assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
}

/// C4: a deleted id is not registered again while its receipt stands, even if DynamoDB's TTL is late.
#[tokio::test]
async fn a_deleted_id_is_not_registered_again_while_its_receipt_stands() {
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

/// C1: a resource that a careless writer put beside its own receipt is deleted all the same.
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

/// F2: the same key with another request is refused and changes nothing; a key belongs to one
/// installation and one operation (F1).
#[tokio::test]
async fn a_key_stands_for_one_request() {
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

/// F1: an outcome answers for 7 days by the clock; then its record is overwritten.
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

/// A6: a token of an account alone deletes in that account's installations, and finds nothing out
/// about others.
#[tokio::test]
async fn an_accounts_token_deletes_in_its_own_installations() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let own = world.token(&account(ACCOUNT));
    let other = world.token(&account("acc_other"));
    let before = world.all().await;

    let refused = world.delete_as(RESOURCE, &other).key("k1").send().await;
    let unknown = world.delete_as("/v1/installations/icfg_x/resources/db_1", &own).send().await;
    assert_eq!(refused.error(), (403, "forbidden"));
    assert_eq!(refused.whole(), unknown.whole(), "stored or not, the answer is the same");
    assert_eq!(world.all().await, before);

    let reply = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
    let replay = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOTHING, 1));
    let replay = world.delete_as(RESOURCE, &other).key("k1").send().await;
    assert_eq!(replay.whole(), refused.whole(), "not even a replay");
    let by = &world.items("icfg_1").await["receipt#resource#db_1"]["deletedBy"];
    assert_eq!(*by, json!({ "kind": "system", "accountId": ACCOUNT }));
}

/// A6: an outcome that an installation's own token recorded is replayed to its account's token alone, even
/// if the token that recorded it named another account.
#[tokio::test]
async fn a_recorded_outcome_is_no_way_around_the_account() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let mut claims = system("icfg_1");
    claims["account_id"] = json!("acc_other");
    let moved = world.token(&claims);
    assert_eq!(world.delete_as(RESOURCE, &moved).key("k1").send().await.whole(), NOTHING);

    let other = world.token(&account("acc_other"));
    assert_eq!(
        world.delete_as(RESOURCE, &other).key("k1").send().await.error(),
        (403, "forbidden")
    );
    let own = world.token(&account(ACCOUNT));
    let replay = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOTHING, 2), "the account has to be looked up");
    let unknown =
        world.delete_as("/v1/installations/icfg_x/resources/r", &own).key("k").send().await;
    assert_eq!(unknown.error(), (403, "forbidden"));
}

/// A6, F1: where DynamoDB tells of the resource and not of its installation, an account's token is
/// compared all the same, before anything is said or recorded.
#[tokio::test]
async fn the_account_is_compared_whatever_dynamodb_tells() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let line = json!({ "installationId": "icfg_1", "id": "db_2", "status": "provisioning" });
    world.register(json!({ "resource": line })).await;
    assert_eq!(world.delete(RESOURCE).send().await.whole(), NOTHING);
    let before = world.all().await;
    let own = world.token(&account(ACCOUNT));
    let other = world.token(&account("acc_other"));
    let busy = "/v1/installations/icfg_1/resources/db_2";
    let never = "/v1/installations/icfg_1/resources/db_3";
    world.dynamodb.lasting(Fault::InstallationHidden);

    for path in [RESOURCE, busy, never, "/v1/installations/icfg_1"] {
        assert_eq!(
            world.delete_as(path, &other).send().await.error(),
            (403, "forbidden"),
            "{path}"
        );
        let reply = world.delete_as(path, &other).key("k1").send().await;
        assert_eq!(reply.error(), (403, "forbidden"), "{path}");
    }
    assert_eq!(world.all().await, before);
    assert_eq!(world.delete_as(busy, &own).send().await.error(), (409, "resource_busy"));
    for key in ["k1", "k2"] {
        assert_eq!(world.delete_as(RESOURCE, &own).key(key).send().await.whole(), NOTHING);
        assert_eq!(world.delete_as(RESOURCE, &own).key(key).send().await.whole(), NOTHING);
    }
    assert_eq!(
        world.delete_as(RESOURCE, &other).key("k1").send().await.error(),
        (403, "forbidden")
    );
}

/// A6: an outcome outlives its installation's tombstone, and the account in it still proves right.
#[tokio::test]
async fn an_accounts_replay_outlives_the_tombstone() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let own = world.token(&account(ACCOUNT));
    assert_eq!(world.delete_as(RESOURCE, &own).key("k1").send().await.whole(), NOTHING);
    world.remove("installation#icfg_1", "#installation").await;

    let replay = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOTHING, 1));
    let other = world.token(&account("acc_other"));
    assert_eq!(
        world.delete_as(RESOURCE, &other).key("k1").send().await.error(),
        (403, "forbidden")
    );
}

//! Faults of DynamoDB: DynamoDB throttles, reports conflicts, or breaks connections. The tests check the
//! table after a fault of DynamoDB, and the effect of a retry (B6, F5, F6).

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use teardown::limits::Limits;

use crate::support::dynamodb::Fault;
use crate::support::world::{INSTALLATION, RESOURCE, World, limits};

/// The paths of deletions that together send every kind of transaction.
const PATHS: [&str; 5] = [
    RESOURCE,
    INSTALLATION,
    "/v1/installations/icfg_1/resources/db_never",
    "/v1/installations/icfg_x/resources/db_1",
    "/v1/installations/icfg_x",
];

async fn world() -> World {
    world_within(limits()).await
}

async fn world_within(limits: Limits) -> World {
    let world = World::announcing_within(limits).await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    world
}

/// The limits of endpoints that wait for DynamoDB for one second.
fn a_second() -> Limits {
    Limits { dynamodb: Duration::from_secs(1), ..limits() }
}

/// The table without the attributes that depend on the time of a deletion.
async fn timeless(world: &World) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut table = world.all().await;
    for item in table.values_mut().flat_map(BTreeMap::values_mut) {
        for name in [
            "deletedAt",
            "expiresAt",
            "registeredAt",
            "teardownAt",
            "finalizesAt",
            "dueAt",
            "fence",
            "updatedAt",
        ] {
            item.as_object_mut().unwrap().remove(name);
        }
    }
    table
}

/// F5, F6: if any write fails, teardown sends the write again, and the table ends with the same items as
/// without the fault.
#[tokio::test]
async fn a_fault_at_any_write_is_overcome() {
    for path in PATHS {
        let smooth = world().await;
        let expected = smooth.delete(path).key("k1").send().await;
        let table = timeless(&smooth).await;
        for fault in [
            Fault::Throttle,
            Fault::ServerError,
            Fault::Conflict,
            Fault::ItemThrottled,
            Fault::ResetBefore,
            Fault::ResetAfter,
        ] {
            for at in 0..expected.calls {
                let world = world().await;
                world.dynamodb.script(vec![Fault::None; at]);
                world.dynamodb.script([fault, fault]);
                let reply = world.delete(path).key("k1").send().await;
                assert_eq!(reply.whole(), expected.whole(), "{path} {fault:?} at {at}");
                assert_eq!(reply.calls, expected.calls + 2, "{path} {fault:?} at {at}");
                assert_eq!(timeless(&world).await, table, "{path} {fault:?} at {at}");
            }
        }
    }
}

/// F6: after a conflict, teardown uses the same connection again, because a new connection takes longer than
/// a new attempt.
#[tokio::test]
async fn a_conflict_keeps_the_connection() {
    let world = world().await;
    world.dynamodb.script([Fault::Conflict; 5]);
    let reply = world.delete(RESOURCE).key("k1").send().await;
    assert_eq!((reply.status, reply.calls, world.dynamodb.connections()), (204, 6, 1));
}

/// F6: if DynamoDB refuses a transaction, it may report both a failed condition and a conflict. In this case
/// the failed condition counts: the request plans again, and does not send the same transaction again.
#[tokio::test]
async fn evidence_beats_a_conflict() {
    for path in PATHS {
        let smooth = world().await;
        let expected = smooth.delete(path).key("k1").send().await;
        let world = world().await;
        world.dynamodb.lasting(Fault::ConflictBesideEvidence);
        let reply = world.delete(path).key("k1").send().await;
        assert_eq!((reply.whole(), reply.calls), (expected.whole(), expected.calls), "{path}");
    }
}

/// B6, F3, F6: if DynamoDB fails until the request's time for DynamoDB is over, the answer is 503 with
/// `Retry-After`, and nothing is deleted. Once the fault is over, the same request succeeds.
#[tokio::test]
async fn a_lasting_fault_is_503_and_deletes_nothing() {
    let faults = [
        Fault::Throttle,
        Fault::ServerError,
        Fault::Conflict,
        Fault::ItemThrottled,
        Fault::ResetBefore,
    ];
    join_all(faults.map(async |fault| {
        let world = world_within(a_second()).await;
        let before = world.all().await;
        world.dynamodb.lasting(fault);
        let (resource, installation) = tokio::join!(
            world.delete(RESOURCE).key("k1").send(),
            world.delete(INSTALLATION).key("k2").send()
        );
        for reply in [resource, installation] {
            assert_eq!(reply.error(), (503, "store_unavailable"), "{fault:?}");
            assert_eq!(reply.headers["retry-after"], "2");
            assert_eq!(reply.message(), "the store is not available");
        }
        assert_eq!(world.all().await, before, "{fault:?}");
        world.dynamodb.lasting(Fault::None);
        assert_eq!(world.delete(RESOURCE).key("k1").send().await.status, 204);
        assert_eq!(world.delete(INSTALLATION).key("k2").send().await.status, 200);
    }))
    .await;
}

/// F5: if DynamoDB commits a deletion, but none of its replies arrives, the caller is answered 503. A retry
/// of the deletion finds that the resource is deleted, and changes nothing.
#[tokio::test]
async fn a_retry_finds_what_a_lost_answer_did() {
    join_all([Some("k1"), None].map(async |key| {
        let world = world_within(a_second()).await;
        world.dynamodb.lasting(Fault::ResetAfter);
        let call =
            || key.into_iter().fold(world.delete(RESOURCE), crate::support::world::Call::key);
        assert_eq!(call().send().await.error(), (503, "store_unavailable"));
        let table = world.all().await;
        assert!(!world.is_live("icfg_1", "db_1").await);

        world.dynamodb.lasting(Fault::None);
        let retry = call().send().await;
        assert_eq!((retry.status, retry.calls), (204, 1));
        assert_eq!(world.all().await, table);
        assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 1);
    }))
    .await;
}

/// F6: if the deployment is faulty, for example without a table, the request is answered 500. The answer does
/// not name the fault's cause.
#[tokio::test]
async fn a_missing_table_is_an_internal_error() {
    let world = World::with(&[("TABLE_NAME", "another")]).await;
    let reply = world.delete(RESOURCE).send().await;
    assert_eq!(
        reply.whole(),
        (500, json!({ "error": { "code": "internal_error", "message": "internal error" } }))
    );
}

//! `keep`: an operator decides that a deleted resource is never torn down (H3, H5).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use teardown::app::HostTime;
use teardown::ids::ResourceId;
use teardown::store::admin::Act;
use teardown::store::admin::holds::Subject;
use teardown::store::admin::keep::Kept;
use teardown::store::admin::teardown_state::TeardownState;
use teardown::store::registry::RegisterError;
use tokio::sync::Semaphore;

use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::{ACCOUNT, INSTALLATION, RESOURCE, World, id};

const WORK: &str = "work#announce#resource#db_1";
const RECEIPT: &str = "receipt#resource#db_1";
const DAY: Duration = Duration::from_hours(24);

async fn world(grace: &str) -> World {
    let world = World::announcing_with(&[("GRACE_PERIOD", grace)]).await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    world
}

async fn keep(world: &World, resource: &str) -> Kept {
    let act = Act { by: "olga".to_owned(), reason: "ticket 42".to_owned() };
    let resource = ResourceId::parse(resource).unwrap();
    world.store.keep(&id("icfg_1"), &resource, &act).await.unwrap()
}

/// The types of the events about `db_1` that the provider received.
fn event_types(world: &World) -> Vec<String> {
    let received = world.provider.received().into_iter();
    let received = received.filter(|it| it.body["data"]["resourceId"] == "db_1");
    received.map(|it| it.body["type"].as_str().unwrap().to_owned()).collect()
}

/// H3, H5: an operator can keep a resource that was deleted alone, both before its notice and after its
/// notice. `keep` withdraws the announcement, and the resource stays deleted. The receipt says who kept the
/// resource, and why. A second `keep` changes nothing.
#[tokio::test]
async fn a_deleted_resource_is_kept() {
    for notice in [false, true] {
        let world = world("1d").await;
        assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        let deleted = world.items("icfg_1").await[RECEIPT].clone();
        if notice {
            assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        }
        let now = world.clock.timestamp().as_secs();
        assert_eq!(keep(&world, "db_1").await, Kept::Now);
        let items = world.items("icfg_1").await;
        assert_eq!(items.get(WORK), None);
        let mut expected = deleted;
        expected.as_object_mut().unwrap().remove("expiresAt");
        expected["kept"] = json!({ "at": now, "by": "olga", "reason": "ticket 42" });
        assert_eq!(items[RECEIPT], expected);
        world.clock.advance(1000 * DAY);
        assert_eq!(keep(&world, "db_1").await, Kept::Before);
        assert_eq!(world.items("icfg_1").await[RECEIPT], expected);
        assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        world.sweep_all().await;
        assert!(!event_types(&world).contains(&"resource.deleted".to_owned()));
        let again = json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } });
        let refused = world.try_register(again).await;
        assert!(matches!(refused, Err(RegisterError::ResourceDeleted)), "{refused:?}");
        world.install("icfg_2", &["db_1"]).await;
        assert!(world.is_live("icfg_2", "db_1").await);
    }
}

/// H3: an operator can keep a resource that an uninstall deleted, both before and after its purge. The kept
/// resource gets its own receipt. Another resource of the same uninstall is torn down.
#[tokio::test]
async fn a_resource_is_kept_from_an_uninstall() {
    for purged in [false, true] {
        let world = world("1d").await;
        let uninstall = world.delete(INSTALLATION).json(&json!({ "reason": "oops" }));
        assert_eq!(uninstall.send().await.status, 200);
        let at = world.clock.timestamp().as_secs();
        if purged {
            world.sweep_all().await;
        }
        assert_eq!(keep(&world, "db_1").await, Kept::Now);
        let by =
            json!({ "kind": "user", "accountId": ACCOUNT, "userId": "user_1", "role": "ADMIN" });
        let now = world.clock.timestamp().as_secs();
        assert_eq!(
            world.items("icfg_1").await[RECEIPT],
            json!({
                "pk": "installation#icfg_1", "sk": RECEIPT, "deletedAt": at, "deletedBy": by,
                "reason": "oops", "underUninstall": true,
                "kept": { "at": now, "by": "olga", "reason": "ticket 42" },
            })
        );
        world.sweep_all().await;
        world.clock.advance(DAY);
        world.sweep_all().await;
        assert_eq!(
            event_types(&world).len(),
            usize::from(purged),
            "the notice alone, if it had gone out"
        );
        let received = world.provider.received();
        let other = received.iter().filter(|it| it.body["data"]["resourceId"] == "db_2");
        assert_eq!(other.count(), 2);
        assert_eq!(keep(&world, "db_2").await, Kept::No(TeardownState::NoRecord));
    }
}

/// H1, H3: if `keep` withdraws an announcement, the tombstone and the receipt no longer wait for the
/// announcement, and expire after `RECEIPT_RETENTION`.
#[tokio::test]
async fn a_kept_resources_receipt_expires_again() {
    let world = world("1d").await;
    world.settle("icfg_1").await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let at = world.clock.now().as_secs();
    let act = Act { by: "olga".to_owned(), reason: "ticket 42".to_owned() };
    let resource = Some(ResourceId::parse("db_1").unwrap());
    let subject = Subject { installation: id("icfg_1"), resource };
    world.store.hold(&subject, &act, None).await.unwrap();
    world.sweep_all().await;
    world.clock.advance(DAY);
    world.sweep_all().await;
    let expiry = async |sk: &str| world.items("icfg_1").await[sk]["expiresAt"].as_u64().unwrap();
    for sk in ["#installation", "receipt#installation"] {
        assert!(expiry(sk).await > at + 1000 * DAY.as_secs(), "{sk}");
    }
    assert_eq!(keep(&world, "db_1").await, Kept::Now);
    for sk in ["#installation", "receipt#installation"] {
        assert_eq!(expiry(sk).await, at + 90 * DAY.as_secs(), "{sk}");
    }
}

/// H3: `keep` refuses a resource that is live, unknown, announced, or possibly announced, and writes nothing.
#[tokio::test]
async fn a_resource_that_cannot_be_kept_is_unchanged() {
    let world = world("0s").await;
    let before = world.all().await;
    assert_eq!(keep(&world, "db_1").await, Kept::No(TeardownState::Live));
    assert_eq!(keep(&world, "db_x").await, Kept::No(TeardownState::Unknown));
    assert_eq!(world.all().await, before);

    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world.provider.script([Answer::Status(500)]);
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    let before = world.all().await;
    assert_eq!(keep(&world, "db_1").await, Kept::No(TeardownState::InDoubt));
    assert_eq!(world.all().await, before);
    world.clock.advance(Duration::from_secs(16));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    let before = world.all().await;
    assert_eq!(keep(&world, "db_1").await, Kept::No(TeardownState::Announced));
    assert_eq!(world.all().await, before);
}

/// H3: while a worker may be announcing the resource, `keep` does not succeed, and reports when the worker's
/// lease ends.
#[tokio::test]
async fn a_worker_under_way_is_waited_for() {
    let world = world("0s").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let gate = Arc::new(Semaphore::new(0));
    world.provider.script([Answer::gated(&gate, 200)]);
    let process = world.process().await;
    let meanwhile = async {
        until(|| !world.provider.received().is_empty()).await;
        let kept = keep(&world, "db_1").await;
        assert!(
            matches!(kept, Kept::LeasedUntil(end) if end > world.clock.timestamp()),
            "{kept:?}"
        );
        gate.add_permits(1);
    };
    tokio::join!(process.sweep(HostTime::default()), meanwhile);
    assert_eq!(keep(&world, "db_1").await, Kept::No(TeardownState::Announced));
}

/// H3: `keep` succeeds while a worker is sending the notice. After `keep`, the worker that has sent the
/// notice does not write the job again.
#[tokio::test]
async fn a_resource_is_kept_while_its_notice_is_sent() {
    let world = world("1d").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let gate = Arc::new(Semaphore::new(0));
    world.provider.script([Answer::gated(&gate, 200)]);
    let process = world.process().await;
    let meanwhile = async {
        until(|| !world.provider.received().is_empty()).await;
        assert_eq!(keep(&world, "db_1").await, Kept::Now);
        gate.add_permits(1);
    };
    tokio::join!(process.sweep(HostTime::default()), meanwhile);
    assert_eq!(world.items("icfg_1").await.get(WORK), None);
    world.clock.advance(2 * DAY);
    assert_eq!(world.sweep().await, [0; 4]);
}

/// H3: if the provider has no address, nothing is announced, and an operator can still keep a resource that
/// has a receipt.
#[tokio::test]
async fn an_unannounced_resource_can_be_kept() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(keep(&world, "db_1").await, Kept::Now);
    assert_eq!(keep(&world, "db_1").await, Kept::Before);
}

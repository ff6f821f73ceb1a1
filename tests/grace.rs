//! The grace period: each deletion is announced twice, by a notice and by the `deleted` event (H1, H4).

use std::time::Duration;

use serde_json::{Value, json};
use teardown::clock::Timestamp;
use teardown::store::registry::RegisterError;

use crate::support::outside::Answer;
use crate::support::world::{ACCOUNT, CONFIGURATION, INSTALLATION, RESOURCE, World, system};

const WORK: &str = "work#announce#resource#db_1";
const DAY: u64 = 24 * 3600;

/// A `World` with a grace period of a week, and a deleted resource whose notice is due.
async fn world() -> World {
    world_with(&[]).await
}

async fn world_with(variables: &[(&str, &str)]) -> World {
    let world = World::announcing_with(&[variables, &[("GRACE_PERIOD", "7d")]].concat()).await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world
}

/// The events that the provider received, in order: the type and the resource's id of each event.
fn events(world: &World) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let received = world.provider.received();
    received
        .iter()
        .map(|it| (text(&it.body["type"]), text(&it.body["data"]["resourceId"])))
        .collect()
}

fn event(name: &str, resource: &str) -> (String, String) {
    (name.to_owned(), resource.to_owned())
}

fn rfc_3339(secs: u64) -> String {
    Timestamp::from_secs(secs).to_string()
}

/// H1: a deletion's notice is sent immediately, and its `deleted` event is sent when the grace period is
/// over. The notice and the `deleted` event have different `webhook-id`s. The resource is deleted
/// immediately, and its receipt says when the grace period ends.
#[tokio::test]
async fn a_deletion_is_announced_twice() {
    let world = world().await;
    let at = world.clock.now().as_secs();
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("resource#db_1"));
    let receipt = &items["receipt#resource#db_1"];
    assert_eq!(receipt["teardownAt"], at + 7 * DAY);
    assert_eq!(receipt["expiresAt"], at + 90 * DAY);

    let calls = world.dynamodb.calls();
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    assert_eq!(world.dynamodb.calls() - calls, 2 * 8 + 2, "claim, go on");
    let by = json!({ "kind": "user", "accountId": ACCOUNT, "userId": "user_1", "role": "ADMIN" });
    let [notice] = &world.provider.received()[..] else { panic!("one event") };
    assert_eq!(
        notice.body,
        json!({
            "type": "resource.deletion_scheduled", "timestamp": rfc_3339(at),
            "data": {
                "installationId": "icfg_1", "resourceId": "db_1", "deletedAt": rfc_3339(at),
                "teardownAt": rfc_3339(at + 7 * DAY), "by": by,
            },
        })
    );
    let job = &world.items("icfg_1").await[WORK];
    assert_eq!((&job["phase"], &job["dueAt"]), (&json!("deleted"), &json!(at + 7 * DAY)));
    world.clock.advance(Duration::from_secs(7 * DAY - 1));
    assert_eq!(world.sweep().await, [0; 4], "not before the grace period is over");

    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    let [_, deleted] = &world.provider.received()[..] else { panic!("two events") };
    assert_eq!(
        deleted.body,
        json!({
            "type": "resource.deleted", "timestamp": rfc_3339(at + 7 * DAY),
            "data": {
                "installationId": "icfg_1", "resourceId": "db_1", "deletedAt": rfc_3339(at),
                "by": by,
            },
        })
    );
    assert_ne!(notice.id, deleted.id);
    assert_eq!(world.items("icfg_1").await.get(WORK), None);
}

/// H1, H4: an uninstall and the resources that are purged with it have the same `teardownAt`, which is
/// decided at the uninstall. The installation's events say until when the provider can send invoices.
#[tokio::test]
async fn an_uninstall_and_its_resources_have_one_time() {
    let world = World::announcing_with(&[("GRACE_PERIOD", "36h")]).await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let at = world.clock.now().as_secs();
    let uninstall = world.delete(INSTALLATION).json(&json!({ "reason": "too dear" }));
    assert_eq!(uninstall.send().await.status, 200);
    world.clock.advance(Duration::from_mins(1));
    world.sweep_all().await;
    let mut received = events(&world);
    received.sort();
    assert_eq!(
        received,
        [
            event("installation.deletion_scheduled", ""),
            event("resource.deletion_scheduled", "db_1"),
            event("resource.deletion_scheduled", "db_2"),
        ]
    );
    for notice in world.provider.received() {
        let data = &notice.body["data"];
        assert_eq!(data["teardownAt"], rfc_3339(at + 36 * 3600));
        assert_eq!(data["deletedAt"], rfc_3339(at));
        assert_eq!(data["reason"], "too dear");
        let installation = data.get("resourceId").is_none();
        assert_eq!(data.get("finalizesAt").is_some(), installation, "{data}");
        if installation {
            assert_eq!(data["finalizesAt"], rfc_3339(at + 22 * 3600));
        }
    }
    world.clock.advance(Duration::from_hours(36));
    world.sweep_all().await;
    let mut received = events(&world)[3..].to_vec();
    received.sort();
    assert_eq!(
        received,
        [
            event("installation.deleted", ""),
            event("resource.deleted", "db_1"),
            event("resource.deleted", "db_2"),
        ]
    );
    let installation = world.provider.received();
    let installation = installation.iter().find(|it| it.body["type"] == "installation.deleted");
    let data = &installation.unwrap().body["data"];
    assert_eq!(data["finalizesAt"], rfc_3339(at + 22 * 3600), "as the notice said");
    assert_eq!(data.get("teardownAt"), None);
}

/// H1: the notice and the `deleted` event are also sent if a configuration is deleted, or a resource or an
/// installation that was never known.
#[tokio::test]
async fn every_kind_of_deletion_has_a_grace_period() {
    let world = World::announcing_with(&[("GRACE_PERIOD", "1h")]).await;
    world.install_whole("icfg_1", &[]).await;
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 204);
    let token = world.token(&system("icfg_x"));
    assert_eq!(world.delete_as("/v1/installations/icfg_x", &token).send().await.status, 200);
    let token = world.token(&system("icfg_y"));
    let unknown = world.delete_as("/v1/installations/icfg_y/resources/db_1", &token);
    assert_eq!(unknown.send().await.status, 204);
    world.sweep_all().await;
    assert!(events(&world).iter().all(|(name, _)| name.ends_with(".deletion_scheduled")));
    assert_eq!(events(&world).len(), 3);
    world.clock.advance(Duration::from_hours(1));
    world.sweep_all().await;
    assert_eq!(events(&world).len(), 6);
    assert!(events(&world)[3..].iter().all(|(name, _)| name.ends_with(".deleted")));
}

/// H1: if a configuration is deleted after its uninstall, the `teardownAt` of the uninstall stays.
#[tokio::test]
async fn the_first_teardown_time_stays() {
    let world = World::announcing_with(&[("GRACE_PERIOD", "7d")]).await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let at = world.clock.now().as_secs();
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.clock.advance(Duration::from_hours(48));
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 204);
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    for sk in ["#installation", "work#announce#installation", "work#announce#resource#db_1"] {
        assert_eq!(items[sk]["teardownAt"], at + 7 * DAY, "{sk}");
    }
}

/// H1: if a notice is not delivered by `teardownAt`, the notice is dropped, and the `deleted` event is sent.
/// A `Retry-After` in the provider's answer to the notice does not delay the `deleted` event.
#[tokio::test]
async fn a_late_notice_is_dropped() {
    for answer in [
        Answer::Status(500),
        Answer::Reset,
        Answer::RetryAfter(202, "86400"),
        Answer::RetryAfter(503, "86400"),
    ] {
        let world = World::announcing_with(&[("GRACE_PERIOD", "1h")]).await;
        world.install("icfg_1", &["db_1"]).await;
        assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        let teardown_at = world.clock.now().as_secs() + 3600;
        world.provider.script([answer.clone()]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0], "{answer:?}");
        let due = world.items("icfg_1").await[WORK]["dueAt"].as_u64().unwrap();
        assert!(due <= teardown_at, "{answer:?}");
        world.clock.advance(Duration::from_hours(1));
        world.sweep_all().await;
        assert_eq!(events(&world).last(), Some(&event("resource.deleted", "db_1")), "{answer:?}");
        assert_eq!(world.items("icfg_1").await.get(WORK), None);
    }
}

/// H1: if a notice fails for 3 days, it is dropped. The `deleted` event is still due at `teardownAt`, and its
/// failures are counted from 0.
#[tokio::test]
async fn a_notice_fails_for_three_days_at_most() {
    let world = world().await;
    let at = world.clock.now().as_secs();
    world.provider.lasting(Answer::Status(500));
    let job = async || world.items("icfg_1").await[WORK].clone();
    for attempt in 0.. {
        assert!(attempt < 200);
        let [claimed, _, _, parked] = world.sweep().await;
        assert_eq!((claimed, parked), (1, 0));
        let job = job().await;
        if job["phase"] == "deleted" {
            break;
        }
        let wait = job["dueAt"].as_u64().unwrap() - world.clock.now().as_secs();
        world.clock.advance(Duration::from_secs(wait + 1));
    }
    let failed_for = world.clock.now().as_secs() - at;
    assert!((3 * DAY..3 * DAY + 3700).contains(&failed_for), "{failed_for}");
    let job = job().await;
    assert_eq!(job["dueAt"], at + 7 * DAY);
    assert_eq!((job.get("failures"), job.get("failingSince")), (None, None));
    world.clock.advance(Duration::from_secs(7 * DAY - failed_for));
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    world.provider.lasting(Answer::Honest);
    world.clock.advance(Duration::from_secs(16));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
}

/// H1: the deletion decides its grace period. A later change of `GRACE_PERIOD` does not change the deletion's
/// grace period.
#[tokio::test]
async fn the_period_is_decided_at_the_deletion() {
    let world = World::announcing_with(&[("GRACE_PERIOD", "0s")]).await;
    let resource = json!({
        "pk": "installation#icfg_1", "sk": "resource#db_1", "status": "ready", "updatedAt": 1,
    });
    let at = world.clock.now().as_secs();
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "#installation", "accountId": ACCOUNT,
            "state": "deleting", "finalized": true, "resources": 1, "deletedAt": at,
            "deletedBy": { "kind": "system", "accountId": ACCOUNT }, "teardownAt": at + DAY,
        }))
        .await;
    world.put(resource).await;
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "work#purge", "kind": "purge", "dueShard": "1",
            "dueAt": at, "attempts": 0, "fence": 0, "installationId": "icfg_1",
        }))
        .await;
    world.sweep_all().await;
    assert_eq!(events(&world), [event("resource.deletion_scheduled", "db_1")]);
    assert_eq!(world.items("icfg_1").await[WORK]["dueAt"], at + DAY);
}

/// H1: a receipt and a tombstone stay until their announcement is over, however short `RECEIPT_RETENTION` is.
/// If `RECEIPT_RETENTION` is over when the announcement ends, the receipt and the tombstone expire
/// immediately.
#[tokio::test]
async fn a_receipt_waits_for_its_announcement() {
    let world = world_with(&[("RECEIPT_RETENTION", "1h")]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.clock.advance(Duration::from_secs(6 * DAY));
    world.sweep_all().await;
    let never = 253_402_300_799_u64;
    let items = world.items("icfg_1").await;
    for sk in ["receipt#resource#db_1", "receipt#installation", "#installation"] {
        assert_eq!(items[sk]["expiresAt"], never, "{sk}");
    }
    let again = json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } });
    let refused = world.try_register(again).await;
    assert!(matches!(refused, Err(RegisterError::InstallationDeleted)), "{refused:?}");

    world.clock.advance(Duration::from_secs(DAY));
    world.sweep_all().await;
    let now = world.clock.now().as_secs();
    let items = world.items("icfg_1").await;
    for sk in ["receipt#resource#db_1", "receipt#installation", "#installation"] {
        let expiry = items[sk]["expiresAt"].as_u64().unwrap();
        assert!((now - 60..=now).contains(&expiry), "{sk}: {expiry}");
    }
}

/// H1: a receipt stays while its announcement is parked, and while the provider answers every attempt with
/// a 202. In this test, the parked announcement and the answers 202 last longer than `RECEIPT_RETENTION`,
/// which is 10 days.
#[tokio::test]
async fn a_receipt_waits_for_a_slow_announcement() {
    for parked in [true, false] {
        let world = World::announcing_with(&[("RECEIPT_RETENTION", "10d")]).await;
        world.install("icfg_1", &["db_1"]).await;
        assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        let at = world.clock.now().as_secs();
        let expiry = async || {
            world.items("icfg_1").await["receipt#resource#db_1"]["expiresAt"].as_u64().unwrap()
        };
        assert_eq!(expiry().await, at + 10 * DAY);
        let answer = if parked { Answer::Status(500) } else { Answer::RetryAfter(202, "86400") };
        world.provider.lasting(answer);
        for _ in 0..9 {
            world.sweep().await;
            world.clock.advance(Duration::from_secs(DAY + 3700));
        }
        assert!(expiry().await > at + 1000 * DAY);
        world.provider.lasting(Answer::Honest);
        for work in world.store.parked(10).await.unwrap() {
            assert!(world.store.retry_parked(&work).await.unwrap());
        }
        world.clock.advance(Duration::from_secs(DAY));
        assert_eq!(world.sweep().await, [1, 1, 0, 0]);
        assert!(expiry().await <= at + 11 * DAY);
    }
}

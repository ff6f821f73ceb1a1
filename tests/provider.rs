//! Announcements to the provider (G1): what an announcement contains, and what each answer of the provider
//! means.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use teardown::app::HostTime;
use teardown::store::registry::RegisterError;
use tokio::sync::Semaphore;

use crate::support::outside::{Answer, PROVIDER_SECRET};
use crate::support::waiting::until;
use crate::support::world::{ACCOUNT, RESOURCE, World, system};

const WORK: &str = "work#announce#resource#db_1";

/// A test's world in which the announcement of `db_1` is due.
async fn world() -> World {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world
}

/// The item of the announcement's job.
async fn work(world: &World) -> Value {
    world.items("icfg_1").await.remove(WORK).unwrap_or_default()
}

/// The number of seconds until the announcement is due.
async fn wait(world: &World) -> u64 {
    work(world).await["dueAt"].as_u64().unwrap().saturating_sub(world.clock.now().as_secs())
}

/// G1: an announcement is signed, and says what was deleted, when, and who deleted it. The announcement's job
/// ends once the provider has accepted the announcement.
#[tokio::test]
async fn a_deletion_is_announced_once() {
    let world = world().await;
    let receipt = world.items("icfg_1").await.remove("receipt#resource#db_1").unwrap();

    let calls = world.dynamodb.calls();
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    // The sweep reads the index twice, one shard after another.
    assert_eq!(world.dynamodb.calls() - calls, 2 * 8 + 3, "claim, holds, complete");

    let [event] = &world.provider.received()[..] else { panic!("one event") };
    let at = teardown::clock::Timestamp::from_secs(receipt["deletedAt"].as_u64().unwrap());
    let at = at.to_string();
    assert_eq!(
        event.body,
        json!({
            "type": "resource.deleted", "timestamp": at,
            "data": {
                "installationId": "icfg_1", "resourceId": "db_1", "deletedAt": at,
                "by": {
                    "kind": "user", "accountId": ACCOUNT, "userId": "user_1", "role": "ADMIN",
                },
            },
        })
    );
    assert!(event.id.starts_with("msg_"), "{event:?}");
    assert!((world.clock.now().as_secs().cast_signed() - event.timestamp).abs() < 10);
    assert_eq!(work(&world).await, Value::Null);
    assert_eq!(world.sweep().await, [0; 4]);
}

/// G1: while a secret is rotated, each announcement has a signature by each secret. The newest secret's
/// signature comes first. A provider that knows only one of the secrets accepts the announcement.
#[tokio::test]
async fn an_announcement_is_signed_by_each_secret() {
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let secrets = format!("{NEW}   {PROVIDER_SECRET}");
    let world = World::announcing_with(&[("PROVIDER_SECRET", &secrets)]).await;
    world.provider.expects_signatures_by(&[NEW, PROVIDER_SECRET]);
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert_eq!(world.provider.received().len(), 1);
    let shown = format!("{:?} {:?}", world.config, world.process().await);
    for secret in [NEW, PROVIDER_SECRET] {
        assert!(!shown.contains(secret.trim_start_matches("whsec_")), "{shown}");
    }
}

/// G1, C1, D5: the announcement of an uninstall contains the reason. The deletion of an installation or a
/// resource that was never known is announced too.
#[tokio::test]
async fn an_unknown_resource_is_announced_too() {
    let world = World::announcing().await;
    let token = world.token(&system("icfg_x"));
    let uninstall = world.delete_as("/v1/installations/icfg_x", &token);
    assert_eq!(uninstall.json(&json!({ "reason": "too \"dear\"" })).send().await.status, 200);
    let unknown = "/v1/installations/icfg_y/resources/db_1";
    let token = world.token(&system("icfg_y"));
    assert_eq!(world.delete_as(unknown, &token).send().await.status, 204);
    world.sweep_all().await;
    let mut bodies: Vec<_> =
        world.provider.received().into_iter().map(|event| event.body).collect();
    bodies.sort_by_key(|body| body["type"].to_string());
    let [installation, resource] = &bodies[..] else { panic!("two events: {bodies:?}") };
    assert_eq!(installation["type"], "installation.deleted");
    assert_eq!(installation["data"]["reason"], "too \"dear\"");
    assert_eq!(installation["data"].get("resourceId"), None);
    assert_eq!(installation["data"]["by"], json!({ "kind": "system", "accountId": ACCOUNT }));
    assert_eq!(resource["data"]["resourceId"], "db_1");
}

/// G1: if the provider answers 2xx, the announcement is done, even after a 202 without `Retry-After`.
#[tokio::test]
async fn a_2xx_is_done() {
    for status in [200, 201, 202, 204, 299] {
        let world = world().await;
        world.provider.script([Answer::Status(status)]);
        assert_eq!(world.sweep().await, [1, 1, 0, 0], "{status}");
        assert_eq!(work(&world).await, Value::Null);
    }
}

/// G1: if the provider gives no answer or another answer than 2xx, the announcement is sent again with
/// back-off, and with the same `webhook-id`. The announcement's job stores the last error.
#[tokio::test]
async fn after_any_other_answer_the_announcement_is_retried() {
    let world = world().await;
    let failures = [
        (Answer::Status(500), "the provider: answered 500"),
        (Answer::Status(404), "the provider: answered 404"),
        (Answer::Status(307), "the provider: answered 307"),
        (Answer::Reset, "the provider: no answer: "),
        (Answer::EffectThenReset, "the provider: no answer: "),
        (Answer::RetryAfter(503, "7200"), "the provider: answered 503"),
    ];
    for (attempt, (answer, reason)) in (1..).zip(failures) {
        world.provider.script([answer]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0], "{reason}");
        let item = work(&world).await;
        let error = item["lastError"].as_str().unwrap();
        assert!(error.starts_with(reason), "{error}");
        assert!(!error.contains(world.provider_url()), "{error}");
        assert_eq!((&item["attempts"], &item["failures"]), (&json!(attempt), &json!(attempt)));
        assert_eq!(item.get("leaseUntil"), None);
        let backoff = if attempt == 6 { 7200 } else { 15 << (attempt - 1) };
        let least = if attempt == 6 { 7200 } else { backoff / 2 };
        assert!((least - 1..=backoff).contains(&wait(&world).await), "{}", wait(&world).await);
        assert_eq!(world.sweep().await, [0; 4], "not before it is due");
        world.clock.advance(Duration::from_secs(backoff + 1));
    }
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    let received = world.provider.received();
    assert_eq!(received.len(), 7);
    assert!(
        received
            .iter()
            .all(|event| (&event.id, &event.body) == (&received[0].id, &received[0].body))
    );
    assert!(received.is_sorted_by_key(|event| event.timestamp), "each attempt is signed anew");
}

/// G1: if the provider answers 202 with `Retry-After`, the announcement is sent again at the time in
/// `Retry-After`, however often the provider answers 202.
#[tokio::test]
async fn a_202_gives_the_provider_more_time() {
    let world = world().await;
    for (header, seconds) in [("120", 120), ("soon", 60), ("0", 1), ("99999999", 86_400)] {
        world.provider.script([Answer::RetryAfter(202, header)]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0], "{header}");
        assert!((seconds - 1..=seconds).contains(&wait(&world).await), "{header}");
        assert_eq!(work(&world).await.get("failures"), None);
        world.clock.advance(Duration::from_secs(seconds + 1));
    }
    world.provider.lasting(Answer::RetryAfter(202, "3600"));
    for _ in 0..100 {
        assert_eq!(world.sweep().await, [1, 0, 1, 0], "more than 3 days");
        world.clock.advance(Duration::from_secs(3601));
    }
    world.provider.script([Answer::Status(500)]);
    assert_eq!(world.sweep().await, [1, 0, 1, 0], "a failure after it is the first");
    world.clock.advance(Duration::from_secs(16));
    world.provider.lasting(Answer::Honest);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
}

/// G1, G6: if an announcement fails for 3 days, it is parked, and no sweep sends it any more. A parked
/// announcement is listed with its last error, and an operator can make it due again.
#[tokio::test]
async fn after_3_days_the_announcement_is_parked() {
    let world = world().await;
    world.provider.lasting(Answer::Status(500));
    let mut attempts = 0;
    loop {
        let [claimed, _, _, parked] = world.sweep().await;
        attempts += claimed;
        if parked == 1 {
            break;
        }
        assert!(attempts < 200);
        world.clock.advance(Duration::from_secs(wait(&world).await + 1));
    }
    assert!((72..120).contains(&attempts), "once an hour in the end: {attempts}");
    world.clock.advance(Duration::from_hours(1000));
    assert_eq!(world.sweep().await, [0; 4]);

    let parked = world.store.parked(10).await.unwrap();
    let [it] = &parked[..] else { panic!("{parked:?}") };
    assert_eq!((it.installation.as_str(), it.what.as_str()), ("icfg_1", "announce#resource#db_1"));
    assert_eq!((it.attempts, it.last_error.as_str()), (attempts, "the provider: answered 500"));
    assert!(world.store.retry_parked(it).await.unwrap());
    world.clock.advance(Duration::from_secs(1));
    assert!(!world.store.retry_parked(it).await.unwrap(), "it is parked no more");
    assert_eq!(world.sweep().await, [1, 0, 1, 0], "with 3 days before it anew");
    world.provider.lasting(Answer::Honest);
    world.clock.advance(Duration::from_secs(16));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert!(world.store.parked(10).await.unwrap().is_empty());
    assert_eq!(world.provider.ids().into_values().next().unwrap().len(), 1);
}

/// G1: if an announcement is due while `PROVIDER_URL` is unset, it is retried later, and not lost.
#[tokio::test]
async fn without_an_address_the_announcement_is_retried() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": WORK, "kind": "announce", "dueShard": "0",
            "dueAt": 1, "attempts": 0, "fence": 0, "installationId": "icfg_1",
        }))
        .await;
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    assert_eq!(work(&world).await["lastError"], "PROVIDER_URL is not set");
}

/// G1: if a resource's receipt has expired, the resource may be registered again and deleted again. The
/// second deletion has another `webhook-id`.
#[tokio::test]
async fn another_deletion_has_another_id() {
    let world = World::announcing_with(&[("RECEIPT_RETENTION", "1h")]).await;
    world.install("icfg_1", &["db_1"]).await;
    for _ in 0..2 {
        assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        world.sweep_all().await;
        world.clock.advance(Duration::from_hours(2));
        world.register(json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } })).await;
    }
    let ids = world.provider.ids();
    assert_eq!(ids.into_values().map(|ids| ids.len()).collect::<Vec<_>>(), [2]);
}

/// F5, G4: the announcements of two deletions of one resource are jobs with the same key. If a worker is late
/// with the first deletion's announcement, it does not end the second deletion's announcement.
#[tokio::test]
async fn a_late_announcement_ends_no_other() {
    let world = World::announcing_with(&[("RECEIPT_RETENTION", "1h")]).await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let gate = Arc::new(Semaphore::new(0));
    world.provider.script([Answer::gated(&gate, 200)]);
    let process = world.process().await;
    let meanwhile = async {
        until(|| !world.provider.received().is_empty()).await;
        // These 3 minutes are longer than any lease.
        world.clock.advance(Duration::from_mins(3));
        assert_eq!(world.sweep().await, [1, 1, 0, 0]);
        world.clock.advance(Duration::from_hours(2));
        world.register(json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } })).await;
        assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        // The second job has been claimed once, like the first job when the late worker claimed it.
        world.provider.script([Answer::Status(503)]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        let before = world.items("icfg_1").await;
        gate.add_permits(1);
        before
    };
    let (_, before) = tokio::join!(process.sweep(HostTime::default()), meanwhile);
    assert_eq!(world.items("icfg_1").await, before);
    world.clock.advance(Duration::from_secs(16));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert_eq!(world.provider.ids().into_values().map(|ids| ids.len()).collect::<Vec<_>>(), [2]);
}

/// C4, G1, H1: a receipt stays until its announcement is over. If somebody removes the receipt, the
/// announcement is not lost, and the resource cannot be registered again before its announcement is over.
#[tokio::test]
async fn an_announcement_never_meets_another_resource() {
    let world = World::announcing_with(&[("RECEIPT_RETENTION", "1h")]).await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world.provider.script([Answer::Status(500)]);
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    world.clock.advance(Duration::from_hours(2));
    let again = json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } });
    let refused = world.try_register(again.clone()).await;
    assert!(matches!(refused, Err(RegisterError::ResourceDeleted)), "{refused:?}");
    world.remove("installation#icfg_1", "receipt#resource#db_1").await;

    let refused = world.try_register(again.clone()).await;
    assert!(matches!(refused, Err(RegisterError::ResourceUnannounced)), "{refused:?}");
    let pending = world.items("icfg_1").await[WORK].clone();
    assert_eq!(world.delete(RESOURCE).send().await.status, 204, "nothing is there, and no receipt");
    assert_eq!(world.items("icfg_1").await[WORK], pending);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert!(world.provider.ids().values().all(|ids| ids.len() == 1), "one deletion, one id");

    world.clock.advance(Duration::from_hours(2));
    world.register(again).await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world.sweep_all().await;
    assert!(world.provider.ids().values().all(|ids| ids.len() == 2), "another deletion");
}

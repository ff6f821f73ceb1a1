//! The provider is notified of jobs and finalizations that have failed for too long (L3).

use std::time::Duration;

use serde_json::{Value, json};
use teardown::app::HostTime;

use crate::support::log::Log;
use crate::support::outside::{Answer, Event};
use crate::support::world::{CONFIGURATION, INSTALLATION, RESOURCE, World};

const HOUR: Duration = Duration::from_hours(1);

/// The events that the provider received, without the announcements.
fn incidents(world: &World) -> Vec<Event> {
    let is_incident =
        |event: &Event| event.body["type"].as_str().unwrap().starts_with("operation.");
    world.provider.received().into_iter().filter(is_incident).collect()
}

/// The clock's time, in the format that events use.
fn time(world: &World) -> Value {
    json!(world.clock.timestamp().to_string())
}

/// L3, G1, G6: if a job is parked, the provider gets an event that says which job it is, why it failed, and
/// since when it has failed. If the provider does not accept the event, a warning is logged, and the job is
/// still parked.
#[tokio::test]
async fn a_parked_job_is_reported() {
    for reached in [true, false] {
        let world = World::announcing().await;
        world.install("icfg_1", &["db_1"]).await;
        assert_eq!(world.delete(RESOURCE).send().await.status, 204);
        world.provider.lasting(Answer::Status(500));
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        assert!(incidents(&world).is_empty());
        let since = time(&world);
        world.clock.advance(73 * HOUR);
        if reached {
            world.provider.script([Answer::Status(500)]);
            world.provider.lasting(Answer::Honest);
        }
        let log = Log::start();
        assert_eq!(world.sweep().await, [1, 0, 0, 1]);
        let warnings = log.take("WARN");
        assert_eq!(warnings.is_empty(), reached, "{warnings:?}");
        let [event] = &incidents(&world)[..] else { panic!("it is reported once") };
        let expected = json!({
            "type": "operation.work_parked", "timestamp": time(&world), "data": {
                "installationId": "icfg_1", "resourceId": "db_1", "work": "announce#resource#db_1",
                "reason": "the provider: answered 500", "failingSince": since,
                "parkedAt": time(&world),
            },
        });
        assert_eq!(event.body, expected);
        let announced: Vec<_> = world.provider.received().iter().map(|it| it.id.clone()).collect();
        assert_eq!(announced.iter().filter(|id| **id == event.id).count(), 1);
        assert_eq!(world.sweep().await, [0; 4]);
        assert_eq!(incidents(&world).len(), 1, "it is not reported again");
        let parked = world.store.parked(10).await.unwrap();
        assert_eq!(parked.len(), 1);
    }
}

/// L3, G3: each time a finalization fails in the last of Vercel's 24 hours or later, the provider gets an
/// event with the same `webhook-id`. When the finalization is parked, the provider gets an event, too. The
/// events about a finalization need no call to DynamoDB, and contain no secret.
#[tokio::test]
async fn a_late_finalization_is_reported() {
    let [announcing, silent] = [true, false].map(async |announces| {
        let world = if announces { World::announcing().await } else { World::new().await };
        world.install_whole("icfg_1", &[]).await;
        world.reopen("icfg_1").await;
        assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
        let until = (world.clock.timestamp() + 24 * HOUR).to_string();
        world.sweep_all().await;
        world.vercel.lasting(Answer::Echo(500));
        let (mut calls, mut counts) = (Vec::new(), Vec::new());
        for after in [22 * HOUR, HOUR + HOUR / 6, HOUR / 3, 80 * HOUR] {
            world.clock.advance(after);
            let before = world.dynamodb.calls();
            world.sweep().await;
            calls.push(world.dynamodb.calls() - before);
            counts.push(incidents(&world).len());
        }
        (world, until, calls, counts)
    });
    let (world, until, calls, counts) = announcing.await;
    assert_eq!(counts, [0, 1, 2, 4]);
    let (_, _, calls_in_silence, counts) = silent.await;
    assert_eq!((calls, counts), (calls_in_silence, vec![0; 4]));
    let events = incidents(&world);
    let kinds: Vec<_> = events.iter().map(|it| it.body["type"].as_str().unwrap()).collect();
    let (late, parked) = ("operation.finalization_late", "operation.work_parked");
    assert_eq!(kinds, [late, late, parked, late]);
    assert_eq!([&events[0].id, &events[0].id], [&events[1].id, &events[3].id]);
    assert_ne!(events[0].id, events[2].id);
    let data = &events[0].body["data"];
    assert_eq!((&data["installationId"], &data["until"]), (&json!("icfg_1"), &json!(until)));
    let reason = data["reason"].as_str().unwrap();
    assert!(reason.starts_with("Vercel answered 500"), "{reason}");
    assert!(!format!("{events:?}").contains("token-of-icfg_1"), "{events:?}");
    assert_eq!(events[2].body["data"]["work"], "finalize");
}

/// L3, E3: the provider also gets an event if the deletion of a configuration is parked.
#[tokio::test]
async fn a_parked_configuration_is_reported() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &[]).await;
    world.vercel.lasting(Answer::Status(500));
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 503);
    for _ in 0..2 {
        world.clock.advance(73 * HOUR);
        world.sweep().await;
    }
    let [event] = &incidents(&world)[..] else { panic!("it is reported once") };
    let data = &event.body["data"];
    assert_eq!((&data["work"], &data["resourceId"]), (&json!("configuration"), &Value::Null));
    assert_eq!(world.items("icfg_1").await["#installation"]["state"], "active");
}

/// L3, G4: if the provider does not answer, the worker waits for the provider only until the worker's own
/// time is over.
#[tokio::test]
async fn a_provider_that_hangs_is_not_waited_for() {
    let world = World::announcing().await;
    // The first attempt of the purge fails, because the installation is not deleted.
    world.install("icfg_1", &[]).await;
    let since = world.clock.timestamp().as_secs();
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "work#purge", "dueShard": "1", "dueAt": since,
            "attempts": 1, "fence": 1, "failures": 1, "failingSince": since - 4 * 86_400,
            "installationId": "icfg_1",
        }))
        .await;
    world.provider.lasting(Answer::Silence);
    let log = Log::start();
    let sweep = world.process().await;
    let answer = sweep.sweep(HostTime(Duration::from_secs(1))).await;
    assert_eq!(answer.status(), 200);
    let warning = &log.lines().into_iter().find(|line| line["level"] == "WARN").unwrap();
    assert_eq!(warning["message"], "the provider was not notified");
    assert_eq!(warning["event"], "operation.work_parked");
    assert_eq!(warning["cause"], "the host's time was over");
    assert_eq!(world.items("icfg_1").await["work#purge"]["dueShard"], "parked");
    assert_eq!(incidents(&world).len(), 1);
}

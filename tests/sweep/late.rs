//! Late sweeps, whose jobs other sweeps have done, claimed, rescheduled or parked before the late sweep
//! writes.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;
use teardown::app::HostTime;
use tokio::sync::Semaphore;

use super::world;
use crate::support::outside::Answer;
use crate::support::waiting::until;

/// F5, G4: if a worker dies, its job is due again when the lease ends. A worker that has lost its lease
/// overwrites nothing that the next worker wrote.
#[tokio::test]
async fn a_worker_without_its_lease_overwrites_nothing() {
    for late in [200, 500] {
        let world = world(1).await;
        let gate = Arc::new(Semaphore::new(0));
        world.provider.script([Answer::gated(&gate, late), Answer::Status(503)]);
        let meanwhile = async {
            until(|| !world.provider.received().is_empty()).await;
            assert_eq!(world.sweep().await, [0; 4], "it is leased");
            world.clock.advance(Duration::from_secs(81));
            assert_eq!(world.sweep().await, [1, 0, 1, 0], "the lease is over");
            let items = world.items("icfg_1").await;
            gate.add_permits(1);
            items
        };
        let (_, items) = tokio::join!(world.sweep(), meanwhile);
        assert_eq!(world.items("icfg_1").await, items, "{late}");
        let work = &items["work#announce#resource#db_0"];
        assert_eq!(work["lastError"], "the provider: answered 503");
        assert_eq!((&work["attempts"], &work["failures"]), (&json!(2), &json!(1)));
        world.clock.advance(Duration::from_secs(16));
        assert_eq!(world.sweep().await, [1, 1, 0, 0]);
        assert_eq!(world.provider.ids().values().next().unwrap().len(), 1, "one webhook-id");
    }
}

/// F5, G4: if another sweep has completed a job, a late sweep's report does not count that job as done.
#[tokio::test]
async fn a_job_done_by_another_sweep_is_not_counted() {
    let world = world(1).await;
    let gate = Arc::new(Semaphore::new(0));
    world.provider.script([Answer::gated(&gate, 200)]);
    let overtaken = async {
        until(|| !world.provider.received().is_empty()).await;
        world.clock.advance(Duration::from_mins(3));
        assert_eq!(world.sweep().await, [1, 1, 0, 0]);
        gate.add_permits(1);
    };
    let (late, ()) = tokio::join!(world.sweep(), overtaken);
    assert_eq!(late, [1, 0, 0, 0]);
}

/// G4: if one sweep reschedules a job after another sweep has read the index, the other sweep does not claim
/// the job.
#[tokio::test]
async fn a_rescheduled_job_is_not_claimed() {
    let world = world(1).await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("UpdateItem", gate.clone());
    let process = world.process().await;
    let late = process.sweep(HostTime(Duration::from_secs(50)));
    let meanwhile = async {
        // Waits until the first sweep has read the index, and is about to claim the job.
        until(|| world.dynamodb.is_holding()).await;
        world.provider.script([Answer::Status(503)]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        gate.add_permits(1);
    };
    let (response, ()) = tokio::join!(late, meanwhile);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"claimed":0,"done":0,"retried":0,"parked":0}"#);
    assert_eq!(world.provider.received().len(), 1);
}

/// G6: if one sweep parks a job after another sweep has read the index, the other sweep does not claim the
/// job.
#[tokio::test]
async fn a_job_parked_meanwhile_is_not_claimed() {
    let world = world(1).await;
    world.provider.lasting(Answer::Status(503));
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    world.clock.advance(Duration::from_hours(3 * 24));
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("UpdateItem", gate.clone());
    let process = world.process().await;
    let meanwhile = async {
        until(|| world.dynamodb.is_holding()).await;
        assert_eq!(world.sweep().await, [1, 0, 0, 1]);
        gate.add_permits(1);
    };
    let (response, ()) = tokio::join!(process.sweep(HostTime::default()), meanwhile);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"claimed":0,"done":0,"retried":0,"parked":0}"#);
    assert_eq!(world.provider.received().len(), 3, "two attempts, and that it is parked");
    assert_eq!(world.store.parked(10).await.unwrap().len(), 1);
}

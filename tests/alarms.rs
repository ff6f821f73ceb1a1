//! What the log tells the engineer on call (G1, G3, C1).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use tokio::sync::Semaphore;

use crate::support::dynamodb::Fault;
use crate::support::log::Log;
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::World;

const HOUR: Duration = Duration::from_hours(1);

/// G3: a finalization that fails is an error once less than an hour of Vercel's 24 is left, and a
/// warning before; what Vercel finalized by itself is a warning.
#[tokio::test]
async fn a_finalization_near_its_end_is_an_error() {
    let world = World::new().await;
    world.install_whole("icfg_1", &[]).await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
    world.sweep_all().await;
    world.vercel.lasting(Answer::Status(403));
    let log = Log::start();
    let alarm = "an installation is not finalized, and Vercel's 24 hours are ending";
    for (after, errors) in [(22 * HOUR, 0), (Duration::from_mins(59), 0), (HOUR / 6, 1)] {
        world.clock.advance(after);
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        assert_eq!(log.take("ERROR"), vec![alarm; errors], "{after:?}");
    }
    world.clock.advance(HOUR);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    let finalized = "Vercel finalized an installation before it was told to";
    assert_eq!(log.take("WARN"), [finalized]);
}

/// G3: so is one that fails of what is stored.
#[tokio::test]
async fn a_finalization_that_cannot_be_read_is_an_error_too() {
    let world = World::new().await;
    world.install_whole("icfg_1", &[]).await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
    world.sweep_all().await;
    let mut installation = world.items("icfg_1").await["#installation"].clone();
    installation["state"] = "suspended".into();
    world.put(installation).await;
    world.clock.advance(23 * HOUR);
    let log = Log::start();
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    let alarm = "an installation is not finalized, and Vercel's 24 hours are ending";
    assert_eq!(log.take("ERROR"), [alarm]);
}

/// G1: what is parked is an error, once; each failure before it a warning.
#[tokio::test]
async fn what_is_parked_is_an_error() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let path = "/v1/installations/icfg_1/resources/db_1";
    assert_eq!(world.delete(path).send().await.status, 204);
    world.provider.lasting(Answer::Status(500));
    let log = Log::start();
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    assert_eq!(log.take("WARN"), ["retry scheduled"]);
    world.clock.advance(73 * HOUR);
    assert_eq!(world.sweep().await, [1, 0, 0, 1]);
    assert_eq!(log.take("ERROR"), ["parked: it has failed for too long"]);
}

/// G4: why an attempt failed is told also where DynamoDB does not let it be put off.
#[tokio::test]
async fn a_retry_that_cannot_be_scheduled_is_logged() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let path = "/v1/installations/icfg_1/resources/db_1";
    assert_eq!(world.delete(path).send().await.status, 204);
    world.provider.script([Answer::Status(500)]);
    // It is taken.
    world.dynamodb.once("UpdateItem", Fault::None);
    world.dynamodb.once("UpdateItem", Fault::Echo);
    let log = Log::start();
    assert_eq!(world.sweep().await, [0; 4]);
    assert_eq!(log.take("WARN"), ["job failed; its retry could not be scheduled"]);
    world.clock.advance(Duration::from_mins(3));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
}

/// G1: who is late with a failure tells nothing of it: what it would have put off or parked is done by
/// then.
#[tokio::test]
async fn who_lost_its_lease_tells_nothing() {
    for (failed_for, level) in [(HOUR, "WARN"), (73 * HOUR, "ERROR")] {
        let world = World::announcing().await;
        world.install("icfg_1", &["db_1"]).await;
        let path = "/v1/installations/icfg_1/resources/db_1";
        assert_eq!(world.delete(path).send().await.status, 204);
        let gate = Arc::new(Semaphore::new(0));
        world.provider.script([Answer::Status(500), Answer::gated(&gate, 500)]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        world.clock.advance(failed_for);
        let log = Log::start();
        let overtaken = async {
            until(|| world.provider.heard().len() >= 2).await;
            world.clock.advance(Duration::from_mins(3));
            assert_eq!(world.sweep().await, [1, 1, 0, 0]);
            gate.add_permits(1);
        };
        let (late, ()) = join(world.sweep(), overtaken).await;
        assert_eq!(late, [1, 0, 0, 0]);
        assert_eq!(log.take(level), [""; 0]);
    }
}

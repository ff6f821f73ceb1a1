//! Late doubt: a worker that has lost its lease does not know how its own call to Vercel ended. The worker
//! makes sure that Vercel is called again. If another worker got an answer during that call, the answer says
//! nothing about the late worker's call.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use teardown::app::HostTime;
use tokio::sync::Semaphore;

use super::{
    CONFIGURATION, a_second, another_is_refused, awaiting_retry, awaiting_retry_within, state,
    world,
};
use crate::support::dynamodb::Fault;
use crate::support::gate::Gate;
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::World;

/// Checks that a job is pending, and that sweeps bring the deletion to its end.
async fn is_scheduled_and_done(world: &World) {
    assert!(world.vercel.is_gone("icfg_1"));
    assert!(world.items("icfg_1").await.contains_key("work#configuration"));
    world.sweep_all().await;
    is_done(world).await;
}

/// Checks that the configuration is gone in the table, and that it has no pending job.
async fn is_done(world: &World) {
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("work#configuration"));
    assert!(items["#installation"].get("configurationDeletedAt").is_some());
}

/// E3: if Vercel's refusal of another request has withdrawn the intent, a late request in doubt calls Vercel
/// again itself, because nobody else would call.
#[tokio::test]
async fn a_late_doubt_is_cleared_up() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 503), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 1).await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(first.status, 204, "{:?}", first.error());
    assert_eq!(world.vercel.received().len(), 5);
    is_done(&world).await;
}

/// E3, F5: if the late worker in doubt is a sweep, it schedules the deletion again, for the caller who
/// requested it.
#[tokio::test]
async fn a_late_doubt_of_a_sweep_is_scheduled_again() {
    let world = awaiting_retry().await;
    let before = world.items("icfg_1").await["work#configuration"].clone();
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 503), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 4).await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    let (report, ()) = join(world.sweep(), meanwhile).await;
    assert_eq!(report[1..], [0, 0, 0], "it is not done");
    let pending = world.items("icfg_1").await["work#configuration"].clone();
    for name in ["kind", "installationId", "dueShard", "deletedBy", "deletedAt", "keySha256"] {
        assert_eq!(pending[name], before[name], "{name}");
    }
    assert_eq!(pending["inDoubt"], true);
    assert!(pending["fence"].as_u64() > before["fence"].as_u64().map(|fence| fence + 1));
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("work#configuration"));
    assert!(items["#installation"].get("configurationDeletedAt").is_some());
    assert_eq!(items["receipt#installation"]["keySha256"], before["keySha256"]);
}

/// E3, F5: if Vercel refuses a request before a late attempt takes effect, this refusal does not end the
/// deletion's job.
#[tokio::test]
async fn a_refusal_that_a_late_doubt_overtakes_ends_nothing() {
    let world = awaiting_retry().await;
    let [late, refusal, withdrawal] = [(); 3].map(|()| Arc::new(Semaphore::new(0)));
    world.vercel.script([Answer::gated(&late, 503), Answer::gated(&refusal, 409)]);
    let sweep = async {
        world.sweep().await;
        withdrawal.add_permits(1);
    };
    let request = async {
        until(|| world.vercel.received().len() >= 4).await;
        world.clock.advance(Duration::from_mins(3));
        world.delete(CONFIGURATION).key("k2").send().await
    };
    let order = async {
        until(|| world.vercel.received().len() >= 5).await;
        world.dynamodb.hold("TransactWriteItems", withdrawal.clone());
        refusal.add_permits(1);
        until(|| world.dynamodb.is_holding()).await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        late.add_permits(1);
    };
    let ((), refused, ()) = futures_util::join!(sweep, request, order);
    assert_eq!(refused.error(), (409, "request_in_progress"));
    world.clock.advance(Duration::from_mins(1));
    world.sweep_all().await;
    is_done(&world).await;
}

/// E3: a late worker that got a definite answer to each of its own attempts schedules nothing, even if an
/// earlier worker left a call in doubt. Another request that Vercel refuses after the earlier worker's call
/// ends the deletion.
#[tokio::test]
async fn a_late_sweep_with_definite_answers_schedules_nothing() {
    let world = world().await;
    world.vercel.script([Answer::Reset, Answer::Reset, Answer::Reset]);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.status, 503);
    world.clock.advance(Duration::from_secs(16));
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 429), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 4).await;
        world.vercel.script([Answer::Status(429), Answer::Status(429)]);
        gate.add_permits(1);
    };
    join(world.sweep(), meanwhile).await;
    assert_eq!(world.vercel.received().len(), 7);
    assert!(!world.items("icfg_1").await.contains_key("work#configuration"));
    assert_eq!(state(&world).await, "active");
}

/// F5: if a late worker has learned that the configuration is gone, but cannot commit the deletion, the
/// worker schedules another call.
#[tokio::test]
async fn a_late_204_that_cannot_be_committed_is_scheduled_again() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    let honest = Answer::Held(gate.clone().into(), Box::new(Answer::Honest));
    world.vercel.script([honest, Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 1).await;
        world.dynamodb.script([Fault::Echo]);
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(first.error(), (500, "internal_error"));
    is_scheduled_and_done(&world).await;
}

/// F5: a late worker in doubt schedules another call to Vercel even if it cannot release its lease.
#[tokio::test]
async fn a_late_doubt_that_cannot_be_retried_is_scheduled_again() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 503), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 1).await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        world.dynamodb.once("UpdateItem", Fault::Echo);
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(first.error(), (500, "internal_error"));
    is_scheduled_and_done(&world).await;
}

/// F5: if a late sweep got 204 from Vercel while DynamoDB was out of reach, it schedules another call to
/// Vercel once DynamoDB answers again.
#[tokio::test]
async fn a_late_204_of_a_sweep_is_scheduled_again() {
    let world = awaiting_retry_within(a_second()).await;
    let gate = Arc::new(Semaphore::new(0));
    let honest = Answer::Held(gate.clone().into(), Box::new(Answer::Honest));
    world.vercel.script([honest, Answer::Status(409)]);
    let again = Gate::default();
    let meanwhile = async {
        another_is_refused(&world, 4).await;
        // The late sweep fails to commit, and then schedules another call.
        world.dynamodb.lasting(Fault::ServerError);
        world.dynamodb.hold("UpdateItem", again.clone());
        gate.add_permits(1);
        assert!(again.reached().await, "it has nothing pending again");
        world.dynamodb.heal();
        again.open();
    };
    let sweep = async {
        world.sweep().await;
        again.open();
    };
    join(sweep, meanwhile).await;
    is_scheduled_and_done(&world).await;
}

/// G4: if a late sweep's time ends while the sweep calls Vercel, it schedules another call to Vercel.
#[tokio::test]
async fn a_late_sweep_that_is_cut_off_is_in_doubt() {
    let world = awaiting_retry().await;
    let (arrives, never) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let takes_effect = Answer::EffectThenHeld(never.clone().into());
    world.vercel.script([
        Answer::Held(arrives.clone().into(), Box::new(takes_effect)),
        Answer::Status(409),
    ]);
    let meanwhile = async {
        another_is_refused(&world, 4).await;
        arrives.add_permits(1);
    };
    let process = world.process().await;
    // This time is shorter than an attempt at Vercel may take. The sweep claims jobs for an eighth of this
    // time.
    let sweep = std::pin::pin!(process.sweep(HostTime(Duration::from_secs(4))));
    match select(sweep, std::pin::pin!(meanwhile)).await {
        Either::Left(_) => panic!("it ended before Vercel could answer"),
        Either::Right(((), sweep)) => sweep.await,
    };
    is_scheduled_and_done(&world).await;
}

/// E4, F5: if the configuration is deleted at Vercel and in the table before a late worker in doubt ends, the
/// worker schedules nothing.
#[tokio::test]
async fn a_late_doubt_about_a_deleted_configuration_counts_for_nothing() {
    let world = awaiting_retry().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 503)]);
    let meanwhile = async {
        until(|| world.vercel.received().len() >= 4).await;
        world.clock.advance(Duration::from_mins(3));
        assert_eq!(world.delete(CONFIGURATION).key("k2").send().await.status, 204);
        world.vercel.script([Answer::Reset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    join(world.sweep(), meanwhile).await;
    assert_eq!(world.vercel.received().len(), 7);
    assert!(!world.items("icfg_1").await.contains_key("work#configuration"));
}

/// E3, G6: if the intent is parked before a late worker in doubt ends, the worker makes the intent due again.
#[tokio::test]
async fn a_late_doubt_is_not_left_parked() {
    let world = awaiting_retry().await;
    let gate = Arc::new(Semaphore::new(0));
    let resets = || [Answer::Reset, Answer::Reset, Answer::Reset];
    world.vercel.script([Answer::gated(&gate, 503)]);
    world.vercel.script(resets());
    world.vercel.script(resets());
    let meanwhile = async {
        until(|| world.vercel.received().len() >= 4).await;
        world.clock.advance(Duration::from_mins(3));
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        world.clock.advance(Duration::from_hours(73));
        assert_eq!(world.sweep().await, [1, 0, 0, 1]);
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    join(world.sweep(), meanwhile).await;
    world.sweep_all().await;
    is_done(&world).await;
}

//! A hold that is placed while a worker announces (H2).

use super::*;

/// H2: if one `deleted` event of an uninstall was sent before the hold, the hold reports that it is too late.
/// A hold that is too late still stops the uninstall's other events.
#[tokio::test]
async fn a_late_hold_stops_the_remaining_events() {
    let world = world().await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.store.hold(&on(Some("db_2")), &act(), None).await.unwrap();
    world.sweep_all().await;
    world.clock.advance(DAY);
    world.sweep_all().await;
    assert_eq!(world.torn_down(), ["", "db_1"]);
    let look = world.hold(&on(None)).await;
    assert!(!look.is_in_time());
    assert_eq!(look.announced, 1);
    assert!(look.resources[&resource("db_2")].is_in_time());
    let released = world.store.release_hold(&on(Some("db_2")), &act()).await.unwrap();
    assert_eq!(released, Released { was_held: true, due_again: 1 });
    assert_eq!(world.sweep().await, [1, 0, 0, 0], "the installation's hold holds it now");
    assert_eq!(world.torn_down(), ["", "db_1"]);
}

/// H2: while a worker may be announcing, a new hold reports when the worker's lease ends. When the worker has
/// ended, the deletion's state is read again, and shows the result of the announcement.
#[tokio::test]
async fn a_worker_under_way_is_waited_for() {
    for (answer, state) in [
        (200, TeardownState::Announced),
        (500, TeardownState::InDoubt),
        (202, TeardownState::Announced),
    ] {
        for subject in [on(Some("db_1")), on(None)] {
            let world = world_with("0s").await;
            assert_eq!(world.delete(RESOURCE).send().await.status, 204);
            let gate = Arc::new(Semaphore::new(0));
            world.provider.script([Answer::gated(&gate, answer)]);
            let process = world.process().await;
            let meanwhile = async {
                until(|| !world.provider.received().is_empty()).await;
                let look = world.hold(&subject).await;
                assert!(!look.is_in_time());
                assert!(look.leased_until > Some(world.clock.timestamp()), "{look:?}");
                assert_eq!(look.under_way, [resource("db_1")].into());
                gate.add_permits(1);
                look.under_way
            };
            let (_, under_way) = tokio::join!(process.sweep(HostTime::default()), meanwhile);
            let look = world.store.look(&subject, &under_way).await.unwrap();
            assert_eq!(look.leased_until, None);
            assert_eq!(look.resources[&resource("db_1")], state, "{answer}");
            assert!(!look.is_in_time());
            world.clock.advance(DAY);
            world.sweep_all().await;
            assert_eq!(world.torn_down().len(), 1, "held from now on");
        }
    }
}

/// H2: if a worker takes its lease before a hold is placed, and reads the holds after that, the worker sees
/// the hold.
#[tokio::test]
async fn a_worker_that_looks_after_the_hold_sees_it() {
    let world = world_with("0s").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let process = world.process().await;
    let gate = Arc::new(Semaphore::new(0));
    // The worker has its lease, and is about to read the holds.
    world.dynamodb.hold("TransactGetItems", gate.clone());
    let meanwhile = async {
        until(|| world.dynamodb.is_holding()).await;
        let look = world.hold(&on(Some("db_1"))).await;
        gate.add_permits(1);
        look
    };
    let (_, look) = tokio::join!(process.sweep(HostTime::default()), meanwhile);
    assert!(look.leased_until.is_some(), "{look:?}");
    assert!(world.look(&on(Some("db_1"))).await.is_in_time());
    assert!(world.provider.received().is_empty());
}

/// H2: if a worker died while it announced a resource, the provider may have been notified. Every later hold
/// reports that the provider may have been notified, even after another worker has claimed the job.
#[tokio::test]
async fn after_a_workers_death_the_event_may_have_been_sent() {
    let world = world_with("0s").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world.provider.script([Answer::Silence]);
    let process = world.process().await;
    {
        let sweep = process.sweep(HostTime::default());
        tokio::pin!(sweep);
        tokio::select! {
            _ = &mut sweep => panic!("nobody answered it"),
            () = until(|| !world.provider.received().is_empty()) => {}
        }
    }
    world.clock.advance(Duration::from_mins(3));
    let look = world.hold(&on(Some("db_1"))).await;
    assert_eq!(look.resources[&resource("db_1")], TeardownState::InDoubt);
    assert_eq!(world.sweep().await, [1, 0, 0, 0], "it is held");
    let look = world.hold(&on(Some("db_1"))).await;
    assert_eq!(look.resources[&resource("db_1")], TeardownState::InDoubt, "it still is");
    assert_eq!(world.provider.received().len(), 1);
}

/// H2: a worker that reads the holds, and then pauses for longer than its lease, does not announce.
#[tokio::test]
async fn a_worker_that_lost_its_lease_announces_nothing() {
    let world = world_with("0s").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let process = world.process().await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactGetItems", gate.clone());
    let meanwhile = async {
        until(|| world.dynamodb.is_holding()).await;
        world.clock.advance(Duration::from_mins(3));
        gate.add_permits(1);
    };
    tokio::join!(process.sweep(HostTime::default()), meanwhile);
    assert!(world.provider.received().is_empty());
    let look = world.hold(&on(Some("db_1"))).await;
    assert!(!look.is_in_time(), "that its worker was stopped cannot be known");
    world.store.release_hold(&on(Some("db_1")), &act()).await.unwrap();
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
}

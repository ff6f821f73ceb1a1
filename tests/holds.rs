//! Holds: while a hold is in force, no `deleted` event is sent. A hold that is too late says that it is too
//! late (H2, H5).

mod race;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use teardown::app::HostTime;
use teardown::ids::ResourceId;
use teardown::store::admin::Act;
use teardown::store::admin::holds::{Released, Subject};
use teardown::store::admin::teardown_state::{Look, TeardownState};
use tokio::sync::Semaphore;

use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::{INSTALLATION, RESOURCE, World, id};

const WORK: &str = "work#announce#resource#db_1";
const DAY: Duration = Duration::from_hours(24);

fn act() -> Act {
    Act { by: "olga".to_owned(), reason: "ticket 42".to_owned() }
}

fn on(resource: Option<&str>) -> Subject {
    let resource = resource.map(|resource| ResourceId::parse(resource).unwrap());
    Subject { installation: id("icfg_1"), resource }
}

fn resource(name: &str) -> ResourceId {
    ResourceId::parse(name).unwrap()
}

/// A `World` with a grace period of a day, and two resources.
async fn world() -> World {
    world_with("1d").await
}

async fn world_with(grace: &str) -> World {
    let world = World::announcing_with(&[("GRACE_PERIOD", grace)]).await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    world
}

impl World {
    /// Places a hold without an end on this resource or installation, and returns the state that the hold
    /// finds.
    async fn hold(&self, subject: &Subject) -> Look {
        self.store.hold(subject, &act(), None).await.unwrap();
        self.look(subject).await
    }

    async fn look(&self, subject: &Subject) -> Look {
        self.store.look(subject, &BTreeSet::new()).await.unwrap()
    }

    /// The resources whose `deleted` events the provider received. The installation's own event appears as an
    /// empty text.
    fn torn_down(&self) -> Vec<String> {
        let received = self.provider.received();
        let deleted = |it: &&crate::support::outside::Event| {
            it.body["type"].as_str().unwrap().ends_with(".deleted")
        };
        let name = |it: &crate::support::outside::Event| {
            it.body["data"]["resourceId"].as_str().unwrap_or_default().to_owned()
        };
        let mut names: Vec<_> = received.iter().filter(deleted).map(name).collect();
        names.sort();
        names
    }
}

/// H2: a hold on a resource or on its installation stops the `deleted` event, even if the hold is placed
/// before the deletion or after the notice. The hold does not stop the notice. After the release of the hold,
/// the `deleted` event is sent.
#[tokio::test]
async fn a_hold_stops_a_teardown_until_it_is_released() {
    for subject in [on(Some("db_1")), on(None)] {
        for placed in ["before", "scheduled", "deleted"] {
            let world = world().await;
            let at = world.clock.timestamp() + DAY;
            if placed == "before" {
                let look = world.hold(&subject).await;
                assert!(look.is_in_time());
                assert_eq!(look.resources[&resource("db_1")], TeardownState::Live);
            }
            assert_eq!(world.delete(RESOURCE).send().await.status, 204, "{placed}");
            if placed == "scheduled" {
                assert!(world.hold(&subject).await.is_in_time());
            }
            assert_eq!(world.sweep().await, [1, 0, 1, 0]);
            assert_eq!(world.provider.received()[0].body["type"], "resource.deletion_scheduled");
            if placed == "deleted" {
                let look = world.hold(&subject).await;
                assert!(look.is_in_time());
                assert_eq!(look.resources[&resource("db_1")], TeardownState::Pending(at));
            }
            world.clock.advance(DAY);
            assert_eq!(world.sweep().await, [1, 0, 0, 0], "{placed}: it is held");
            assert_eq!(world.sweep().await, [0; 4], "held work uses no sweep's time");
            world.clock.advance(100 * DAY);
            assert_eq!(world.sweep().await, [0; 4]);
            assert_eq!(world.provider.received().len(), 1);
            let look = world.look(&subject).await;
            assert!(look.is_in_time(), "{look:?}");

            let released = world.store.release_hold(&subject, &act()).await.unwrap();
            assert_eq!(released, Released { was_held: true, due_again: 1 });
            assert_eq!(world.sweep().await, [1, 1, 0, 0]);
            assert_eq!(world.torn_down(), ["db_1"]);
            let look = world.look(&subject).await;
            let announced = subject.resource.is_some();
            assert_eq!(look.is_in_time(), !announced, "{look:?}");
        }
    }
}

/// H2: a hold on an uninstalled installation stops the `deleted` events of the installation and of its
/// resources, whether the resources are purged or not. A hold on an uninstall is still in time if a resource
/// was announced before the uninstall.
#[tokio::test]
async fn a_hold_on_an_uninstall_stops_all_of_it() {
    let world = world().await;
    let before = world.clock.timestamp() + DAY;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world.sweep_all().await;
    world.clock.advance(DAY);
    world.sweep_all().await;
    assert_eq!(world.torn_down(), ["db_1"]);
    assert!(before <= world.clock.timestamp());

    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let at = world.clock.timestamp() + DAY;
    let look = world.hold(&on(None)).await;
    assert!(look.is_in_time());
    assert_eq!(look.installation, Some(TeardownState::Pending(at)));
    assert_eq!(look.resources[&resource("db_1")], TeardownState::AnnouncedSeparately);
    assert_eq!(
        look.resources[&resource("db_2")],
        TeardownState::Pending(at),
        "it is not purged yet"
    );
    world.sweep_all().await;
    assert_eq!(world.look(&on(None)).await, look, "nor is it another once it is");
    world.clock.advance(DAY);
    assert_eq!(world.sweep().await[..2], [3, 1], "two are held, and the finalization is done");
    world.clock.advance(10 * DAY);
    world.sweep_all().await;
    assert_eq!(world.torn_down(), ["db_1"]);
    let released = world.store.release_hold(&on(None), &act()).await.unwrap();
    assert_eq!(released, Released { was_held: true, due_again: 2 });
    world.sweep_all().await;
    assert_eq!(world.torn_down(), ["", "db_1", "db_2"]);
    let late = world.hold(&on(None)).await;
    assert!(!late.is_in_time());
    assert_eq!((late.installation, late.announced), (Some(TeardownState::Announced), 1));
}

/// H2: an operator may give a hold an end. When the hold ends, the `deleted` event is due without a release.
/// A second hold on the same subject replaces the first hold.
#[tokio::test]
async fn a_hold_may_have_an_end() {
    let world = world_with("0s").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let subject = on(Some("db_1"));
    let end = world.clock.timestamp() + 2 * DAY;
    world.store.hold(&subject, &act(), Some(end)).await.unwrap();
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    world.clock.advance(Duration::from_secs(2 * 24 * 3600 - 1));
    assert_eq!(world.sweep().await, [0; 4]);
    // Replaces the hold by a hold without an end, and then by a hold with a different end.
    world.store.hold(&subject, &act(), None).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.sweep().await, [1, 0, 0, 0]);
    let end = world.clock.timestamp() + DAY;
    world.store.hold(&subject, &act(), Some(end)).await.unwrap();
    assert_eq!(world.sweep().await, [0; 4]);
    world.clock.advance(DAY);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    let released = world.store.release_hold(&subject, &act()).await.unwrap();
    assert_eq!(released, Released { was_held: false, due_again: 0 }, "it does not stand any more");
}

/// H2: a hold may be released after a worker has read the holds, and before the worker writes. The worker
/// notices the release. Therefore no job stays held after its hold is released. An interrupted release can be
/// repeated.
#[tokio::test]
async fn no_job_stays_held_without_a_hold() {
    let world = world_with("0s").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let subject = on(Some("db_1"));
    world.store.hold(&subject, &act(), None).await.unwrap();
    let process = world.process().await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let meanwhile = async {
        until(|| world.dynamodb.is_holding()).await;
        let released = world.store.release_hold(&subject, &act()).await.unwrap();
        assert_eq!(released, Released { was_held: true, due_again: 0 });
        gate.add_permits(1);
    };
    tokio::join!(process.sweep(HostTime::default()), meanwhile);
    assert_eq!(world.torn_down(), ["db_1"], "released, it is announced at once");
    let receipt = &world.items("icfg_1").await["receipt#resource#db_1"];
    let now = world.clock.now().as_secs();
    assert_eq!(receipt["expiresAt"], now + 90 * 24 * 3600, "it waits for nothing any more");

    // Brings the table into the state that a release leaves behind if its process dies after its first write.
    world.install("icfg_1", &["db_3"]).await;
    let path = "/v1/installations/icfg_1/resources/db_3";
    assert_eq!(world.delete(path).send().await.status, 204);
    let subject = on(Some("db_3"));
    world.store.hold(&subject, &act(), None).await.unwrap();
    assert_eq!(world.sweep().await, [1, 0, 0, 0]);
    let mut hold = world.items("icfg_1").await["hold#resource#db_3"].clone();
    hold["releasedAt"] = json!(1);
    world.put(hold).await;
    let released = world.store.release_hold(&subject, &act()).await.unwrap();
    assert_eq!(released, Released { was_held: false, due_again: 1 });
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
}

/// H2: a parked job that an operator retries is still stopped by a hold.
#[tokio::test]
async fn a_retried_job_is_still_held() {
    let world = world_with("0s").await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let mut job = world.items("icfg_1").await[WORK].clone();
    (job["dueShard"], job["lastError"]) = (json!("parked"), json!("answered 500"));
    world.put(job).await;
    world.store.hold(&on(None), &act(), None).await.unwrap();
    for work in world.store.parked(10).await.unwrap() {
        assert!(world.store.retry_parked(&work).await.unwrap());
    }
    assert_eq!(world.sweep().await, [1, 0, 0, 0]);
    assert!(world.provider.received().is_empty());
}

/// H2: a hold reports each of these states: the resource or installation is unknown, the deletion is never
/// announced, or no item is left that says whether the provider was notified.
#[tokio::test]
async fn a_hold_reports_the_state_of_the_teardown() {
    let world = World::with(&[]).await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let state =
        async |name: &str| world.look(&on(Some(name))).await.resources[&resource(name)].clone();
    assert_eq!(state("db_x").await, TeardownState::Unknown);
    assert_eq!(
        world.look(&Subject { installation: id("icfg_x"), resource: None }).await.installation,
        Some(TeardownState::Unknown)
    );
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(state("db_1").await, TeardownState::Unannounced);
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    assert_eq!(state("db_2").await, TeardownState::Unannounced);
    assert!(world.hold(&on(None)).await.is_in_time());

    let world = world_with("0s").await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.sweep_all().await;
    let look = world.hold(&on(Some("db_1"))).await;
    assert_eq!(look.resources[&resource("db_1")], TeardownState::NoRecord);
    assert!(!look.is_in_time());
}

/// H2, H5: the list of holds shows for each hold in force who placed it, why, and how many jobs it stops. The
/// item of a released hold says who released the hold, and why.
#[tokio::test]
async fn holds_are_listed() {
    let world = world().await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    world.hold(&on(None)).await;
    world.clock.advance(Duration::from_secs(1));
    world.hold(&on(Some("db_1"))).await;
    world.hold(&on(Some("db_2"))).await;
    let holds = world.store.holds(10).await.unwrap();
    let listed: Vec<_> = holds.iter().map(|it| (it.subject.clone(), it.holds_up)).collect();
    assert_eq!(listed[0], (on(None), 1));
    assert_eq!(
        listed[1..].iter().cloned().collect::<BTreeSet<_>>(),
        [(on(Some("db_1")), 1), (on(Some("db_2")), 0)].into()
    );
    assert_eq!((holds[0].by.as_str(), holds[0].reason.as_str()), ("olga", "ticket 42"));
    let other = Act { by: "ivan".to_owned(), reason: "paid".to_owned() };
    assert!(world.store.release_hold(&on(None), &other).await.unwrap().was_held);
    assert_eq!(world.store.holds(10).await.unwrap().len(), 2);
    let hold = &world.items("icfg_1").await["hold#installation"];
    let now = world.clock.timestamp().as_secs();
    let expected = json!({
        "pk": "installation#icfg_1", "sk": "hold#installation", "heldAt": now - 1,
        "heldBy": "olga", "reason": "ticket 42", "id": hold["id"], "releasedAt": now,
        "releasedBy": "ivan", "releaseReason": "paid", "expiresAt": now + 90 * 24 * 3600,
    });
    assert_eq!(*hold, expected);
    assert_ne!(hold["id"], Value::Null);
}

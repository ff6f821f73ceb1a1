//! A crash at every step of what operators type, and of an announcement in its two phases (F5, H1, H2,
//! H3, I1): typed again, or swept, it comes to the end that it has without a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use teardown::app::SweepTime;
use teardown::ids::ResourceId;
use teardown::store::Store;
use teardown::store::forget::Announced;
use teardown::store::holds::{Act, Subject};
use teardown::store::keep::Kept;
use teardown::store::moves::{Moved, Target};

use crate::support::steps::Moment;
use crate::support::world::{INSTALLATION, RESOURCE, World, id};

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typed {
    Hold,
    /// A hold without an end is replaced by one with an end.
    HoldAgain,
    Release,
    Keep,
    /// The uninstall has not purged it yet.
    KeepUnpurged,
    Move,
    Forget,
    /// A sweep that delivers the notices of an uninstall.
    Notices,
    /// A sweep that announces the deletions themselves, one of them held.
    Teardowns,
}

fn act() -> Act {
    Act { by: "olga".to_owned(), reason: "ticket 42".to_owned() }
}

fn resource() -> ResourceId {
    ResourceId::parse("db_1").unwrap()
}

fn on(resource: Option<ResourceId>) -> Subject {
    Subject { installation: id("icfg_1"), resource }
}

const DAY: Duration = Duration::from_hours(24);

impl Typed {
    async fn arrange(self) -> World {
        let world = World::announcing_with(&[("GRACE_PERIOD", "1d")]).await;
        world.install("icfg_1", &["db_1", "db_2"]).await;
        world.settle("icfg_1").await;
        world.install("icfg_2", &[]).await;
        let path = if self == Self::KeepUnpurged { INSTALLATION } else { RESOURCE };
        if matches!(self, Self::Notices | Self::Teardowns) {
            assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
        } else if !matches!(self, Self::Move | Self::Forget) {
            assert!(world.delete(path).send().await.status < 300);
        }
        let hold = async |resource| world.store.hold(&on(resource), &act(), None).await.unwrap();
        match self {
            Self::HoldAgain | Self::Release => {
                hold(None).await;
                world.sweep_all().await;
                world.clock.advance(DAY);
                world.sweep_all().await;
                assert!(
                    world.items("icfg_1").await.values().any(|item| item["dueShard"] == "held")
                );
            }
            Self::Teardowns => {
                world.sweep_all().await;
                hold(Some(resource())).await;
                world.clock.advance(DAY);
            }
            _ => {}
        }
        world
    }

    /// Does it in a process of its own, until it ends or is killed.
    async fn run(self, world: &World) -> bool {
        let store = world.proxied().await;
        tokio::select! {
            () = self.act(world, &store) => true,
            () = world.steps.killed() => false,
        }
    }

    async fn act(self, world: &World, store: &Store) {
        match self {
            Self::Hold => store.hold(&on(None), &act(), None).await.unwrap(),
            Self::HoldAgain => {
                let end = world.clock.timestamp() + DAY;
                store.hold(&on(None), &act(), Some(end)).await.unwrap();
            }
            Self::Release => drop(store.release_hold(&on(None), &act()).await.unwrap()),
            Self::Keep | Self::KeepUnpurged => {
                let kept = store.keep(&id("icfg_1"), &resource(), &act()).await.unwrap();
                assert!(matches!(kept, Kept::Now | Kept::Before), "{kept:?}");
            }
            Self::Move => {
                let target = Target::Installation(id("icfg_2"));
                let moved = store.move_resource(&id("icfg_1"), &resource(), &target, &act()).await;
                assert!(matches!(moved, Ok(Moved::Now | Moved::Before)), "{moved:?}");
            }
            Self::Forget => {
                let announced = Announced::After(DAY);
                store.forget(&id("icfg_1"), &act(), announced).await.unwrap();
            }
            Self::Notices | Self::Teardowns => {
                drop(world.process().await.sweep(SweepTime::default()).await);
            }
        }
    }

    /// Brings it to its end, whatever became of it: typed again, and swept.
    async fn recover(self, world: &World) {
        world.steps.begin();
        // Longer than any lease.
        world.clock.advance(Duration::from_mins(3));
        if !matches!(self, Self::Notices | Self::Teardowns) {
            self.act(world, &world.store).await;
        }
        for _ in 0..3 {
            world.sweep_all().await;
            world.clock.advance(DAY);
        }
    }
}

/// What has to be the same in the end, whenever it took place.
#[derive(Debug, PartialEq, Eq)]
struct End {
    table: BTreeMap<String, BTreeMap<String, Value>>,
    /// The things announced, each under one id.
    announced: BTreeSet<String>,
}

impl End {
    async fn of(world: &World) -> Self {
        let mut table = world.all().await;
        for item in table.values_mut().flat_map(BTreeMap::values_mut) {
            let item = item.as_object_mut().unwrap();
            // A worker that died leaves a doubt, and one claim more.
            for name in ["attempts", "fence", "inDoubt", "lastError"] {
                item.remove(name);
            }
            for (name, value) in &mut *item {
                if value.is_u64() || name == "id" {
                    *value = json!("some");
                } else if name == "kept" {
                    value["at"] = json!("some");
                }
            }
        }
        let ids = world.provider.ids();
        assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
        Self { table, announced: ids.into_keys().collect() }
    }
}

/// F5, H1, H2, H3, I1: wherever it is killed, it comes to the same end.
async fn survives(typed: Typed) {
    let smooth = typed.arrange().await;
    smooth.steps.begin();
    assert!(typed.run(&smooth).await);
    let steps = smooth.steps.count();
    typed.recover(&smooth).await;
    let expected = End::of(&smooth).await;
    println!("{typed:?}: {steps} calls");
    for step in 0..steps {
        for moment in [Moment::Before, Moment::After] {
            let world = typed.arrange().await;
            world.steps.kill_at(step, moment);
            typed.run(&world).await;
            typed.recover(&world).await;
            assert_eq!(End::of(&world).await, expected, "{typed:?} killed {moment:?} call {step}");
        }
    }
}

macro_rules! survives {
    ($($name:ident: $typed:expr;)*) => {
        $(
            /// F5, H1, H2, H3, I1: see [`survives`].
            #[tokio::test]
            async fn $name() {
                survives($typed).await;
            }
        )*
    };
}

survives! {
    a_hold_survives_a_crash_at_every_step: Typed::Hold;
    a_second_hold_survives_a_crash_at_every_step: Typed::HoldAgain;
    a_release_survives_a_crash_at_every_step: Typed::Release;
    keeping_survives_a_crash_at_every_step: Typed::Keep;
    keeping_from_an_uninstall_survives_a_crash_at_every_step: Typed::KeepUnpurged;
    a_move_survives_a_crash_at_every_step: Typed::Move;
    forgetting_survives_a_crash_at_every_step: Typed::Forget;
    notices_survive_a_crash_at_every_step: Typed::Notices;
    teardowns_survive_a_crash_at_every_step: Typed::Teardowns;
}

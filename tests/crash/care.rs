//! A crash at every step of the operators' commands, and of an announcement in its two phases (F5, H1, H2,
//! H3, I1). After a second run of the command, and sweeps, the end is the same as without a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use serde_json::{Value, json};
use teardown::Endpoint;
use teardown::ids::ResourceId;
use teardown::store::Store;
use teardown::store::admin::Act;
use teardown::store::admin::forget::Announced;
use teardown::store::admin::holds::Subject;
use teardown::store::admin::keep::Kept;
use teardown::store::admin::moves::{Moved, Target};

use crate::support::steps::crashes;
use crate::support::world::{INSTALLATION, RESOURCE, World, id, user};

/// The command or the deletion that the test kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typed {
    Hold,
    /// A second hold, which ends at a given time. The second hold replaces a hold that has no end.
    HoldAgain,
    Release,
    Keep,
    /// `keep`, for a resource of an uninstalled installation that is not purged yet.
    KeepUnpurged,
    Move,
    Forget,
    /// A deletion, and the notice that is sent after the deletion's answer.
    Notice,
    /// A deletion without a grace period. After the deletion's answer, a hold stops the announcement.
    Held,
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
        let grace = if self == Self::Held { "0s" } else { "1d" };
        let world = World::announcing_with(&[("GRACE_PERIOD", grace)]).await;
        world.install("icfg_1", &["db_1", "db_2"]).await;
        world.settle("icfg_1").await;
        world.install("icfg_2", &[]).await;
        let path = if self == Self::KeepUnpurged { INSTALLATION } else { RESOURCE };
        if !matches!(self, Self::Move | Self::Forget | Self::Notice | Self::Held) {
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
            Self::Held => hold(Some(resource())).await,
            _ => {}
        }
        world
    }

    /// Runs the command in its own process, until the command ends or is killed. Returns whether the command
    /// ended.
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
            Self::Notice | Self::Held => {
                let request = http::Request::delete(RESOURCE)
                    .header("authorization", format!("Bearer {}", world.token(&user("icfg_1"))))
                    .body(Empty::<Bytes>::new());
                let process = world.process().await;
                let deleted =
                    process.handle_and_follow_up(Endpoint::DeleteResource, request.unwrap());
                let (_, follow_up) = deleted.await;
                if let Some(follow_up) = follow_up {
                    follow_up.run().await;
                }
            }
        }
    }

    /// Brings the command to its end, whichever step it was killed at: runs the command again, and then
    /// sweeps.
    async fn recover(self, world: &World) {
        world.steps.begin();
        // These 3 minutes are longer than any lease.
        world.clock.advance(Duration::from_mins(3));
        Box::pin(self.act(world, &world.store)).await;
        if self == Self::Held {
            world.sweep_all().await;
            assert!(world.provider.received().is_empty(), "it is held, wherever it was killed");
            world.store.release_hold(&on(Some(resource())), &act()).await.unwrap();
        }
        for _ in 0..3 {
            world.sweep_all().await;
            world.clock.advance(DAY);
        }
    }
}

/// The state when the command has ended, without times. This state must be the same after each crash.
#[derive(Debug, PartialEq, Eq)]
struct End {
    table: BTreeMap<String, BTreeMap<String, Value>>,
    /// The announced events, each with one `webhook-id`.
    announced: BTreeSet<String>,
}

impl End {
    async fn of(world: &World) -> Self {
        let mut table = world.all().await;
        for item in table.values_mut().flat_map(BTreeMap::values_mut) {
            let item = item.as_object_mut().unwrap();
            // These attributes depend on the crash: a worker that died leaves an attempt in doubt, and has
            // claimed the job once more.
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

/// F5, H1, H2, H3, I1: if an operator's command or an announcement is killed at any of its calls, the end is
/// the same as without a crash.
async fn survives(typed: Typed) {
    let smooth = typed.arrange().await;
    smooth.steps.begin();
    assert!(Box::pin(typed.run(&smooth)).await);
    let steps = smooth.steps.count();
    typed.recover(&smooth).await;
    let expected = End::of(&smooth).await;
    println!("{typed:?}: {steps} calls");
    for (step, moment) in crashes(steps) {
        let world = typed.arrange().await;
        world.steps.kill_at(step, moment);
        Box::pin(typed.run(&world)).await;
        typed.recover(&world).await;
        assert_eq!(End::of(&world).await, expected, "{typed:?} killed {moment:?} call {step}");
    }
}

macro_rules! survives {
    ($($name:ident: $typed:expr;)*) => {
        $(
            /// F5, H1, H2, H3, I1: whichever call the command is killed at, a second run and sweeps bring it
            /// to the same end as without a crash.
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
    a_notice_survives_a_crash_at_every_step: Typed::Notice;
    what_is_held_survives_a_crash_at_every_step: Typed::Held;
}

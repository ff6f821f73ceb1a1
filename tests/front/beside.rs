//! Provisions that run at the same time as other Provisions, as deletions, and as operators' commands (F4,
//! H2, H3, I1, J4).

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use teardown::ids::ResourceId;
use teardown::store::admin::Act;
use teardown::store::admin::forget::{Announced, Forgotten};
use teardown::store::admin::holds::Subject;
use teardown::store::admin::keep::Kept;
use teardown::store::admin::moves::{Moved, Target};

use super::{intents, provision, upsert};
use crate::support::backend::{Answer, Backend};
use crate::support::dynamodb::Fault;
use crate::support::gate::Gate;
use crate::support::waiting::within;
use crate::support::world::{CONFIGURATION, INSTALLATION, Reply, World, id};

fn act() -> Act {
    Act { by: "olga".to_owned(), reason: "ticket 42".to_owned() }
}

fn resource() -> ResourceId {
    ResourceId::parse("db_1").unwrap()
}

/// Sends a Provision, and runs `meanwhile` while the backend handles the Provision.
async fn beside(world: &World, backend: &Backend, meanwhile: impl Future<Output = ()>) -> Reply {
    let gate = Gate::default();
    backend.script([Answer::Held(gate.clone(), Box::new(Answer::Honest))]);
    let sent = provision(world, "k1").send();
    let (reply, ()) = within(async {
        tokio::join!(sent, async {
            gate.reached().await;
            meanwhile.await;
            gate.open();
        })
    })
    .await;
    assert_eq!(intents(world).await, [""; 0]);
    reply
}

/// The number of `webhook-id`s under which the deletion of `db_1` was announced.
fn announced(world: &World) -> usize {
    let ids = world.provider.ids();
    ids.get("\"resource.deleted\" \"icfg_1\" \"db_1\"").map_or(0, std::collections::BTreeSet::len)
}

/// F4, J4: if 16 equal Provisions come at the same time, the front passes on each of them once, and registers
/// their resource once. If the backend refuses all 16 Provisions, the front also passes on each of them only
/// once, and no intent is left.
#[tokio::test]
async fn equal_provisions_at_once_register_once() {
    for (with_conflicts, refused) in [(false, false), (true, false), (true, true)] {
        let (world, backend) = Backend::behind().await;
        assert_eq!(upsert(&world).send().await.status, 200);
        if with_conflicts {
            let fault = |n| if n % 3 == 0 { Fault::None } else { Fault::Conflict };
            world.dynamodb.script((0..16).map(fault));
            world.dynamodb.lasting(Fault::ConflictBesideEvidence);
        }
        if refused {
            backend.script((0..16).map(|_| Answer::with_body(409, "{}")));
        }
        let replies = join_all((0..16).map(|_| provision(&world, "k1").send())).await;
        for reply in replies {
            let expected = if refused { (409, json!(null)) } else { (200, json!("db_1")) };
            assert_eq!((reply.status, reply.body["id"].clone()), expected);
        }
        assert_eq!(backend.received().len(), 1 + 16, "each is passed on once");
        let keys = world.sort_keys("icfg_1").await;
        let expected = ["#installation", "#token", "resource#db_1"];
        assert_eq!(keys, expected[..if refused { 2 } else { 3 }], "{with_conflicts}");
        let installation = world.item("installation#icfg_1", "#installation").await.unwrap();
        assert_eq!(installation["resources"], usize::from(!refused));
    }
}

/// I1, J4: if a resource is moved to another installation while the backend repeats its answer to a
/// Provision, the resource stays moved.
#[tokio::test]
async fn a_resource_moved_meanwhile_stays_moved() {
    let (world, backend) = Backend::behind().await;
    world.install("icfg_2", &[]).await;
    assert_eq!(provision(&world, "k1").send().await.status, 200);
    let reply = beside(
        &world,
        &backend,
        Box::pin(async {
            let target = Target::Installation(id("icfg_2"));
            let moved =
                world.store.move_resource(&id("icfg_1"), &resource(), &target, &act()).await;
            assert_eq!(moved.unwrap(), Moved::Now);
        }),
    )
    .await;
    assert_eq!((reply.status, &reply.body["id"]), (200, &json!("db_1")));
    assert!(!world.is_live("icfg_1", "db_1").await && world.is_live("icfg_2", "db_1").await);
    let installation = world.item("installation#icfg_1", "#installation").await.unwrap();
    assert_eq!(installation["resources"], 0);
}

/// H3, J4: if an operator keeps a resource of an uninstall while the backend repeats its answer to a
/// Provision, the resource is not announced.
#[tokio::test]
async fn a_resource_kept_meanwhile_is_not_announced() {
    let (world, backend) = Backend::behind().await;
    assert_eq!(provision(&world, "k1").send().await.status, 200);
    let reply = beside(
        &world,
        &backend,
        Box::pin(async {
            assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
            let kept = world.store.keep(&id("icfg_1"), &resource(), &act()).await.unwrap();
            assert_eq!(kept, Kept::Now);
        }),
    )
    .await;
    assert_eq!(reply.error(), (409, "installation_deleted"));
    world.sweep_all().await;
    assert_eq!(announced(&world), 0);
    let receipt = world.item("installation#icfg_1", "receipt#resource#db_1").await.unwrap();
    assert_eq!(receipt["kept"]["by"], "olga");
}

/// H2, J4: if the backend makes a resource during an uninstall, a hold on the installation also stops that
/// resource's `deleted` event. After the release of the hold, the `deleted` event is sent.
#[tokio::test]
async fn a_resource_made_under_a_hold_is_held() {
    let (world, backend) = Backend::behind().await;
    let held = Subject { installation: id("icfg_1"), resource: None };
    let reply = beside(
        &world,
        &backend,
        Box::pin(async {
            world.store.hold(&held, &act(), None).await.unwrap();
            assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
            world.sweep_all().await;
        }),
    )
    .await;
    assert_eq!(reply.error(), (409, "installation_deleted"));
    world.sweep_all().await;
    assert_eq!(announced(&world), 0);
    world.store.release_hold(&held, &act()).await.unwrap();
    world.sweep_all().await;
    assert_eq!(announced(&world), 1);
}

/// E6, J4: if the backend makes a resource while an operator runs `forget` on its installation, the resource
/// is announced if and only if `forget` announces the other resources.
#[tokio::test]
async fn a_resource_made_during_forget_is_announced_like_the_others() {
    for (how, times) in [(Announced::After(Duration::ZERO), 1), (Announced::Never, 0)] {
        let (world, backend) = Backend::behind().await;
        let reply = beside(
            &world,
            &backend,
            Box::pin(async {
                let forgotten = world.store.forget(&id("icfg_1"), &act(), how).await.unwrap();
                assert_eq!(forgotten, Forgotten::Now { uninstalled: false });
            }),
        )
        .await;
        assert_eq!(reply.error(), (409, "installation_deleted"));
        world.sweep_all().await;
        assert_eq!(announced(&world), times, "{how:?}");
    }
}

/// E2, J4: if the backend makes a resource while the installation's configuration is deleted, the resource is
/// announced.
#[tokio::test]
async fn a_resource_made_during_a_configurations_deletion_is_announced() {
    let (world, backend) = Backend::behind().await;
    assert_eq!(upsert(&world).send().await.status, 200);
    let reply = beside(
        &world,
        &backend,
        Box::pin(async {
            assert_eq!(world.delete(CONFIGURATION).send().await.status, 204);
            world.sweep_all().await;
        }),
    )
    .await;
    assert_eq!(reply.error(), (409, "installation_deleted"));
    assert!(world.vercel.is_gone("icfg_1"));
    world.sweep_all().await;
    assert_eq!(announced(&world), 1);
}

//! Many requests at the same time (F4). Each test also runs while transactions fail with injected conflicts,
//! which no emulator of DynamoDB produces.

use std::sync::LazyLock;

use futures_util::future::join_all;
use serde_json::json;
use teardown::store::registry::RegisterError;

use crate::support::dynamodb::Fault;
use crate::support::world::{INSTALLATION, RESOURCE, World, sized};

/// The number of requests that are sent at the same time. The number is smaller for a slow DynamoDB, because
/// a request waits for DynamoDB for at most 8 s. If too many requests waited in the queue, the last request
/// would be answered 503.
static AT_ONCE: LazyLock<usize> = LazyLock::new(|| sized(64, 16));

/// Makes two in three of the first writes fail with a conflict. After these first writes, if DynamoDB
/// refuses a transaction, its answer reports conflicts in addition to the failed conditions.
fn conflicts(world: &World) {
    let fault = |n| if n % 3 == 0 { Fault::None } else { Fault::Conflict };
    world.dynamodb.script((0..*AT_ONCE).map(fault));
    world.dynamodb.lasting(Fault::ConflictBesideEvidence);
}

/// Counts the live resources. Also asserts that the installation's attribute `resources` has the same number.
async fn counted(world: &World, installation: &str) -> u64 {
    let items = world.items(installation).await;
    let live = items.keys().filter(|key| key.starts_with("resource#")).count() as u64;
    assert_eq!(items["#installation"]["resources"], live);
    live
}

/// F4: 64 equal requests, with or without a key, have one effect together, and all get the same answer.
#[tokio::test]
async fn equal_requests_have_one_effect() {
    for with_conflicts in [false, true] {
        for key in [None, Some("k1")] {
            let world = World::announcing().await;
            world.install("icfg_1", &["db_1", "db_2"]).await;
            if with_conflicts {
                conflicts(&world);
            }
            let requests = (0..*AT_ONCE).map(|_| {
                let call = world.delete(RESOURCE);
                key.into_iter().fold(call, crate::support::world::Call::key).send()
            });
            for reply in join_all(requests).await {
                assert_eq!(reply.whole(), (204, json!(null)));
            }
            assert_eq!(counted(&world, "icfg_1").await, 1);
            assert_eq!(
                world.sort_keys("icfg_1").await,
                [
                    "#installation",
                    "receipt#resource#db_1",
                    "resource#db_2",
                    "work#announce#resource#db_1"
                ]
            );
            assert_eq!(world.all().await.len(), 1 + key.into_iter().count());
        }
    }
}

/// F4: 64 requests with different keys for one resource have one effect and 64 recorded outcomes.
#[tokio::test]
async fn different_requests_for_one_resource_have_one_effect() {
    for with_conflicts in [false, true] {
        let world = World::announcing().await;
        world.install("icfg_1", &["db_1"]).await;
        if with_conflicts {
            conflicts(&world);
        }
        let requests = (0..*AT_ONCE).map(|n| world.delete(RESOURCE).key(&format!("k{n}")).send());
        for reply in join_all(requests).await {
            assert_eq!(reply.whole(), (204, json!(null)));
        }
        assert_eq!(counted(&world, "icfg_1").await, 0);
        assert_eq!(world.all().await.len(), 1 + *AT_ONCE);
    }
}

/// F2, F4: if callers send one key for 64 different resources, one resource is deleted, and the other
/// requests are refused.
#[tokio::test]
async fn one_key_deletes_one_resource() {
    for with_conflicts in [false, true] {
        let world = World::announcing().await;
        let resources: Vec<_> = (0..*AT_ONCE).map(|n| format!("db_{n}")).collect();
        let names: Vec<_> = resources.iter().map(String::as_str).collect();
        world.install("icfg_1", &names).await;
        if with_conflicts {
            conflicts(&world);
        }
        let paths: Vec<_> =
            resources.iter().map(|id| format!("{INSTALLATION}/resources/{id}")).collect();
        let replies = join_all(paths.iter().map(|path| world.delete(path).key("k1").send())).await;
        let done = replies.iter().filter(|reply| reply.status == 204).count();
        let reused =
            replies.iter().filter(|reply| reply.error() == (409, "idempotency_key_reused"));
        assert_eq!((done, reused.count()), (1, *AT_ONCE - 1));
        assert_eq!(counted(&world, "icfg_1").await, *AT_ONCE as u64 - 1);
    }
}

/// F4, D5: 64 equal uninstalls have one effect and get the same answer, whether all have one key or each has
/// a different key.
#[tokio::test]
async fn uninstalls_at_once_have_one_effect() {
    for with_conflicts in [false, true] {
        for same_key in [false, true] {
            let world = World::announcing().await;
            world.install("icfg_1", &["db_1"]).await;
            if with_conflicts {
                conflicts(&world);
            }
            let key = |n: usize| if same_key { "k".to_owned() } else { format!("k{n}") };
            let requests = (0..*AT_ONCE).map(|n| world.delete(INSTALLATION).key(&key(n)).send());
            for reply in join_all(requests).await {
                assert_eq!(reply.whole(), (200, json!({ "finalized": false })));
            }
            let outcomes = if same_key { 1 } else { *AT_ONCE };
            assert_eq!(world.all().await.len(), 1 + outcomes);
            let receipt = &world.items("icfg_1").await["receipt#installation"];
            assert_eq!(
                receipt["deletedAt"],
                world.items("icfg_1").await["#installation"]["deletedAt"]
            );
        }
    }
}

/// D4: if a registration races an uninstall, the registration either comes before the uninstall and is
/// counted, or is refused.
#[tokio::test]
async fn a_registration_is_counted_or_refused() {
    for with_conflicts in [false, true] {
        for cascade in [true, false] {
            let world = World::announcing().await;
            world.install("icfg_1", &[]).await;
            if with_conflicts {
                conflicts(&world);
            }
            let registrations = join_all((0..*AT_ONCE).map(|n| {
                let id = format!("db_{n}");
                world.try_register(json!({ "resource": { "installationId": "icfg_1", "id": id } }))
            }));
            let body = json!({ "cascadeResourceDeletion": cascade });
            let (registered, uninstalled) =
                tokio::join!(registrations, world.delete(INSTALLATION).json(&body).send());

            let accepted = registered.iter().filter(|result| result.is_ok()).count();
            let refused = registered
                .iter()
                .filter(|result| matches!(result, Err(RegisterError::InstallationDeleted)));
            assert_eq!(accepted + refused.count(), *AT_ONCE);
            assert_eq!(counted(&world, "icfg_1").await, accepted as u64);
            let state = &world.items("icfg_1").await["#installation"]["state"];
            if cascade {
                assert_eq!((uninstalled.status, state), (200, &json!("deleting")));
            } else if uninstalled.status == 200 {
                assert_eq!((accepted, state), (0, &json!("deleting")));
            } else {
                assert_eq!(uninstalled.error(), (409, "resources_remain"));
                assert_eq!((accepted, state), (*AT_ONCE, &json!("active")));
            }
        }
    }
}

/// C4, D4: if deletions and registrations of one resource race, the stored number of resources stays right.
/// Once a resource has a receipt, it stays deleted.
#[tokio::test]
async fn a_deletion_races_registrations_of_its_resource() {
    for with_conflicts in [false, true] {
        let world = World::announcing().await;
        world.install("icfg_1", &[]).await;
        if with_conflicts {
            conflicts(&world);
        }
        let line = json!({ "resource": { "installationId": "icfg_1", "id": "db_1", "name": "x" } });
        let registrations = join_all((0..*AT_ONCE).map(|_| world.try_register(line.clone())));
        let deletions = join_all((0..*AT_ONCE).map(|_| world.delete(RESOURCE).send()));
        let (registered, deleted) = tokio::join!(registrations, deletions);

        for reply in deleted {
            assert_eq!(reply.whole(), (204, json!(null)), "{reply:?}");
        }
        for result in registered {
            assert!(matches!(result, Ok(()) | Err(RegisterError::ResourceDeleted)), "{result:?}");
        }
        assert_eq!(counted(&world, "icfg_1").await, 0);
        let refused = world.try_register(line).await;
        assert!(matches!(refused, Err(RegisterError::ResourceDeleted)));
    }
}

/// C1, D2, G1: if deletions of resources race their installation's uninstall, each of these deletions is
/// answered 204, and no resource stays live. Each resource is announced once, either by its own deletion or
/// by the installation's purge.
#[tokio::test]
async fn deletions_race_the_uninstall() {
    for with_conflicts in [false, true] {
        let world = World::announcing().await;
        let resources: Vec<_> = (0..*AT_ONCE).map(|n| format!("db_{n}")).collect();
        let names: Vec<_> = resources.iter().map(String::as_str).collect();
        world.install("icfg_1", &names).await;
        if with_conflicts {
            conflicts(&world);
        }
        let delete = |id: &String| {
            let call = world.delete(&format!("{INSTALLATION}/resources/{id}")).key(id);
            async { call.send().await }
        };
        let deletions = join_all(resources.iter().map(delete));
        let (deleted, uninstalled) = tokio::join!(deletions, world.delete(INSTALLATION).send());
        assert_eq!(uninstalled.whole(), (200, json!({ "finalized": false })));
        for reply in deleted {
            assert_eq!(reply.whole(), (204, json!(null)));
        }
        let items = world.items("icfg_1").await;
        for id in &resources {
            assert!(!world.is_live("icfg_1", id).await, "{id}");
            let is_left = items.contains_key(&format!("resource#{id}"));
            let receipt = items.contains_key(&format!("receipt#resource#{id}"));
            let job = items.contains_key(&format!("work#announce#resource#{id}"));
            let by_itself = !is_left;
            assert_eq!((receipt, job), (by_itself, by_itself), "{id}, or it is the purge's");
        }
        world.sweep_all().await;
        let announced = world.provider.ids();
        assert_eq!(announced.len(), *AT_ONCE + 1);
        assert!(announced.values().all(|ids| ids.len() == 1), "{announced:?}");
    }
}

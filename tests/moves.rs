//! Moves: a resource goes to another installation, or out of the marketplace (I1, I2, I3, H5).

use std::time::Duration;

use futures_util::future::join;
use serde_json::json;
use teardown::ids::ResourceId;
use teardown::store::admin::Act;
use teardown::store::admin::holds::Subject;
use teardown::store::admin::moves::{Moved, Obstacle, Target};
use teardown::store::registry::RegisterError;

use crate::support::dynamodb::Fault;
use crate::support::world::{ACCOUNT, INSTALLATION, RESOURCE, World, id};

const DAY: Duration = Duration::from_hours(24);

/// The test's world with two installations: `icfg_1` has `db_1` and `db_2`, and `icfg_2` has no resources.
async fn world() -> World {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    world.install("icfg_2", &[]).await;
    world
}

fn act() -> Act {
    Act { by: "olga".to_owned(), reason: "transfer tr_1".to_owned() }
}

async fn moved(world: &World, from: &str, to: Option<&str>) -> Moved {
    let target = to.map_or(Target::Out, |to| Target::Installation(id(to)));
    let resource = ResourceId::parse("db_1").unwrap();
    world.store.move_resource(&id(from), &resource, &target, &act()).await.unwrap()
}

fn resources(items: &std::collections::BTreeMap<String, serde_json::Value>) -> u64 {
    items["#installation"]["resources"].as_u64().unwrap()
}

/// I1, H5: a move stores the resource's item with all its attributes at the target, and updates the counts of
/// both installations. The receipt of a move does not expire. The receipt says who moved the resource where,
/// when and why.
#[tokio::test]
async fn a_move_is_one_transaction() {
    let world = world().await;
    let line = json!({ "resource": {
        "installationId": "icfg_1", "id": "db_1", "name": "a name", "status": "provisioning",
    } });
    world.register(line).await;
    let mut item = world.items("icfg_1").await["resource#db_1"].clone();
    world.clock.advance(DAY);
    assert_eq!(moved(&world, "icfg_1", Some("icfg_2")).await, Moved::Now);
    let (source, target) = (world.items("icfg_1").await, world.items("icfg_2").await);
    item["pk"] = json!("installation#icfg_2");
    item["registeredAt"] = json!(world.clock.timestamp().as_secs());
    assert_eq!(target["resource#db_1"], item, "what is being provisioned may be moved");
    assert_eq!((resources(&source), resources(&target)), (1, 1));
    assert_eq!(
        source["receipt#resource#db_1"],
        json!({
            "pk": "installation#icfg_1", "sk": "receipt#resource#db_1", "movedTo": "icfg_2",
            "movedAt": world.clock.timestamp().as_secs(), "movedBy": "olga",
            "reason": "transfer tr_1",
        })
    );
    assert!(!source.contains_key("resource#db_1"));
    let before = world.all().await;
    assert_eq!(moved(&world, "icfg_1", Some("icfg_2")).await, Moved::Before);
    let elsewhere = Moved::No(Obstacle::MovedElsewhere("icfg_2".to_owned()));
    assert_eq!(moved(&world, "icfg_1", None).await, elsewhere);
    assert_eq!(world.all().await, before);
}

/// I2: after a move, a deletion in the source installation is answered 204 without an announcement, and the
/// source's uninstall leaves the resource live. A deletion in the target installation deletes the moved
/// resource, and is announced for the target.
#[tokio::test]
async fn deletions_follow_the_move() {
    let world = world().await;
    assert_eq!(moved(&world, "icfg_1", Some("icfg_2")).await, Moved::Now);
    let before = world.all().await;
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(world.all().await, before);
    let again = json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } });
    let refused = world.try_register(again).await;
    assert!(matches!(refused, Err(RegisterError::ResourceDeleted)), "{refused:?}");

    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.sweep_all().await;
    assert!(world.is_live("icfg_2", "db_1").await);
    let events = |world: &World| {
        let received = world.provider.received().into_iter().map(|it| it.body["data"].clone());
        received.filter(|data| data["resourceId"] == "db_1").collect::<Vec<_>>()
    };
    assert!(events(&world).is_empty());
    assert_eq!(world.delete("/v1/installations/icfg_2/resources/db_1").send().await.status, 204);
    world.sweep_all().await;
    let [data] = &events(&world)[..] else { panic!("one event") };
    assert_eq!(data["installationId"], "icfg_2");
}

/// I1, I2: a resource that has left the marketplace is never torn down, even after its deletion or an
/// uninstall.
#[tokio::test]
async fn a_resource_moved_out_is_never_torn_down() {
    let world = world().await;
    assert_eq!(moved(&world, "icfg_1", None).await, Moved::Now);
    assert_eq!(moved(&world, "icfg_1", None).await, Moved::Before);
    let items = world.items("icfg_1").await;
    assert_eq!(items["receipt#resource#db_1"]["movedTo"], "out");
    assert_eq!(resources(&items), 1);
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.sweep_all().await;
    let received = world.provider.received();
    assert!(received.iter().all(|it| it.body["data"]["resourceId"] != "db_1"), "{received:?}");
    world.clock.advance(1000 * DAY);
    assert_eq!(world.items("icfg_1").await["receipt#resource#db_1"]["movedTo"], "out");
}

/// I2: if a resource is moved back, the receipt of the first move is removed, and the second move leaves a
/// receipt at the other installation.
#[tokio::test]
async fn a_resource_can_be_moved_back() {
    let world = world().await;
    for _ in 0..2 {
        assert_eq!(moved(&world, "icfg_1", Some("icfg_2")).await, Moved::Now);
        assert_eq!(moved(&world, "icfg_2", Some("icfg_1")).await, Moved::Now);
    }
    let (source, target) = (world.items("icfg_1").await, world.items("icfg_2").await);
    assert!(source.contains_key("resource#db_1"));
    assert!(!source.contains_key("receipt#resource#db_1"));
    assert_eq!(target["receipt#resource#db_1"]["movedTo"], "icfg_1");
    assert_eq!((resources(&source), resources(&target)), (2, 0));
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(world.sweep().await, [1, 1, 0, 0], "it is deleted like any other");
}

/// I1: if a condition of a move fails, nothing is moved, and the result names the condition.
#[tokio::test]
async fn a_move_is_refused_as_a_whole() {
    let world = world().await;
    let refused = async |from: &str, to: Option<&str>| {
        let before = world.all().await;
        let Moved::No(obstacle) = moved(&world, from, to).await else { panic!("it was moved") };
        assert_eq!(world.all().await, before, "{obstacle}");
        obstacle
    };
    assert_eq!(refused("icfg_x", None).await, Obstacle::SourceNotActive);
    assert_eq!(refused("icfg_2", None).await, Obstacle::NotThere);
    assert_eq!(refused("icfg_1", Some("icfg_x")).await, Obstacle::TargetNotActive);
    for resource in [None, Some(ResourceId::parse("db_1").unwrap())] {
        let subject = Subject { installation: id("icfg_1"), resource };
        world.store.hold(&subject, &act(), None).await.unwrap();
        assert_eq!(refused("icfg_1", Some("icfg_2")).await, Obstacle::Held);
        world.store.release_hold(&subject, &act()).await.unwrap();
    }
    world.install("icfg_2", &["db_1"]).await;
    assert_eq!(refused("icfg_1", Some("icfg_2")).await, Obstacle::TargetHasIt);
    let there = "/v1/installations/icfg_2/resources/db_1";
    assert_eq!(world.delete(there).send().await.status, 204);
    assert_eq!(refused("icfg_1", Some("icfg_2")).await, Obstacle::Unannounced);
    world.sweep_all().await;
    assert_eq!(refused("icfg_1", Some("icfg_2")).await, Obstacle::TargetReceipt);
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    assert_eq!(refused("icfg_1", None).await, Obstacle::Deleted);
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    assert_eq!(refused("icfg_1", Some("icfg_2")).await, Obstacle::Deleted);
}

/// I1: of two moves of one resource at the same time, only one succeeds. If DynamoDB reports a conflict, or
/// its reply is lost, the move is repeated and reported as done.
#[tokio::test]
async fn of_two_moves_at_once_one_succeeds() {
    let world = world().await;
    world.install("icfg_3", &[]).await;
    let (first, second) =
        join(moved(&world, "icfg_1", Some("icfg_2")), moved(&world, "icfg_1", Some("icfg_3")))
            .await;
    let won = [&first, &second].into_iter().filter(|it| **it == Moved::Now).count();
    assert_eq!(won, 1, "{first:?} {second:?}");
    let live = [world.is_live("icfg_2", "db_1").await, world.is_live("icfg_3", "db_1").await];
    assert_eq!(live.into_iter().filter(|it| *it).count(), 1);

    let proxied = world.proxied().await;
    world.dynamodb.script([Fault::Conflict, Fault::ResetAfter]);
    let resource = ResourceId::parse("db_2").unwrap();
    let target = Target::Installation(id("icfg_2"));
    let moved = proxied.move_resource(&id("icfg_1"), &resource, &target, &act()).await.unwrap();
    assert_eq!(moved, Moved::Now);
}

/// I1, D2: if a move and the uninstall of the source installation come at the same time, the resource is
/// either moved, or deleted with the source, but never both.
#[tokio::test]
async fn a_move_races_an_uninstall() {
    for _ in 0..8 {
        let world = world().await;
        let uninstall = world.delete(INSTALLATION).send();
        let (moved, reply) = join(moved(&world, "icfg_1", Some("icfg_2")), uninstall).await;
        assert_eq!(reply.status, 200);
        world.sweep_all().await;
        let received = world.provider.received();
        let announced =
            received.iter().filter(|it| it.body["data"]["resourceId"] == "db_1").count();
        let live = world.is_live("icfg_2", "db_1").await;
        assert_eq!((moved == Moved::Now, announced), (live, usize::from(!live)), "{moved:?}");
    }
}

/// I3: an installation that moves to another team keeps its id. A second registration of the installation
/// replaces its account and its team.
#[tokio::test]
async fn an_installation_moves_to_another_team() {
    let world = world().await;
    let line = json!({ "installation": {
        "id": "icfg_1", "accountId": "acc_2", "teamId": "team_2", "teamSlug": "other",
    } });
    world.register(line).await;
    let item = &world.items("icfg_1").await["#installation"];
    assert_eq!(
        [&item["accountId"], &item["teamId"], &item["teamSlug"]],
        ["acc_2", "team_2", "other"]
    );
    world.install("icfg_1", &[]).await;
    let item = &world.items("icfg_1").await["#installation"];
    assert_eq!(
        [&item["accountId"], &item["teamId"], &item["teamSlug"]],
        [ACCOUNT, "team_2", "other"],
        "without a team, the stored one stays"
    );
}

//! Which resources are too new to be deleted (C2).

use super::*;

/// C2, B6, F3: the deletion of a resource that is being provisioned is answered 409. The 409 is not recorded,
/// so the same key succeeds later.
#[tokio::test]
async fn a_provisioning_resource_is_busy() {
    let world = World::announcing().await;
    world.install("icfg_1", &[]).await;
    let line = |status| json!({ "resource": { "installationId": "icfg_1", "id": "db_1", "status": status } });
    world.register(line("provisioning")).await;
    let before = world.all().await;

    let reply = world.delete(RESOURCE).key("k1").send().await;

    assert_eq!(reply.calls, 2, "whether its installation is there is looked up");
    insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"409 {"error":{"code":"resource_busy","message":"the resource is still being provisioned","user":{"message":"This resource is still being set up. Try again when it is ready."}}}"#);
    assert_eq!(world.all().await, before);

    world.register(line("ready")).await;
    assert_eq!(world.delete(RESOURCE).key("k1").send().await.whole(), NOTHING);
}

/// C2: a resource with Vercel's status `pending` is busy, too. A resource with another of Vercel's statuses
/// than `pending` is not busy.
#[tokio::test]
async fn of_vercels_statuses_only_pending_is_busy() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    for status in ["ready", "pending", "onboarding", "suspended", "resumed", "uninstalled", "error"]
    {
        let line = json!({ "installationId": "icfg_1", "id": status, "status": status });
        world.register(json!({ "resource": line })).await;
        let path = format!("/v1/installations/icfg_1/resources/{status}");
        let reply = world.delete(&path).send().await;
        if status == "pending" {
            assert_eq!((reply.error(), reply.calls), ((409, "resource_busy"), 2));
        } else {
            assert_eq!((reply.whole(), reply.calls), (NOTHING, 1), "{status}");
        }
    }
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 1);
}

/// C2: a resource that is still being provisioned can be deleted an hour after the last write of its item.
/// The deletion leaves a receipt and an announcement. A write of the item before the hour is over begins the
/// hour again.
#[tokio::test]
async fn a_resource_provisioning_for_too_long_can_be_deleted() {
    for status in ["provisioning", "pending"] {
        let world = World::announcing().await;
        world.install("icfg_1", &[]).await;
        let line = json!({ "installationId": "icfg_1", "id": "db_1", "status": status });
        for _ in 0..2 {
            world.register(json!({ "resource": line })).await;
            world.clock.advance(Duration::from_secs(3599));
            let reply = world.delete(RESOURCE).send().await;
            assert_eq!(reply.error(), (409, "resource_busy"));
        }
        world.clock.advance(Duration::from_secs(1));
        let reply = world.delete(RESOURCE).key("k1").send().await;
        assert_eq!((reply.whole(), reply.calls), (NOTHING, 1), "{status}");
        let items = world.items("icfg_1").await;
        assert_eq!(items["#installation"]["resources"], 0);
        let keys = ["#installation", "receipt#resource#db_1", "work#announce#resource#db_1"];
        assert_eq!(items.keys().collect::<Vec<_>>(), keys);
    }
}

/// C2: a resource counts as provisioning for too long if its item's `updatedAt` is absent or not a number.
/// Fractions of a second in `updatedAt` count.
#[tokio::test]
async fn busy_resources_are_recognized() {
    let world = World::new().await;
    let now = world.clock.timestamp().as_secs();
    let hour_ago = now - 3600;
    for (updated_at, busy) in [
        (json!(hour_ago + 1), true),
        (json!(format!("{hour_ago}.5").parse::<f64>().unwrap()), true),
        (json!(now + 3600), true),
        (json!(hour_ago), false),
        (json!(format!("{}.5", hour_ago - 1).parse::<f64>().unwrap()), false),
        (json!(-1), false),
        (json!("yesterday"), false),
        (json!(null), false),
    ] {
        for status in ["provisioning", "pending"] {
            world.install("icfg_1", &["db_1"]).await;
            let mut item = json!({
                "pk": "installation#icfg_1", "sk": "resource#db_1",
                "status": status, "updatedAt": updated_at,
            });
            item.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            world.put(item).await;
            let reply = world.delete(RESOURCE).send().await;
            if busy {
                let busy = (409, "resource_busy");
                assert_eq!((reply.error(), reply.calls), (busy, 2), "{updated_at}");
            } else {
                assert_eq!((reply.whole(), reply.calls), (NOTHING, 1), "{updated_at}");
            }
            world.remove("installation#icfg_1", "receipt#resource#db_1").await;
            world.remove("installation#icfg_1", "resource#db_1").await;
        }
    }
}

/// C2: if the time limit for provisioning is `0s`, no resource is ever busy.
#[tokio::test]
async fn without_a_limit_nothing_is_busy() {
    let world = World::with(&[("PROVISIONING_LIMIT", "0s")]).await;
    world.install("icfg_1", &["db_1"]).await;
    let later = world.clock.timestamp().as_secs() + 3600;
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "resource#db_1",
            "status": "provisioning", "updatedAt": later,
        }))
        .await;
    let reply = world.delete(RESOURCE).send().await;
    assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
}

//! Registration: the items that the library writes. `docs/writing-the-table.md` tells backends to write the
//! same items as the library.

use serde_json::json;
use teardown::store::registry::RegisterError;

use crate::support::world::{ACCOUNT, World};

/// D1, D4, D6: a new installation has open invoices and no resources, and its token is stored in a separate
/// item.
#[tokio::test]
async fn an_installation_is_registered_and_updated() {
    let world = World::new().await;
    world
        .register(json!({ "installation": {
            "id": "icfg_1", "accountId": ACCOUNT, "teamId": "team_1", "teamSlug": "slug",
            "accessToken": "s3cret",
        } }))
        .await;
    let installation = world.item("installation#icfg_1", "#installation").await.unwrap();
    let updated_at = installation["updatedAt"].clone();
    assert_eq!(
        installation,
        json!({
            "pk": "installation#icfg_1", "sk": "#installation", "state": "active",
            "accountId": ACCOUNT, "teamId": "team_1", "teamSlug": "slug", "billing": "open",
            "resources": 0, "updatedAt": updated_at,
        })
    );
    assert_eq!(
        world.item("installation#icfg_1", "#token").await.unwrap(),
        json!({ "pk": "installation#icfg_1", "sk": "#token", "accessToken": "s3cret" })
    );

    world.register(json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } })).await;
    world.settle("icfg_1").await;
    world.install("icfg_1", &[]).await;
    let updated = world.item("installation#icfg_1", "#installation").await.unwrap();
    assert_eq!((&updated["billing"], &updated["resources"]), (&json!("settled"), &json!(1)));
    assert_eq!(updated["teamId"], "team_1", "what a line leaves out stays as it is");
    assert!(world.item("installation#icfg_1", "#token").await.is_some());
}

/// B6, D5: an installation with an unknown `state` counts neither as deleted nor as active. With an unknown
/// `state`, requests are answered 500, registrations fail, and nothing changes.
#[tokio::test]
async fn an_unknown_state_is_not_taken_for_deleted() {
    let world = World::new().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let mut installation = world.items("icfg_1").await["#installation"].clone();
    for state in [json!("suspended"), json!(7)] {
        installation["state"] = state;
        world.put(installation.clone()).await;
        let before = world.all().await;
        for path in [
            "/v1/installations/icfg_1/resources/db_1",
            "/v1/installations/icfg_1",
            "/v1/integrations/configuration/icfg_1",
        ] {
            for key in [None, Some("k1")] {
                let call = world.delete(path);
                let reply =
                    key.into_iter().fold(call, crate::support::world::Call::key).send().await;
                assert_eq!(reply.error(), (500, "internal_error"), "{path}");
            }
        }
        for line in [
            json!({ "installation": { "id": "icfg_1", "accountId": ACCOUNT } }),
            json!({ "resource": { "installationId": "icfg_1", "id": "db_2" } }),
        ] {
            let refused = world.try_register(line).await.unwrap_err();
            assert!(matches!(refused, RegisterError::Store(_)), "{refused:?}");
        }
        let settled =
            world.proxied().await.settle_invoices(&crate::support::world::id("icfg_1")).await;
        assert!(settled.is_err(), "{settled:?}");
        assert_eq!(world.all().await, before);
        assert!(world.vercel.received().is_empty());
    }
}

/// C2, D4: a resource is counted once, however often it is registered. If a resource is registered again, its
/// item is updated.
#[tokio::test]
async fn a_resource_is_counted_once() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    for (name, status) in [("first", "provisioning"), ("second", "ready")] {
        let line = json!({
            "installationId": "icfg_1", "id": "db_1", "name": name, "productId": "p", "status": status,
        });
        world.register(json!({ "resource": line })).await;
        let resource = world.item("installation#icfg_1", "resource#db_1").await.unwrap();
        assert_eq!((&resource["name"], &resource["status"]), (&json!(name), &json!(status)));
    }
    world.register(json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } })).await;
    let resource = world.item("installation#icfg_1", "resource#db_1").await.unwrap();
    assert_eq!((&resource["name"], &resource["productId"]), (&json!("second"), &json!("p")));
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 1);
}

/// D4: a resource, webhook, log drain or variable can be registered only if its installation is registered.
#[tokio::test]
async fn nothing_is_added_to_an_unknown_installation() {
    let world = World::new().await;
    for line in [
        json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } }),
        json!({ "webhook": { "installationId": "icfg_1", "id": "hook_1" } }),
        json!({ "logDrain": { "installationId": "icfg_1", "id": "drain_1" } }),
        json!({ "envVar": { "installationId": "icfg_1", "id": "env_1", "projectId": "p", "key": "K" } }),
    ] {
        let refused = world.try_register(line).await;
        assert!(matches!(refused, Err(RegisterError::InstallationUnknown)), "{refused:?}");
    }
    assert!(world.all().await.is_empty());
    world.install("icfg_1", &[]).await;
    for line in [
        json!({ "webhook": { "installationId": "icfg_1", "id": "hook_1" } }),
        json!({ "logDrain": { "installationId": "icfg_1", "id": "drain_1" } }),
        json!({ "envVar": { "installationId": "icfg_1", "id": "env_1", "projectId": "p", "key": "K" } }),
    ] {
        world.register(line).await;
    }
    assert_eq!(
        world.sort_keys("icfg_1").await,
        ["#installation", "drain#drain_1", "env#env_1", "webhook#hook_1"]
    );
    let variable = world.item("installation#icfg_1", "env#env_1").await.unwrap();
    assert_eq!((&variable["projectId"], &variable["key"]), (&json!("p"), &json!("K")));
}

/// C1, C4: a resource that was deleted before it was ever known has a receipt, and cannot be registered.
#[tokio::test]
async fn a_resource_deleted_before_its_registration_is_not_registered() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    assert_eq!(world.delete("/v1/installations/icfg_1/resources/db_1").send().await.status, 204);
    let line = json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } });
    let refused = world.try_register(line).await;
    assert!(matches!(refused, Err(RegisterError::ResourceDeleted)), "{refused:?}");
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 0);
}

//! `forget` deletes an installation in the table alone, if its configuration can no longer be deleted at
//! Vercel (E6, H5).

use std::time::Duration;

use serde_json::json;
use teardown::store::admin::Act;
use teardown::store::admin::forget::{Announced, Forgotten};

use crate::support::outside::Answer;
use crate::support::world::{ACCOUNT, CONFIGURATION, INSTALLATION, World, id};

const WEEK: Duration = Duration::from_hours(7 * 24);

async fn forget(world: &World, announced: Announced) -> Forgotten {
    let act = Act { by: "olga".to_owned(), reason: "access lost".to_owned() };
    world.store.forget(&id("icfg_1"), &act, announced).await.unwrap()
}

/// E6, H5: `forget` deletes an installation in the table alone, even if invoices are open. The token is
/// erased, Vercel is not called, and the resources are purged and announced. The receipt says who ran
/// `forget`, why, and that Vercel was not called. After `forget`, Delete Configuration and Delete
/// Installation are answered as after a deletion. A second `forget` writes nothing.
#[tokio::test]
async fn an_installation_is_deleted_in_the_table_alone() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    world.reopen("icfg_1").await;
    let at = world.clock.now().as_secs();
    let forgotten = forget(&world, Announced::After(WEEK)).await;
    assert_eq!(forgotten, Forgotten::Now { uninstalled: false });
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("#token") && !items.contains_key("work#finalize"));
    assert_eq!(
        items["receipt#installation"],
        json!({
            "pk": "installation#icfg_1", "sk": "receipt#installation", "deletedAt": at,
            "deletedBy": { "kind": "system", "accountId": ACCOUNT }, "reason": "access lost",
            "teardownAt": at + WEEK.as_secs(), "expiresAt": at + 90 * 24 * 3600,
            "forgottenBy": "olga", "vercelAsked": false,
        })
    );
    world.sweep_all().await;
    world.clock.advance(WEEK);
    world.sweep_all().await;
    let received = world.provider.received();
    assert_eq!(
        received.len(),
        4,
        "a notice and an announcement, of the resource and the installation"
    );
    assert!(received.iter().all(|it| it.body["data"]["by"]["kind"] == "system"), "{received:?}");

    let before = world.all().await;
    assert_eq!(forget(&world, Announced::After(WEEK)).await, Forgotten::Before);
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 204);
    let uninstall = world.delete(INSTALLATION).send().await;
    assert_eq!(uninstall.whole(), (200, json!({ "finalized": true })));
    assert_eq!(world.all().await, before);
    assert!(world.vercel.received().is_empty(), "Vercel was never asked");
}

/// E6: if the operator decides that `forget` does not notify the provider, no announcement is sent, and the
/// receipt says `unannounced`.
#[tokio::test]
async fn the_provider_need_not_be_notified() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let forgotten = forget(&world, Announced::Never).await;
    assert_eq!(forgotten, Forgotten::Now { uninstalled: false });
    world.sweep_all().await;
    assert!(world.provider.received().is_empty());
    let keys = ["#installation", "receipt#installation"];
    assert_eq!(world.sort_keys("icfg_1").await, keys);
    assert_eq!(world.items("icfg_1").await["receipt#installation"]["unannounced"], true);
}

/// E6, E4, H1: after an uninstall, `forget` writes its own receipt, ends the finalization, and does not
/// change the time of the announcements. `forget` also ends the pending job of a configuration's deletion.
#[tokio::test]
async fn pending_jobs_of_an_uninstall_are_ended() {
    let world = World::announcing_with(&[("GRACE_PERIOD", "7d")]).await;
    world.install_whole("icfg_1", &["db_1"]).await;
    world.reopen("icfg_1").await;
    let at = world.clock.now().as_secs();
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.clock.advance(Duration::from_hours(25));
    world.vercel.lasting(Answer::Status(500));
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 503);
    assert!(world.items("icfg_1").await.contains_key("work#configuration"));
    let forgotten = forget(&world, Announced::After(Duration::ZERO)).await;
    assert_eq!(forgotten, Forgotten::Now { uninstalled: true });
    let items = world.items("icfg_1").await;
    for gone in ["#token", "work#configuration", "work#finalize"] {
        assert!(!items.contains_key(gone), "{gone}");
    }
    let receipt = &items["receipt#configuration"];
    assert_eq!((&receipt["forgottenBy"], &receipt["vercelAsked"]), (&"olga".into(), &false.into()));
    assert_eq!(items["receipt#installation"].get("forgottenBy"), None);
    assert_eq!(items["work#announce#installation"]["teardownAt"], at + WEEK.as_secs());
}

/// E6: `forget` writes nothing for an installation that was never known.
#[tokio::test]
async fn an_unknown_installation_is_not_forgotten() {
    let world = World::announcing().await;
    assert_eq!(forget(&world, Announced::Never).await, Forgotten::Unknown);
    assert!(world.all().await.is_empty());
}

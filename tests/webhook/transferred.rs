//! Webhooks that report the transfer of an installation to another account (K2).

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::event;
use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::{CONFIGURATION, INSTALLATION, World};

/// The body of a webhook that reports the transfer of `icfg_1` to this account and team at this time.
fn transferred(created_at: i64, account: &str, team: Option<&str>) -> String {
    let payload = json!({
        "configuration": { "id": "icfg_1" },
        // In Vercel's samples, `installationId` is an integration's id.
        "installationId": "oac_1",
        "previousTeamId": "team_1", "previousAccountId": "acc_test",
        "newTeamId": team, "newAccountId": account,
    });
    event("integration-configuration.transferred", created_at, &payload)
}

/// The installation's account, team and slug, and the `createdAt` of the webhook that set them.
async fn owner(world: &World) -> [Value; 4] {
    let installation = world.items("icfg_1").await["#installation"].clone();
    ["accountId", "teamId", "teamSlug", "accountAsOf"].map(|name| installation[name].clone())
}

const NULL: Value = Value::Null;

/// K2: a transfer replaces the installation's account and team, and changes nothing else. A transfer removes
/// the slug only if it changes the team.
#[tokio::test]
async fn a_transfer_replaces_account_and_team() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let mut before = world.all().await;
    for (body, calls, expected) in [
        (
            transferred(10, "acc_2", Some("team_1")),
            2,
            [json!("acc_2"), json!("team_1"), json!("my-team"), json!(10)],
        ),
        (
            transferred(11, "acc_3", Some("team_2")),
            1,
            [json!("acc_3"), json!("team_2"), NULL, json!(11)],
        ),
        (transferred(12, "acc_4", None), 1, [json!("acc_4"), NULL, NULL, json!(12)]),
        (transferred(13, "acc_5", None), 2, [json!("acc_5"), NULL, NULL, json!(13)]),
        (
            transferred(14, "acc_6", Some("team_3")),
            1,
            [json!("acc_6"), json!("team_3"), NULL, json!(14)],
        ),
    ] {
        let reply = world.webhook(&body).send().await;
        assert_eq!((reply.whole(), reply.calls), ((200, NULL), calls), "{body}");
        assert_eq!(owner(&world).await, expected, "{body}");
    }
    // The webhook of a transfer to a person's account has no `newTeamId`.
    let body = transferred(15, "acc_7", None).replace(r#""newTeamId":null,"#, "");
    assert!(!body.contains("newTeamId"));
    assert_eq!(world.webhook(&body).send().await.status, 200);
    assert_eq!(owner(&world).await, [json!("acc_7"), NULL, NULL, json!(15)]);
    let mut after = world.all().await;
    for table in [&mut before, &mut after] {
        let items = table.get_mut("installation#icfg_1").unwrap();
        let item = items.get_mut("#installation").unwrap().as_object_mut().unwrap();
        for name in ["accountId", "teamId", "teamSlug", "accountAsOf"] {
            item.remove(name);
        }
    }
    assert_eq!(after, before);
}

/// K2, K4: the transfer with the greatest `createdAt` counts, in whatever order the webhooks come. If two
/// transfers have the same `createdAt`, the first transfer counts.
#[tokio::test]
async fn the_latest_transfer_wins() {
    let at = |number: i64| transferred(number, &format!("acc_{number}"), Some("team_9"));
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [3, 3, 2]] {
        let world = World::new().await;
        world.install("icfg_1", &[]).await;
        for number in order {
            assert_eq!(world.webhook(&at(number)).send().await.status, 200);
        }
        assert_eq!(owner(&world).await[0], "acc_3", "{order:?}");
        let other = transferred(3, "acc_other", None);
        let reply = world.webhook(&other).send().await;
        assert_eq!((reply.status, reply.calls), (200, 1), "of two alike the first stands");
        assert_eq!(owner(&world).await, [json!("acc_3"), json!("team_9"), NULL, json!(3)]);
    }
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    let sent = (1..=16).map(async |number| world.webhook(&at(number)).send().await.status);
    assert_eq!(join_all(sent).await, [200; 16]);
    assert_eq!(owner(&world).await[0], "acc_16");
}

/// K2: the transfer of an unknown or deleted installation changes nothing.
#[tokio::test]
async fn a_transfer_of_what_is_not_active_does_nothing() {
    let world = World::announcing().await;
    let body = transferred(10, "acc_2", Some("team_2"));
    let reply = world.webhook(&body).send().await;
    assert_eq!((reply.status, reply.calls), (200, 1));
    assert!(world.all().await.is_empty());
    world.install("icfg_1", &[]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let before = world.all().await;
    let reply = world.webhook(&body).send().await;
    assert_eq!((reply.status, reply.calls), (200, 1));
    assert_eq!(world.all().await, before);
}

/// K2: if the stored `createdAt` cannot be read, the webhook is answered 500, and nothing is written.
#[tokio::test]
async fn a_time_that_cannot_be_read_is_a_fault() {
    let world = World::new().await;
    for as_of in [json!("soon"), json!(0.5)] {
        let installation = json!({
            "pk": "installation#icfg_1", "sk": "#installation", "accountId": "acc_1",
            "state": "active", "teamId": "team_2", "accountAsOf": as_of,
        });
        world.put(installation.clone()).await;
        let reply = world.webhook(&transferred(10, "acc_2", Some("team_2"))).send().await;
        assert_eq!((reply.error(), reply.calls), ((500, "internal_error"), 1));
        assert_eq!(world.items("icfg_1").await["#installation"], installation);
    }
}

/// K2, K4: if a write to DynamoDB fails, or its reply is lost, the transfer is still stored. When the write
/// is repeated, it does not count as the write of another webhook.
#[tokio::test]
async fn a_transfer_survives_a_lost_answer() {
    for fault in [Fault::ResetAfter, Fault::Conflict, Fault::Throttle, Fault::ResetBefore] {
        let world = World::new().await;
        world.install_whole("icfg_1", &[]).await;
        world.dynamodb.script([fault, fault]);
        let reply = world.webhook(&transferred(10, "acc_2", Some("team_2"))).send().await;
        assert_eq!((reply.status, reply.calls), (200, 3), "{fault:?}");
        assert_eq!(owner(&world).await, [json!("acc_2"), json!("team_2"), NULL, json!(10)]);
    }
}

/// K2, E5: if Vercel reports a transfer while the configuration is being deleted, the deletion still
/// succeeds.
#[tokio::test]
async fn a_transfer_beside_a_configurations_deletion() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let gate = std::sync::Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::EffectThenHeld(gate.clone().into())]);
    let (deleted, ()) = tokio::join!(world.delete(CONFIGURATION).send(), async {
        until(|| world.vercel.is_gone("icfg_1")).await;
        let body = transferred(10, "acc_2", Some("team_2"));
        assert_eq!(world.webhook(&body).send().await.status, 200);
        assert_eq!(owner(&world).await[0], "acc_2");
        gate.add_permits(1);
    });
    assert_eq!(deleted.status, 204);
    world.sweep_all().await;
    assert_eq!(world.items("icfg_1").await["#installation"]["state"], "finalized");
}

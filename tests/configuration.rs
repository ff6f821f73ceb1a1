//! Delete Configuration (E) and its idempotency (F): who may call it, when it is refused, and what it
//! deletes. The module `vercel_answers` tests the effect of each answer that Vercel may give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use teardown::limits::Limits;
use tokio::sync::Semaphore;

use crate::support::outside::{Answer, Received};
use crate::support::waiting::until;
use crate::support::world::{
    ACCOUNT, CONFIGURATION, INSTALLATION, World, account, configuration, id, limits, system,
};

pub const GONE: (u16, Value) = (204, Value::Null);
pub const DAY: Duration = Duration::from_hours(24);

/// A `World` with one settled installation that has a team, a token and everything else that an installation
/// can have.
pub async fn world() -> World {
    world_within(limits()).await
}

/// A [`world`] whose endpoints have these limits.
pub async fn world_within(limits: Limits) -> World {
    let world = World::announcing_within(limits).await;
    world.install_whole("icfg_1", &["db_1", "db_2"]).await;
    world
}

/// Whether the configuration is deleted at Vercel and in the table, and the token is erased.
pub async fn is_gone(world: &World) -> bool {
    let items = world.items("icfg_1").await;
    let tombstone = &items["#installation"];
    let (ours, token) = (tombstone["finalized"] == true, items.contains_key("#token"));
    assert_eq!(tombstone.get("configurationDeletedAt").is_some(), ours);
    let intent = items.contains_key("work#configuration");
    assert!(!ours || (tombstone["state"] != "active" && !token && !intent), "{items:?}");
    ours && world.vercel.is_gone("icfg_1")
}

/// E2, E3, G5: Delete Configuration calls Vercel with the stored team and token. After Vercel's answer, one
/// transaction deletes the installation in the table, and writes the receipt and the jobs.
#[tokio::test]
async fn both_sides_are_deleted() {
    let world = world().await;

    let reply = world.delete(CONFIGURATION).key("k1").send().await;

    assert_eq!(reply.whole(), GONE);
    assert!(!reply.headers.contains_key("content-type"));
    let received = Received {
        line: format!("DELETE {CONFIGURATION}?teamId=team_1"),
        authorization: "Bearer token-of-icfg_1".to_owned(),
    };
    assert_eq!(world.vercel.received(), [received]);
    assert!(is_gone(&world).await);
    assert!(!world.is_live("icfg_1", "db_1").await);
    let items = world.items("icfg_1").await;
    let at = items["#installation"]["deletedAt"].as_u64().unwrap();
    let by = json!({ "kind": "user", "accountId": ACCOUNT, "userId": "user_1", "role": "ADMIN" });
    let receipt = &items["receipt#installation"];
    assert_eq!((&receipt["deletedAt"], &receipt["deletedBy"]), (&json!(at), &by));
    assert_eq!(receipt["keySha256"].as_str().unwrap().len(), 64);
    for owed in ["work#purge", "work#announce#installation"] {
        assert!(items.contains_key(owed), "{owed}");
    }
    assert!(!items.contains_key("work#finalize"), "no finalization is called");

    world.sweep_all().await;
    assert_eq!(world.sort_keys("icfg_1").await, ["#installation", "receipt#installation"]);
    assert_eq!(world.provider.received().len(), 3, "two resources and the installation");
    assert_eq!(world.vercel.received().len(), 1, "no finalization is called");
}

/// E5: after Delete Configuration, Delete Installation is answered `finalized: true`, and changes
/// nothing.
#[tokio::test]
async fn an_uninstall_after_it_is_final() {
    let world = world().await;
    assert_eq!(world.delete(CONFIGURATION).send().await.whole(), GONE);
    let before = world.all().await;
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": true }))
    );
    assert_eq!(world.all().await, before);
}

/// E4, F1: a second Delete Configuration is answered 204, with or without a key, and Vercel is not called
/// again.
#[tokio::test]
async fn a_repeat_is_204_without_a_call_to_vercel() {
    let world = world().await;
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
    let before = world.items("icfg_1").await;

    let replay = world.delete(CONFIGURATION).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (GONE, 1));
    let again = world.delete(CONFIGURATION).send().await;
    assert_eq!((again.whole(), again.calls), (GONE, 1));
    let keyed = world.delete(CONFIGURATION).key("k2").send().await;
    assert_eq!((keyed.whole(), keyed.calls), (GONE, 2));
    let replay = world.delete(CONFIGURATION).key("k2").send().await;
    assert_eq!((replay.whole(), replay.calls), (GONE, 1));

    assert_eq!(world.items("icfg_1").await, before);
    assert_eq!(world.vercel.received().len(), 1);
}

/// E4: Delete Configuration of an installation that was never known is answered 404, with or without a
/// `teamId`. The request stores nothing, and does not call Vercel.
#[tokio::test]
async fn an_unknown_configuration_is_not_found() {
    let world = World::announcing().await;
    for path in [CONFIGURATION.to_owned(), format!("{CONFIGURATION}?teamId=team_1")] {
        let reply = world.delete(&path).key("k1").send().await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"404 {"error":{"code":"not_found","message":"there is no such configuration"}}"#);
        }
    }
    assert!(world.all().await.is_empty() && world.vercel.received().is_empty());
}

/// E1: `teamId` and `slug`, if the caller sends them, must equal the stored team and slug. A request that
/// repeats `teamId` or `slug` is refused (B4). Query parameters that a host appends are ignored.
#[tokio::test]
async fn the_team_is_compared() {
    let world = world().await;
    world.install("icfg_2", &[]).await;
    world.settle("icfg_2").await;
    let before = world.all().await;
    for query in
        ["teamId=team_2", "slug=other", "teamId=team_1&slug=other", "teamId=", "slug=MY-TEAM"]
    {
        let reply = world.delete(&format!("{CONFIGURATION}?{query}")).key("k1").send().await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"403 {"error":{"code":"forbidden","message":"teamId and slug do not stand for this installation's team","user":{"message":"You do not have access to this team."}}}"#);
        }
    }
    let none_stored = world.delete(&format!("{}?teamId=team_1", configuration("icfg_2")));
    assert_eq!(none_stored.send().await.error(), (403, "forbidden"));
    for (query, name) in [("teamId=team_1&teamId=team_1", "teamId"), ("slug=x&id=1&slug=y", "slug")]
    {
        let reply = world.delete(&format!("{CONFIGURATION}?{query}")).send().await;
        let message = format!("the query parameter `{name}` is repeated");
        assert_eq!((reply.error(), reply.message()), ((400, "bad_request"), message.as_str()));
    }
    assert_eq!(world.all().await, before);
    let right = world.delete(&format!("{CONFIGURATION}?teamId=team_1&slug=my%2Dteam&id=x&id=y"));
    assert_eq!(right.send().await.whole(), GONE);
}

/// E1, A5, A6: Delete Configuration refuses the same callers as the other endpoints.
#[tokio::test]
async fn callers_are_authorized_like_vercel() {
    let world = world().await;
    let before = world.all().await;
    let mut reader = crate::support::world::user("icfg_1");
    reader["user_role"] = json!("USER");
    for claims in [reader, system("icfg_2"), account("acc_other")] {
        let reply = world.delete_as(CONFIGURATION, &world.token(&claims)).key("k1").send().await;
        assert_eq!(reply.error(), (403, "forbidden"), "{claims}");
    }
    let unknown = world.delete_as(&configuration("icfg_x"), &world.token(&account(ACCOUNT)));
    assert_eq!(unknown.send().await.error(), (403, "forbidden"), "it learns nothing");
    assert_eq!(
        world.delete_as(CONFIGURATION, "nobody's").send().await.error(),
        (403, "invalid_token")
    );
    assert_eq!(
        world.request("GET", CONFIGURATION).send().await.error(),
        (405, "method_not_allowed")
    );
    let token = world.token(&system("a b"));
    let bad = world.delete_as("/v1/integrations/configuration/a%20b", &token).send().await;
    assert_eq!(bad.error(), (400, "bad_request"));
    assert_eq!(world.all().await, before);
    assert!(world.vercel.received().is_empty());

    let own = world.token(&account(ACCOUNT));
    assert_eq!(world.delete_as(CONFIGURATION, &own).key("k1").send().await.whole(), GONE);
    let other = world.token(&account("acc_other"));
    assert_eq!(
        world.delete_as(CONFIGURATION, &other).key("k1").send().await.error(),
        (403, "forbidden")
    );
}

/// E3: if no access token is stored, the installation is deleted in the table alone, and Vercel is not
/// called.
#[tokio::test]
async fn without_a_token_vercel_is_not_called() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let reply = world.delete(CONFIGURATION).key("k1").send().await;
    assert_eq!((reply.whole(), reply.calls), (GONE, 2));
    assert!(world.vercel.received().is_empty());
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    assert_eq!(items.keys().collect::<Vec<_>>(), ["#installation", "receipt#installation"]);
    assert_eq!(items["#installation"]["state"], "finalized");
}

/// E3, E4: after an uninstall and its finalization, the access token is erased. Once the access token is
/// erased, Delete Configuration is answered 204, and Vercel is not called.
#[tokio::test]
async fn after_finalization_vercel_is_not_called() {
    let world = world().await;
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": true }))
    );
    world.sweep_all().await;
    let reply = world.delete(CONFIGURATION).send().await;
    assert_eq!((reply.whole(), world.vercel.received().len()), (GONE, 0));
    let keys = ["#installation", "receipt#configuration", "receipt#installation"];
    assert_eq!(world.sort_keys("icfg_1").await, keys, "a receipt each");
    assert!(world.items("icfg_1").await["#installation"].get("configurationDeletedAt").is_some());
}

/// E3: while invoices are open, Delete Configuration is answered 409, both before an uninstall and in the 24
/// h after it. More than 24 h after the uninstall, Delete Configuration calls Vercel.
#[tokio::test]
async fn open_invoices_refuse_the_deletion() {
    let world = world().await;
    world.reopen("icfg_1").await;
    for uninstalled in [false, true] {
        if uninstalled {
            world.vercel.lasting(Answer::Status(500));
            assert_eq!(
                world.delete(INSTALLATION).send().await.whole(),
                (200, json!({ "finalized": false }))
            );
            world.clock.advance(DAY.checked_sub(Duration::from_mins(1)).unwrap());
        }
        let before = world.all().await;
        let reply = world.delete(CONFIGURATION).key("k1").send().await;
        assert_eq!(reply.error(), (409, "invoices_open"));
        assert_eq!(reply.message(), "the installation's invoices are not settled");
        assert!(reply.body["error"]["user"]["message"].is_string());
        assert_eq!(world.all().await, before);
    }
    assert!(world.vercel.received().is_empty());
    world.clock.advance(Duration::from_mins(2));
    world.vercel.lasting(Answer::Honest);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
    assert!(is_gone(&world).await);
    let keys = world.sort_keys("icfg_1").await;
    assert!(!keys.contains(&"work#finalize".to_owned()), "{keys:?}");
    assert!(keys.contains(&"receipt#configuration".to_owned()), "{keys:?}");
}

/// E3: if an uninstalled installation's invoices are settled, Delete Configuration calls Vercel, even in the
/// 24 h after the uninstall.
#[tokio::test]
async fn settled_invoices_allow_the_deletion() {
    let world = world().await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    world.store.settle_invoices(&id("icfg_1")).await.unwrap();
    assert_eq!(world.delete(CONFIGURATION).send().await.whole(), GONE);
    assert!(is_gone(&world).await);
    world.sweep_all().await;
    assert_eq!(world.vercel.received().len(), 1, "no finalization is called");
    assert_eq!(world.items("icfg_1").await["#installation"]["state"], "finalized");
}

/// F2: a request with a used key and a different `teamId` is a different request, and is refused. An
/// idempotency key belongs to one operation (F1), so an uninstall may use the key of a Delete Configuration.
#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let world = world().await;
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
    let other = world.delete(&format!("{CONFIGURATION}?teamId=team_1")).key("k1").send().await;
    assert_eq!(other.error(), (409, "idempotency_key_reused"));
    let uninstall = world.delete(INSTALLATION).key("k1").send().await;
    assert_eq!(uninstall.whole(), (200, json!({ "finalized": true })));
    world.clock.advance(7 * DAY);
    let later = world.delete(&format!("{CONFIGURATION}?teamId=team_1")).key("k1").send().await;
    assert_eq!(later.whole(), GONE, "after 7 days a key is forgotten");
}

/// F4: if many callers send Delete Configuration at the same time, Vercel is called once. Each caller is
/// answered 204, or 409 with `Retry-After`.
#[tokio::test]
async fn many_at_once_have_one_effect() {
    for same_key in [true, false] {
        let world = world().await;
        let gate = Arc::new(Semaphore::new(0));
        world.vercel.script([Answer::gated(&gate, 204)]);
        let key = |n: usize| if same_key { "k".to_owned() } else { format!("k{n}") };
        let first = world.delete(CONFIGURATION).key(&key(0)).send();
        let others = async {
            until(|| !world.vercel.received().is_empty()).await;
            let others = (1..64).map(|n| world.delete(CONFIGURATION).key(&key(n)).send());
            let others = join_all(others).await;
            gate.add_permits(1);
            others
        };
        let (first, others) = tokio::join!(first, others);
        assert_eq!(first.whole(), GONE);
        for reply in others {
            assert_eq!(reply.error(), (409, "request_in_progress"));
            let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=30).contains(&wait), "{wait}");
            assert!(reply.body["error"]["user"]["message"].is_string());
        }
        assert_eq!(world.vercel.received().len(), 1);
        let again =
            join_all((0..64).map(|n| world.delete(CONFIGURATION).key(&key(n)).send())).await;
        assert!(again.iter().all(|reply| reply.whole() == GONE));
        let outcomes = if same_key { 1 } else { 64 };
        assert_eq!(world.all().await.len(), 1 + outcomes);
    }
}

/// F5: a late request that finds a newer fence writes nothing except its own outcome. The late request is
/// answered 204, because the configuration is gone.
#[tokio::test]
async fn a_late_request_changes_only_its_own_outcome() {
    for late in [204, 403, 500] {
        let world = world().await;
        let gate = Arc::new(Semaphore::new(0));
        world.vercel.script([Answer::gated(&gate, late)]);
        let first = world.delete(CONFIGURATION).key("k1").send();
        let second = async {
            until(|| !world.vercel.received().is_empty()).await;
            world.clock.advance(Duration::from_secs(31));
            let second = world.delete(CONFIGURATION).key("k2").send().await;
            let table = world.all().await;
            gate.add_permits(1);
            (second, table)
        };
        let (first, (second, table)) = tokio::join!(first, second);
        assert_eq!((first.whole(), second.whole()), (GONE, GONE), "{late}");
        let mut after = world.all().await;
        let outcomes: Vec<_> = after.keys().filter(|pk| pk.starts_with("key#")).cloned().collect();
        assert_eq!(outcomes.len(), 2, "{late}");
        after.retain(|pk, _| table.contains_key(pk));
        assert_eq!(after, table, "{late}: nothing but the late answer was recorded");
    }
}

/// D4, E3: while the intent of a Delete Configuration is open, the installation is active. A resource that is
/// registered while this intent is open is counted, and is deleted with the installation.
#[tokio::test]
async fn a_resource_registered_meanwhile_is_deleted_too() {
    let world = world().await;
    world.vercel.script([Answer::Status(500), Answer::Status(500), Answer::Status(500)]);
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 503);
    world.register(json!({ "resource": { "installationId": "icfg_1", "id": "db_3" } })).await;
    assert_eq!(world.delete(&format!("{INSTALLATION}/resources/db_1")).send().await.status, 204);
    assert_eq!(world.delete(CONFIGURATION).send().await.whole(), GONE);
    world.sweep_all().await;
    let announced: BTreeMap<_, _> = world.provider.ids();
    assert_eq!(announced.len(), 4, "three resources and the installation: {announced:?}");
    let keys = ["#installation", "receipt#installation", "receipt#resource#db_1"];
    assert_eq!(world.sort_keys("icfg_1").await, keys);
}

//! Delete Installation (D) and its idempotency (F).

use serde_json::{Value, json};
use teardown::deletion::OpenInvoices;
use teardown::store::registry::RegisterError;

use crate::support::world::{ACCOUNT, INSTALLATION, World, account, system, user};

const FINALIZED: fn() -> (u16, Value) = || (200, json!({ "finalized": true }));
const NOT_FINALIZED: fn() -> (u16, Value) = || (200, json!({ "finalized": false }));

/// D1, D2, D6, C3, G5: an uninstall with settled invoices takes one call to DynamoDB, and is answered
/// `finalized: true`. After the uninstall no resource is live, and the token is erased.
#[tokio::test]
async fn a_settled_installation_is_finalized_in_one_call() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    world
        .register(json!({ "installation": {
            "id": "icfg_1", "accountId": ACCOUNT, "accessToken": "s3cret", "billing": "settled",
        } }))
        .await;

    let reply = world
        .delete(INSTALLATION)
        .key("k1")
        .json(&json!({ "reason": "too \"dear\"" }))
        .send()
        .await;

    assert_eq!((reply.whole(), reply.calls), (FINALIZED(), 1));
    assert_eq!(reply.headers["content-type"], "application/json");
    let items = world.items("icfg_1").await;
    assert_eq!(
        items.keys().collect::<Vec<_>>(),
        [
            "#installation",
            "receipt#installation",
            "resource#db_1",
            "resource#db_2",
            "work#announce#installation",
            "work#purge"
        ]
    );
    let at = items["#installation"]["deletedAt"].as_u64().unwrap();
    let by = json!({ "kind": "user", "accountId": ACCOUNT, "userId": "user_1", "role": "ADMIN" });
    let whole = |item: Value, what: Value| {
        let common = json!({
            "pk": "installation#icfg_1", "deletedAt": at, "deletedBy": by, "reason": "too \"dear\"",
        });
        let parts = [item, what, common].map(|part| part.as_object().unwrap().clone());
        parts.into_iter().flatten().collect::<Value>()
    };
    let job = json!({
        "installationId": "icfg_1", "attempts": 0, "fence": at * 1000, "dueAt": at,
    });
    // The tombstone gets its `expiresAt` only when the purge ends, so nothing revives the installation before
    // that.
    let tombstone = json!({
        "accountId": ACCOUNT, "billing": "settled", "resources": 2, "updatedAt": at,
        "state": "deleting", "finalized": true, "teardownAt": at,
    });
    let receipt = json!({
        "expiresAt": at + 90 * 24 * 3600, "teardownAt": at,
        // SHA-256 of "k1".
        "keySha256": "6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0",
    });
    let announcement = json!({
        "sk": "work#announce#installation", "kind": "announce", "dueShard": "7",
        "phase": "deleted", "teardownAt": at,
    });
    let purge = json!({ "sk": "work#purge", "kind": "purge", "dueShard": "6" });
    for (sort_key, expected) in [
        ("#installation", whole(tombstone, json!({ "sk": "#installation" }))),
        ("receipt#installation", whole(receipt, json!({ "sk": "receipt#installation" }))),
        ("work#announce#installation", whole(announcement, job.clone())),
        ("work#purge", whole(purge, job)),
    ] {
        assert_eq!(items[sort_key], expected);
    }
    for resource in ["db_1", "db_2"] {
        assert!(!world.is_live("icfg_1", resource).await);
    }
    let replay = world
        .delete(INSTALLATION)
        .key("k1")
        .json(&json!({ "reason": "too \"dear\"" }))
        .send()
        .await;
    assert_eq!((replay.whole(), replay.calls), (FINALIZED(), 1));
}

/// D1, D6, G2, G3: an uninstall with open invoices takes at most two calls to DynamoDB, and is answered
/// `finalized: false`. The token stays stored, and the finalization is due 24 h less `FINALIZE_MARGIN` after
/// the uninstall. The invoices of an installation without `billing` count as open.
#[tokio::test]
async fn an_open_installation_is_not_finalized() {
    let world = World::with(&[("FINALIZE_MARGIN", "30m")]).await;
    world
        .register(json!({ "installation": {
            "id": "icfg_1", "accountId": ACCOUNT, "accessToken": "s3cret",
        } }))
        .await;

    let reply = world.delete(INSTALLATION).key("k1").send().await;

    assert_eq!((reply.whole(), reply.calls), (NOT_FINALIZED(), 2));
    let items = world.items("icfg_1").await;
    assert_eq!(
        items.keys().collect::<Vec<_>>(),
        ["#installation", "#token", "receipt#installation", "work#finalize", "work#purge"]
    );
    let at = items["#installation"]["deletedAt"].as_u64().unwrap();
    assert_eq!(items["work#finalize"]["dueAt"], at + 24 * 3600 - 30 * 60);
    assert_eq!(items["work#purge"]["dueAt"], at);
    let replay = world.delete(INSTALLATION).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOT_FINALIZED(), 1));
}

/// D7, B6, F3: with `UNINSTALL_WITH_OPEN_INVOICES=refuse`, users and the system get 409 for an uninstall with
/// open invoices. A refused uninstall changes nothing, and the answer has the reason for the customer. The
/// invoices of an installation without `billing` count as open. Once the invoices are settled, the uninstall
/// succeeds, even under the same key.
#[tokio::test]
async fn open_invoices_refuse_an_uninstall_if_configured() {
    let world = World::announcing_with(&[("UNINSTALL_WITH_OPEN_INVOICES", "refuse")]).await;
    world.install("icfg_1", &["db_1"]).await;
    world
        .put(json!({
            "pk": "installation#icfg_2", "sk": "#installation", "accountId": ACCOUNT,
            "state": "active", "resources": 0,
        }))
        .await;
    let before = world.all().await;
    let never_said = world.token(&user("icfg_2"));
    for (call, calls) in [
        (world.delete(INSTALLATION).key("k1"), 1),
        (world.delete_as(INSTALLATION, &world.token(&system("icfg_1"))), 1),
        (world.delete_as(INSTALLATION, &world.token(&account(ACCOUNT))), 1),
        (world.delete_as("/v1/installations/icfg_2", &never_said), 1),
    ] {
        let reply = call.send().await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"409 {"error":{"code":"invoices_open","message":"the installation's invoices are not settled, and it is not uninstalled until they are","user":{"message":"This installation has open invoices. Uninstall it when they are settled."}}}"#);
        }
        assert_eq!(reply.calls, calls);
        assert_eq!(world.all().await, before);
    }
    let other = world.delete_as(INSTALLATION, &world.token(&account("acc_other"))).send().await;
    assert_eq!(other.error(), (403, "forbidden"), "the account is compared first (A6)");
    let spared = world.delete(INSTALLATION).json(&json!({ "cascadeResourceDeletion": false }));
    assert_eq!(spared.send().await.error(), (409, "resources_remain"), "D3 comes first");
    assert_eq!(world.all().await, before);
    assert_eq!(world.sweep().await, [0; 4]);

    world.settle("icfg_1").await;
    let reply = world.delete(INSTALLATION).key("k1").send().await;
    assert_eq!((reply.whole(), reply.calls), (FINALIZED(), 1));
    assert!(!world.is_live("icfg_1", "db_1").await);
}

/// D7, D5: an uninstall is not refused for open invoices if the installation was never known or is deleted
/// already.
#[tokio::test]
async fn only_an_active_installation_is_refused_for_its_invoices() {
    let mut world = World::with(&[]).await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(INSTALLATION).key("k1").send().await.whole(), NOT_FINALIZED());
    world.config.open_invoices = OpenInvoices::Refuse;
    world.url = world.another().await;
    for key in ["k1", "k2"] {
        let reply = world.delete(INSTALLATION).key(key).send().await;
        assert_eq!(reply.whole(), NOT_FINALIZED(), "{key}");
    }
    let unknown = world.delete_as("/v1/installations/icfg_x", &world.token(&system("icfg_x")));
    assert_eq!(unknown.send().await.whole(), NOT_FINALIZED());
}

/// D2, D4: after an uninstall nothing can be added to the installation. A deleted installation never becomes
/// active again (D5).
#[tokio::test]
async fn nothing_is_added_to_a_deleted_installation() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.whole(), NOT_FINALIZED());
    let before = world.all().await;

    for line in [
        json!({ "installation": { "id": "icfg_1", "accountId": ACCOUNT } }),
        json!({ "resource": { "installationId": "icfg_1", "id": "db_1", "name": "renamed" } }),
        json!({ "resource": { "installationId": "icfg_1", "id": "db_2" } }),
        json!({ "webhook": { "installationId": "icfg_1", "id": "hook_1" } }),
        json!({ "logDrain": { "installationId": "icfg_1", "id": "drain_1" } }),
        json!({ "envVar": { "installationId": "icfg_1", "id": "env_1", "projectId": "p", "key": "K" } }),
    ] {
        let refused = world.try_register(line.clone()).await;
        assert!(matches!(refused, Err(RegisterError::InstallationDeleted)), "{line} {refused:?}");
    }
    assert_eq!(world.all().await, before);
}

/// D3, B6, F3: if `cascadeResourceDeletion` is false, an uninstall with live resources is refused, and the
/// answer has the number of these resources.
#[tokio::test]
async fn without_cascade_live_resources_remain() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let keep = json!({ "cascadeResourceDeletion": false });
    let before = world.all().await;

    let reply = world.delete(INSTALLATION).key("k1").json(&keep).send().await;

    assert_eq!(reply.calls, 1);
    insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"409 {"error":{"code":"resources_remain","message":"the installation still has live resources: 2","user":{"message":"This installation still has resources. Delete them first."}}}"#);
    assert_eq!(world.all().await, before);

    for resource in ["db_1", "db_2"] {
        let path = format!("{INSTALLATION}/resources/{resource}");
        assert_eq!(world.delete(&path).send().await.status, 204);
    }
    let reply = world.delete(INSTALLATION).key("k1").json(&keep).send().await;
    assert_eq!((reply.whole(), reply.calls), (NOT_FINALIZED(), 2));
}

/// D3: if `cascadeResourceDeletion` is false, an uninstall with live resources is refused, even if the
/// invoices are settled.
#[tokio::test]
async fn without_cascade_a_settled_installation_keeps_its_resources() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    world.settle("icfg_1").await;
    let keep = json!({ "cascadeResourceDeletion": false });
    let reply = world.delete(INSTALLATION).json(&keep).send().await;
    assert_eq!((reply.error(), reply.calls), ((409, "resources_remain"), 1));
    assert!(world.is_live("icfg_1", "db_1").await);
}

/// C2: a resource that is being provisioned does not delay an uninstall.
#[tokio::test]
async fn a_provisioning_resource_does_not_delay_an_uninstall() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    let line = json!({ "installationId": "icfg_1", "id": "db_1", "status": "provisioning" });
    world.register(json!({ "resource": line })).await;
    assert_eq!(world.delete(INSTALLATION).send().await.whole(), NOT_FINALIZED());
    assert!(!world.is_live("icfg_1", "db_1").await);
}

/// D5, G1: the uninstall of an unknown installation leaves a tombstone, a receipt and jobs, like any other
/// uninstall. A registration that comes after this uninstall is refused.
#[tokio::test]
async fn an_unknown_installation_gets_a_tombstone() {
    let world = World::announcing().await;

    let reply =
        world.delete(INSTALLATION).key("k1").json(&json!({ "reason": "gone" })).send().await;

    assert_eq!((reply.whole(), reply.calls), (NOT_FINALIZED(), 2));
    let items = world.items("icfg_1").await;
    assert_eq!(
        items.keys().collect::<Vec<_>>(),
        [
            "#installation",
            "receipt#installation",
            "work#announce#installation",
            "work#finalize",
            "work#purge"
        ]
    );
    assert_eq!(items["#installation"]["state"], "deleting");
    assert_eq!(items["#installation"]["reason"], "gone");
    let line = json!({ "installation": { "id": "icfg_1", "accountId": ACCOUNT } });
    let refused = world.try_register(line).await;
    assert!(matches!(refused, Err(RegisterError::InstallationDeleted)), "{refused:?}");
}

/// D5: a second uninstall is answered with the present state of the finalization, and takes one call to
/// DynamoDB if it has no key. A second uninstall changes no item of the installation.
#[tokio::test]
async fn a_second_uninstall_reports_the_present_state() {
    let world = World::announcing().await;
    world.install("icfg_1", &[]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.whole(), NOT_FINALIZED());
    let before = world.items("icfg_1").await;

    let again = world.delete(INSTALLATION).send().await;
    assert_eq!((again.whole(), again.calls), (NOT_FINALIZED(), 1));
    let keyed = world.delete(INSTALLATION).key("k2").send().await;
    assert_eq!((keyed.whole(), keyed.calls), (NOT_FINALIZED(), 2));
    let other =
        world.delete(INSTALLATION).json(&json!({ "cascadeResourceDeletion": false })).send().await;
    assert_eq!(other.whole(), NOT_FINALIZED(), "no resource is live any more");
    assert_eq!(world.items("icfg_1").await, before);

    let mut tombstone = before["#installation"].clone();
    tombstone["finalized"] = json!(true);
    tombstone.as_object_mut().unwrap().remove("deletedBy");
    world.put(tombstone).await;
    assert_eq!(world.delete(INSTALLATION).send().await.whole(), FINALIZED());
    let replay = world.delete(INSTALLATION).key("k2").send().await;
    assert_eq!(replay.whole(), NOT_FINALIZED(), "the first answer (F1)");
}

/// F2: two requests are the same if their parsed values are equal. An absent `cascadeResourceDeletion` equals
/// true. Uninstalls with different reasons are different requests.
#[tokio::test]
async fn requests_with_the_same_values_are_the_same() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    let first = world.delete(INSTALLATION).key("k1").json(&json!({ "reason": "x" })).send().await;
    assert_eq!(first.whole(), NOT_FINALIZED());
    for same in [
        json!({ "reason": "x", "cascadeResourceDeletion": true }),
        json!({ "cascadeResourceDeletion": null, "surprise": 1, "reason": "x" }),
    ] {
        let reply = world.delete(INSTALLATION).key("k1").json(&same).send().await;
        assert_eq!((reply.whole(), reply.calls), (NOT_FINALIZED(), 1), "{same}");
    }
    for other in [
        json!({}),
        json!({ "reason": null }),
        json!({ "reason": "" }),
        json!({ "reason": "y" }),
        json!({ "reason": "x", "cascadeResourceDeletion": false }),
    ] {
        let reply = world.delete(INSTALLATION).key("k1").json(&other).send().await;
        assert_eq!(reply.error(), (409, "idempotency_key_reused"), "{other}");
    }
}

/// A6: a token that names only an account uninstalls that account's installations, and reveals nothing about
/// other installations.
#[tokio::test]
async fn an_accounts_token_uninstalls_its_own_installations() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    let own = world.token(&account(ACCOUNT));
    let other = world.token(&account("acc_other"));
    let before = world.all().await;

    let refused = world.delete_as(INSTALLATION, &other).send().await;
    let unknown = world.delete_as("/v1/installations/icfg_x", &own).key("k1").send().await;
    assert_eq!(refused.error(), (403, "forbidden"));
    assert_eq!(refused.whole(), unknown.whole());
    assert_eq!(world.all().await, before);

    let reply = world.delete_as(INSTALLATION, &own).key("k1").send().await;
    assert_eq!((reply.whole(), reply.calls), (NOT_FINALIZED(), 2));
    let replay = world.delete_as(INSTALLATION, &own).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOT_FINALIZED(), 1));
    for late in
        [world.delete_as(INSTALLATION, &other), world.delete_as(INSTALLATION, &other).key("k1")]
    {
        assert_eq!(late.send().await.whole(), refused.whole());
    }
}

/// A6: if a token uninstalls an installation that was never known, the tombstone belongs to that token's
/// account.
#[tokio::test]
async fn an_unknown_installations_account_is_its_tokens() {
    let world = World::new().await;
    assert_eq!(world.delete(INSTALLATION).send().await.whole(), NOT_FINALIZED());
    let own = world.token(&account(ACCOUNT));
    assert_eq!(world.delete_as(INSTALLATION, &own).send().await.whole(), NOT_FINALIZED());
    let other = world.token(&account("acc_other"));
    assert_eq!(world.delete_as(INSTALLATION, &other).send().await.error(), (403, "forbidden"));
}

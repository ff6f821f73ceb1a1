//! Tokens that name an account and no installation (A6).

use super::*;

/// A6: a token that names only an account deletes resources in that account's installations, and reveals
/// nothing about other installations.
#[tokio::test]
async fn an_accounts_token_deletes_in_its_own_installations() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let own = world.token(&account(ACCOUNT));
    let other = world.token(&account("acc_other"));
    let before = world.all().await;

    let refused = world.delete_as(RESOURCE, &other).key("k1").send().await;
    let unknown = world.delete_as("/v1/installations/icfg_x/resources/db_1", &own).send().await;
    assert_eq!(refused.error(), (403, "forbidden"));
    assert_eq!(refused.whole(), unknown.whole(), "stored or not, the answer is the same");
    assert_eq!(world.all().await, before);

    let reply = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((reply.whole(), reply.calls), (NOTHING, 1));
    let replay = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOTHING, 1));
    let replay = world.delete_as(RESOURCE, &other).key("k1").send().await;
    assert_eq!(replay.whole(), refused.whole(), "not even a replay");
    let by = &world.items("icfg_1").await["receipt#resource#db_1"]["deletedBy"];
    assert_eq!(*by, json!({ "kind": "system", "accountId": ACCOUNT }));
}

/// A6: a token that names only an account gets a recorded outcome only if this account is the installation's
/// stored account. A token of the stored account gets the outcome even if the token that recorded it named
/// another account.
#[tokio::test]
async fn a_recorded_outcome_does_not_bypass_the_account() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let mut claims = system("icfg_1");
    claims["account_id"] = json!("acc_other");
    let moved = world.token(&claims);
    assert_eq!(world.delete_as(RESOURCE, &moved).key("k1").send().await.whole(), NOTHING);

    let other = world.token(&account("acc_other"));
    assert_eq!(
        world.delete_as(RESOURCE, &other).key("k1").send().await.error(),
        (403, "forbidden")
    );
    let own = world.token(&account(ACCOUNT));
    let replay = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOTHING, 2), "the account has to be looked up");
    let unknown =
        world.delete_as("/v1/installations/icfg_x/resources/r", &own).key("k").send().await;
    assert_eq!(unknown.error(), (403, "forbidden"));
}

/// A6, F1: DynamoDB may report the item of the resource without the item of its installation. Even without
/// the installation's item, an account's token is compared with the stored account, before anything is
/// answered or recorded.
#[tokio::test]
async fn the_account_is_compared_whatever_dynamodb_reports() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let line = json!({ "installationId": "icfg_1", "id": "db_2", "status": "provisioning" });
    world.register(json!({ "resource": line })).await;
    assert_eq!(world.delete(RESOURCE).send().await.whole(), NOTHING);
    let before = world.all().await;
    let own = world.token(&account(ACCOUNT));
    let other = world.token(&account("acc_other"));
    let busy = "/v1/installations/icfg_1/resources/db_2";
    let never = "/v1/installations/icfg_1/resources/db_3";
    world.dynamodb.lasting(Fault::InstallationHidden);

    for path in [RESOURCE, busy, never, "/v1/installations/icfg_1"] {
        assert_eq!(
            world.delete_as(path, &other).send().await.error(),
            (403, "forbidden"),
            "{path}"
        );
        let reply = world.delete_as(path, &other).key("k1").send().await;
        assert_eq!(reply.error(), (403, "forbidden"), "{path}");
    }
    assert_eq!(world.all().await, before);
    assert_eq!(world.delete_as(busy, &own).send().await.error(), (409, "resource_busy"));
    for key in ["k1", "k2"] {
        assert_eq!(world.delete_as(RESOURCE, &own).key(key).send().await.whole(), NOTHING);
        assert_eq!(world.delete_as(RESOURCE, &own).key(key).send().await.whole(), NOTHING);
    }
    assert_eq!(
        world.delete_as(RESOURCE, &other).key("k1").send().await.error(),
        (403, "forbidden")
    );
}

/// A6: an outcome may outlive its installation's tombstone. Without the tombstone, the account in the outcome
/// decides who gets a replay.
#[tokio::test]
async fn an_accounts_replay_outlives_the_tombstone() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let own = world.token(&account(ACCOUNT));
    assert_eq!(world.delete_as(RESOURCE, &own).key("k1").send().await.whole(), NOTHING);
    world.remove("installation#icfg_1", "#installation").await;

    let replay = world.delete_as(RESOURCE, &own).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (NOTHING, 1));
    let other = world.token(&account("acc_other"));
    assert_eq!(
        world.delete_as(RESOURCE, &other).key("k1").send().await.error(),
        (403, "forbidden")
    );
}

//! What the front records of a call, and for which callers it records (J2, J3, J5).

use std::time::Duration;

use serde_json::{Value, json};
use teardown::limits::Limits;

use super::{RESOURCES, call, call_as, intents, provision, upsert};
use crate::support::backend::{Answer, Backend};
use crate::support::dynamodb::Fault;
use crate::support::world::{
    ACCOUNT, INSTALLATION, RESOURCE, World, account, limits, system, user,
};

async fn installation(world: &World) -> Value {
    world.item("installation#icfg_1", "#installation").await.unwrap_or_default()
}

async fn resource(world: &World, id: &str) -> Value {
    world.item("installation#icfg_1", &format!("resource#{id}")).await.unwrap_or_default()
}

/// J3: if the backend accepts an Upsert, the front registers the installation with the token's account and
/// with the access token in the body. The registration takes one call to DynamoDB.
#[tokio::test]
async fn an_upsert_registers_its_installation() {
    let (world, _backend) = Backend::behind().await;
    let reply = upsert(&world).send().await;
    assert_eq!((reply.status, reply.calls), (200, 1));
    let stored = installation(&world).await;
    assert_eq!((&stored["state"], &stored["accountId"]), (&json!("active"), &json!(ACCOUNT)));
    assert_eq!((&stored["billing"], &stored["resources"]), (&json!("settled"), &json!(0)));
    let token = world.item("installation#icfg_1", "#token").await.unwrap();
    assert_eq!(token["accessToken"], "t0ken-of-icfg_1");
    // A second Upsert, by another account and without credentials, keeps the stored access token.
    let mut moved = user("icfg_1");
    moved["account_id"] = json!("acc_other");
    assert_eq!(
        call_as(&world, "PUT", INSTALLATION, &moved).json(&json!({})).send().await.status,
        200
    );
    assert_eq!(installation(&world).await["accountId"], "acc_other");
    assert!(world.item("installation#icfg_1", "#token").await.is_some());
}

/// J3: the front writes an installation's `billing` only once, with the value from the backend's first
/// answer.
#[tokio::test]
async fn billing_is_written_once() {
    let free = r#"{"billingPlan":{"paymentMethodRequired":false}}"#;
    let paid = r#"{"billingPlan":{"paymentMethodRequired":true}}"#;
    for (answers, expected) in
        [([free, paid], "settled"), ([paid, free], "open"), (["{}", free], "open")]
    {
        let (world, backend) = Backend::behind().await;
        backend.script(answers.map(|body| Answer::with_body(200, body)));
        for _ in answers {
            assert_eq!(upsert(&world).send().await.status, 200);
        }
        assert_eq!(installation(&world).await["billing"], expected, "{answers:?}");
    }
}

/// J3: the front does not record an Upsert that the backend refuses. The front does not record a call for a
/// deleted installation, even if the backend accepts the call.
#[tokio::test]
async fn refused_calls_and_deleted_installations_are_not_recorded() {
    let (world, backend) = Backend::behind().await;
    backend.script([400, 403, 409, 500, 302].map(|status| Answer::with_body(status, "{}")));
    for status in [400, 403, 409, 500, 302] {
        assert_eq!(upsert(&world).send().await.status, status);
    }
    assert_eq!(world.sort_keys("icfg_1").await, [""; 0]);
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let before = world.items("icfg_1").await;
    assert_eq!(upsert(&world).send().await.status, 200);
    backend.script([Answer::with_body(200, r#"{"name":"new","status":"error"}"#)]);
    assert_eq!(call(&world, "PATCH", RESOURCE).json(&json!({})).send().await.status, 200);
    assert_eq!(world.items("icfg_1").await, before);
}

/// J3, F6: an Upsert that cannot be recorded is answered 503 if DynamoDB is out of reach, and 500 if DynamoDB
/// refuses the write. Vercel has to send the Upsert again, because the access token is stored nowhere else.
#[tokio::test]
async fn an_upsert_that_cannot_be_recorded_is_to_be_sent_again() {
    let (backend, url) = Backend::start().await;
    let limits = Limits { dynamodb: Duration::from_millis(200), ..limits() };
    let world = World::with_within(&[("BACKEND_URL", &url)], limits).await;
    world.dynamodb.script([Fault::Echo]);
    assert_eq!(upsert(&world).send().await.error(), (500, "internal_error"));
    world.dynamodb.lasting(Fault::Throttle);
    let reply = upsert(&world).send().await;
    assert_eq!(reply.error(), (503, "store_unavailable"));
    assert_eq!(reply.headers["retry-after"], "2");
    assert!(world.items("icfg_1").await.is_empty());
    world.dynamodb.heal();
    assert_eq!(upsert(&world).send().await.status, 200);
    assert_eq!(installation(&world).await["state"], "active");
    assert_eq!(backend.received().len(), 3);
}

/// J2: if a call has a token for an installation that is not known, the front registers the installation.
/// Such a token may be a user's token, with any role, or the system's token.
#[tokio::test]
async fn a_token_registers_an_unknown_installation() {
    let mut read_only = user("icfg_1");
    read_only["user_role"] = json!("USER");
    for (method, path, claims) in [
        ("PATCH", INSTALLATION, user("icfg_1")),
        ("PATCH", INSTALLATION, read_only),
        ("PATCH", RESOURCE, user("icfg_1")),
        ("GET", RESOURCE, system("icfg_1")),
    ] {
        let (world, backend) = Backend::behind().await;
        backend.script([Answer::with_body(200, r#"{"name":"n"}"#)]);
        let reply = call_as(&world, method, path, &claims).send().await;
        assert_eq!(reply.status, 200, "{method}");
        let stored = installation(&world).await;
        assert_eq!((&stored["state"], &stored["accountId"]), (&json!("active"), &json!(ACCOUNT)));
        assert_eq!(world.sort_keys("icfg_1").await, ["#installation"], "{method} {path}");
        // The front does not set the installation's `billing`, so that a later Upsert may set it.
        assert_eq!(stored.get("billing"), None);
        assert_eq!(upsert(&world).send().await.status, 200);
        assert_eq!(installation(&world).await["billing"], "settled");
    }
}

/// J2: a call whose token names only an account is recorded only if the call's installation is known and
/// belongs to that account.
#[tokio::test]
async fn an_accounts_token_vouches_for_known_installations() {
    let (world, backend) = Backend::behind().await;
    let mine = account(ACCOUNT);
    let send = async |method: &str, path: &str, claims: &Value| {
        let call = call_as(&world, method, path, claims).json(&json!({ "name": "n" }));
        assert_eq!(call.send().await.status, 200, "{method}");
    };
    backend.script([0, 1, 2].map(|_| Answer::with_body(200, r#"{"name":"new"}"#)));
    send("PUT", INSTALLATION, &mine).await;
    send("PATCH", INSTALLATION, &mine).await;
    send("GET", RESOURCE, &mine).await;
    send("POST", RESOURCES, &mine).await;
    assert_eq!(world.sort_keys("icfg_1").await, [""; 0]);
    world.install("icfg_1", &["db_9"]).await;
    let before = world.items("icfg_1").await;
    for _ in ["PUT", "GET"] {
        backend.script([Answer::with_body(200, r#"{"name":"new"}"#)]);
    }
    send("PUT", INSTALLATION, &account("acc_other")).await;
    send("GET", &format!("{RESOURCES}/db_9"), &account("acc_other")).await;
    send("POST", RESOURCES, &account("acc_other")).await;
    assert_eq!(world.items("icfg_1").await, before);
    backend.script([Answer::with_body(200, r#"{"name":"new"}"#)]);
    send("GET", &format!("{RESOURCES}/db_9"), &mine).await;
    assert_eq!(resource(&world, "db_9").await["name"], "new");
    send("POST", RESOURCES, &mine).await;
    assert_eq!(installation(&world).await["resources"], 2);
}

/// J2: a call with malformed ids, or without a verified token of its installation, is passed on, and nothing
/// is written.
#[tokio::test]
async fn an_unverified_call_passes_and_is_not_recorded() {
    let (world, backend) = Backend::behind().await;
    let others = world.token(&user("icfg_2"));
    let calls = [
        ("PUT", INSTALLATION),
        ("PATCH", INSTALLATION),
        ("POST", RESOURCES),
        ("GET", RESOURCE),
        ("PATCH", RESOURCE),
        // The ids in the next two paths are malformed.
        ("PUT", "/v1/installations/icfg%201"),
        ("POST", "/v1/installations/icfg%2F1/resources"),
    ];
    let mut passed = 0;
    for (method, path) in calls {
        let good = world.token(&user("icfg_1"));
        let is_malformed = path.contains('%');
        for authorization in
            ["", "Bearer garbage", &format!("Bearer {others}"), &format!("Bearer {good}")]
        {
            if authorization.ends_with(&good) && !is_malformed {
                continue;
            }
            let reply = world.request(method, path).header("authorization", authorization);
            let reply = reply.json(&json!({ "name": "n" })).send().await;
            passed += 1;
            assert!([200, 404].contains(&reply.status), "{method} {path}: {reply:?}");
            assert_eq!((backend.received().len(), reply.calls), (passed, 0));
        }
    }
    assert!(world.all().await.is_empty());
}

/// A7, J2: if the issuer's keys cannot be fetched, `PUT` and `POST` are answered 503 and not passed on.
/// Without keys, calls with other methods are passed on, and not recorded.
#[tokio::test]
async fn without_keys_put_and_post_are_refused() {
    // No server listens at this address.
    let (world, backend) =
        Backend::behind_with(&[("OIDC_JWKS", ""), ("OIDC_JWKS_URL", "http://127.0.0.1:9/")]).await;
    let token = world.token(&user("icfg_1"));
    let send = async |method: &str, path: &str| {
        let call = world.request(method, path).header("authorization", &format!("Bearer {token}"));
        call.json(&json!({})).send().await
    };
    assert_eq!(send("PUT", INSTALLATION).await.error(), (503, "keys_unavailable"));
    assert_eq!(send("POST", RESOURCES).await.error(), (503, "keys_unavailable"));
    assert!(backend.received().is_empty());
    assert_eq!(send("PATCH", INSTALLATION).await.status, 200);
    assert_eq!(send("GET", RESOURCE).await.status, 404);
    assert_eq!(backend.received().len(), 2);
    assert!(world.all().await.is_empty());
}

/// J5: the front updates the stored name and status of a registered resource from the backend's answers. If a
/// poll's answer has nothing new, the time limit of rule C2 does not begin again.
#[tokio::test]
async fn name_and_status_follow_the_backend() {
    let (world, backend) = Backend::behind().await;
    backend.script([Answer::with_body(200, r#"{"id":"db_1","name":"a","status":"pending"}"#)]);
    assert_eq!(provision(&world, "k1").send().await.status, 200);
    let first = resource(&world, "db_1").await;
    assert_eq!((&first["name"], &first["status"]), (&json!("a"), &json!("pending")));
    world.clock.advance(Duration::from_mins(30));
    let poll = async |body: &'static str| {
        backend.script([Answer::with_body(200, body)]);
        let reply = call_as(&world, "GET", RESOURCE, &system("icfg_1")).send().await;
        assert_eq!((reply.status, reply.calls), (200, 1));
        resource(&world, "db_1").await
    };
    assert_eq!(poll(r#"{"id":"db_1","name":"a","status":"pending"}"#).await, first);
    assert_eq!(poll(r#"{"id":"db_1","status":"unheard of"}"#).await, first);
    let changed = poll(r#"{"id":"db_1","name":"b","status":"ready"}"#).await;
    assert_eq!((&changed["name"], &changed["status"]), (&json!("b"), &json!("ready")));
    assert!(changed["updatedAt"].as_u64() > first["updatedAt"].as_u64());
    backend.script([Answer::with_body(404, r#"{"name":"c"}"#)]);
    assert_eq!(call(&world, "PATCH", RESOURCE).json(&json!({})).send().await.status, 404);
    // A poll of an unregistered resource does not register it.
    backend.script([Answer::with_body(200, r#"{"id":"db_7","name":"c"}"#)]);
    let unregistered = format!("{RESOURCES}/db_7");
    assert_eq!(call(&world, "GET", &unregistered).send().await.status, 200);
    assert_eq!(resource(&world, "db_1").await, changed);
    assert_eq!(resource(&world, "db_7").await, Value::Null);
    assert_eq!(intents(&world).await, [""; 0]);
}

/// J6: if a resource's name or status cannot be recorded, the backend's answer is still passed on.
#[tokio::test]
async fn an_answer_passes_even_if_it_cannot_be_recorded() {
    let (world, backend) = Backend::behind().await;
    world.install("icfg_1", &["db_1"]).await;
    backend.script([Answer::with_body(200, r#"{"name":"b"}"#)]);
    world.dynamodb.script([Fault::Echo]);
    let reply = call(&world, "GET", RESOURCE).send().await;
    assert_eq!(reply.whole(), (200, json!({ "name": "b" })));
}

//! Calls that pass through to the provider's backend. The functions see bodies and tokens, and reveal them to
//! nobody else.

use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde_json::json;

use super::HOSTS;
use super::planted::{ACCESS_TOKEN, IDEMPOTENCY_KEY};
use super::scene::{Asked, Host, Scene};
use crate::support::backend::Answer;
use crate::support::dynamodb::Fault;
use crate::support::process::FRONT;
use crate::support::sts;
use crate::support::world::user;

/// A secret in the body of a call.
const SENT: &str = "sent/4b1e+planted=9a60c7";

/// A secret in the body and in a header of the backend's answer, such as a resource's secrets.
const ANSWERED: &str = "answered/e27d+planted=1f83b5";

const INSTALLATION: &str = "/v1/installations/icfg_1";
const RESOURCES: &str = "/v1/installations/icfg_1/resources";
const RESOURCE: &str = "/v1/installations/icfg_1/resources/db_1";

/// A call with everything that a caller and the host may send.
fn call(method: &'static str, path: &str, token: &str) -> Asked {
    let body = match method {
        "GET" => String::new(),
        _ => json!({
            "name": "my db", "productId": "prod_1", "metadata": { "password": SENT },
            "credentials": { "access_token": ACCESS_TOKEN },
        })
        .to_string(),
    };
    Asked { method, ..Asked::delete(path, token).body(&body) }
}

/// An answer with a secret in its body, after this text, and in a header.
fn answer(status: u16, before: &str) -> Answer {
    let body = format!("{before}\"secrets\":[{{\"value\":\"{ANSWERED}\"}}]}}");
    let headers = HeaderMap::from_iter([("x-secret".parse().unwrap(), ANSWERED.parse().unwrap())]);
    Answer::Whole(status, headers, body.into())
}

/// J6: bodies, tokens and keys that pass through are in no log, and in no answer that the function itself
/// gives, whatever fails, on every host. Of these secrets the table holds the access token alone, once.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_passes_tells_a_secret() {
    join_all(HOSTS.map(|host| async move {
        let mut scene = Scene::start(FRONT, host).await;
        scene.sts.now(sts::HOUR);
        scene.planted.text(SENT);
        scene.planted.text(ANSWERED);
        let good = scene.token(&user("icfg_1"));
        passed(&mut scene, &good).await;
        refused(&mut scene, &good).await;
        let mut table = scene.world.all().await;
        let held = table.get_mut("installation#icfg_1").unwrap().remove("#token").unwrap();
        assert!(held.to_string().contains(ACCESS_TOKEN));
        scene.planted.is_not_in(&format!("{table:?}"));
        scene
            .end(&[
                "passed on, not recorded",
                "no usable id",
                "backend_unavailable",
                "internal_error",
                "made, and not recorded",
                "JWKS fetch failed",
            ])
            .await;
    }))
    .await;
}

/// Calls that the backend answers, well or badly.
async fn passed(scene: &mut Scene, good: &str) {
    let forged = scene.forged(&user("icfg_1"));
    let elsewhere = scene.token(&user("icfg_2"));
    let made = r#"{"id":"db_9","name":"n","#;
    for (asked, answer, status) in [
        (call("PUT", INSTALLATION, good), answer(200, "{"), "200"),
        (call("PUT", INSTALLATION, &forged), answer(200, "{"), "200"),
        (
            call("PUT", INSTALLATION, good).body(&format!("{{\"credentials\":\"{SENT}")),
            answer(200, "{"),
            "200",
        ),
        (call("PATCH", INSTALLATION, &elsewhere), answer(403, "{"), "403"),
        (call("POST", RESOURCES, good), answer(201, made), "201"),
        (call("POST", RESOURCES, good), answer(201, "{"), "201"),
        (call("POST", RESOURCES, good), answer(400, ""), "400"),
        (call("POST", RESOURCES, good), answer(500, made), "500"),
        (call("GET", RESOURCE, good), answer(200, made), "200"),
        (call("PATCH", RESOURCE, good).header("authorization", good), answer(200, made), "200"),
        (call("GET", &format!("{RESOURCES}/{good}"), good), answer(404, "{"), "404"),
        (call("GET", &format!("{RESOURCE}?token={good}"), good), answer(200, "nonsense"), "200"),
    ] {
        scene.backend.script([answer]);
        let said = scene.pass(asked).await;
        assert!(said.starts_with(status) && said.contains(ANSWERED), "{status}: {said}");
    }
    let [first, ..] = &scene.backend.heard()[..] else { panic!("it is asked") };
    let (sent, key) =
        (String::from_utf8(first.body.to_vec()).unwrap(), &first.headers["idempotency-key"]);
    assert!(sent.contains(SENT) && sent.contains(ACCESS_TOKEN) && *key == *IDEMPOTENCY_KEY);
    assert!(!first.headers.contains_key("x-vercel-oidc-token"));
}

/// Calls that the function answers itself, because the backend, DynamoDB or the keys fail.
async fn refused(scene: &mut Scene, good: &str) {
    for (answer, status) in [(Answer::Reset, "502"), (Answer::EffectThenReset, "502")] {
        scene.backend.script([answer]);
        let said = scene.ask(call("POST", RESOURCES, good)).await;
        assert!(said.starts_with(status), "{said}");
    }
    scene.world.dynamodb.once("TransactWriteItems", Fault::Echo);
    let said = scene.ask(call("POST", RESOURCES, good)).await;
    assert!(said.starts_with("500"), "the intent is not written: {said}");
    scene.world.dynamodb.once("TransactWriteItems", Fault::Echo);
    scene.backend.script([answer(200, "{")]);
    let said = scene.ask(call("PUT", INSTALLATION, good)).await;
    assert!(said.starts_with("500"), "the access token is not recorded: {said}");
    // The intent is written, and the resource is not.
    scene.world.dynamodb.once("TransactWriteItems", Fault::None);
    scene.world.dynamodb.once("TransactWriteItems", Fault::Echo);
    scene.backend.script([answer(201, r#"{"id":"db_10","#)]);
    let said = scene.pass(call("POST", RESOURCES, good)).await;
    assert!(said.starts_with("201"), "{said}");
    let header = json!({ "alg": "RS256", "kid": "unknown" });
    let claims = scene.world.timed(&user("icfg_1"));
    let unknown = crate::support::world::ISSUER.sign_with_header(&header, &claims);
    scene.planted.token(&unknown);
    let said = scene.ask(call("POST", RESOURCES, &unknown)).await;
    assert!(said.starts_with("503"), "the keys are out of reach: {said}");
    let long = "x".repeat(4 << 20) + SENT;
    let asked = call("PATCH", RESOURCE, good).body(&long);
    if scene.host != Host::Lambda {
        let said = scene.ask(asked).await;
        assert!(said.starts_with("413"), "{said:.100}");
    }
}

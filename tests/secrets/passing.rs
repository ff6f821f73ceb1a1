//! Calls that pass through to the provider's backend. The functions reveal the bodies and tokens of these
//! calls to nobody except the backend and the caller.

use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde_json::json;

use super::HOSTS;
use super::planted::{ACCESS_TOKEN, IDEMPOTENCY_KEY};
use super::scene::{Call, Host, Scene};
use crate::support::backend::Answer;
use crate::support::dynamodb::Fault;
use crate::support::process::FRONT;
use crate::support::sts;
use crate::support::world::user;

/// A secret in the body of a caller's request.
const SENT: &str = "sent/4b1e+planted=9a60c7";

/// A secret in the body and in a header of the backend's answer, as a resource's secrets would be.
const ANSWERED: &str = "answered/e27d+planted=1f83b5";

const INSTALLATION: &str = "/v1/installations/icfg_1";
const RESOURCES: &str = "/v1/installations/icfg_1/resources";
const RESOURCE: &str = "/v1/installations/icfg_1/resources/db_1";

/// A call with everything that a caller and the host may send.
fn call(method: &'static str, path: &str, token: &str) -> Call {
    let body = match method {
        "GET" => String::new(),
        _ => json!({
            "name": "my db", "productId": "prod_1", "metadata": { "password": SENT },
            "credentials": { "access_token": ACCESS_TOKEN },
        })
        .to_string(),
    };
    Call { method, ..Call::delete(path, token).body(&body) }
}

/// The backend's answer, with a secret in a header and after this text in the body.
fn answer(status: u16, before: &str) -> Answer {
    let body = format!("{before}\"secrets\":[{{\"value\":\"{ANSWERED}\"}}]}}");
    let headers = HeaderMap::from_iter([("x-secret".parse().unwrap(), ANSWERED.parse().unwrap())]);
    Answer::Whole(status, headers, body.into())
}

/// J6: the bodies, tokens and keys of calls that pass through are in no log, and in no answer that the
/// function itself makes, whatever fails, on every host. Of all secrets in such a call, the table has only
/// the access token, and only once.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_passes_reveals_a_secret() {
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

/// Calls that the backend answers, with usable and with unusable answers.
async fn passed(scene: &mut Scene, good: &str) {
    let forged = scene.forged(&user("icfg_1"));
    let elsewhere = scene.token(&user("icfg_2"));
    let made = r#"{"id":"db_9","name":"n","#;
    for (call, answer, status) in [
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
        let reply = scene.send_unchecked(call).await;
        assert!(reply.starts_with(status) && reply.contains(ANSWERED), "{status}: {reply}");
    }
    let [first, ..] = &scene.backend.received()[..] else { panic!("it is called") };
    let (sent, key) =
        (String::from_utf8(first.body.to_vec()).unwrap(), &first.headers["idempotency-key"]);
    assert!(sent.contains(SENT) && sent.contains(ACCESS_TOKEN) && *key == *IDEMPOTENCY_KEY);
    assert!(!first.headers.contains_key("x-vercel-oidc-token"));
}

/// Calls during which the backend, DynamoDB or the fetch of keys fails. The function itself answers most of
/// these calls.
async fn refused(scene: &mut Scene, good: &str) {
    for (answer, status) in [(Answer::Reset, "502"), (Answer::EffectThenReset, "502")] {
        scene.backend.script([answer]);
        let reply = scene.send(call("POST", RESOURCES, good)).await;
        assert!(reply.starts_with(status), "{reply}");
    }
    scene.world.dynamodb.once("TransactWriteItems", Fault::Echo);
    let reply = scene.send(call("POST", RESOURCES, good)).await;
    assert!(reply.starts_with("500"), "the intent is not written: {reply}");
    scene.world.dynamodb.once("TransactWriteItems", Fault::Echo);
    scene.backend.script([answer(200, "{")]);
    let reply = scene.send(call("PUT", INSTALLATION, good)).await;
    assert!(reply.starts_with("500"), "the access token is not recorded: {reply}");
    // DynamoDB writes the intent, and refuses the write of the resource.
    scene.world.dynamodb.once("TransactWriteItems", Fault::None);
    scene.world.dynamodb.once("TransactWriteItems", Fault::Echo);
    scene.backend.script([answer(201, r#"{"id":"db_10","#)]);
    let reply = scene.send_unchecked(call("POST", RESOURCES, good)).await;
    assert!(reply.starts_with("201"), "{reply}");
    let header = json!({ "alg": "RS256", "kid": "unknown" });
    let claims = scene.world.timed(&user("icfg_1"));
    let unknown = crate::support::world::ISSUER.sign_with_header(&header, &claims);
    scene.planted.token(&unknown);
    let reply = scene.send(call("POST", RESOURCES, &unknown)).await;
    assert!(reply.starts_with("503"), "the keys are out of reach: {reply}");
    let long = "x".repeat(4 << 20) + SENT;
    let call = call("PATCH", RESOURCE, good).body(&long);
    if scene.host != Host::Lambda {
        let reply = scene.send(call).await;
        assert!(reply.starts_with("413"), "{reply:.100}");
    }
}

//! Vercel's webhooks (K): who may send a webhook, and which form a webhook must have.

mod removed;
mod transferred;

use serde_json::{Value, json};
use teardown::Endpoint;

use crate::support::log::Log;
use crate::support::world::{CLIENT_SECRET, World, signature};
use crate::vercel_platform::Broken;

/// The body of a webhook that reports the removal of `icfg_1`.
fn removed() -> String {
    let payload = json!({ "team": { "id": "team_1" }, "configuration": { "id": "icfg_1" } });
    event("integration-configuration.removed", 1_795_305_600_000, &payload)
}

/// The body of a webhook with this event.
fn event(kind: &str, created_at: i64, payload: &Value) -> String {
    let event = json!({ "id": "evt_1", "type": kind, "createdAt": created_at, "payload": payload });
    event.to_string()
}

/// K1: a signature that OpenSSL computed is accepted, but only for the body that OpenSSL signed.
#[tokio::test]
async fn a_signature_is_that_of_openssl() {
    let file: Value = serde_json::from_str(include_str!("webhook/signatures.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let text = |vector: &Value, name: &str| vector[name].as_str().unwrap().to_owned();
    let mut worlds = std::collections::BTreeMap::new();
    for vector in vectors {
        let secret = text(vector, "secret");
        if !worlds.contains_key(&secret) {
            worlds.insert(secret.clone(), World::with(&[("CLIENT_SECRET", &secret)]).await);
        }
        let send = async |signature: &str, body: String| {
            let call = worlds[&secret].request("POST", "/api/webhook").body(body);
            call.header("x-vercel-signature", signature).send().await.status
        };
        let (signature, body) = (text(vector, "signature"), text(vector, "body"));
        let about = &vector["about"];
        assert_eq!(send(&signature, body.clone()).await, 200, "{about}");
        assert_eq!(send(&signature, format!("{body} ")).await, 403, "{about}");
        for other in vectors.iter().filter(|other| *other != vector) {
            assert_eq!(send(&text(other, "signature"), body.clone()).await, 403, "{about}");
        }
    }
    assert_eq!((vectors.len(), worlds.len()), (7, 4));
}

/// K1: a webhook must have exactly one signature, in lower-case hex, made with the client secret from the
/// webhook's body. A webhook without such a signature is answered 403, and changes nothing.
#[tokio::test]
async fn a_forged_webhook_does_nothing() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let before = world.all().await;
    let body = removed();
    let right = signature(CLIENT_SECRET, &body);
    let upper = right.to_uppercase();
    let [first, second] = [format!("{right}, {right}"), format!("sha1={right}")];
    for (why, signatures) in [
        ("absent", &[][..]),
        ("empty", &[""]),
        ("repeated", &[&right, &right]),
        ("beside another", &[&right, "0"]),
        ("joined", &[&first]),
        ("upper case", &[&upper]),
        ("with a name", &[&second]),
        ("cut", &[&right[1..]]),
        ("longer", &[&format!("{right}0")]),
        ("zeros", &[&"0".repeat(40)]),
        ("of another secret", &[&signature("cl1ent-s3creT", &body)]),
        ("of another body", &[&signature(CLIENT_SECRET, &body.replace("icfg_1", "icfg_2"))]),
        ("of nothing", &[&signature(CLIENT_SECRET, "")]),
    ] {
        let mut call = world.request("POST", "/api/webhook").body(body.clone());
        for signature in signatures {
            call = call.header("x-vercel-signature", signature);
        }
        let reply = call.send().await;
        assert_eq!((reply.error(), reply.calls), ((403, "invalid_signature"), 0), "{why}");
    }
    assert_eq!(world.all().await, before);
    assert_eq!(world.webhook(&body).send().await.whole(), (200, Value::Null));
    assert!(!world.is_live("icfg_1", "db_1").await);
}

/// K1: the function reads a webhook's body only if there is exactly one signature in the right form.
#[tokio::test]
async fn a_body_without_a_signature_is_not_read() {
    let process = World::new().await.process().await;
    for signatures in [&[][..], &["a", "b"], &["A94A8FE5CCB19BA61C4C0873D391E987982FBBD3"]] {
        let request = http::Request::post("/api/webhook");
        let add =
            |request: http::request::Builder, it: &&str| request.header("x-vercel-signature", *it);
        let request = signatures.iter().fold(request, add).body(Broken).unwrap();
        assert_eq!(process.handle(Endpoint::Webhook, request).await.status(), 403);
    }
}

/// K1: a webhook whose body is over 256 KiB is answered 413.
#[tokio::test]
async fn a_webhook_is_bounded() {
    let world = World::new().await;
    let whole = format!(r#"{{"type":"x","payload":"{}"}}"#, "y".repeat(256 * 1024 - 25));
    assert_eq!(whole.len(), 256 * 1024);
    assert_eq!(world.webhook(&whole).send().await.status, 200);
    let reply = world.webhook(&format!("{whole} ")).send().await;
    assert_eq!(reply.error(), (413, "payload_too_large"));
    assert_eq!(reply.message(), "the body is over 256 KiB");
}

/// K1: a signed webhook that lacks something that teardown needs is answered 400. The error's message names
/// what is wrong with the webhook, and nothing is done.
#[tokio::test]
async fn a_webhook_that_cannot_be_read_is_named() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    let before = world.all().await;
    let field = |name: &str, what: &str| format!("the body's field `{name}` must be a {what}");
    let id = "an id is 1 to 255 of A-Z a-z 0-9 . _ : ~ - and not . or ..".to_owned();
    let object = "the body is not a JSON object".to_owned();
    let removed = |payload| event("integration-configuration.removed", 1, &payload);
    let moved = |payload| event("integration-configuration.transferred", 1, &payload);
    let configuration = json!({ "id": "icfg_1" });
    for (body, message) in [
        (String::new(), object.clone()),
        ("{".to_owned(), object.clone()),
        ("[]".to_owned(), object.clone()),
        ("\"x\"".to_owned(), object),
        ("{}".to_owned(), field("type", "string")),
        (r#"{"type":1}"#.to_owned(), field("type", "string")),
        (removed(json!({})), field("payload.configuration.id", "string")),
        (removed(json!("icfg_1")), field("payload.configuration.id", "string")),
        (
            removed(json!({ "installationId": "icfg_1" })),
            field("payload.configuration.id", "string"),
        ),
        (
            removed(json!({ "configuration": { "id": 1 } })),
            field("payload.configuration.id", "string"),
        ),
        (removed(json!({ "configuration": { "id": "a/b" } })), id),
        (
            removed(json!({ "configuration": configuration, "team": { "id": 1 } })),
            field("payload.team.id", "string"),
        ),
        (moved(json!({ "newAccountId": "a" })), field("payload.configuration.id", "string")),
        (moved(json!({ "configuration": configuration })), field("payload.newAccountId", "string")),
        (
            moved(json!({ "configuration": configuration, "newAccountId": "a", "newTeamId": 1 })),
            field("payload.newTeamId", "string"),
        ),
        (
            moved(json!({ "configuration": configuration, "newAccountId": "a" }))
                .replace(r#""createdAt":1"#, r#""createdAt":"1""#),
            field("createdAt", "number of milliseconds"),
        ),
    ] {
        let reply = world.webhook(&body).send().await;
        assert_eq!((reply.error(), reply.calls), ((400, "bad_request"), 0), "{body}");
        assert_eq!(reply.message(), message, "{body}");
    }
    assert_eq!(world.all().await, before);
}

/// K1: a webhook of an unknown type is answered 200, whatever its event contains, and nothing is done.
#[tokio::test]
async fn an_unknown_type_does_nothing() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let before = world.all().await;
    let payload = json!({ "configuration": { "id": "icfg_1" }, "installationId": "icfg_1" });
    for kind in [
        "integration-resource.project-connected",
        "marketplace.invoice.paid",
        "integration-configuration.Removed",
        "integration-configuration",
        "",
    ] {
        for payload in [&payload, &json!({ "configuration": 1 }), &Value::Null] {
            let reply = world.webhook(&event(kind, 1, payload)).send().await;
            assert_eq!((reply.whole(), reply.calls), ((200, Value::Null), 0), "{kind}");
        }
    }
    assert_eq!(world.all().await, before);
}

/// K1: a webhook has one log line, like other requests, with its type and its installation, and without its
/// signature. If the webhook's signature is wrong, the log line contains nothing of the body.
#[tokio::test]
async fn a_webhook_is_logged_without_its_signature() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    let process = world.process().await;
    let body = removed();
    let right = signature(CLIENT_SECRET, &body);
    let send = async |signature: &str| {
        let request = http::Request::post("/api/webhook").header("x-vercel-signature", signature);
        let log = Log::start();
        let request = request.body(body.clone()).unwrap();
        drop(process.handle(Endpoint::Webhook, request).await);
        let mut lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for name in ["timestamp", "ms"] {
            assert!(lines[0].as_object_mut().unwrap().remove(name).is_some(), "{name}");
        }
        lines.remove(0).to_string()
    };
    insta::assert_snapshot!(send(&right).await, @r#"{"dynamodb_calls":2,"event":"integration-configuration.removed","installation":"icfg_1","level":"INFO","message":"answered","method":"POST","outcome":"done","route":"/api/webhook","status":200,"target":"teardown::app::line"}"#);
    insta::assert_snapshot!(send(&"0".repeat(40)).await, @r#"{"dynamodb_calls":0,"level":"INFO","message":"answered","method":"POST","outcome":"invalid_signature","reason":"exactly one `x-vercel-signature` header is required, the body's HMAC-SHA1 in lower-case hex","route":"/api/webhook","status":403,"target":"teardown::app::line"}"#);
}

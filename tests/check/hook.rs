//! The webhook endpoint of the stand-in backend in the tests of `teardown check`.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use teardown_cli::check::webhook_signature;

use super::backend::{Inner, Reply};

pub fn answer(backend: &Inner, headers: &HeaderMap, body: &Bytes) -> Reply {
    let text = std::str::from_utf8(body).unwrap();
    let event: Value = serde_json::from_str(text).unwrap_or_default();
    let signature = headers.get("x-vercel-signature").map(|it| it.to_str().unwrap());
    if !is_good(backend, signature, text) {
        if signature.is_some_and(|it| it.len() != 40) && backend.is("webhook/forged-is-no-500") {
            return Reply::error(500, "internal");
        }
        if backend.is("webhook/forged-changes-nothing") {
            remove(backend, &event);
        }
        return Reply::error(403, "invalid_signature");
    }
    let ok = Reply(StatusCode::OK, json!({}));
    if signature != Some(webhook_signature(backend.secret, text).as_str()) {
        // The webhook's signature is wrong. The backend accepts this webhook because of its fault.
        return ok;
    }
    backend.dawdle("time/webhook");
    let seen = !backend.store().events.insert(event["id"].to_string());
    match backend.fault.as_str() {
        "webhook/twice" if seen => return Reply::error(409, "seen"),
        _ if seen => return ok,
        "webhook/raw-body" if text.starts_with("{ ") => {
            return Reply::error(403, "invalid_signature");
        }
        "webhook/signed"
            if event["type"] == "marketplace.member.changed" && !text.starts_with("{ ") =>
        {
            return Reply::error(403, "invalid_signature");
        }
        "webhook/unknown-type" if event["type"] == "teardown.check" => {
            return Reply::error(400, "bad_request");
        }
        "webhook/removed-of-unknown" if event["type"] == "integration-configuration.removed" => {
            return Reply::error(404, "not_found");
        }
        _ => {}
    }
    remove(backend, &event);
    ok
}

/// Whether the webhook's signature is right, or the backend's fault makes it accept a wrong signature.
fn is_good(backend: &Inner, signature: Option<&str>, body: &str) -> bool {
    let Some(signature) = signature else { return backend.is("webhook/unsigned") };
    let by = |secret| webhook_signature(secret, body) == signature;
    let (another, empty) = (by("another secret"), by(""));
    by(backend.secret)
        || another && backend.is("webhook/wrong-signature")
        || empty && backend.is("webhook/empty-secret")
        || backend.is("webhook/altered-body") && signature.len() == 40 && !another && !empty
}

fn remove(backend: &Inner, event: &Value) {
    if event["type"] != "integration-configuration.removed" {
        return;
    }
    let id = event["payload"]["configuration"]["id"].as_str().unwrap_or_default();
    if let Some(installation) = backend.store().installations.get_mut(id) {
        installation.gone = true;
        installation.resources.values_mut().for_each(|it| it.gone = true);
    }
}

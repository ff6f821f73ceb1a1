//! A stand-in for a careless backend. The stand-in has all the faults that were found in public backends of
//! the marketplace.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, post, put};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The ids of the backend's installations, and of its resources.
type Store = Arc<Mutex<(BTreeSet<String>, BTreeSet<String>)>>;

pub fn router() -> Router {
    Router::new()
        .route("/v1/installations/{id}", put(upsert).delete(uninstall))
        .route("/v1/installations/{id}/resources", post(provision))
        .route("/v1/installations/{id}/resources/{resource}", delete(remove).get(get))
        .route("/webhook", post(webhook))
        .with_state(Store::default())
}

/// The claims of the request's token, which the backend does not verify.
fn claims(headers: &HeaderMap) -> Option<Value> {
    let token = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}

async fn upsert(State(store): State<Store>, Path(id): Path<String>) -> StatusCode {
    store.lock().unwrap().0.insert(id);
    StatusCode::NO_CONTENT
}

async fn provision(State(store): State<Store>) -> Response {
    let resources = &mut store.lock().unwrap().1;
    let id = format!("db_{}", resources.len());
    resources.insert(id.clone());
    axum::Json(json!({ "id": id })).into_response()
}

async fn get(State(store): State<Store>, Path((_, id)): Path<(String, String)>) -> StatusCode {
    let there = store.lock().unwrap().1.contains(&id);
    if there { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

/// Deletes a resource by its id alone, for every caller, and reads the token only afterwards.
async fn remove(
    State(store): State<Store>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> StatusCode {
    store.lock().unwrap().1.remove(&id);
    if claims(&headers).is_some() { StatusCode::NO_CONTENT } else { StatusCode::FORBIDDEN }
}

/// Uninstalls the installation that the token names, and ignores the installation that the path names.
/// Refuses a request whose body has a `reason`. Answers 500 if the installation is unknown.
async fn uninstall(State(store): State<Store>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some(claims) = claims(&headers) else { return StatusCode::FORBIDDEN };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if body.get("reason").is_some() {
        return StatusCode::BAD_REQUEST;
    }
    let known = store.lock().unwrap().0.remove(claims["installation_id"].as_str().unwrap_or(""));
    if known { StatusCode::NO_CONTENT } else { StatusCode::INTERNAL_SERVER_ERROR }
}

/// Answers 200 to a webhook with a forged signature, with an error in the body.
async fn webhook() -> Response {
    axum::Json(json!({ "error": "the signature did not match" })).into_response()
}

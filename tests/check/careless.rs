//! A backend as public ones are: its faults are those of open backends of the marketplace, all in one.

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

/// Its installations and its resources, by their ids.
type Store = Arc<Mutex<(BTreeSet<String>, BTreeSet<String>)>>;

pub fn router() -> Router {
    Router::new()
        .route("/v1/installations/{id}", put(upsert).delete(uninstall))
        .route("/v1/installations/{id}/resources", post(provision))
        .route("/v1/installations/{id}/resources/{resource}", delete(remove).get(get))
        .route("/webhook", post(webhook))
        .with_state(Store::default())
}

/// The claims of a token that nobody verifies.
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

/// Deletes by the resource's id alone, for every caller, and looks at the token afterwards.
async fn remove(
    State(store): State<Store>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> StatusCode {
    store.lock().unwrap().1.remove(&id);
    if claims(&headers).is_some() { StatusCode::NO_CONTENT } else { StatusCode::FORBIDDEN }
}

/// Uninstalls what the token names, not what the path does; takes no `reason`; and breaks where the
/// installation is not known.
async fn uninstall(State(store): State<Store>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some(claims) = claims(&headers) else { return StatusCode::FORBIDDEN };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if body.get("reason").is_some() {
        return StatusCode::BAD_REQUEST;
    }
    let known = store.lock().unwrap().0.remove(claims["installation_id"].as_str().unwrap_or(""));
    if known { StatusCode::NO_CONTENT } else { StatusCode::INTERNAL_SERVER_ERROR }
}

/// Says 200 to a forgery, with an error in the body.
async fn webhook() -> Response {
    axum::Json(json!({ "error": "the signature did not match" })).into_response()
}

//! A small sample of a provider's backend, for a `teardown dev` that is given no other backend. The sample
//! serves, from memory, the calls that Vercel requires in addition to the deletions. The sample checks tokens
//! as `teardown` does, and the stand-in for the provider notifies it of deletions.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use teardown::auth::{Caller, Role, Verifier};

use super::{BACKEND_PATH, say};

/// The sample backend. Clones share its memory.
#[derive(Clone, Debug)]
pub struct Backend {
    verifier: Verifier,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The resources, by installation id and resource id.
    resources: HashMap<(String, String), Value>,
    /// The id of the resource that a Provision made, by installation id and `Idempotency-Key`.
    by_key: HashMap<(String, String), String>,
    /// Installations whose deletion was announced, so that they cannot be installed again.
    deleted: HashSet<String>,
    made: u64,
}

/// The only billing plan. The plan is free, so an uninstall leaves nothing to invoice.
fn plan() -> Value {
    json!({
        "id": "free", "type": "subscription", "scope": "resource", "name": "Free",
        "description": "For trying it out", "paymentMethodRequired": false,
    })
}

type Answer = Result<Json<Value>, Response>;

impl Backend {
    /// An empty backend, which accepts the tokens that this verifier accepts.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, memory: Arc::default() }
    }

    /// The routes that Vercel requires, under the backend's path.
    pub fn router(self) -> Router {
        let plans = || get(async || Json(json!({ "plans": [plan()] })));
        let backend = Router::new()
            .route("/v1/installations/{id}", put(upsert).patch(installation).get(installation))
            .route("/v1/installations/{id}/resources", post(provision))
            .route("/v1/installations/{id}/resources/{resource}", get(resource).patch(resource))
            .route("/v1/products/{slug}/plans", plans())
            .route("/v1/installations/{id}/plans", plans())
            .route("/v1/installations/{id}/resources/{resource}/plans", plans())
            .with_state(self);
        Router::new().nest(BACKEND_PATH, backend)
    }

    /// Receives an event of an announcement. The notice already removes the deleted resource, or all
    /// resources of the deleted installation.
    pub(super) fn receive(&self, event: &Value) {
        let text = |name: &str| event["data"][name].as_str().unwrap_or_default().to_owned();
        let (kind, id) = (event["type"].as_str().unwrap_or_default(), text("installationId"));
        let mut memory = self.memory();
        if kind.starts_with("resource.delet") {
            memory.resources.remove(&(id, text("resourceId")));
        } else if kind.starts_with("installation.delet") {
            memory.resources.retain(|(installation, _), _| *installation != id);
            memory.deleted.insert(id);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the caller may act in this installation. Any user of the installation may read, but only
    /// an `ADMIN` or the system may change something.
    async fn check(&self, headers: &HeaderMap, id: &str, changes: bool) -> Result<(), Response> {
        let refused = |message: String| error(StatusCode::FORBIDDEN, "forbidden", &message);
        let caller = self.verifier.authenticate(headers).await;
        let caller = caller.map_err(|error| refused(error.to_string()))?;
        let (named, may_change) = match &caller {
            Caller::User { installation, role, .. } => (installation, *role == Role::Admin),
            Caller::System { installation: Some(installation), .. } => (installation, true),
            Caller::System { installation: None, .. } => return Ok(()),
        };
        if named != id || (changes && !may_change) {
            return Err(refused("the token does not permit this".to_owned()));
        }
        Ok(())
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}

async fn upsert(State(it): State<Backend>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    it.check(&headers, &id, true).await?;
    if it.memory().deleted.contains(&id) {
        return Err(error(StatusCode::CONFLICT, "conflict", "the installation was deleted"));
    }
    say(&format!("backend   installed {id}"));
    Ok(Json(json!({ "billingPlan": plan() })))
}

async fn installation(
    State(it): State<Backend>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    it.check(&headers, &id, false).await?;
    Ok(Json(json!({ "billingPlan": plan() })))
}

/// Makes a resource. A request with an `Idempotency-Key` that was used before gets the same id again.
async fn provision(
    State(it): State<Backend>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(wanted): Json<Value>,
) -> Answer {
    it.check(&headers, &id, true).await?;
    let mut memory = it.memory();
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let key = key.map(|key| (id.clone(), key.to_owned()));
    let made = key.as_ref().and_then(|key| memory.by_key.get(key).cloned());
    let made = made.unwrap_or_else(|| {
        memory.made += 1;
        format!("db_made{}", memory.made)
    });
    let resource = json!({
        "id": made, "productId": wanted["productId"], "name": wanted["name"],
        "metadata": wanted["metadata"], "status": "ready", "billingPlan": plan(),
    });
    memory.resources.insert((id.clone(), made.clone()), resource.clone());
    memory.by_key.extend(key.map(|key| (key, made.clone())));
    say(&format!("backend   made {made} in {id}"));
    let secret = json!({ "name": "DATABASE_URL", "value": format!("postgres://local/{made}") });
    let mut answer = resource;
    answer["secrets"] = json!([secret]);
    Ok(Json(answer))
}

/// Answers with a resource. If the request is an update, it may change the resource's name.
async fn resource(
    State(it): State<Backend>,
    Path((id, resource)): Path<(String, String)>,
    headers: HeaderMap,
    update: Option<Json<Value>>,
) -> Answer {
    it.check(&headers, &id, update.is_some()).await?;
    let mut memory = it.memory();
    let Some(found) = memory.resources.get_mut(&(id, resource)) else {
        return Err(error(StatusCode::NOT_FOUND, "not_found", "there is no such resource"));
    };
    if let Some(name) = update.and_then(|Json(update)| update.get("name").cloned()) {
        found["name"] = name;
    }
    Ok(Json(found.clone()))
}

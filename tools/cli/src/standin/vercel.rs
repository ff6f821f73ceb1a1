//! A stand-in for the part of Vercel's REST API that deletions and `teardown reconcile` use.
//!
//! A configuration with any id exists at the stand-in, until a request to the stand-in deletes it. The
//! stand-in reads the team and the live resources from the table. A `PUT` or `DELETE` of a resource at the
//! stand-in makes a difference from the table, which `teardown reconcile` finds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use teardown::ids::{InstallationId, ResourceId};
use teardown::reconcile::{Life, Stored};
use teardown::store::Store;

use super::call_back::CallBack;
use super::say;

#[derive(Debug)]
struct StandIn {
    memory: Mutex<Memory>,
    call_back: Option<CallBack>,
    /// The table. Without the table, the stand-in knows no team, and only the resources that were made at the
    /// stand-in.
    store: Option<Store>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Configurations that were deleted, so that their access tokens are no longer valid.
    gone: HashSet<String>,
    /// Installations that were finalized.
    finalized: HashSet<String>,
    /// Resources that were made at the stand-in, by installation and id.
    made: BTreeMap<(String, String), Value>,
    /// Resources that were deleted at the stand-in.
    deleted: BTreeSet<(String, String)>,
}

impl StandIn {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // No code awaits anything while it holds this lock.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the table stores about an installation. `None` if the table stores nothing, or cannot be read.
    async fn stored(&self, id: &str) -> Option<Stored> {
        let id = InstallationId::parse(id).ok()?;
        self.store.as_ref()?.stored(&id).await.ok()?
    }
}

/// The stand-in's routes, with an empty memory. `store` is the table.
pub fn router(call_back: Option<CallBack>, store: Option<Store>) -> Router {
    let stand_in = StandIn { memory: Mutex::default(), call_back, store };
    Router::new()
        .route(
            "/v1/integrations/configuration/{id}",
            delete(delete_configuration).get(configuration),
        )
        .route("/v1/installations/{id}/billing/finalize", post(finalize))
        .route("/v1/installations/{id}/resources", get(resources))
        .route(
            "/v1/installations/{id}/resources/{resource}",
            put(make_resource).delete(delete_resource),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn(with_token))
        .with_state(Arc::new(stand_in))
}

/// Accepts every request that has an access token, whatever the token is. Refuses all other requests.
async fn with_token(request: Request, next: Next) -> Response {
    if has_token(request.headers()) {
        next.run(request).await
    } else {
        error(StatusCode::UNAUTHORIZED, "unauthorized", "The request is missing an access token.")
    }
}

fn has_token(headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()
}

async fn delete_configuration(State(it): State<Arc<StandIn>>, Path(id): Path<String>) -> Response {
    let first = it.memory().gone.insert(id.clone());
    if first && let Some(call_back) = &it.call_back {
        // The configuration is deleted, even if the call back fails.
        if let Err(cause) = call_back.call(&id).await {
            tracing::warn!(installation = id, %cause, "the stand-in for Vercel called back in vain");
        }
    }
    let response = if first { StatusCode::NO_CONTENT.into_response() } else { forbidden() };
    log_answer(&response, &format!("delete the configuration {id}"));
    response
}

/// Answers with a configuration. The configuration's team is the team that the table stores.
async fn configuration(State(it): State<Arc<StandIn>>, Path(id): Path<String>) -> Response {
    let stored = it.stored(&id).await;
    let response = if it.memory().gone.contains(&id) {
        error(StatusCode::NOT_FOUND, "not_found", "The configuration was not found.")
    } else {
        let mut configuration = json!({ "id": id, "source": "marketplace" });
        if let Some(Stored { installation, .. }) = stored {
            configuration["teamId"] = installation.team.id.into();
            configuration["ownerId"] = installation.account.into();
            let requested = installation.deletion.map(|deletion| deletion.at.as_secs() * 1000);
            configuration["deleteRequestedAt"] = requested.into();
        }
        Json(configuration).into_response()
    };
    log_answer(&response, &format!("look for the configuration {id}"));
    response
}

async fn finalize(State(it): State<Arc<StandIn>>, Path(id): Path<String>) -> Response {
    let response = {
        let mut memory = it.memory();
        if memory.gone.contains(&id) {
            forbidden()
        } else if memory.finalized.insert(id.clone()) {
            StatusCode::NO_CONTENT.into_response()
        } else {
            error(StatusCode::NOT_FOUND, "not_found", "The installation was not found.")
        }
    };
    log_answer(&response, &format!("finalize {id}"));
    response
}

/// Lists the resources of an installation that are live in the table, or were made at the stand-in. The list
/// leaves out a resource that was deleted at the stand-in, and a resource that was made at the stand-in and
/// later deleted in the table.
async fn resources(State(it): State<Arc<StandIn>>, Path(id): Path<String>) -> Response {
    let stored = it.stored(&id).await;
    let response = {
        let memory = it.memory();
        if memory.gone.contains(&id) {
            forbidden()
        } else {
            let mut list = BTreeMap::new();
            if let Some(stored) =
                stored.as_ref().filter(|it| Life::of(&it.installation) == Life::Active)
            {
                let live = stored.resources.keys().map(ResourceId::to_string);
                list.extend(live.map(|name| (name.clone(), resource(&name, &Value::Null))));
            }
            let was_deleted = |name: &str| {
                let deleted = stored.as_ref().map(|it| &it.deleted);
                ResourceId::parse(name).is_ok_and(|it| deleted.is_some_and(|all| all.contains(&it)))
            };
            let made = memory.made.iter().filter(|((of, name), _)| *of == id && !was_deleted(name));
            list.extend(made.map(|((_, name), body)| (name.clone(), resource(name, body))));
            list.retain(|name, _| !memory.deleted.contains(&(id.clone(), name.clone())));
            Json(json!({ "resources": list.into_values().collect::<Vec<_>>() })).into_response()
        }
    };
    log_answer(&response, &format!("list the resources of {id}"));
    response
}

/// A resource in the form that Vercel's API returns.
fn resource(name: &str, body: &Value) -> Value {
    let text = |field: &str, default: &str| body[field].as_str().unwrap_or(default).to_owned();
    json!({
        "partnerId": name, "internalId": format!("store_{name}"), "name": text("name", name),
        "status": text("status", "ready"), "productId": text("productId", "iap_local"),
    })
}

/// Import Resource. After this call, the resource exists at the stand-in.
async fn make_resource(
    State(it): State<Arc<StandIn>>,
    Path((id, name)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Response {
    let response = Json(resource(&name, &body)).into_response();
    let request = format!("import {name} of {id}");
    let mut memory = it.memory();
    memory.deleted.remove(&(id.clone(), name.clone()));
    memory.made.insert((id, name), body);
    drop(memory);
    log_answer(&response, &request);
    response
}

/// Delete Integration Resource. After this call, the resource does not exist at the stand-in. Like Vercel,
/// the stand-in does not call teardown's endpoints after this call.
async fn delete_resource(
    State(it): State<Arc<StandIn>>,
    Path((id, name)): Path<(String, String)>,
) -> Response {
    let request = format!("delete {name} of {id}");
    let mut memory = it.memory();
    memory.made.remove(&(id.clone(), name.clone()));
    memory.deleted.insert((id, name));
    drop(memory);
    let response = StatusCode::NO_CONTENT.into_response();
    log_answer(&response, &request);
    response
}

async fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, "not_found", "The requested API endpoint was not found.")
}

fn forbidden() -> Response {
    error(StatusCode::FORBIDDEN, "forbidden", "You don't have permission to access this resource.")
}

/// An error in Vercel's format.
fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}

fn log_answer(response: &Response, request: &str) {
    say(&format!("vercel    {request}: {}", response.status().as_u16()));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use serde_json::Value;
    use teardown::clock::Clock;

    use super::*;
    use crate::embedded::this_machine;
    use crate::issuer::{Issuer, Subject, Token};

    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        url
    }

    fn client() -> reqwest::Client {
        this_machine().build().unwrap()
    }

    async fn code(request: reqwest::RequestBuilder) -> (u16, String) {
        let response = request.send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.bytes().await.unwrap());
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn a_configuration_goes_once_and_takes_its_token_along() {
        let (url, http) = (serve(router(None, None)).await, client());
        let delete = |id: &str| http.delete(format!("{url}/v1/integrations/configuration/{id}"));
        let finalize =
            |id: &str| http.post(format!("{url}/v1/installations/{id}/billing/finalize"));
        let answer = |status, code: &str| (status, code.to_owned());
        assert_eq!(code(delete("icfg_1")).await, answer(401, "unauthorized"));
        assert_eq!(code(delete("icfg_1").basic_auth("t", Some(""))).await.0, 401);
        for expected in [answer(204, ""), answer(404, "not_found")] {
            assert_eq!(code(finalize("icfg_1").bearer_auth("t")).await, expected);
        }
        for expected in [answer(204, ""), answer(403, "forbidden")] {
            assert_eq!(code(delete("icfg_1").bearer_auth("t")).await, expected);
        }
        assert_eq!(code(finalize("icfg_1").bearer_auth("t")).await, answer(403, "forbidden"));
        assert_eq!(code(delete("icfg_2").bearer_auth("u")).await, answer(204, ""));
        let elsewhere = http.get(format!("{url}/v1/integrations/configurations"));
        assert_eq!(code(elsewhere.bearer_auth("t")).await, answer(404, "not_found"));
    }

    /// E7: the stand-in for Vercel answers correctly whether a configuration exists.
    #[tokio::test]
    async fn a_configuration_is_there_until_it_is_deleted() {
        let (url, http) = (serve(router(None, None)).await, client());
        let url = format!("{url}/v1/integrations/configuration/icfg_1");
        assert_eq!(code(http.get(&url)).await, (401, "unauthorized".to_owned()));
        let there = http.get(&url).bearer_auth("t").send().await.unwrap();
        assert_eq!(there.status(), 200);
        let there: Value = serde_json::from_slice(&there.bytes().await.unwrap()).unwrap();
        assert_eq!((&there["id"], there.get("deletedAt")), (&json!("icfg_1"), None));
        assert_eq!(code(http.delete(&url).bearer_auth("t")).await.0, 204);
        let gone = code(http.get(&url).bearer_auth("t")).await;
        assert_eq!(gone, (404, "not_found".to_owned()));
    }

    /// L1: the stand-in for Vercel lists a resource that was made at the stand-in, until the resource is
    /// deleted at the stand-in. After an installation's configuration is deleted, the stand-in refuses to
    /// list the installation's resources.
    #[tokio::test]
    async fn resources_are_made_and_deleted() {
        let (url, http) = (serve(router(None, None)).await, client());
        let url = format!("{url}/v1");
        let resource = format!("{url}/installations/icfg_1/resources/db_1");
        let list = async || {
            let request = http.get(format!("{url}/installations/icfg_1/resources"));
            let response = request.bearer_auth("t").send().await.unwrap();
            (response.status().as_u16(), response.bytes().await.unwrap())
        };
        let there = async || {
            let (status, body) = list().await;
            assert_eq!(status, 200);
            serde_json::from_slice::<Value>(&body).unwrap()["resources"].clone()
        };
        assert_eq!(there().await, json!([]));
        let made = http.put(&resource).bearer_auth("t").header("content-type", "application/json");
        assert_eq!(code(made.body(r#"{"name":"one"}"#)).await.0, 200);
        assert_eq!(
            there().await,
            json!([{ "partnerId": "db_1", "internalId": "store_db_1", "name": "one",
                     "status": "ready", "productId": "iap_local" }])
        );
        assert_eq!(code(http.delete(&resource).bearer_auth("t")).await.0, 204);
        assert_eq!(there().await, json!([]));
        let configuration = format!("{url}/integrations/configuration/icfg_1");
        assert_eq!(code(http.delete(configuration).bearer_auth("t")).await.0, 204);
        assert_eq!(list().await.0, 403);
    }

    #[tokio::test]
    async fn it_calls_back_once_before_it_answers_and_goes_on_where_that_fails() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let endpoints = Router::new().fallback(move |request: Request| async move {
            assert_eq!(request.uri().path(), "/v1/installations/icfg_1");
            assert_eq!(request.headers()["x-vercel-auth"], "system");
            counted.fetch_add(1, Ordering::SeqCst);
            StatusCode::SERVICE_UNAVAILABLE
        });
        let token = Token {
            issuer: "https://marketplace.vercel.com".to_owned(),
            audience: "oac_1".to_owned(),
            account: "acc_1".to_owned(),
            installation: None,
            subject: Subject::System,
            expires: Duration::from_mins(1),
        };
        let issuer = Arc::new(Issuer::generate().unwrap());
        let call_back =
            CallBack::new(serve(endpoints).await, issuer, token, Clock::system()).unwrap();
        let url = serve(router(Some(call_back), None)).await;
        for status in [204, 403] {
            let request = client().delete(format!("{url}/v1/integrations/configuration/icfg_1"));
            assert_eq!(code(request.bearer_auth("t")).await.0, status);
            assert_eq!(calls.load(Ordering::SeqCst), 1);
        }
    }
}

//! A stand-in for Vercel's REST API, as far as a deletion needs it. It knows no configuration until
//! one is deleted, so every id is that of one until then.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde_json::json;
use teardown::ids::InstallationId;

use super::say;
use crate::issuer::{Issuer, Token};

/// How long our answer to a call back is waited for: less than the 5 s that we wait for Vercel's, so
/// that a call back that hangs does not make it unclear what became of the deletion.
const CALL_BACK_TIMEOUT: Duration = Duration::from_secs(3);

/// The call to Delete Installation that Vercel makes when a configuration is deleted.
#[derive(Clone, Debug)]
pub struct CallBack {
    http: reqwest::Client,
    endpoints: String,
    issuer: Arc<Issuer>,
    token: Token,
}

impl CallBack {
    /// One to the endpoints at this address, with tokens like this one for each installation.
    ///
    /// # Errors
    ///
    /// Where no client can be made.
    pub fn new(endpoints: String, issuer: Arc<Issuer>, token: Token) -> reqwest::Result<Self> {
        // A proxy that the environment names does not know this machine's ports.
        let http = reqwest::Client::builder().no_proxy().timeout(CALL_BACK_TIMEOUT).build()?;
        Ok(Self { http, endpoints, issuer, token })
    }

    async fn call(&self, installation: &str) -> anyhow::Result<()> {
        let installation = InstallationId::parse(installation)?;
        let token = Token { installation: Some(installation.to_string()), ..self.token.clone() };
        let request =
            self.http.delete(format!("{}/v1/installations/{installation}", self.endpoints));
        let request = request
            .bearer_auth(self.issuer.sign(&token.claims()))
            .header("X-Vercel-Auth", "system")
            .body(json!({ "cascadeResourceDeletion": true }).to_string());
        let status = request.send().await?.status();
        say(&format!("vercel    Delete Installation of {installation} answered {status}"));
        ensure!(status.is_success(), "it answered {status}");
        Ok(())
    }
}

#[derive(Debug)]
struct StandIn {
    memory: Mutex<Memory>,
    call_back: Option<CallBack>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Configurations that were deleted. Their access tokens died with them.
    gone: HashSet<String>,
    /// Installations that were finalized.
    finalized: HashSet<String>,
}

impl StandIn {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // One set at a time changes, and whole.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The API, with a memory of its own.
pub fn router(call_back: Option<CallBack>) -> Router {
    let stand_in = StandIn { memory: Mutex::default(), call_back };
    Router::new()
        .route(
            "/v1/integrations/configuration/{id}",
            delete(delete_configuration).get(configuration),
        )
        .route("/v1/installations/{id}/billing/finalize", post(finalize))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn(with_token))
        .with_state(Arc::new(stand_in))
}

/// Lets those through that send an access token, whichever: none is known here.
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
        // The deletion stands, even if the call fails.
        if let Err(cause) = call_back.call(&id).await {
            tracing::warn!(installation = id, %cause, "the stand-in for Vercel called back in vain");
        }
    }
    let response = if first { StatusCode::NO_CONTENT.into_response() } else { forbidden() };
    said(&response, &format!("delete the configuration {id}"));
    response
}

/// Says where a configuration is: it belongs to no team here.
async fn configuration(State(it): State<Arc<StandIn>>, Path(id): Path<String>) -> Response {
    let response = if it.memory().gone.contains(&id) {
        error(StatusCode::NOT_FOUND, "not_found", "The configuration was not found.")
    } else {
        Json(json!({ "id": id, "source": "marketplace" })).into_response()
    };
    said(&response, &format!("look for the configuration {id}"));
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
    said(&response, &format!("finalize {id}"));
    response
}

async fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, "not_found", "The requested API endpoint was not found.")
}

fn forbidden() -> Response {
    error(StatusCode::FORBIDDEN, "forbidden", "You don't have permission to access this resource.")
}

/// An error as Vercel words them.
fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}

fn said(response: &Response, asked: &str) {
    say(&format!("vercel    {asked}: {}", response.status().as_u16()));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::Value;

    use super::*;
    use crate::issuer::Subject;

    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        url
    }

    fn client() -> reqwest::Client {
        reqwest::Client::builder().no_proxy().build().unwrap()
    }

    async fn code(request: reqwest::RequestBuilder) -> (u16, String) {
        let response = request.send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.bytes().await.unwrap());
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn a_configuration_goes_once_and_takes_its_token_along() {
        let (url, http) = (serve(router(None)).await, client());
        let delete = |id: &str| http.delete(format!("{url}/v1/integrations/configuration/{id}"));
        let finalize =
            |id: &str| http.post(format!("{url}/v1/installations/{id}/billing/finalize"));
        let said = |status, code: &str| (status, code.to_owned());
        assert_eq!(code(delete("icfg_1")).await, said(401, "unauthorized"));
        assert_eq!(code(delete("icfg_1").basic_auth("t", Some(""))).await.0, 401);
        for expected in [said(204, ""), said(404, "not_found")] {
            assert_eq!(code(finalize("icfg_1").bearer_auth("t")).await, expected);
        }
        for expected in [said(204, ""), said(403, "forbidden")] {
            assert_eq!(code(delete("icfg_1").bearer_auth("t")).await, expected);
        }
        assert_eq!(code(finalize("icfg_1").bearer_auth("t")).await, said(403, "forbidden"));
        assert_eq!(code(delete("icfg_2").bearer_auth("u")).await, said(204, ""));
        let elsewhere = http.get(format!("{url}/v1/integrations/configurations"));
        assert_eq!(code(elsewhere.bearer_auth("t")).await, said(404, "not_found"));
    }

    /// E7: it says truly whether a configuration is there.
    #[tokio::test]
    async fn a_configuration_is_there_until_it_is_deleted() {
        let (url, http) = (serve(router(None)).await, client());
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
        let call_back = CallBack::new(serve(endpoints).await, issuer, token).unwrap();
        let url = serve(router(Some(call_back))).await;
        for status in [204, 403] {
            let request = client().delete(format!("{url}/v1/integrations/configuration/icfg_1"));
            assert_eq!(code(request.bearer_auth("t")).await.0, status);
            assert_eq!(calls.load(Ordering::SeqCst), 1);
        }
    }
}

//! Serves all endpoints on one port, with the contract's paths and the routes of hosts. The same port serves
//! the issuer's JWKS document, the embedded DynamoDB, and the stand-ins.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use serde_json::Value;
use teardown::backend::{Backend, MAX_PASSING};
use teardown::{App, Endpoint};

use crate::embedded::this_machine;

/// The path of the issuer's JWKS document.
pub const JWKS_PATH: &str = "/.well-known/jwks";

/// Serves only the endpoints. The endpoints run no jobs after an answer, so sweeps run all jobs.
pub fn endpoints(app: App) -> Router {
    Router::new().fallback(answer).with_state(app)
}

/// Serves everything at one address: the endpoints, the issuer's keys, the stand-ins, and the DynamoDB at
/// `dynamodb_url` as `POST /`. The endpoints run due jobs after their answers, as on Vercel. If there is a
/// backend, it gets all other requests, as in `deploy/vercel/in-front/vercel.json`.
pub fn everything(
    app: App,
    backend: Option<Others>,
    jwks: Value,
    stand_ins: Router,
    dynamodb_url: String,
) -> Router {
    let http = this_machine().build().unwrap_or_default();
    let dynamodb = move |request| forward(http.clone(), dynamodb_url.clone(), request);
    Router::new()
        .route(JWKS_PATH, get(|| async move { axum::Json(jwks) }))
        .route("/", post(dynamodb))
        .method_not_allowed_fallback(answer_and_follow_up)
        .fallback(answer_and_follow_up)
        .with_state((app, backend))
        .merge(stand_ins)
}

async fn answer(State(app): State<App>, request: Request) -> Response<Body> {
    let endpoint = endpoint(&app, &request);
    app.handle(endpoint, request).await.map(Body::new)
}

async fn answer_and_follow_up(
    State((app, backend)): State<(App, Option<Others>)>,
    request: Request,
) -> Response<Body> {
    if let Some(others) = backend.filter(|others| !others.is_ours(&request)) {
        return pass(&others.backend, request).await;
    }
    let endpoint = endpoint(&app, &request);
    let (response, follow_up) = app.handle_and_follow_up(endpoint, request).await;
    if let Some(follow_up) = follow_up {
        tokio::spawn(follow_up.run());
    }
    response.map(Body::new)
}

/// The backend that gets the requests that are for no endpoint.
#[derive(Clone)]
pub struct Others {
    /// The backend.
    pub backend: Backend,
    /// Whether the backend is the sample. The sample does not get another method of an endpoint's path, so that
    /// the caller sees teardown's own 405 (B1).
    pub is_sample: bool,
}

impl Others {
    /// Whether an endpoint gets the request, as by a host's routes: the sweep and the webhook get every method,
    /// and the other endpoints get only their own methods.
    fn is_ours(&self, request: &Request) -> bool {
        let (method, path) = (request.method(), request.uri().path());
        Endpoint::ALL.into_iter().any(|endpoint| match endpoint {
            Endpoint::Sweep | Endpoint::Webhook => endpoint.route(path).is_some(),
            _ if self.is_sample => endpoint.route(path).is_some(),
            _ => endpoint.route_request(method, path).is_ok(),
        })
    }
}

/// The endpoint to which a host's routes would send a request: the first endpoint that serves the request's
/// path and method, or else the first endpoint that serves its path. `Front` is served only if there is a
/// backend.
fn endpoint(app: &App, request: &Request) -> Endpoint {
    let (method, path) = (request.method(), request.uri().path());
    let served = || {
        let is_served = |it: &Endpoint| *it != Endpoint::Front || app.has_backend();
        Endpoint::ALL.into_iter().filter(is_served)
    };
    served()
        .find(|endpoint| endpoint.route_request(method, path).is_ok())
        .or_else(|| served().find(|endpoint| endpoint.route(path).is_some()))
        // If no endpoint serves the path, all endpoints give the same answer.
        .unwrap_or(Endpoint::DeleteInstallation)
}

/// The time limit of a call that no endpoint serves, so that the backend gets it.
const PASSING: Duration = Duration::from_mins(1);

async fn pass(backend: &Backend, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let most = usize::try_from(MAX_PASSING).unwrap_or(usize::MAX);
    let Ok(body) = axum::body::to_bytes(body, most).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match backend.call(&head, body, Instant::now() + PASSING).await {
        Ok(answer) => answer.map(Body::from),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
    }
}

/// The longest request that DynamoDB accepts, in bytes.
const MAX_DYNAMODB_REQUEST: usize = 16 * 1024 * 1024;

async fn forward(http: reqwest::Client, url: String, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_DYNAMODB_REQUEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let sent = http.post(url).headers(head.headers).body(body).send().await;
    let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    (status, headers, body).into_response()
}

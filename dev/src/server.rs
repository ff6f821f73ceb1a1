//! All endpoints on one port, at the contract's paths, as the hosts' routes send them; beside them
//! the issuer's JWKS document and the embedded DynamoDB.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use serde_json::Value;
use teardown::{App, Endpoint};

/// The path of the issuer's JWKS document.
pub const JWKS_PATH: &str = "/.well-known/jwks";

/// Serves the endpoints alone.
pub fn endpoints(app: App) -> Router {
    Router::new().fallback(answer).with_state(app)
}

/// Serves the endpoints, the issuer's keys, and the DynamoDB at `dynamodb_url` as `POST /`, so that
/// one address is all there is to know.
pub fn everything(app: App, jwks: Value, dynamodb_url: String) -> Router {
    // A proxy that the environment names does not know this machine's ports.
    let http = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
    let dynamodb = move |request| forward(http.clone(), dynamodb_url.clone(), request);
    Router::new()
        .route(JWKS_PATH, get(|| async move { axum::Json(jwks) }))
        .route("/", post(dynamodb))
        .method_not_allowed_fallback(answer)
        .fallback(answer)
        .with_state(app)
}

async fn answer(State(app): State<App>, request: Request) -> Response<Body> {
    let endpoint = [Endpoint::DeleteResource, Endpoint::DeleteInstallation]
        .into_iter()
        .find(|endpoint| endpoint.ids(request.uri().path()).is_some())
        // Every endpoint answers another path alike.
        .unwrap_or(Endpoint::DeleteInstallation);
    app.handle(endpoint, request).await.map(Body::new)
}

/// The longest request that DynamoDB takes, in bytes.
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

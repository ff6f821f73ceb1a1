//! Receives teardown's announcements at `http://127.0.0.1:9000/deleted`.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::Value;
use standardwebhooks::{HEADER_WEBHOOK_ID, Webhook};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let secret = std::env::var("PROVIDER_SECRET").context("PROVIDER_SECRET is missing")?;
    // Without the error's own words: they may quote the secret.
    let webhook = Webhook::new(&secret).ok().context("PROVIDER_SECRET is not a whsec_…")?;
    let app = Router::new().route("/deleted", post(deleted)).with_state(Arc::new(webhook));
    axum::serve(TcpListener::bind("127.0.0.1:9000").await?, app).await?;
    Ok(())
}

async fn deleted(State(webhook): State<Arc<Webhook>>, headers: HeaderMap, body: Bytes) -> Response {
    if webhook.verify(&body, &headers).is_err() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let id = headers.get(HEADER_WEBHOOK_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let Ok(event) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let done = match event["type"].as_str() {
        Some("resource.deletion_scheduled") => suspend(&event).await.map(|()| true),
        Some("resource.deleted") => destroy_once(id, &event).await,
        // Nothing is destroyed for an installation: some of its resources may be kept.
        Some("installation.deletion_scheduled" | "installation.deleted") => {
            close_account(&event).await.map(|()| true)
        }
        Some("operation.work_parked" | "operation.finalization_late") => {
            alert_operator(&event).await.map(|()| true)
        }
        // A type that is newer than this code: it is taken, and nothing is done.
        _ => Ok(true),
    };
    match done {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => (StatusCode::ACCEPTED, [(RETRY_AFTER, "60")]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Yours: revokes access and stops billing, and keeps the data. It may be called more than once.
async fn suspend(event: &Value) -> std::io::Result<()> {
    say("suspend", event).await
}

/// Yours: destroys the data for good. Starts one job per id, however often it is called, and says
/// whether it is done.
async fn destroy_once(id: &str, event: &Value) -> std::io::Result<bool> {
    say(&format!("destroy, once for {id}"), event).await?;
    Ok(true)
}

/// Yours: notes that an installation is deleted, and sends its final invoice.
async fn close_account(event: &Value) -> std::io::Result<()> {
    say("close the account", event).await
}

/// Yours: tells the engineer on call. Nothing is deleted by it.
async fn alert_operator(event: &Value) -> std::io::Result<()> {
    say("see to", event).await
}

async fn say(what: &str, event: &Value) -> std::io::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(format!("{what}: {event}\n").as_bytes()).await?;
    out.flush().await
}

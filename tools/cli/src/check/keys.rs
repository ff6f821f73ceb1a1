//! Serves two JWKS documents: the run's own keys, and a stranger's keys. No token should make a backend read
//! the stranger's keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use super::options::KeyUrls;
use super::signer::Signer;

/// The path of the run's own keys.
const OWN: &str = "/.well-known/jwks";

/// The path of the stranger's keys.
const STRANGE: &str = "/stranger/jwks";

/// Serves the JWKS documents until the process ends. Returns the documents' addresses.
///
/// # Errors
///
/// If nothing can listen on the address.
pub async fn serve(address: SocketAddr, signer: &Signer, issuer: &str) -> std::io::Result<KeyUrls> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let host =
        if bound.ip().is_unspecified() { "127.0.0.1".to_owned() } else { bound.ip().to_string() };
    let url = |path: &str| format!("http://{host}:{}{path}", bound.port());
    let urls = KeyUrls { own: url(OWN), strange: url(STRANGE), fetches: Arc::default() };
    let discovery = json!({
        "issuer": issuer,
        "jwks_uri": urls.own,
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
    });
    let (own, strange) = (signer.jwks(), signer.strange_jwks());
    let fetches = Arc::clone(&urls.fetches);
    let own = move || {
        fetches.fetch_add(1, Ordering::Relaxed);
        let own = own.clone();
        async move { axum::Json(own) }
    };
    let router = Router::new()
        .route(OWN, get(own.clone()))
        .route("/.well-known/jwks.json", get(own))
        .route(STRANGE, get(|| async move { axum::Json(strange) }))
        .route("/.well-known/openid-configuration", get(|| async move { axum::Json(discovery) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(urls)
}

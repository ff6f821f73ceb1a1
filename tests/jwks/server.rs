//! A server of the issuer's keys whose answers a test chooses.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use futures_util::stream;
use serde_json::Value;
use teardown::limits::Limits;
use tokio::sync::watch;

use crate::support::waiting::until;
use crate::support::world::{ISSUER, World, limits, serve};

/// The way in which the server of the keys answers.
#[derive(Clone)]
pub enum Mode {
    /// The server serves this document.
    Serve(Value),
    /// The server answers with this status, and a good document.
    Status(u16),
    /// The server redirects to this address, where another server has a good document.
    Redirect(String),
    /// The server sends this many spaces before a good document.
    Padded(usize),
    /// The server keeps the connection open without an answer, until the test sets another mode.
    Hang,
    /// The server begins to send a good document, and then stops for ever.
    Stall,
    /// The server sends one space every 200 ms, for ever.
    Trickle,
    /// The server sends spaces as fast as the client reads them, for ever.
    Flood,
}

/// A server of keys that answers in the mode that the test has set.
#[derive(Clone)]
pub struct KeyServer {
    pub url: String,
    hits: Arc<AtomicUsize>,
    mode: Arc<watch::Sender<Mode>>,
}

/// The body of an answer that never ends.
fn endless(mode: &Mode) -> Option<Body> {
    let (first, wait) = match mode {
        Mode::Stall => (r#"{"keys":["#.to_owned(), None),
        Mode::Trickle => (" ".to_owned(), Some(Duration::from_millis(200))),
        Mode::Flood => (" ".repeat(8192), Some(Duration::ZERO)),
        _ => return None,
    };
    let pieces = stream::unfold(true, move |is_first| {
        let piece = first.clone();
        async move {
            match wait {
                _ if is_first => {}
                None => std::future::pending().await,
                Some(Duration::ZERO) => tokio::task::yield_now().await,
                Some(wait) => tokio::time::sleep(wait).await,
            }
            Some((Ok::<_, Infallible>(piece), false))
        }
    });
    Some(Body::from_stream(pieces))
}

impl KeyServer {
    pub async fn start(mode: Mode) -> Self {
        let hits = Arc::new(AtomicUsize::new(0));
        let (sender, _) = watch::channel(mode);
        let mode = Arc::new(sender);
        let (counted, obeyed) = (hits.clone(), mode.clone());
        let handler = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut mode = obeyed.subscribe();
            async move {
                let mode = mode.wait_for(|mode| !matches!(mode, Mode::Hang)).await.unwrap().clone();
                if let Some(body) = endless(&mode) {
                    return Response::new(body);
                }
                let good = ISSUER.jwks().to_string();
                let (status, location, body) = match mode {
                    Mode::Serve(document) => (200, None, document.to_string()),
                    Mode::Status(status) => (status, None, good),
                    Mode::Redirect(to) => (302, Some(to), String::new()),
                    Mode::Padded(spaces) => (200, None, format!("{}{good}", " ".repeat(spaces))),
                    Mode::Hang | Mode::Stall | Mode::Trickle | Mode::Flood => unreachable!(),
                };
                let mut response =
                    Response::builder().status(StatusCode::from_u16(status).unwrap());
                if let Some(location) = location {
                    response = response.header("location", location);
                }
                response.body(Body::from(body)).unwrap()
            }
        };
        Self { url: serve(axum::Router::new().fallback(handler)).await, hits, mode }
    }

    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    pub fn now(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// A test's world that starts without keys.
    pub async fn cold_world(&self) -> World {
        self.cold_world_within(limits()).await
    }

    /// A test's world that starts without keys, with these time-outs.
    pub async fn cold_world_within(&self, limits: Limits) -> World {
        World::with_within(&[("OIDC_JWKS_URL", &self.url), ("OIDC_JWKS", "")], limits).await
    }

    /// A test's world that starts with the issuer's keys.
    pub async fn warm_world(&self) -> World {
        self.warm_world_within(limits()).await
    }

    /// A test's world that starts with the issuer's keys, with these time-outs.
    pub async fn warm_world_within(&self, limits: Limits) -> World {
        World::with_within(&[("OIDC_JWKS_URL", &self.url)], limits).await
    }

    /// Waits until the server has received this many requests.
    pub async fn wait_for_fetches(&self, times: usize) {
        until(|| self.hits() >= times).await;
    }
}

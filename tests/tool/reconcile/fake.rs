//! A stand-in for Vercel in the tests of `teardown reconcile`, which script its answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::world::serve;

/// An answer: its status, its `Retry-After` if it has one, and its body.
#[derive(Clone)]
struct Answer(u16, Option<&'static str>, Value);

/// The time for which eight requests wait, and in which no ninth request may come.
const NINTH: Duration = Duration::from_millis(50);

/// A stand-in for Vercel. All clones of a `Fake` share one state.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The scripted answers by path, without `/v1`. The last scripted answer to a path is repeated.
    answers: Mutex<BTreeMap<String, Vec<Answer>>>,
    received: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    /// Whether requests wait until eight requests are under way.
    holds: Mutex<bool>,
    eight: Notify,
}

impl Fake {
    /// Starts the stand-in, and returns the stand-in and its address.
    pub(super) async fn start() -> (Self, String) {
        let fake = Self::default();
        let handler = fake.clone();
        let router = Router::new().fallback(move |request: Request| {
            let fake = handler.clone();
            let path = request.uri().path().strip_prefix("/v1").unwrap().to_owned();
            let token = request.headers()["authorization"].to_str().unwrap();
            let line = format!("{} {path} {}", request.method(), token.replace("Bearer ", ""));
            async move { fake.answer(&path, line).await }
        });
        let url = serve(router).await;
        (fake, url)
    }

    /// Scripts the answer to a request for an installation's configuration.
    pub(super) fn configuration(&self, id: &str, status: u16, body: Value) {
        self.script(format!("/integrations/configuration/{id}"), Answer(status, None, body));
    }

    /// Scripts the answer to a request for an installation's resources.
    pub(super) fn list(&self, id: &str, status: u16, body: Value) {
        self.script(format!("/installations/{id}/resources"), Answer(status, None, body));
    }

    /// Makes Vercel list these resources of an installation.
    pub(super) fn has(&self, id: &str, resources: &[&str]) {
        let list: Vec<_> = resources
            .iter()
            .map(|it| json!({ "partnerId": it, "name": format!("my {it}"), "status": "suspended" }))
            .collect();
        self.list(id, 200, json!({ "resources": list }));
    }

    /// Scripts an answer to one request for the configuration, with this status and this `Retry-After`. The
    /// next request for the configuration gets the answer that is scripted next.
    pub(super) fn later(&self, id: &str, status: u16, after: &'static str) {
        let body = json!({ "error": { "code": "later", "message": "not now" } });
        let path = format!("/integrations/configuration/{id}");
        self.script(path, Answer(status, Some(after), body));
    }

    fn script(&self, path: String, answer: Answer) {
        self.0.answers.lock().unwrap().entry(path).or_default().push(answer);
    }

    /// Drops all scripted answers.
    pub(super) fn forget(&self) {
        self.0.answers.lock().unwrap().clear();
    }

    /// Makes each request wait until eight requests are under way.
    pub(super) fn hold_eight(&self) {
        *self.0.holds.lock().unwrap() = true;
    }

    /// The received requests, each with its token.
    pub(super) fn received(&self) -> Vec<String> {
        self.0.received.lock().unwrap().clone()
    }

    /// The most requests that were under way at the same time.
    pub(super) fn most_at_once(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }

    async fn answer(&self, path: &str, line: String) -> Response {
        self.0.received.lock().unwrap().push(line);
        let under_way = self.0.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(under_way, Ordering::SeqCst);
        self.hold(under_way).await;
        let Answer(status, after, body) = self.next(path);
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        let mut response =
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
        if let Some(after) = after {
            response.headers_mut().insert("retry-after", after.parse().unwrap());
        }
        response
    }

    async fn hold(&self, under_way: usize) {
        if !*self.0.holds.lock().unwrap() {
            return;
        }
        let eight = self.0.eight.notified();
        if under_way < 8 {
            eight.await;
        } else {
            // If a ninth request were sent, it would come in this time and be counted.
            let _ = tokio::time::timeout(NINTH, eight).await;
            *self.0.holds.lock().unwrap() = false;
            self.0.eight.notify_waiters();
        }
    }

    /// The next answer to a request for this path. If no answer is scripted, the configuration exists without
    /// a team, and has no resources.
    fn next(&self, path: &str) -> Answer {
        let mut all = self.0.answers.lock().unwrap();
        match all.get_mut(path) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None if path.ends_with("/resources") => Answer(200, None, json!({ "resources": [] })),
            None => Answer(200, None, json!({ "id": path, "source": "marketplace" })),
        }
    }
}

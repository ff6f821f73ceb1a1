//! The stand-in for the provider's endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use serde_json::Value;
use standardwebhooks::Webhook;

use super::{Answer, Script};
use crate::support::steps::Steps;
use crate::support::wire::{empty, listen};

/// The secret that signs announcements.
pub const PROVIDER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An event that the provider received.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event's header `webhook-id`.
    pub id: String,
    /// The event's header `webhook-timestamp`.
    pub timestamp: i64,
    pub body: Value,
}

/// The stand-in for the provider's endpoint. All clones of a `ProviderEndpoint` share one state.
#[derive(Clone, Default)]
pub struct ProviderEndpoint(Arc<ProviderInner>);

#[derive(Default)]
struct ProviderInner {
    script: Script,
    received: Mutex<Vec<Event>>,
    /// The secrets that must sign each event. If this list is empty, [`PROVIDER_SECRET`] alone must sign each
    /// event.
    secrets: Mutex<Vec<&'static str>>,
}

impl ProviderEndpoint {
    pub async fn start(steps: Steps) -> (Self, String) {
        let provider = Self::default();
        let handler = provider.clone();
        let (url, _) = listen(move |request| {
            let (provider, steps) = (handler.clone(), steps.clone());
            async move { steps.call(provider.receive(request)).await }
        })
        .await;
        (provider, format!("{url}/hook"))
    }

    /// Scripts the answers to the next events, in this order. Later events get the lasting answer.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.script.next.lock().unwrap().extend(answers);
    }

    /// Drops the scripted answers. From now on every event gets the lasting answer.
    pub fn forget_script(&self) {
        self.0.script.next.lock().unwrap().clear();
    }

    /// Sets the lasting answer: the answer to every event that has no scripted answer.
    pub fn lasting(&self, answer: Answer) {
        *self.0.script.lasting.lock().unwrap() = answer;
    }

    /// From now on, expects each event to be signed with these secrets, in this order.
    pub fn expects_signatures_by(&self, secrets: &[&'static str]) {
        *self.0.secrets.lock().unwrap() = secrets.to_vec();
    }

    /// The events that the provider has received so far, whatever the provider answered.
    pub fn received(&self) -> Vec<Event> {
        self.0.received.lock().unwrap().clone()
    }

    /// The `webhook-id`s under which each event was sent so far.
    pub fn ids(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
        for Event { id, body, .. } in self.received() {
            let data = &body["data"];
            let what =
                format!("{} {} {}", body["type"], data["installationId"], data["resourceId"]);
            ids.entry(what).or_default().insert(id);
        }
        ids
    }

    async fn receive(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/hook"));
        let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/json");
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
        // `Webhook::verify` would compare the timestamp with the machine's clock, not with the tests' clock.
        let sign =
            |secret: &str| Webhook::new(secret).unwrap().sign(&id, timestamp, &body).unwrap();
        let secrets = self.0.secrets.lock().unwrap().clone();
        let secrets = if secrets.is_empty() { vec![PROVIDER_SECRET] } else { secrets };
        let signature = secrets.into_iter().map(sign).collect::<Vec<_>>().join(" ");
        assert_eq!(header("webhook-signature"), signature);
        let body = serde_json::from_slice(&body).unwrap();
        self.0.received.lock().unwrap().push(Event { id, timestamp, body });
        self.0.script.answer(&signature, false, false, async { empty(200) }).await
    }
}

//! A stand-in for a provider's backend. The backend answers as Vercel requires, unless a test scripts other
//! answers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, Response};
use serde_json::{Value, json};

use crate::support::gate::Gate;
use crate::support::steps::Steps;
use crate::support::wire::{json, listen};
use crate::support::world::World;

/// How the backend answers a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The call takes effect, and is answered as a good backend answers.
    Honest,
    /// The call has no effect, and is answered with this status, these headers and this body.
    Whole(u16, HeaderMap, Bytes),
    /// The call takes effect, and the connection breaks without an answer.
    EffectThenReset,
    /// The connection breaks without an answer, and the call has no effect.
    Reset,
    /// The call is never answered.
    Silence,
    /// The call waits for this gate, and then gets this answer.
    Held(Gate, Box<Self>),
}

impl Answer {
    /// An answer with this status and this body, and without an effect.
    pub fn with_body(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Whole(status, HeaderMap::new(), body.into())
    }
}

/// A call as the backend received it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    /// The path and the query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A stand-in for a provider's backend. All clones of a `Backend` share one state.
#[derive(Clone, Default)]
pub struct Backend(Arc<Inner>);

#[derive(Default)]
struct Inner {
    script: Mutex<VecDeque<Answer>>,
    received: Mutex<Vec<Received>>,
    /// The resources that the backend made, each with its id.
    made: Mutex<Vec<(String, Value)>>,
    /// The resource that the backend made under each `Idempotency-Key`.
    by_key: Mutex<HashMap<String, Value>>,
    steps: Mutex<Option<Steps>>,
}

impl Backend {
    /// A test's world whose calls pass through to a backend, and whose deletions are announced.
    pub async fn behind() -> (World, Self) {
        Self::behind_with(&[]).await
    }

    /// Like [`Backend::behind`], with these variables in the endpoints' environment.
    pub async fn behind_with(variables: &[(&str, &str)]) -> (World, Self) {
        let (backend, url) = Self::start().await;
        let variables = [variables, &[("BACKEND_URL", url.as_str())]].concat();
        let world = World::announcing_with(&variables).await;
        *backend.0.steps.lock().unwrap() = Some(world.steps.clone());
        (world, backend)
    }

    /// Starts a backend, and returns the backend and its address.
    pub async fn start() -> (Self, String) {
        let backend = Self::default();
        let handler = backend.clone();
        let (url, _) = listen(move |request| {
            let backend = handler.clone();
            async move {
                let steps = backend.0.steps.lock().unwrap().clone();
                match steps {
                    Some(steps) => steps.call(backend.receive(request)).await,
                    None => backend.receive(request).await,
                }
            }
        })
        .await;
        (backend, url)
    }

    /// Scripts the answers to the next calls, in this order. Later calls are answered honestly.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.script.lock().unwrap().extend(answers);
    }

    /// Drops the scripted answers: from now on every call is answered honestly.
    pub fn forget_script(&self) {
        self.0.script.lock().unwrap().clear();
    }

    /// The calls that the backend has received so far.
    pub fn received(&self) -> Vec<Received> {
        self.0.received.lock().unwrap().clone()
    }

    /// The ids of the resources that the backend made, in the order in which it made them.
    pub fn made(&self) -> Vec<String> {
        self.0.made.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }

    async fn receive(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let target = head.uri.path_and_query().unwrap().to_string();
        let received = Received { method: head.method, target, headers: head.headers, body };
        self.0.received.lock().unwrap().push(received.clone());
        let mut next = self.0.script.lock().unwrap().pop_front().unwrap_or(Answer::Honest);
        while let Answer::Held(gate, then) = next {
            gate.pass().await;
            next = *then;
        }
        match next {
            Answer::Held(..) => unreachable!("it was let through"),
            Answer::Honest => Ok(self.act(&received)),
            Answer::Whole(status, headers, body) => {
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = status.try_into().unwrap();
                *response.headers_mut() = headers;
                Ok(response)
            }
            Answer::EffectThenReset => {
                self.act(&received);
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Answer::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Answer::Silence => std::future::pending().await,
        }
    }

    fn act(&self, received: &Received) -> Response<Full<Bytes>> {
        let path = received.target.split('?').next().unwrap_or_default();
        let segments: Vec<_> = path.split('/').skip(3).collect();
        let free = json!({ "billingPlan": { "id": "free", "paymentMethodRequired": false } });
        match segments[..] {
            [_] => json(200, &free),
            [_, "resources"] => json(200, &self.make(received)),
            [_, "resources", id] => {
                let made = self.0.made.lock().unwrap();
                let found = made.iter().find(|(made, _)| made == id);
                found.map_or_else(|| json(404, &json!({})), |(_, resource)| json(200, resource))
            }
            _ => json(404, &json!({})),
        }
    }

    /// Makes a resource, or returns the resource that the backend made under this key before. The caller may
    /// choose the resource's id.
    fn make(&self, received: &Received) -> Value {
        let key = received.headers.get("idempotency-key");
        let key = key.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        let mut by_key = self.0.by_key.lock().unwrap();
        if let Some(made) = key.as_ref().and_then(|key| by_key.get(key)) {
            return made.clone();
        }
        let mut made = self.0.made.lock().unwrap();
        let wanted: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let id = wanted["id"].as_str().map(str::to_owned);
        let id = id.unwrap_or_else(|| format!("db_{}", made.len() + 1));
        let resource = json!({
            "id": id, "name": wanted["name"], "productId": wanted["productId"],
            "status": "ready", "secrets": [{ "name": "URL", "value": "s3cret" }],
        });
        made.push((id, resource.clone()));
        by_key.extend(key.map(|key| (key, resource.clone())));
        resource
    }
}

//! A proxy in front of DynamoDB. The proxy counts the calls to DynamoDB, and causes what no emulator of
//! DynamoDB causes, such as conflicts, throttling and lost answers.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use serde_json::{Value, json};

use crate::support::gate::Gate;
use crate::support::steps::Steps;
use crate::support::wire::listen;
use crate::support::world::http_client;

/// A fault: what goes wrong with a call to DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing goes wrong: DynamoDB gets the call, and its answer is passed on.
    None,
    /// DynamoDB throttles the call.
    Throttle,
    /// DynamoDB answers the call with 500.
    ServerError,
    /// Another transaction is changing one of the call's items.
    Conflict,
    /// DynamoDB refuses the call's signature, and its answer repeats everything that should have been signed.
    Echo,
    /// A transaction is cancelled because one of its items is throttled.
    ItemThrottled,
    /// DynamoDB gets the call. If DynamoDB refuses the call, each row whose condition is true reports a
    /// conflict.
    ConflictBesideEvidence,
    /// DynamoDB gets the call. If DynamoDB refuses the call because several conditions fail, the
    /// installation's row reports a conflict instead of its item.
    InstallationHidden,
    /// DynamoDB performs no write of a batch, and reports all writes as unprocessed.
    Unprocessed,
    /// The connection breaks before the call arrives.
    ResetBefore,
    /// The connection breaks after the call took effect.
    ResetAfter,
    /// DynamoDB gets the call some milliseconds late, so that other calls overtake it.
    Late,
}

/// The delay of a late call, which is about as long as another call takes.
const LATE: Duration = Duration::from_millis(4);

/// The identity that signed a call to DynamoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    pub access_key_id: String,
    pub session_token: Option<String>,
}

impl Signer {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).map(|it| it.to_str().unwrap().to_owned());
        let signature = text("authorization").unwrap_or_default();
        let scope = signature.split_once("Credential=").map_or("", |(_, scope)| scope);
        Self {
            access_key_id: scope.split('/').next().unwrap_or_default().to_owned(),
            session_token: text("x-amz-security-token"),
        }
    }
}

/// A proxy in front of DynamoDB. All clones of a `Proxy` share one state.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    upstream: String,
    http: reqwest::Client,
    calls: AtomicUsize,
    signers: Mutex<Vec<Signer>>,
    connections: OnceLock<Arc<AtomicUsize>>,
    script: Mutex<VecDeque<Fault>>,
    lasting: Mutex<Fault>,
    operations: Mutex<VecDeque<(&'static str, Fault)>>,
    held: Mutex<Option<(&'static str, Gate)>>,
    holding: AtomicBool,
    refusals_with_a_token: AtomicUsize,
}

impl Proxy {
    /// Starts a proxy for the DynamoDB at `upstream`, and returns the proxy and its address.
    pub async fn start(upstream: String, steps: Steps) -> (Self, String) {
        let proxy = Self(Arc::new(Inner {
            upstream,
            http: http_client(),
            calls: AtomicUsize::new(0),
            signers: Mutex::default(),
            connections: OnceLock::new(),
            script: Mutex::default(),
            lasting: Mutex::new(Fault::None),
            operations: Mutex::default(),
            held: Mutex::default(),
            holding: AtomicBool::new(false),
            refusals_with_a_token: AtomicUsize::new(0),
        }));
        let handler = proxy.clone();
        let (url, connections) = listen(move |request| {
            let (proxy, steps) = (handler.clone(), steps.clone());
            async move { steps.call(proxy.pass(request)).await }
        })
        .await;
        proxy.0.connections.set(connections).unwrap();
        (proxy, url)
    }

    /// How many calls to DynamoDB the proxy has received.
    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// How many of DynamoDB's refusals contained an access token.
    pub fn refusals_with_a_token(&self) -> usize {
        self.0.refusals_with_a_token.load(Ordering::SeqCst)
    }

    /// The identities that signed the calls to DynamoDB.
    pub fn signers(&self) -> Vec<Signer> {
        self.0.signers.lock().unwrap().clone()
    }

    /// How many connections from clients the proxy has accepted.
    pub fn connections(&self) -> usize {
        self.0.connections.get().unwrap().load(Ordering::SeqCst)
    }

    /// Sets the faults of the next transactions, in this order. Later transactions have the lasting fault.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.script.lock().unwrap().extend(faults);
    }

    /// Sets the lasting fault: the fault of every transaction that has no scripted fault.
    pub fn lasting(&self, fault: Fault) {
        *self.0.lasting.lock().unwrap() = fault;
    }

    /// Sets the fault of one call: the next call of this operation, or the next call with this text in its
    /// body.
    pub fn once(&self, operation: &'static str, fault: Fault) {
        self.0.operations.lock().unwrap().push_back((operation, fault));
    }

    /// Drops the faults of single calls, which [`Proxy::once`] has set.
    pub fn forget(&self) {
        self.0.operations.lock().unwrap().clear();
    }

    /// Drops all faults.
    pub fn heal(&self) {
        self.0.script.lock().unwrap().clear();
        self.lasting(Fault::None);
        self.forget();
    }

    /// Stops the next call of this operation until the gate is opened.
    pub fn hold(&self, operation: &'static str, gate: impl Into<Gate>) {
        *self.0.held.lock().unwrap() = Some((operation, gate.into()));
    }

    /// Whether the proxy has stopped a call at a gate, even if the call has passed the gate since.
    pub fn is_holding(&self) -> bool {
        self.0.holding.load(Ordering::SeqCst)
    }

    fn fault_of(&self, operation: &str, body: &[u8]) -> Fault {
        let mut operations = self.0.operations.lock().unwrap();
        let body = String::from_utf8_lossy(body);
        let is_for = |(name, _): &(&str, _)| *name == operation || body.contains(name);
        if let Some(at) = operations.iter().position(is_for) {
            return operations.remove(at).unwrap().1;
        }
        if operation == "TransactWriteItems" { self.next_fault() } else { Fault::None }
    }

    fn next_fault(&self) -> Fault {
        let scripted = self.0.script.lock().unwrap().pop_front();
        scripted.unwrap_or(*self.0.lasting.lock().unwrap())
    }

    /// Passes a call on to DynamoDB, with the call's fault. If this function returns an error, the connection
    /// breaks without an answer.
    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let (head, body) = request.into_parts();
        self.0.signers.lock().unwrap().push(Signer::of(&head.headers));
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let target = head.headers.get("x-amz-target").map_or("", |target| target.to_str().unwrap());
        let operation = target.rsplit('.').next().unwrap_or_default();
        let held = self.0.held.lock().unwrap().take_if(|(name, _)| *name == operation);
        if let Some((_, gate)) = held {
            self.0.holding.store(true, Ordering::SeqCst);
            gate.pass().await;
        }
        let fault = self.fault_of(operation, &body);
        match fault {
            Fault::Throttle => return Ok(error("ThrottlingException", &json!({}))),
            Fault::ServerError => {
                let mut response = error("InternalServerError", &json!({}));
                *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(response);
            }
            Fault::Echo => return Ok(unsigned(&head.headers, &body)),
            Fault::Conflict if operation.starts_with("Transact") => {
                return Ok(cancelled(&body, "TransactionConflict"));
            }
            Fault::Conflict => return Ok(error("TransactionConflictException", &json!({}))),
            Fault::ItemThrottled => return Ok(cancelled(&body, "ThrottlingError")),
            Fault::ResetBefore => return Err(io::ErrorKind::ConnectionReset.into()),
            Fault::Unprocessed => {
                let request: Value = serde_json::from_slice(&body).unwrap();
                let answer = json!({ "UnprocessedItems": request["RequestItems"] });
                let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
                let kind = hyper::header::HeaderValue::from_static("application/x-amz-json-1.0");
                response.headers_mut().insert("content-type", kind);
                return Ok(response);
            }
            Fault::Late => tokio::time::sleep(LATE).await,
            Fault::None
            | Fault::ConflictBesideEvidence
            | Fault::InstallationHidden
            | Fault::ResetAfter => {}
        }
        let request = body.clone();
        let sent = self.0.http.post(&self.0.upstream).headers(head.headers).body(body).send();
        let answer = sent.await.map_err(io::Error::other)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = answer.bytes().await.map_err(io::Error::other)?;
        if status == 400 && String::from_utf8_lossy(&body).contains("accessToken") {
            self.0.refusals_with_a_token.fetch_add(1, Ordering::SeqCst);
        }
        if fault == Fault::ResetAfter {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if fault == Fault::ConflictBesideEvidence {
            let text = String::from_utf8(body.to_vec()).unwrap();
            body = text.replace(r#""Code":"None""#, r#""Code":"TransactionConflict""#).into();
        }
        if fault == Fault::InstallationHidden && status == 400 {
            body = hide_installation(&request, &body);
        }
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        if let Some(kind) = headers.get("content-type") {
            response.headers_mut().insert("content-type", kind.clone());
        }
        Ok(response)
    }
}

/// Replaces the result of the installation's condition by a conflict, if several conditions failed.
fn hide_installation(request: &[u8], answer: &[u8]) -> Bytes {
    let request: Value = serde_json::from_slice(request).unwrap();
    let mut answer: Value = serde_json::from_slice(answer).unwrap();
    let Some(reasons) = answer["CancellationReasons"].as_array_mut() else {
        return Bytes::from(answer.to_string());
    };
    let failed = |reason: &Value| reason["Code"] == "ConditionalCheckFailed";
    if reasons.iter().filter(|reason| failed(reason)).count() > 1 {
        for (item, reason) in request["TransactItems"].as_array().unwrap().iter().zip(reasons) {
            let key = |operation: &str| &item[operation]["Key"]["sk"]["S"];
            if ["Update", "ConditionCheck"].iter().any(|it| key(it) == "#installation") {
                *reason = json!({ "Code": "TransactionConflict" });
            }
        }
    }
    Bytes::from(answer.to_string())
}

/// The answer to a cancelled transaction, with this reason for its first item.
fn cancelled(request: &[u8], code: &str) -> Response<Full<Bytes>> {
    let request: Value = serde_json::from_slice(request).unwrap();
    let items = request["TransactItems"].as_array().unwrap().len();
    let reason = |index| json!({ "Code": if index == 0 { code } else { "None" } });
    let reasons: Vec<_> = (0..items).map(reason).collect();
    error("TransactionCanceledException", &json!({ "CancellationReasons": reasons }))
}

/// A refusal in AWS's format. The refusal contains the headers that were signed, including a session's token.
fn unsigned(headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
    let headers = headers.iter().map(|(name, value)| format!("{name}:{}", value.to_str().unwrap()));
    let headers = headers.collect::<Vec<_>>().join("\n");
    let message = format!(
        "The request signature we calculated does not match the signature you provided.\n\n\
         The Canonical String for this request should have been\n'POST\n/\n\n{headers}\n'\n{}",
        String::from_utf8_lossy(body)
    );
    let details = json!({ "message": message });
    error("InvalidSignatureException", &details)
}

fn error(code: &str, details: &Value) -> Response<Full<Bytes>> {
    let mut body = details.clone();
    body["__type"] = json!(format!("com.amazonaws.dynamodb.v20120810#{code}"));
    if details["message"].is_null() {
        body["message"] = json!("scripted");
    }
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
    let kind = hyper::header::HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert("content-type", kind);
    response
}

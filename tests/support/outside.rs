//! The stand-ins for Vercel's REST API and for the provider's endpoint. They answer honestly unless a test
//! scripts other answers.

mod provider;
mod vercel;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;

pub use self::provider::{Event, PROVIDER_SECRET, ProviderEndpoint};
pub use self::vercel::{Received, VercelApi};
use crate::support::gate::Gate;
use crate::support::wire::json;

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The request takes effect, and is answered as it should be.
    Honest,
    /// The request has no effect, and gets this status.
    Status(u16),
    /// While the configuration is there, the request has no effect and gets this status. Once the
    /// configuration is gone, the request is answered honestly, since the token is dead.
    Refusal(u16),
    /// A deletion of a configuration is answered 404 without an effect, as if the configuration were gone or
    /// in another team. Other requests are answered honestly.
    NotFound,
    /// The request has no effect, and gets this status and this `Retry-After`.
    RetryAfter(u16, &'static str),
    /// The request takes effect, and is answered with this status.
    EffectThen(u16),
    /// The request takes effect, and the connection breaks without an answer.
    EffectThenReset,
    /// The request has no effect, and gets this status and a message with the caller's credentials.
    Echo(u16),
    /// The request has no effect, and gets this status and this body.
    Body(u16, &'static str),
    /// The connection breaks without an answer, and the request has no effect.
    Reset,
    /// The request is never answered.
    Silence,
    /// The request waits for the gate, and is then answered in this way.
    Held(Gate, Box<Self>),
    /// The request takes effect, and is answered honestly once the gate is opened.
    EffectThenHeld(Gate),
}

impl Answer {
    /// An answer with this status and without an effect, once the gate has a permit.
    pub fn gated(gate: &Arc<Semaphore>, status: u16) -> Self {
        Self::Held(gate.clone().into(), Box::new(Self::Status(status)))
    }
}

/// The answers to the next requests, in this order. Later requests get the lasting answer.
struct Script {
    next: Mutex<VecDeque<Answer>>,
    lasting: Mutex<Answer>,
}

impl Default for Script {
    fn default() -> Self {
        Self { next: Mutex::default(), lasting: Mutex::new(Answer::Honest) }
    }
}

impl Script {
    fn next(&self) -> Answer {
        let scripted = self.next.lock().unwrap().pop_front();
        scripted.unwrap_or_else(|| self.lasting.lock().unwrap().clone())
    }

    /// Answers a request as the script says. `effect` does what the request asks for, and returns the honest
    /// answer. `credentials` are the caller's. `deletes` says whether the request deletes a configuration,
    /// and `gone` whether that configuration is gone.
    async fn answer(
        &self,
        credentials: &str,
        deletes: bool,
        gone: bool,
        effect: impl Future<Output = Response<Full<Bytes>>>,
    ) -> io::Result<Response<Full<Bytes>>> {
        let refused = |status| {
            let error = json!({ "error": { "code": "scripted", "message": "as\nscripted" } });
            let mut response = json(status, &error);
            if (300..400).contains(&status) {
                // If a client follows the redirect, its request is recorded.
                response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
            }
            response
        };
        let mut next = self.next();
        while let Answer::Held(gate, then) = next {
            gate.pass().await;
            next = *then;
        }
        match next {
            Answer::Held(..) => unreachable!("it was let through"),
            Answer::NotFound if deletes => Ok(refused(404)),
            Answer::Honest | Answer::NotFound => Ok(effect.await),
            Answer::EffectThenHeld(gate) => {
                let answer = effect.await;
                gate.pass().await;
                Ok(answer)
            }
            Answer::Refusal(_) if gone => Ok(effect.await),
            Answer::Status(status) | Answer::Refusal(status) => Ok(refused(status)),
            Answer::RetryAfter(status, after) => {
                let mut response = refused(status);
                response.headers_mut().insert("retry-after", after.parse().unwrap());
                Ok(response)
            }
            Answer::EffectThen(status) => {
                effect.await;
                Ok(refused(status))
            }
            Answer::EffectThenReset => {
                effect.await;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Answer::Echo(status) => {
                let error = json!({ "code": credentials, "message": format!("no: {credentials}") });
                Ok(json(status, &json!({ "error": error })))
            }
            Answer::Body(status, body) => {
                Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
            }
            Answer::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Answer::Silence => std::future::pending().await,
        }
    }
}

//! The stand-ins for Vercel's REST API and for the provider's endpoint. The stand-ins answer honestly unless
//! a test scripts other answers.

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

/// How a stand-in answers a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The request takes effect, and is answered honestly.
    Honest,
    /// The request has no effect, and is answered with this status.
    Status(u16),
    /// While the configuration exists, the request has no effect and is answered with this status. Once the
    /// configuration is gone, the request is answered honestly, because its token is invalid.
    Refusal(u16),
    /// A deletion of a configuration is answered 404 without an effect, as if the configuration were gone or
    /// in another team. A request that deletes no configuration is answered honestly.
    NotFound,
    /// The request has no effect, and is answered with this status and this `Retry-After`.
    RetryAfter(u16, &'static str),
    /// The request takes effect, and is answered with this status.
    EffectThen(u16),
    /// The request takes effect, and the connection breaks without an answer.
    EffectThenReset,
    /// The request has no effect, and is answered with this status and a message that contains the caller's
    /// credentials.
    Echo(u16),
    /// The request has no effect, and is answered with this status and this body.
    Body(u16, &'static str),
    /// The connection breaks without an answer, and the request has no effect.
    Reset,
    /// The request is never answered.
    Silence,
    /// The request waits for this gate, and then gets this answer.
    Held(Gate, Box<Self>),
    /// The request takes effect, and is answered honestly once the gate is opened.
    EffectThenHeld(Gate),
}

impl Answer {
    /// An answer with this status and without an effect, after the request has got a permit of the gate.
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
    /// answer. `credentials` are the credentials of the caller. `deletes` says whether the request deletes a
    /// configuration, and `gone` says whether that configuration is gone.
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
                // A client that followed this redirect would send a request that the stand-in records.
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

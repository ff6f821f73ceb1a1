//! The stand-in for Vercel's REST API.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use serde_json::json;

use super::{Answer, Script};
use crate::support::steps::Steps;
use crate::support::wire::{empty, json, listen};
use crate::support::world::{ISSUER, http_client, system};

/// A request that the stand-in received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The method, the path and the query of the request.
    pub line: String,
    pub authorization: String,
}

/// The stand-in for Vercel's REST API. All clones of a `VercelApi` share one state.
#[derive(Clone, Default)]
pub struct VercelApi(Arc<VercelInner>);

#[derive(Default)]
struct VercelInner {
    script: Script,
    received: Mutex<Vec<Received>>,
    gone: Mutex<BTreeSet<String>>,
    /// The team of each configuration that has moved. `None` if the moved configuration is in no team.
    moved: Mutex<BTreeMap<String, Option<String>>>,
    /// The team in the last request to delete each configuration. A configuration that has not moved counts
    /// as being in the team of that request.
    asked_in: Mutex<BTreeMap<String, Option<String>>>,
    finalized: Mutex<BTreeSet<String>>,
    /// The resources that Vercel lists for each installation, by the provider's ids.
    listed: Mutex<BTreeMap<String, Vec<String>>>,
    /// How often Vercel has refused to delete each configuration while the configuration existed.
    refusals: Mutex<BTreeMap<String, usize>>,
    /// The configurations that Vercel deleted although it had refused to delete them.
    contradicted: Mutex<BTreeSet<String>>,
    /// The endpoints' address, if Vercel calls Delete Installation while it deletes a configuration.
    calls_back: Mutex<Option<String>>,
}

impl VercelApi {
    pub async fn start(steps: Steps) -> (Self, String) {
        let api = Self::default();
        let handler = api.clone();
        let (url, _) = listen(move |request| {
            let (api, steps) = (handler.clone(), steps.clone());
            async move { steps.call(api.receive(request)).await }
        })
        .await;
        (api, url)
    }

    /// Scripts the answers to the next requests, in this order. Later requests get the lasting answer.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.script.next.lock().unwrap().extend(answers);
    }

    /// Sets the lasting answer: the answer to every request that has no scripted answer.
    pub fn lasting(&self, answer: Answer) {
        *self.0.script.lasting.lock().unwrap() = answer;
    }

    /// Drops the scripted answers. From now on every request gets the lasting answer.
    pub fn forget_script(&self) {
        self.0.script.next.lock().unwrap().clear();
    }

    /// Makes Vercel call Delete Installation at `url` while it deletes a configuration.
    pub fn calls_back(&self, url: &str) {
        *self.0.calls_back.lock().unwrap() = Some(url.to_owned());
    }

    /// Moves a configuration to this team, or to no team. From now on Vercel answers 404 to a request that
    /// deletes the configuration in another team.
    pub fn moves(&self, id: &str, team: Option<&str>) {
        self.0.moved.lock().unwrap().insert(id.to_owned(), team.map(str::to_owned));
    }

    /// Makes Vercel list these resources of an installation from now on.
    pub fn lists(&self, id: &str, resources: &[String]) {
        self.0.listed.lock().unwrap().insert(id.to_owned(), resources.to_vec());
    }

    /// The requests that Vercel has received so far.
    pub fn received(&self) -> Vec<Received> {
        self.0.received.lock().unwrap().clone()
    }

    /// The method, path and query of each request that Vercel has received so far.
    pub fn lines(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.line).collect()
    }

    pub fn is_gone(&self, id: &str) -> bool {
        self.0.gone.lock().unwrap().contains(id)
    }

    /// Whether Vercel deleted the configuration because of a request that came before a refusal and took
    /// effect after the refusal.
    pub fn contradicts_itself(&self, id: &str) -> bool {
        self.0.contradicted.lock().unwrap().contains(id)
    }

    pub fn is_finalized(&self, id: &str) -> bool {
        self.0.finalized.lock().unwrap().contains(id)
    }

    async fn receive(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map_or("", |value| value.to_str().unwrap()).to_owned();
        let line = format!("{} {}", request.method(), request.uri().path_and_query().unwrap());
        self.0
            .received
            .lock()
            .unwrap()
            .push(Received { line, authorization: authorization.clone() });
        let path = request.uri().path().to_owned();
        let deletes = request.method() == hyper::Method::DELETE;
        let query = request.uri().query().unwrap_or_default();
        let team = query.strip_prefix("teamId=").map(str::to_owned);
        let id = path.strip_prefix("/v1/integrations/configuration/").unwrap_or_default();
        let gone = path.split('/').any(|segment| self.is_gone(segment));
        if deletes {
            self.0.asked_in.lock().unwrap().insert(id.to_owned(), team.clone());
        }
        let refusals = self.refusals(id);
        let act = async {
            if deletes && !self.is_gone(id) && self.refusals(id) > refusals {
                self.0.contradicted.lock().unwrap().insert(id.to_owned());
            }
            self.act(request.method(), &path, team.as_deref(), &authorization).await
        };
        let answer = self.0.script.answer(&authorization, deletes, gone, act).await?;
        if deletes && !self.is_gone(id) && [400, 401, 403, 409].contains(&answer.status().as_u16())
        {
            *self.0.refusals.lock().unwrap().entry(id.to_owned()).or_default() += 1;
        }
        Ok(answer)
    }

    fn refusals(&self, id: &str) -> usize {
        self.0.refusals.lock().unwrap().get(id).copied().unwrap_or_default()
    }

    async fn act(
        &self,
        method: &hyper::Method,
        path: &str,
        team: Option<&str>,
        authorization: &str,
    ) -> Response<Full<Bytes>> {
        let error = |status, code| {
            json(status, &json!({ "error": { "code": code, "message": "not authorized" } }))
        };
        let segments: Vec<_> = path.split('/').collect();
        let (["", "v1", "integrations", "configuration", id]
        | ["", "v1", "installations", id, "resources"]
        | ["", "v1", "installations", id, "billing", "finalize"]) = segments[..]
        else {
            return error(404, "not_found");
        };
        // When a configuration is deleted, its token becomes invalid.
        if !authorization.starts_with("Bearer ") || self.is_gone(id) {
            return error(403, "forbidden");
        }
        if path.ends_with("/resources") {
            let listed = self.0.listed.lock().unwrap().get(id).cloned().unwrap_or_default();
            let resource = |id: &String| json!({ "partnerId": id, "internalId": "store_1", "name": "n", "status": "ready" });
            return json(
                200,
                &json!({ "resources": listed.iter().map(resource).collect::<Vec<_>>() }),
            );
        }
        if path.ends_with("/finalize") {
            let new = self.0.finalized.lock().unwrap().insert(id.to_owned());
            return if new { empty(204) } else { error(404, "not_found") };
        }
        let moved = self.0.moved.lock().unwrap().get(id).cloned();
        if method == hyper::Method::GET {
            let asked_in = self.0.asked_in.lock().unwrap().get(id).cloned();
            return json(200, &json!({ "id": id, "teamId": moved.or(asked_in).flatten() }));
        }
        if moved.is_some_and(|there| there.as_deref() != team) {
            return error(404, "not_found");
        }
        self.0.gone.lock().unwrap().insert(id.to_owned());
        let back = self.0.calls_back.lock().unwrap().clone();
        if let Some(url) = back {
            let mut claims = system(id);
            claims["exp"] = json!(9_999_999_999_u64);
            let call = http_client().delete(format!("{url}/v1/installations/{id}"));
            let answer = call.bearer_auth(ISSUER.sign(&claims)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        empty(204)
    }
}

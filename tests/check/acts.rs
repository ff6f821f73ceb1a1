//! How the stand-in backend in the tests of `teardown check` answers deletions. If the backend's fault
//! concerns deletions, these answers have that fault.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::backend::{Call, Inner, Reply, Store};

impl Inner {
    pub fn delete(&self, store: &mut Store, call: &Call) -> Reply {
        let id = call.resource.as_deref().unwrap_or_default();
        let odd = id.contains('%') || id.len() > 255;
        if odd {
            let breaks = self.is("delete-resource/odd-id-is-no-500");
            return Reply::error(if breaks { 500 } else { 400 }, "bad_request");
        }
        let empty = call.is_json() && call.body.is_empty();
        if empty && self.is("delete-resource/content-type-without-body") {
            return Reply::error(400, "bad_request");
        }
        if !call.body.is_empty() && self.is("delete-resource/body-is-no-500") {
            return Reply::error(500, "internal");
        }
        let ok = Reply(StatusCode::NO_CONTENT, Value::Null);
        let done = || {
            if self.is("delete-resource/answers-204") {
                Reply(StatusCode::OK, json!({}))
            } else {
                ok
            }
        };
        if self.is("delete-resource/of-another-installation") {
            for it in store.installations.values_mut() {
                it.resources
                    .iter_mut()
                    .filter(|(it, _)| *it == id)
                    .for_each(|(_, it)| it.gone = true);
            }
        }
        let Some(installation) = store.installations.get_mut(&call.installation) else {
            return Reply::error(404, "not_found");
        };
        if installation.gone && self.is("delete-installation/delete-resource-afterwards-is-no-500")
        {
            return Reply::error(500, "internal");
        }
        if installation.gone {
            return done();
        }
        let all = self.is("delete-resource/only-that-one");
        match installation.resources.get_mut(id) {
            Some(resource) if !resource.gone => {
                resource.gone = !self.is("delete-resource/gone-afterwards");
                if all {
                    installation.resources.values_mut().for_each(|it| it.gone = true);
                }
                let last = installation.resources.values().all(|it| it.gone);
                installation.gone |= last && self.is("delete-resource/provision-afterwards");
                done()
            }
            Some(_) if self.is("delete-resource/again-is-no-500") => Reply::error(500, "internal"),
            Some(_) if self.is("delete-resource/again-succeeds") => Reply::error(404, "not_found"),
            None if self.is("delete-resource/unknown-is-no-500") => Reply::error(500, "internal"),
            None if self.is("delete-resource/unknown-succeeds") => Reply::error(404, "not_found"),
            _ => done(),
        }
    }

    /// The answer that refuses an uninstall, because its body is wrong or because the backend's fault refuses
    /// it. `None` if the backend accepts the body.
    fn body(&self, call: &Call) -> Option<Reply> {
        let bad = || Some(Reply::error(400, "bad_request"));
        let fault = self.fault.strip_prefix("delete-installation/").unwrap_or_default();
        if call.body.is_empty() {
            let refused = if call.is_json() { "content-type-without-body" } else { "no-body" };
            return if fault == refused { bad() } else { None };
        }
        let Some(body) = call.json() else {
            let breaks = fault == "malformed-body-is-no-500";
            return if breaks { Some(Reply::error(500, "internal")) } else { bad() };
        };
        let (cascade, reason) = (&body["cascadeResourceDeletion"], &body["reason"]);
        let text = reason.as_str();
        let cascades = *cascade == json!(true) && text.is_none();
        let refused = match fault {
            "empty-object" => body == json!({}),
            "cascade" => cascades,
            "reason" => text.is_some_and(str::is_ascii),
            "odd-reason" => text.is_some_and(|text| !text.is_ascii()),
            "null-fields" => body.get("reason").is_some_and(Value::is_null),
            "unknown-field" => body.get("teardownCheck").is_some(),
            _ => false,
        };
        if refused {
            return bad();
        }
        let wrong = cascade.is_string() || reason.is_object();
        let breaks = fault == "wrong-type-is-no-500";
        if wrong && breaks {
            Some(Reply::error(500, "internal"))
        } else if wrong {
            bad()
        } else {
            None
        }
    }

    pub fn uninstall(&self, store: &mut Store, call: &Call) -> Reply {
        if let Some(refusal) = self.body(call) {
            return refusal;
        }
        let finalized = json!({ "finalized": true });
        if self.is("delete-installation/others-stay") {
            let others = store.installations.iter_mut().filter(|(id, _)| **id != call.installation);
            others.flat_map(|(_, it)| it.resources.values_mut()).for_each(|it| it.gone = true);
        }
        let Some(installation) = store.installations.get_mut(&call.installation) else {
            return match self.fault.as_str() {
                "delete-installation/unknown-is-no-500" => Reply::error(500, "internal"),
                "delete-installation/unknown-succeeds" => Reply::error(404, "not_found"),
                _ => Reply(StatusCode::OK, finalized),
            };
        };
        if installation.gone {
            return match self.fault.as_str() {
                "delete-installation/again-is-no-500" => Reply::error(500, "internal"),
                "delete-installation/again-succeeds" => Reply::error(404, "not_found"),
                _ => Reply(StatusCode::OK, finalized),
            };
        }
        let keeps = call.json().unwrap_or_default()["cascadeResourceDeletion"] == json!(false);
        let remain = installation.resources.values().any(|it| !it.gone);
        if keeps && remain {
            match self.fault.as_str() {
                "delete-installation/cascade-false-is-no-500" => {
                    return Reply::error(500, "internal");
                }
                "delete-installation/cascade-false-keeps-resources" => {}
                _ => return self.conflict("resources_remain"),
            }
        }
        installation.gone = true;
        if !self.is("delete-installation/resources-gone") {
            installation.resources.values_mut().for_each(|it| it.gone = true);
        }
        if self.is("delete-installation/answer-form") {
            return Reply(StatusCode::OK, json!({ "finalized": "true" }));
        }
        Reply(StatusCode::OK, finalized)
    }
}

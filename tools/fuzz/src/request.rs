//! Fuzzes requests: an input is a request in the form of HTTP/1, and each endpoint gets this request (B1 to
//! B6).
//!
//! In a header, `@admin`, `@user`, `@system`, `@account` and `@cron` stand for a token or for the sweep's
//! secret.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;
use teardown::Endpoint;
use teardown::http::{Ids, RawIds, Route};

use super::answer::Answer;
use super::cost::{self, ANSWER};
use super::cut;
use super::fixture::{CRON_SECRET, Fixture, NOWHERE, claims, sign};

/// Checks the rules for one input.
pub fn target(input: &[u8]) {
    answers(input);
}

/// The status with which the endpoint that serves the request's path answers. If no endpoint serves the path,
/// this is the status with which the last endpoint answers. `None` if no host would pass this request on to a
/// function.
pub fn answers(input: &[u8]) -> Option<u16> {
    FIXTURE.with(|(fixture, proofs)| {
        let request = parse(input, proofs)?;
        if let Some(path) = request.uri().path_and_query() {
            ids_stay_the_same(path.path());
        }
        let mut statuses = Vec::new();
        for endpoint in Endpoint::ALL {
            let handle = fixture.app.handle(endpoint, request.clone());
            let response = cost::bounded(input, &ANSWER, || fixture.runtime.block_on(handle));
            statuses.push(fixture.runtime.block_on(Answer::check(response)).status);
        }
        fixture.runtime.block_on(async {
            let items = fixture.items().await;
            if statuses.iter().any(|status| *status < 300) {
                fixture.reset(&items).await;
            } else {
                assert_eq!(items, *fixture.first(), "{statuses:?}");
            }
        });
        statuses.iter().find(|status| **status != 404).or(statuses.last()).copied()
    })
}

thread_local! {
    static FIXTURE: (&'static Fixture, Vec<(&'static str, String)>) = fixture();
}

fn fixture() -> (&'static Fixture, Vec<(&'static str, String)>) {
    let lines = [
        json!({ "installation": { "id": "icfg_1", "accountId": "acc_1", "teamId": "team_1" } }),
        json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } }),
        json!({ "resource": {
            "installationId": "icfg_1", "id": "db_2", "status": "provisioning",
        } }),
        json!({ "webhook": { "installationId": "icfg_1", "id": "hook_1" } }),
        json!({ "installation": {
            "id": "icfg_2", "accountId": "acc_1", "teamSlug": "my-team", "billing": "settled",
        } }),
        json!({ "installation": { "id": "icfg_3", "accountId": "acc_2", "accessToken": "secret" } }),
    ];
    let fixture = Fixture::new(NOWHERE, &lines);
    let proofs = vec![
        ("@admin3", sign(&claims(Some("icfg_3"), Some("ADMIN")))),
        ("@admin2", sign(&claims(Some("icfg_2"), Some("ADMIN")))),
        ("@admin", sign(&claims(Some("icfg_1"), Some("ADMIN")))),
        ("@user", sign(&claims(Some("icfg_1"), Some("USER")))),
        ("@system", sign(&claims(Some("icfg_1"), None))),
        ("@account", sign(&claims(None, None))),
        ("@cron", CRON_SECRET.to_owned()),
    ];
    // The endpoints make their clients at the first use. These requests make the clients, so that no measured
    // case includes this cost.
    for endpoint in Endpoint::ALL {
        let path = "/v1/installations/icfg_9/resources/db_9";
        let request =
            Request::delete(path).header("authorization", format!("Bearer {}", proofs[2].1));
        let request = request.body(Full::<Bytes>::default()).unwrap();
        drop(fixture.runtime.block_on(fixture.app.handle(endpoint, request)));
    }
    (fixture, proofs)
}

/// The request that an input describes. Lines that are not a header are skipped.
fn parse(input: &[u8], proofs: &[(&str, String)]) -> Option<Request<Full<Bytes>>> {
    let (head, body) = cut(input, b"\n\n");
    let (line, headers) = cut(head, b"\n");
    let (method, target) = cut(line, b" ");
    let request = Request::builder().method(method).uri(target);
    let mut request = request.body(Full::new(Bytes::copy_from_slice(body))).ok()?;
    for line in headers.split(|byte| *byte == b'\n') {
        let (name, value) = cut(line, b": ");
        let mut value = value.to_vec();
        for (name, proof) in proofs {
            let (before, after) = cut(&value, name.as_bytes());
            if before.len() < value.len() {
                value = [before, proof.as_bytes(), after].concat();
                break;
            }
        }
        let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(&value));
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    Some(request)
}

/// Checks that the ids in a path are the path's parts, decoded once. A path that is made of these ids,
/// encoded or not, must give the same ids again (B2).
fn ids_stay_the_same(path: &str) {
    for endpoint in Endpoint::ALL {
        let Some(Route::Delete(raw) | Route::Front(raw)) = endpoint.route(path) else { continue };
        let Ok(ids) = raw.parse() else { continue };
        let (first, second) = match &ids {
            Ids::Resource(installation, resource) => (installation, resource.as_str()),
            Ids::Installation(id) | Ids::Configuration(id) => (id, ""),
        };
        let (first_raw, second_raw) = match raw {
            RawIds::Resource(installation, resource) => (installation, resource),
            RawIds::Installation(id) | RawIds::Resources(id) | RawIds::Configuration(id) => {
                (id, "")
            }
        };
        assert!(percent_decode_str(first_raw).eq(first.as_str().bytes()), "{path}");
        assert!(percent_decode_str(second_raw).eq(second.bytes()), "{path}");
        let plain = [first.as_str(), second].map(str::to_owned);
        let encoded =
            plain.clone().map(|id| utf8_percent_encode(&id, NON_ALPHANUMERIC).to_string());
        for [first, second] in [&plain, &encoded] {
            let raw = match raw {
                RawIds::Resource(..) => RawIds::Resource(first, second),
                RawIds::Installation(_) | RawIds::Resources(_) => RawIds::Installation(first),
                RawIds::Configuration(_) => RawIds::Configuration(first),
            };
            assert_eq!(raw.parse().as_ref(), Ok(&ids));
        }
    }
}

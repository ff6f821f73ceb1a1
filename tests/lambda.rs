//! The functions' binaries on Lambda, with the events that AWS sends. The events are in
//! `deploy/lambda/events`.

mod front;
mod stream;

use serde_json::{Value, json};

use crate::support::process::{
    DELETE_CONFIGURATION, DELETE_INSTALLATION, DELETE_RESOURCE, Lambda, SWEEP,
};
use crate::support::world::{ACCOUNT, CRON_SECRET, World, user};

/// A function that makes a request's event from a method, a path and a token.
type Event = fn(&str, &str, &str) -> Value;

fn recorded(event: &str) -> Value {
    serde_json::from_str(event).unwrap()
}

/// The event of a request to an HTTP API whose only route is `$default`.
fn http_api(method: &str, path: &str, token: &str) -> Value {
    let mut event = recorded(include_str!("../deploy/lambda/events/http-api.json"));
    event["rawPath"] = json!(path);
    event["requestContext"]["http"]["path"] = json!(path);
    event["requestContext"]["http"]["method"] = json!(method);
    event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    event
}

/// The event of a request to the stage `prod` of a REST API whose only resource is `/{proxy+}`.
fn rest_api(method: &str, path: &str, token: &str) -> Value {
    let mut event = recorded(include_str!("../deploy/lambda/events/rest-api.json"));
    event["path"] = json!(path);
    event["httpMethod"] = json!(method);
    event["requestContext"]["path"] = json!(format!("/prod{path}"));
    event["requestContext"]["httpMethod"] = json!(method);
    event["pathParameters"]["proxy"] = json!(path.trim_start_matches('/'));
    event["headers"]["Authorization"] = json!(format!("Bearer {token}"));
    event["multiValueHeaders"]["Authorization"] = json!([format!("Bearer {token}")]);
    event
}

/// The event of a request through a load balancer.
fn load_balancer(method: &str, path: &str, token: &str) -> Value {
    let mut event = recorded(include_str!("../deploy/lambda/events/load-balancer.json"));
    event["path"] = json!(path);
    event["httpMethod"] = json!(method);
    event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    event
}

fn schedule() -> Value {
    recorded(include_str!("../deploy/lambda/events/schedule.json"))
}

async fn start(world: &World, binary: &str) -> Lambda {
    Lambda::start(binary, world.environment()).await
}

/// The error code in an answer.
fn code(answer: &Value) -> String {
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

/// B1, B3, D1: a function answers events of an HTTP API and of a REST API, each in the format of its API. The
/// function also reads a body in base64.
#[tokio::test]
async fn a_binary_serves_its_endpoint_on_lambda() {
    let world = World::announcing().await;
    let mut lambda = start(&world, DELETE_INSTALLATION).await;
    for (id, event, headers) in [
        ("icfg_1", http_api as Event, "headers"),
        ("icfg_2", rest_api as Event, "multiValueHeaders"),
    ] {
        world.install(id, &["db_1"]).await;
        let token = world.token(&user(id));
        let path = format!("/v1/installations/{id}");

        let refused = lambda.invoke(event("DELETE", &path, "nobody's")).await;
        assert_eq!((&refused["statusCode"], code(&refused)), (&json!(403), "invalid_token".into()));
        let refused = lambda.invoke(event("GET", &path, &token)).await;
        assert_eq!(refused["statusCode"], 405);
        // In a REST API's answer, the value of a header is a list, here with one element.
        assert!(refused[headers]["allow"].to_string().contains(r#""DELETE""#), "{refused}");
        let mut deletion = event("DELETE", &path, &token);
        deletion["isBase64Encoded"] = json!(true);
        deletion["body"] = json!("eyJyZWFzb24iOiJ4In0=");
        let answer = lambda.invoke(deletion).await;
        assert_eq!(answer["statusCode"], 200);
        assert_eq!(answer["body"], r#"{"finalized":false}"#);
        assert_eq!(answer["isBase64Encoded"], false);
        let content_type = answer[headers]["content-type"].to_string();
        assert!(content_type.contains(r#""application/json""#), "{answer}");
        let items = world.items(id).await;
        assert_eq!(items["receipt#installation"]["reason"], "x", "the body was base64");
        assert_eq!(items["receipt#installation"]["deletedBy"]["accountId"], ACCOUNT);
    }
}

/// C1: the function finds the contract's path even if an API puts a stage's name or a base path before it.
#[tokio::test]
async fn a_stage_or_base_path_is_removed() {
    let world = World::announcing().await;
    world.install("icfg_1", &[]).await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, DELETE_RESOURCE).await;
    let route = "/v1/installations/{installationId}/resources/{resourceId}";
    let path = |id| format!("/v1/installations/icfg_1/resources/{id}");
    let delete =
        |event: Event, before: &str, id| event("DELETE", &format!("{before}{}", path(id)), &token);

    let mut staged = delete(http_api, "/v1", "a");
    staged["requestContext"]["stage"] = json!("v1");
    let mut based = delete(http_api, "/base/path", "b");
    based["routeKey"] = json!(format!("DELETE {route}"));
    let mut staged_rest = delete(rest_api, "", "c");
    staged_rest["requestContext"]["stage"] = json!("v1");
    let mut based_rest = delete(rest_api, "/base", "d");
    based_rest["pathParameters"]["proxy"] = json!(path("d").trim_start_matches('/'));
    let mut routed_rest = delete(rest_api, "/base", "e");
    routed_rest["resource"] = json!(route);
    for (id, event) in
        [("a", staged), ("b", based), ("c", staged_rest), ("d", based_rest), ("e", routed_rest)]
    {
        let answer = lambda.invoke(event).await;
        assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(204), &json!("")), "{id}");
        assert!(world.items("icfg_1").await.contains_key(&format!("receipt#resource#{id}")));
    }
    let elsewhere = lambda.invoke(delete(http_api, "/base", "f")).await;
    assert_eq!((&elsewhere["statusCode"], code(&elsewhere)), (&json!(404), "not_found".into()));
    // An HTTP API sends the path decoded.
    for id in ["a?b", "a#b", "a b", "ä"] {
        let refused = lambda.invoke(delete(http_api, "", id)).await;
        assert_eq!((&refused["statusCode"], code(&refused)), (&json!(400), "bad_request".into()));
    }
}

/// A1, B4, E1: if a caller of a REST API sends a header or a parameter twice, the function sees both values
/// and refuses the request. The function also reads the query of a request.
#[tokio::test]
async fn a_header_sent_twice_to_a_rest_api_is_refused() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &[]).await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, DELETE_CONFIGURATION).await;
    let delete = || rest_api("DELETE", "/v1/integrations/configuration/icfg_1", &token);
    let bearer = format!("Bearer {token}");

    let mut tokens = delete();
    tokens["multiValueHeaders"]["Authorization"] = json!(["Bearer x", bearer]);
    let mut keys = delete();
    keys["headers"]["Idempotency-Key"] = json!("k2");
    keys["multiValueHeaders"]["Idempotency-Key"] = json!(["k1", "k2"]);
    let queried = |teams: &[&str]| {
        let mut event = delete();
        event["queryStringParameters"] = json!({ "teamId": teams.last() });
        event["multiValueQueryStringParameters"] = json!({ "teamId": teams });
        event
    };
    for (event, status, code_) in [
        (tokens, 403, "invalid_token"),
        (keys, 400, "bad_request"),
        (queried(&["team_1", "team_1"]), 400, "bad_request"),
        (queried(&["team & co?"]), 403, "forbidden"),
    ] {
        let answer = lambda.invoke(event).await;
        assert_eq!((&answer["statusCode"], code(&answer)), (&json!(status), code_.into()));
    }
    assert!(world.vercel.lines().is_empty());
    assert_eq!(lambda.invoke(queried(&["team_1"])).await["statusCode"], 204);
    let mut odd = http_api("DELETE", "/v1/integrations/configuration/icfg_1", &token);
    odd["rawQueryString"] = json!("teamId=team_1&x=<\">ä b#");
    assert_eq!(lambda.invoke(odd).await["statusCode"], 204, "an odd query is one all the same");
}

/// B6: if the function cannot read a request, it answers 400 and deletes nothing. Without a status in the
/// function's answer, an HTTP API would answer 200. If an event is not a request, for example the schedule's
/// event, the function's invocation fails.
#[tokio::test]
async fn a_request_in_another_event_is_refused() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, DELETE_INSTALLATION).await;
    let path = "/v1/installations/icfg_1";
    let mut malformed = http_api("DELETE", path, &token);
    malformed["headers"]["x"] = json!("\u{7f}");
    let mut claims_to_be_scheduled = load_balancer("DELETE", path, &token);
    claims_to_be_scheduled["source"] = json!("aws.events");
    for event in [load_balancer("DELETE", path, &token), malformed, claims_to_be_scheduled] {
        let answer = lambda.invoke(event).await;
        assert_eq!((&answer["statusCode"], code(&answer)), (&json!(400), "bad_request".into()));
        assert_eq!(answer["headers"]["content-type"], "application/json");
    }
    for event in [schedule(), json!({}), json!([])] {
        let answer = lambda.invoke(event).await;
        assert_eq!(
            answer["errorMessage"],
            "the event is neither a request nor one that this function takes"
        );
    }
    assert!(!world.items("icfg_1").await.contains_key("receipt#installation"));
}

/// S2: no bytes that a caller sends in a header, the query or the path make an invocation fail. A request
/// with bytes that are not UTF-8, or with half of a surrogate pair, is answered 400 in the gateway's format.
#[tokio::test]
async fn bytes_that_are_not_utf8_are_refused() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, DELETE_INSTALLATION).await;
    let with = |event: &Value, raw: &[u8]| {
        let event = event.to_string();
        let at = event.find("RAW").unwrap();
        [&event.as_bytes()[..at], raw, &event.as_bytes()[at + 3..]].concat()
    };
    for event in [http_api as Event, rest_api, load_balancer] {
        let [mut header, mut query] =
            [(); 2].map(|()| event("DELETE", "/v1/installations/i", &token));
        header["headers"]["x-name"] = json!("nRAW");
        query["queryStringParameters"] = json!({ "a": "RAW" });
        let path = event("DELETE", "/v1/installations/icfg_RAW", &token);
        for place in [&header, &query, &path] {
            for raw in [&b"\xee"[..], b"\xc3", br"\ud83d"] {
                let answer = lambda.invoke_raw(with(place, raw)).await;
                assert_eq!(
                    (&answer["statusCode"], code(&answer)),
                    (&json!(400), "bad_request".into()),
                    "{place}"
                );
            }
        }
    }
    assert!(world.is_live("icfg_1", "db_1").await);
    // A header with a character outside ASCII is accepted.
    let mut named = http_api("DELETE", "/v1/installations/icfg_1", &token);
    named["headers"]["x-name"] = json!("Zoë");
    assert_eq!(lambda.invoke(named).await["statusCode"], 200);
}

/// S2: no character in a path or a query makes an invocation fail.
#[tokio::test]
async fn any_character_is_answered() {
    let world = World::new().await;
    let token = world.token(&user("icfg_1"));
    // This test does not read the function's log, and a long log would fill the pipe.
    let mut variables = world.environment();
    variables.push(("RUST_LOG", "error".to_owned()));
    let mut lambda = Lambda::start(DELETE_INSTALLATION, variables).await;
    for character in (' '..='~').chain(['\u{1}', '\u{7f}', 'ä']) {
        for event in [http_api as Event, rest_api] {
            let mut event = event("DELETE", &format!("/v1/installations/a{character}b"), &token);
            event["rawQueryString"] = json!(format!("a={character}"));
            event["queryStringParameters"] = json!({ "a": character });
            event["multiValueQueryStringParameters"] = json!({ "a": [character] });
            let answer = lambda.invoke(event).await;
            let status = answer["statusCode"].as_u64().unwrap_or_default();
            assert!([400, 403, 404].contains(&status), "{character:?}: {answer}");
        }
    }
}

/// B1, G4: on Lambda, both the schedule's event and a request with the sweep's secret start the sweep. A
/// request without the sweep's secret is refused, and an event from another source is an error.
#[tokio::test]
async fn a_schedule_sweeps_on_lambda() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete("/v1/installations/icfg_1/resources/db_1").send().await.status, 204);
    let mut lambda = start(&world, SWEEP).await;
    let refused = lambda.invoke(json!({ "source": "mine", "detail": {} })).await;
    assert!(refused["errorMessage"].is_string(), "{refused}");
    for (event, status, error) in [
        (http_api as Event, 403, "invalid_token"),
        (rest_api, 403, "invalid_token"),
        (load_balancer, 400, "bad_request"),
    ] {
        let mut claimed = event("GET", "/api/sweep", "guessed");
        claimed["source"] = json!("aws.events");
        claimed["body"] = json!(schedule().to_string());
        let refused = lambda.invoke(claimed).await;
        assert_eq!((&refused["statusCode"], code(&refused)), (&json!(status), error.into()));
    }
    assert!(world.provider.received().is_empty());
    let answer = lambda.invoke(schedule()).await;
    assert_eq!(answer, json!({ "claimed": 1, "done": 1, "retried": 0, "parked": 0 }));
    assert_eq!(world.provider.received().len(), 1);
    for event in [http_api as Event, rest_api] {
        let answer = lambda.invoke(event("GET", "/api/sweep", CRON_SECRET)).await;
        assert_eq!(answer["statusCode"], 200);
        assert_eq!(answer["body"], r#"{"claimed":0,"done":0,"retried":0,"parked":0}"#);
    }
}

//! Calls that `front` passes on to the provider's backend, on Lambda (J1, J6).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{recorded, start};
use crate::support::backend::{Answer, Backend, Received};
use crate::support::process::{FRONT, Lambda, record};
use crate::support::world::{INSTALLATION, RESOURCE, user};

/// The body of the request in both events. The body is not text.
const BODY: &[u8] = b"\x1f\x8b\x00\xff\xc3\x28\r\n\"\\";

/// The event of a Provision through an HTTP API that has a route for Provisions.
fn http_api(token: &str) -> Value {
    let mut event = recorded(include_str!("../../deploy/lambda/events/front-http-api.json"));
    event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    event
}

/// The event of an Update Resource through a REST API that has a resource for updates.
fn rest_api(token: &str) -> Value {
    let mut event = recorded(include_str!("../../deploy/lambda/events/front-rest-api.json"));
    event["headers"]["Authorization"] = json!(format!("Bearer {token}"));
    event["multiValueHeaders"]["Authorization"] = json!([format!("Bearer {token}")]);
    event
}

/// This event, changed to another method, route and path.
fn routed(mut event: Value, method: &str, route: &str, path: &str) -> Value {
    if event["version"] == "2.0" {
        event["rawPath"] = json!(path);
        event["routeKey"] = json!(format!("{method} {route}"));
        event["requestContext"]["http"]["method"] = json!(method);
    } else {
        event["path"] = json!(path);
        event["resource"] = json!(route);
        event["httpMethod"] = json!(method);
    }
    event
}

fn lines(received: &Received, name: &str) -> Vec<String> {
    let lines = received.headers.get_all(name).iter();
    lines.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()).collect()
}

/// J1: a call reaches the backend as the caller sent it to the gateway, even if the call's body is not text.
/// The front removes only the headers that AWS added and the headers of the connection.
#[tokio::test]
async fn a_call_reaches_the_backend_by_way_of_lambda() {
    let (world, backend) = Backend::behind().await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, FRONT).await;
    let [one, many] = [http_api(&token), rest_api(&token)];
    let twice = [vec!["a, b,c"], vec!["a, b", "c"]];
    for (event, twice) in [(&one, &twice[0]), (&many, &twice[1])] {
        let before = backend.received().len();
        lambda.invoke(event.clone()).await;
        let received = backend.received().split_off(before);
        let [received] = &received[..] else { panic!("asked once: {received:?}") };
        assert_eq!(received.body, BODY);
        assert_eq!(lines(received, "authorization"), [format!("Bearer {token}")]);
        assert_eq!(lines(received, "idempotency-key"), ["key-1"]);
        assert_eq!(lines(received, "x-odd"), ["Zoë"]);
        assert_eq!(lines(received, "x-twice"), **twice);
        assert_eq!(lines(received, "content-length"), [BODY.len().to_string()]);
        let mut names: Vec<_> = received.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names.retain(|name| *name != "cookie");
        let expected = [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "idempotency-key",
            "user-agent",
            "x-forwarded-for",
            "x-forwarded-port",
            "x-forwarded-proto",
            "x-odd",
            "x-twice",
            "x-vercel-auth",
        ];
        assert_eq!(names, expected);
    }
    let received = backend.received();
    let target = "/v1/installations/icfg_1/resources?a=%20b&a=c+d&x=%2F%3F";
    assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("POST", target));
    assert_eq!(lines(&received[0], "cookie"), ["a=1; b=2"]);
    let (path, query) = received[1].target.split_once('?').unwrap();
    assert_eq!((received[1].method.as_str(), path), ("PATCH", RESOURCE));
    let values: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    assert_eq!(values, [("a".into(), " b".into()), ("a".into(), "c d".into())]);
    assert!(world.is_live("icfg_1", "db_1").await, "what was made is recorded");
}

/// J1: on Lambda, `front` passes on each of its methods and paths, whatever the API puts before the path. A
/// call to another path is answered 404, and a call with another method is answered 405.
#[tokio::test]
async fn every_path_passes_on_lambda() {
    let (world, backend) = Backend::behind().await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, FRONT).await;
    let installation = "/v1/installations/{installationId}";
    let resources = format!("{installation}/resources");
    let resource = format!("{resources}/{{resourceId}}");
    let all = format!("{INSTALLATION}/resources");
    for event in [http_api(&token), rest_api(&token)] {
        for (method, route, path) in [
            ("PUT", installation, INSTALLATION),
            ("PATCH", installation, INSTALLATION),
            ("POST", &resources, &all),
            ("GET", &resource, RESOURCE),
            ("PATCH", &resource, RESOURCE),
        ] {
            let stage = event["requestContext"]["stage"].as_str().unwrap();
            for (before, route) in
                [("", route), ("/base/path", route), (&format!("/{stage}"), "/{proxy+}")]
            {
                let mut event = routed(event.clone(), method, route, &format!("{before}{path}"));
                event["pathParameters"]["proxy"] = json!(path.trim_start_matches('/'));
                let received = backend.received().len();
                let answer = lambda.invoke(event).await;
                assert_eq!(answer["statusCode"], 200, "{method} {before}{path}: {answer}");
                let received = &backend.received()[received..];
                let target = received[0].target.split('?').next();
                assert_eq!((received[0].method.as_str(), target), (method, Some(path)));
            }
        }
        let elsewhere =
            routed(event.clone(), "POST", &resources, "/v1/installations/a/b/resources");
        assert_eq!(lambda.invoke(elsewhere).await["statusCode"], 404);
        let other = routed(event, "DELETE", &resource, RESOURCE);
        assert_eq!(lambda.invoke(other).await["statusCode"], 405);
    }
}

/// J1: the backend's answer comes back unchanged, in the gateway's format. The answer's body is in base64 if
/// it is not text, and no header line is lost.
#[tokio::test]
async fn an_answer_comes_back_by_way_of_lambda() {
    let (world, backend) = Backend::behind().await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, FRONT).await;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", &b"text/plain; charset=iso-8859-1"[..]),
        ("location", b"/elsewhere"),
        ("set-cookie", b"a=1; Expires=Sat, 01 Jan 2000 00:00:00 GMT"),
        ("set-cookie", b"b=\xc3\xa9"),
        ("x-twice", b"a, b"),
        ("x-twice", b"c"),
        ("x-old", b"caf\xe9"),
    ] {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    let cookies = json!(["a=1; Expires=Sat, 01 Jan 2000 00:00:00 GMT", "b=é"]);
    let text = "\u{feff}{\"name\":\"é\"}";
    for (status, sent, body, is_base64) in [
        (418, b"caf\xe9".to_vec(), "Y2Fm6Q==", true),
        (201, text.into(), text, false),
        (307, vec![], "", false),
    ] {
        let whole = Answer::Whole(status, headers.clone(), sent.into());
        backend.script([whole.clone(), whole]);
        for (event, joined) in [(http_api(&token), true), (rest_api(&token), false)] {
            let answer = lambda.invoke(event).await;
            assert_eq!(answer["statusCode"], status);
            assert_eq!(
                (&answer["body"], &answer["isBase64Encoded"]),
                (&json!(body), &json!(is_base64))
            );
            if joined {
                assert_eq!(answer["headers"]["x-twice"], "a, b, c");
                assert_eq!(answer["headers"]["x-old"], "café");
                assert_eq!(answer["headers"]["location"], "/elsewhere");
                assert_eq!(answer["cookies"], cookies);
            } else {
                let headers = &answer["multiValueHeaders"];
                assert_eq!(headers["x-twice"], json!(["a, b", "c"]));
                assert_eq!(headers["x-old"], json!(["café"]));
                assert_eq!(headers["location"], json!(["/elsewhere"]));
                assert_eq!(headers["set-cookie"], cookies);
            }
        }
    }
}

/// J6: on Lambda, bodies of 4 MiB pass in both directions, although an event has at most 6 MB, with the body
/// in base64. A request with a longer body is answered 413. The function needs less than a quarter of the
/// template's 256 MiB.
#[tokio::test]
async fn bodies_pass_up_to_4_mib_on_lambda() {
    const MOST: usize = 4 << 20;
    let (world, backend) = Backend::behind().await;
    let token = world.token(&user("icfg_1"));
    let log = NamedTempFile::new().unwrap();
    let started = |variables| record(FRONT, variables, log.as_file());
    let mut lambda = Lambda::start_by(world.environment(), started).await;
    let mut send = async |length: usize| {
        let mut event = http_api(&token);
        event["body"] = json!(STANDARD.encode(vec![0xff; length]));
        lambda.invoke(event).await
    };
    backend.script([Answer::with_body(400, vec![b'"'; MOST])]);
    let answer = send(MOST).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(400), &json!(true)));
    assert_eq!(STANDARD.decode(answer["body"].as_str().unwrap()).unwrap(), vec![b'"'; MOST]);
    assert_eq!(backend.received()[0].body, vec![0xff; MOST]);
    assert_eq!(send(MOST + 1).await["statusCode"], 413);
    assert_eq!(backend.received().len(), 1);
    let memory = lambda.function.memory();
    assert!(memory < 64 * 1024, "{memory} KiB");
}

/// J6: on Lambda, the backend may take the time of the whole invocation, minus the time that the answer
/// needs.
#[tokio::test]
async fn a_backend_has_its_hosts_time_on_lambda() {
    let (world, backend) = Backend::behind().await;
    let token = world.token(&user("icfg_1"));
    let mut lambda = start(&world, FRONT).await;
    lambda.time = Duration::from_secs(1);
    for event in [http_api(&token), rest_api(&token)] {
        backend.script([Answer::Silence]);
        let began = Instant::now();
        let answer = lambda.invoke(event).await;
        assert!(began.elapsed() < lambda.time, "{:?}", began.elapsed());
        assert_eq!(
            (&answer["statusCode"], super::code(&answer)),
            (&json!(502), "backend_unavailable".into())
        );
    }
    assert_eq!(backend.received().len(), 2);
    // `cargo lambda watch` sends a deadline in 1970, and the function ignores a deadline that is over.
    lambda.time = Duration::ZERO;
    assert_eq!(lambda.invoke(http_api(&token)).await["statusCode"], 200);
}

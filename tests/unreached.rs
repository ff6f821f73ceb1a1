//! Vercel cannot be reached: a request that was never sent leaves no doubt, so a 403 to the next request is a
//! refusal (E2, E3).

use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use http_body_util::Full;
use hyper::body::Bytes;
use reqwest::Url;
use serde_json::{Value, json};
use teardown::app::{App, HostTime};
use teardown::config::Config;
use teardown::limits::Limits;
use teardown_cli::server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::configuration::{world, world_within};
use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;
use crate::support::process::{DELETE_CONFIGURATION, free_port, start};
use crate::support::wire::{empty, listen};
use crate::support::world::{CONFIGURATION, World, http_client, limits, serve, user};

/// The endpoints of this test's world, with another address for Vercel's API.
async fn with_api(world: &World, api: &str) -> App {
    let config = Config { vercel_api_url: Url::parse(api).unwrap(), ..world.config.clone() };
    App::with_store(&config, world.proxied().await, world.clock.clone())
}

/// Sends a Delete Configuration to these endpoints, and returns the answer's status and code.
async fn delete(world: &World, endpoints: &str) -> (u16, String) {
    let token = world.token(&user("icfg_1"));
    let answer =
        http_client().delete(format!("{endpoints}{CONFIGURATION}")).bearer_auth(token).send();
    let answer = answer.await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    (status, body["error"]["code"].as_str().unwrap().to_owned())
}

/// Checks that nothing is deleted or announced if Vercel can be reached again and refuses.
async fn is_refused_afterwards(world: &World, what: &str, sweeps: bool) {
    let intent = &world.items("icfg_1").await["work#configuration"];
    assert_eq!(intent["inDoubt"], false, "{what}: {intent}");
    world.clock.advance(Duration::from_mins(1));
    world.vercel.script([Answer::Status(403)]);
    if sweeps {
        assert_eq!(world.sweep().await, [1, 1, 0, 0], "{what}: withdrawn");
    } else {
        let refused = world.delete(CONFIGURATION).send().await;
        assert_eq!(refused.error(), (409, "upstream_refused"), "{what}");
    }
    assert_eq!(world.vercel.received().len(), 1, "{what}");
    assert!(!world.items("icfg_1").await.contains_key("work#configuration"), "{what}");
    assert!(world.is_live("icfg_1", "db_1").await, "{what}");
    world.sweep_all().await;
    assert!(world.provider.received().is_empty(), "{what}");
}

/// E2: if a request to Vercel could not be sent, for any reason, it leaves no doubt.
#[tokio::test]
async fn a_request_that_was_not_sent_leaves_no_doubt() {
    // This server answers in plain HTTP, so that TLS fails.
    let (plain, _) = listen(async |_| Ok(empty(204))).await;
    let apis = [
        ("refused", "http://127.0.0.1:1".to_owned()),
        ("no such name", "https://vercel.invalid".to_owned()),
        ("TLS fails", plain.replace("http:", "https:")),
    ];
    join_all(apis.iter().flat_map(|api| [(api, false), (api, true)]).map(
        async |((what, api), sweeps)| {
            let world = world().await;
            let elsewhere = serve(server::endpoints(with_api(&world, api).await)).await;
            let reply = delete(&world, &elsewhere).await;
            assert_eq!(reply, (503, "upstream_unavailable".to_owned()), "{what}");
            let intent = &world.items("icfg_1").await["work#configuration"];
            let reason = intent["lastError"].as_str().unwrap();
            assert!(reason.starts_with("Vercel was not called: "), "{what}: {reason}");
            is_refused_afterwards(&world, what, sweeps).await;
        },
    ))
    .await;
}

/// E2: if a request to Vercel cannot be built, because no header can carry its token, it leaves no doubt.
#[tokio::test]
async fn a_request_that_cannot_be_built_leaves_no_doubt() {
    let world = world().await;
    let mut token = world.items("icfg_1").await["#token"].clone();
    let right = token["accessToken"].clone();
    token["accessToken"] = json!("two\nlines");
    world.put(token.clone()).await;
    assert_eq!(world.delete(CONFIGURATION).send().await.error(), (503, "upstream_unavailable"));
    assert!(world.vercel.received().is_empty());
    let intent = &world.items("icfg_1").await["work#configuration"];
    let reason = intent["lastError"].as_str().unwrap();
    assert!(reason.contains("failed to parse header value"), "{reason}");
    token["accessToken"] = right;
    world.put(token).await;
    is_refused_afterwards(&world, "a token with a line break", false).await;
}

/// E2: if a request was sent to Vercel without a definite answer, the deletion stays in doubt, even if Vercel
/// cannot be reached afterwards.
#[tokio::test]
async fn a_request_that_was_sent_stays_in_doubt() {
    let world = world().await;
    let lost = [Answer::EffectThenReset, Answer::Reset, Answer::Reset];
    world.vercel.script(lost);
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 503);
    let unreachable = serve(server::endpoints(with_api(&world, "http://127.0.0.1:1").await)).await;
    assert_eq!(delete(&world, &unreachable).await.0, 503);
    assert_eq!(world.items("icfg_1").await["work#configuration"]["inDoubt"], true);
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 204, "403 means gone");
}

/// E2, F5: if a process dies while it connects to Vercel, no doubt is left, because the process marks its
/// attempt only when it is connected.
#[tokio::test]
async fn a_process_that_dies_while_connecting_leaves_no_doubt() {
    for sweeps in [false, true] {
        let world = world().await;
        // This server accepts the connection, but never begins TLS.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = with_api(&world, &format!("https://{}", silent.local_addr().unwrap())).await;
        let request = http::Request::delete(CONFIGURATION)
            .header("authorization", format!("Bearer {}", world.token(&user("icfg_1"))))
            .body(Full::<Bytes>::default())
            .unwrap();
        let asking = Box::pin(app.handle(teardown::Endpoint::DeleteConfiguration, request));
        match select(asking, Box::pin(silent.accept())).await {
            Either::Left((answer, _)) => panic!("it is not connected yet: {answer:?}"),
            Either::Right((_connected, dying)) => drop(dying),
        }
        is_refused_afterwards(&world, "it died", sweeps).await;
    }
}

/// E2: if DynamoDB's reply to the write that marks an attempt is lost, the attempt is not sent and leaves no
/// doubt.
#[tokio::test]
async fn a_mark_whose_answer_is_lost_leaves_no_doubt() {
    let limits = Limits { dynamodb: Duration::from_secs(1), ..limits() };
    let world = world_within(limits).await;
    for _ in 0..100 {
        world.dynamodb.once("SET inDoubt = :true", Fault::ResetAfter);
    }
    let reply = world.delete(CONFIGURATION).send().await;
    assert_eq!(reply.error(), (503, "store_unavailable"));
    world.dynamodb.forget();
    is_refused_afterwards(&world, "the mark's answer was lost", false).await;
}

/// E2: if a sweep's time ends while the sweep marks an attempt, the attempt leaves no doubt.
#[tokio::test]
async fn a_sweep_that_ends_at_its_mark_leaves_no_doubt() {
    let world = world().await;
    world.vercel.script([Answer::Status(429), Answer::Status(429), Answer::Status(429)]);
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 503);
    world.clock.advance(Duration::from_secs(16));
    // DynamoDB stores the mark, and its replies are lost until the sweep has ended.
    for _ in 0..100 {
        world.dynamodb.once("SET inDoubt = :true", Fault::ResetAfter);
    }
    world.process().await.sweep(HostTime(Duration::from_secs(1))).await;
    world.dynamodb.forget();
    let calls = world.vercel.received().len();
    world.clock.advance(Duration::from_mins(1));
    world.vercel.script([Answer::Status(403)]);
    assert_eq!(world.delete(CONFIGURATION).send().await.error(), (409, "upstream_refused"));
    assert_eq!(world.vercel.received().len(), calls + 1);
}

/// E2, E3: the status of Vercel's answer is a definite answer, even if the body never arrives.
#[tokio::test]
async fn a_status_without_its_body_is_an_answer() {
    let limits = Limits { vercel_attempt: Duration::from_millis(500), ..limits() };
    let world = world_within(limits).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let vercel = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
            let head = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 99\r\n\r\n{";
            connection.write_all(head).await.unwrap();
            connections.push(connection);
        }
    });
    let endpoints = serve(server::endpoints(with_api(&world, &api).await)).await;
    assert_eq!(delete(&world, &endpoints).await, (409, "upstream_refused".to_owned()));
    assert!(!world.items("icfg_1").await.contains_key("work#configuration"));
    vercel.abort();
}

/// E2, S3: if the proxy refuses to connect to Vercel, no doubt is left. All outgoing calls use the proxy,
/// including the calls to DynamoDB.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_leaves_no_doubt() {
    let world = world().await;
    let upstream = world.dynamodb_url.clone();
    let (proxy, _) = listen(move |request| {
        let upstream = upstream.clone();
        async move {
            if request.method() == hyper::Method::CONNECT {
                return Ok(empty(403));
            }
            assert_eq!(request.uri().host(), Some("dynamodb.invalid"));
            Ok(relay(&upstream, request).await)
        }
    })
    .await;
    let port = free_port();
    let mut variables = world.environment();
    variables.extend([
        ("VERCEL_DEV_PORT", port.to_string()),
        ("VERCEL_API_URL", "https://vercel.invalid".to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb.invalid".to_owned()),
        ("HTTP_PROXY", proxy.clone()),
        ("HTTPS_PROXY", proxy),
    ]);
    let mut function = start(DELETE_CONFIGURATION, variables);
    function.line();
    let reply = delete(&world, &format!("http://127.0.0.1:{port}")).await;
    assert_eq!(reply, (503, "upstream_unavailable".to_owned()), "{}", function.end());
    is_refused_afterwards(&world, "the proxy refused", false).await;
}

/// Sends a request to `upstream`, and returns the answer.
async fn relay(
    upstream: &str,
    request: hyper::Request<hyper::body::Incoming>,
) -> hyper::Response<Full<Bytes>> {
    use http_body_util::BodyExt as _;
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut headers = head.headers;
    headers.remove("host");
    let sent = http_client().post(upstream).headers(headers).body(body).send().await.unwrap();
    let mut answer = hyper::Response::new(Full::default());
    *answer.status_mut() = sent.status();
    let kind = sent.headers()["content-type"].clone();
    answer.headers_mut().insert("content-type", kind);
    *answer.body_mut() = Full::new(sent.bytes().await.unwrap());
    answer
}

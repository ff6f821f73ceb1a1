//! Attacks: callers that hold their connections open, and forged tokens. These attacks do not delay an honest
//! client's request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{join, join_all};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame};
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use teardown::Endpoint;
use teardown::limits::Limits;
use teardown_cli::issuer::Issuer;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Interval;

use crate::support::backend::{Answer, Backend};
use crate::support::gate::Gate;
use crate::support::process::{DELETE_INSTALLATION, FRONT, Recorded, free_port, record};
use crate::support::waiting::{listens, until, within};
use crate::support::world::{
    CONFIGURATION, INSTALLATION, ISSUER, RESOURCE, World, http_client, limits, serve, user,
};
use crate::vercel_platform::Broken;

/// The length of the longest allowed body.
const BODY: usize = 64 * 1024;

/// The function of Delete Installation, as a process that listens on a port.
struct OnPort {
    world: World,
    port: u16,
    function: Recorded,
    _log: NamedTempFile,
}

impl OnPort {
    async fn start() -> Self {
        let world = World::new().await;
        world.install("icfg_1", &["db_1"]).await;
        let (port, log) = (free_port(), NamedTempFile::new().unwrap());
        let mut variables = world.environment();
        variables.push(("VERCEL_DEV_PORT", port.to_string()));
        let function = record(DELETE_INSTALLATION, variables, log.as_file());
        listens(port).await;
        Self { world, port, function, _log: log }
    }

    /// Opens a connection to the function, and sends this text on it.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Sends an honest client's request, and returns the status of its answer. The answer to the honest
    /// client must arrive within 4 s, because a slow body takes 5 s.
    async fn honest(&self) -> u16 {
        let token = self.world.token(&user("icfg_1"));
        let request = http_client().delete(format!("http://127.0.0.1:{}{INSTALLATION}", self.port));
        let answered =
            tokio::time::timeout(Duration::from_secs(4), request.bearer_auth(token).send());
        answered.await.expect("it waits for nobody").unwrap().status().as_u16()
    }
}

/// The head of a request with the longest allowed body.
fn head(token: &str) -> String {
    format!(
        "DELETE {INSTALLATION} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {BODY}\r\n\r\n"
    )
}

/// All bytes that arrive before the connection is closed.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is reset counts as closed, too.
    let closed = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answer));
    let _ = closed.await.expect("it is closed one day");
    String::from_utf8(answer).unwrap()
}

/// B3: an authorized caller that never sends the last byte of its body delays no other caller. The request of
/// such a caller takes at most 4 times as much memory as the bytes that its caller sent. A request whose body
/// does not arrive in full is answered 400, and its connection is closed.
#[tokio::test]
async fn unfinished_bodies_delay_no_other_caller() {
    let port = OnPort::start().await;
    assert_eq!(port.honest().await, 200);
    let before = port.function.memory();
    let token = port.world.token(&user("icfg_1"));
    let most = format!("{}{}", head(&token), " ".repeat(BODY - 1));
    let slow = join_all((0..256).map(|_| port.send(&most))).await;
    for _ in 0..20 {
        assert_eq!(port.honest().await, 200);
    }
    let held = port.function.memory();
    for answer in join_all(slow.into_iter().map(rest)).await {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("the body did not arrive in full"), "{answer}");
    }
    let more = held.max(port.function.memory()).saturating_sub(before);
    assert!(more <= 4 * 256 * BODY / 1024, "{more} KiB for 16 MiB");
}

/// J6: the front passes on 32 calls at the same time, with bodies and answers of 1 MiB, and needs less than
/// 128 MiB of memory for all 32 calls together.
#[tokio::test]
async fn long_bodies_pass_in_little_memory() {
    const LONG: usize = 1 << 20;
    let (world, backend) = Backend::behind().await;
    let (port, log) = (free_port(), NamedTempFile::new().unwrap());
    let mut variables = world.environment();
    variables.push(("VERCEL_DEV_PORT", port.to_string()));
    let function = record(FRONT, variables, log.as_file());
    listens(port).await;
    let token = world.token(&user("icfg_1"));
    let body = |before: &str| format!("{before}\"{}\"}}", "x".repeat(LONG));
    let gate = Gate::default();
    backend.script((0..32).map(|number| {
        let made = Answer::with_body(201, body(&format!(r#"{{"id":"db_{number}","metadata":"#)));
        Answer::Held(gate.clone(), Box::new(made))
    }));
    let sent = body(r#"{"name":"my db","metadata":"#);
    let (http, url) = (http_client(), format!("http://127.0.0.1:{port}{INSTALLATION}/resources"));
    let provision = async |number: usize| {
        let call = http.post(&url).bearer_auth(&token).header("idempotency-key", number);
        let answer = call.body(sent.clone()).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().len() > LONG)
    };
    let all_held = async {
        until(|| backend.received().len() == 32).await;
        gate.open();
    };
    let (answers, ()) = within(join(join_all((0..32).map(provision)), all_held)).await;
    assert_eq!(answers, [(201, true); 32]);
    let memory = function.memory();
    assert!(memory < 128 * 1024, "{memory} KiB");
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 32);
}

/// A8, B3: a caller that may not delete is refused before its body arrives, and its connection is closed.
#[tokio::test]
async fn a_stranger_is_refused_before_its_body_arrives() {
    let port = OnPort::start().await;
    let forged = forged(&port.world)[0].1.clone();
    let request = head(&forged);
    let streams = join_all((0..50).map(|_| port.send(&request))).await;
    for answer in join_all(streams.into_iter().map(rest)).await {
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
}

/// Connections without a complete request do not delay an honest client.
#[tokio::test]
async fn half_open_connections_delay_no_other_caller() {
    let port = OnPort::start().await;
    let token = port.world.token(&user("icfg_1"));
    let whole = head(&token);
    let long = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(8000));
    let mut held = Vec::new();
    for part in ["", "D", "DELETE /v1/installations", &whole[..whole.len() - 2], &long] {
        held.extend(join_all((0..60).map(|_| port.send(part))).await);
        assert_eq!(port.honest().await, 200, "beside {} connections", held.len());
    }
    // A client that completes its request late gets an answer.
    let mut late = held.remove(60);
    let rest_of_it =
        format!("ELETE {INSTALLATION} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    late.write_all(rest_of_it.as_bytes()).await.unwrap();
    assert!(rest(late).await.starts_with("HTTP/1.1 403"));
}

/// A request body that arrives byte by byte, and never ends.
struct Trickle(Interval);

impl http_body::Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        ready!(self.0.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}

/// B3: the time limit for a body applies to the whole body. If a body arrives too slowly, byte by byte, the
/// request is answered 400 at the time limit.
#[tokio::test]
async fn a_slow_body_is_refused_at_its_limit() {
    let limits = Limits { body: Duration::from_millis(500), ..limits() };
    let world = World::with_within(&[], limits).await;
    world.install("icfg_1", &["db_1"]).await;
    let (process, token) = (world.process().await, world.token(&user("icfg_1")));
    let send = async |endpoint, path: &str| {
        let body = Trickle(tokio::time::interval(Duration::from_millis(100)));
        let request = process.handle(endpoint, request(path, &token, body));
        let response = tokio::time::timeout(Duration::from_mins(1), request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_request")));
        assert_eq!(body["error"]["message"], "the body did not arrive in full");
    };
    tokio::join!(
        send(Endpoint::DeleteResource, RESOURCE),
        send(Endpoint::DeleteInstallation, INSTALLATION),
        send(Endpoint::DeleteConfiguration, CONFIGURATION),
    );
    assert!(world.is_live("icfg_1", "db_1").await);
}

/// A8: teardown reads no byte of a body before it knows that the caller may delete.
#[tokio::test]
async fn a_strangers_body_is_not_read() {
    let world = World::new().await;
    let process = world.process().await;
    for (endpoint, path) in [
        (Endpoint::DeleteResource, RESOURCE),
        (Endpoint::DeleteInstallation, INSTALLATION),
        (Endpoint::DeleteConfiguration, CONFIGURATION),
    ] {
        for (why, token) in forged(&world) {
            let response = process.handle(endpoint, request(path, &token, Broken)).await;
            assert_eq!(response.status(), 403, "{endpoint:?}: {why}");
        }
    }
}

fn request<B>(path: &str, token: &str, body: B) -> http::Request<B> {
    let request = http::Request::delete(path).header("authorization", format!("Bearer {token}"));
    request.body(body).unwrap()
}

/// Forged tokens by name. Each forged token names a known key id, or is too malformed to name a key, so
/// teardown fetches no keys for it.
fn forged(world: &World) -> Vec<(&'static str, String)> {
    let claims = world.timed(&user("icfg_1"));
    let header = |alg| json!({ "alg": alg, "typ": "JWT", "kid": ISSUER.kid() });
    let stranger = Issuer::generate().unwrap();
    let good = ISSUER.sign(&claims);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let unsigned = ISSUER.sign_with_header(&header("none"), &claims);
    let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
    let public = ISSUER.jwk()["n"].as_str().unwrap().to_owned();
    let symmetric = ISSUER.sign_with_header(&header("HS256"), &claims);
    let (symmetric, _) = symmetric.rsplit_once('.').unwrap();
    let key = EncodingKey::from_secret(public.as_bytes());
    let hmac = sign(symmetric.as_bytes(), &key, Algorithm::HS256).unwrap();
    let (payload, other) = (good.split('.').nth(1).unwrap(), world.timed(&user("icfg_2")));
    let other = ISSUER.sign(&other);
    let mut long = claims.clone();
    long["padding"] = json!("x".repeat(5550));
    let just_short_enough = stranger.sign_with_header(&header("RS256"), &long);
    assert!((7900..=8192).contains(&just_short_enough.len()), "{}", just_short_enough.len());
    vec![
        ("a stranger's", stranger.sign_with_header(&header("RS256"), &claims)),
        ("of nearly 8 KiB", just_short_enough),
        ("of over 8 KiB", format!("{message}.{}", "A".repeat(8192))),
        ("unsigned", format!("{unsigned}.")),
        ("by the public key", format!("{symmetric}.{hmac}")),
        ("with another signature", format!("{message}.{}", other.rsplit('.').next().unwrap())),
        ("with other claims", other.replacen(other.split('.').nth(1).unwrap(), payload, 1)),
        ("with a zero for a signature", format!("{message}.{}", "A".repeat(signature.len()))),
        ("with a short signature", format!("{message}.{}", &signature[..signature.len() / 2])),
        ("of dots", ".".repeat(8000)),
        ("of nested JSON", "W1tb".repeat(2000)),
    ]
}

/// A2, A7: forged tokens of every kind are refused. Forged tokens cause no call to DynamoDB, and at most one
/// fetch of keys. An honest client's requests succeed while forged tokens arrive.
#[tokio::test]
async fn honest_requests_succeed_beside_forged_tokens() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = fetches.clone();
    let keys = serve(axum::Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        axum::Json(ISSUER.jwks())
    }));
    let world = World::with(&[("OIDC_JWKS_URL", &keys.await)]).await;
    world.install("icfg_1", &["db_1"]).await;
    let claims = world.timed(&user("icfg_1"));
    let mut tokens = forged(&world);
    let kinds = tokens.len();
    tokens.extend((0..200).map(|number| {
        let header = json!({ "alg": "RS256", "kid": format!("unknown-{number}") });
        ("of an unknown key", ISSUER.sign_with_header(&header, &claims))
    }));
    assert_eq!(world.delete(RESOURCE).send().await.status, 204);
    let calls = world.dynamodb.calls();
    for some in tokens.chunks(20) {
        let attack =
            join_all(some.iter().map(|(_, token)| world.delete_as(RESOURCE, token).send()));
        let (replies, honest) = tokio::join!(attack, world.delete(RESOURCE).send());
        assert_eq!(honest.status, 204);
        for ((why, _), reply) in some.iter().zip(replies) {
            match reply.error() {
                (403, "invalid_token") => {}
                (503, "keys_unavailable") if *why == "of an unknown key" => {
                    assert!(reply.headers.contains_key("retry-after"));
                }
                _ => panic!("{why}: {reply:?}"),
            }
        }
    }
    assert_eq!(world.dynamodb.calls(), calls + tokens.len().div_ceil(20), "the honest client's");
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    assert!(kinds > 10);
}

//! The handshake of Vercel's platform with a function. Over a Unix socket, the function reports that it is
//! ready. For each request, the function reports when all work of the request has ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use teardown::Endpoint;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::support::backend::Backend;
use crate::support::outside::Answer;
use crate::support::process::{
    DELETE_CONFIGURATION, DELETE_INSTALLATION, DELETE_RESOURCE, FRONT, Function, SWEEP, free_port,
    start,
};
use crate::support::waiting::until;
use crate::support::world::{CRON_SECRET, World, http_client, user};

/// A function on Vercel, and the platform's end of the function's socket.
struct Deployed {
    url: String,
    messages: BufReader<UnixStream>,
    _function: Function,
    _folder: TempDir,
}

impl Deployed {
    async fn start(world: &World, binary: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("ipc.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let port = free_port().to_string();
        let mut variables = world.environment();
        variables.push(("VERCEL_DEV_PORT", port.clone()));
        variables.push(("VERCEL_IPC_PATH", socket.to_str().unwrap().to_owned()));
        let function = start(binary, variables);
        let (stream, _) = listener.accept().await.unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let messages = BufReader::new(stream);
        let mut deployed = Self { url, messages, _function: function, _folder: folder };
        let ready = deployed.message().await;
        assert_eq!(ready["type"], "server-started");
        assert_eq!(ready["payload"]["httpPort"].to_string(), port);
        deployed
    }

    /// The function's next message to the platform. A message is JSON and ends with a NUL.
    async fn message(&mut self) -> Value {
        let mut message = Vec::new();
        self.messages.read_until(0, &mut message).await.unwrap();
        assert_eq!(message.pop(), Some(0));
        serde_json::from_slice(&message).unwrap()
    }

    /// Sends the request with this number, as the platform does, and returns the answer's status.
    async fn send(&self, number: usize, method: &str, path: &str, token: &str) -> u16 {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = http_client()
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(token)
            .header("x-vercel-internal-invocation-id", format!("invocation-{number}"))
            .header("x-vercel-internal-request-id", number.to_string());
        request.send().await.unwrap().status().as_u16()
    }
}

/// The message by which a function reports that the request with this number has ended.
fn end(number: usize) -> Value {
    let context = json!({ "invocationId": format!("invocation-{number}"), "requestId": number });
    json!({ "type": "end", "payload": { "context": context, "error": null } })
}

/// G1: one process answers many requests at the same time, including refused requests. The process reports
/// the end of each request once, after it has tried the jobs that the request made due.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_when_its_work_has_ended() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let mut deployed = Deployed::start(&world, DELETE_RESOURCE).await;
    let token = world.token(&user("icfg_1"));
    let path = "/v1/installations/icfg_1/resources/db_1";

    let gate = Arc::new(Semaphore::new(0));
    world.provider.script([Answer::gated(&gate, 200)]);
    assert_eq!(deployed.send(0, "DELETE", path, &token).await, 204, "the answer waits for nothing");
    let others = (1..20).map(|number| {
        let token = if number % 2 == 0 { token.as_str() } else { "nobody's" };
        deployed.send(number, "DELETE", path, token)
    });
    for (number, status) in (1..).zip(join_all(others).await) {
        assert_eq!(status, if number % 2 == 0 { 204 } else { 403 }, "{number}");
    }
    let mut ended = Vec::new();
    for _ in 1..20 {
        ended.push(deployed.message().await);
    }
    for number in 1..20 {
        assert!(ended.contains(&end(number)), "{number}: {ended:?}");
    }
    until(|| !world.provider.received().is_empty()).await;
    assert_eq!(world.provider.received().len(), 1, "the first one's announcement is under way");
    gate.add_permits(1);
    assert_eq!(deployed.message().await, end(0));
    let keys = ["#installation", "receipt#resource#db_1"];
    assert_eq!(world.sort_keys("icfg_1").await, keys, "it was announced");
}

/// Each function reports that it is ready, and answers many requests at the same time. The function reports
/// the end of each request after it has run the due jobs.
#[tokio::test(flavor = "multi_thread")]
async fn every_function_shakes_hands() {
    for (binary, method, path, status) in [
        (DELETE_RESOURCE, "DELETE", "/v1/installations/icfg_1/resources/db_1", 204),
        (DELETE_INSTALLATION, "DELETE", "/v1/installations/icfg_1", 200),
        (DELETE_CONFIGURATION, "DELETE", "/v1/integrations/configuration/icfg_1", 204),
        (SWEEP, "GET", "/api/sweep", 200),
        (FRONT, "PUT", "/v1/installations/icfg_1", 200),
    ] {
        let (world, _backend) = Backend::behind().await;
        world.install_whole("icfg_1", &["db_1", "db_2"]).await;
        let mut deployed = Deployed::start(&world, binary).await;
        let right = match binary {
            SWEEP => CRON_SECRET.to_owned(),
            _ => world.token(&user("icfg_1")),
        };
        assert_eq!(deployed.send(0, method, path, &right).await, status, "{binary}");
        assert_eq!(deployed.message().await, end(0), "{binary}");
        let pending =
            world.sort_keys("icfg_1").await.into_iter().filter(|it| it.starts_with("work#"));
        // The sweep runs the jobs that a purge leaves.
        let later = |key: &String| key.starts_with("work#announce#resource#");
        assert_eq!(pending.filter(|key| !later(key)).count(), 0, "{binary}: it was carried out");
        let others = (1..10).map(|number| {
            let token = if number % 2 == 0 { right.as_str() } else { "nobody's" };
            deployed.send(number, method, path, token)
        });
        // `front` passes on a request with a bad token, because the backend refuses it.
        let refused = if binary == FRONT { status } else { 403 };
        for (number, answered) in (1..).zip(join_all(others).await) {
            let expected = if number % 2 == 0 { status } else { refused };
            assert_eq!(answered, expected, "{binary} {number}");
        }
        let mut ended = Vec::new();
        for _ in 1..10 {
            ended.push(deployed.message().await);
        }
        for number in 1..10 {
            assert!(ended.contains(&end(number)), "{binary} {number}: {ended:?}");
        }
    }
}

/// A request body that panics when it is read.
pub struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        panic!("planted: s3cret")
    }
}

/// B5: if a request panics, it is answered 500, so that the platform learns that the request has ended. The
/// answer does not contain the panic's message.
#[tokio::test]
async fn a_panic_is_answered() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let request = http::Request::delete("/v1/installations/icfg_1")
        .header("authorization", format!("Bearer {}", world.token(&user("icfg_1"))))
        .body(Broken)
        .unwrap();
    let response = world.process().await.handle(Endpoint::DeleteInstallation, request).await;
    assert_eq!(response.status(), 500);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"error":{"code":"internal_error","message":"internal error"}}"#);
    assert!(world.is_live("icfg_1", "db_1").await);
}

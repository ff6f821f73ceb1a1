//! The calls that the front passes on byte for byte, and the limits of these calls (J1, J6).

use std::time::Duration;

use http_body_util::{Full, StreamBody};
use hyper::HeaderMap;
use hyper::body::{Bytes, Frame};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::json;
use teardown::limits::Limits;

use super::{RESOURCES, call, provision, upsert};
use crate::support::backend::{Answer, Backend};
use crate::support::waiting::within;
use crate::support::world::{INSTALLATION, RESOURCE, World, http_client, limits, user};

/// Every value that a byte can have, in order. Together these bytes are not valid UTF-8.
fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

fn lines(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
}

/// J1: a call's method, path, query, body and headers reach the backend unchanged. The front removes the
/// headers that concern the connection or the host, and adds only `Host` and framing.
#[tokio::test]
async fn a_call_reaches_the_backend_unchanged() {
    let (world, backend) = Backend::behind().await;
    let token = format!("Bearer {}", world.token(&user("icfg_1")));
    for (method, target, body) in [
        ("PUT", "/v1/installations/icfg_1?a=%20b&a=c+d&&x=%2F%3F", all_bytes()),
        ("PATCH", "/v1/installations/icfg_1", b"{}".to_vec()),
        ("POST", "/v1/installations/icfg%5F1/resources", all_bytes()),
        ("GET", "/v1/installations/icfg_1/resources/db%2D1?", vec![]),
        ("PATCH", "/v1/installations/icfg_1/resources/a%2Fb", vec![]),
    ] {
        let before = backend.received().len();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{target}", world.url))
            .header("authorization", &token)
            .header("x-vercel-auth", "user")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-odd", HeaderValue::from_bytes(b"caf\xc3\xa9 \xff").unwrap())
            .header("x-twice", "a, b")
            .header("x-twice", "c")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("x-amzn-trace-id", "Root=1")
            .header("x-vercel-oidc-token", "t")
            .header("content-type", "application/octet-stream")
            .body(body.clone());
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
        let client = client.build_http::<Full<Bytes>>();
        let request = request.unwrap().map(Full::from);
        client.request(request).await.unwrap();
        let received = backend.received().split_off(before);
        let [received] = &received[..] else { panic!("asked once: {received:?}") };
        assert_eq!((received.method.as_str(), received.target.as_str()), (method, target));
        assert_eq!(received.body, body, "{method}");
        assert_eq!(lines(&received.headers, "x-odd"), [b"caf\xc3\xa9 \xff"]);
        assert_eq!(lines(&received.headers, "x-twice"), [&b"a, b"[..], b"c"]);
        let mut names: Vec<_> = received.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names.retain(|name| *name != "content-length");
        let expected = [
            "authorization",
            "content-type",
            "host",
            "x-forwarded-for",
            "x-odd",
            "x-twice",
            "x-vercel-auth",
        ];
        assert_eq!(names, expected, "{method}");
        assert_eq!(lines(&received.headers, "authorization"), [token.as_bytes()]);
    }
}

/// J1: the caller gets the backend's status, headers and body, byte for byte. The front does not follow
/// a redirect, and does not unpack a body.
#[tokio::test]
async fn an_answer_comes_back_unchanged() {
    let (world, backend) = Backend::behind().await;
    for status in [200, 201, 204, 301, 307, 400, 418, 500, 503] {
        let mut headers = HeaderMap::new();
        let body = if status == 204 { vec![] } else { all_bytes() };
        for (name, value) in [
            ("content-type", &b"text/plain; charset=odd"[..]),
            ("content-encoding", b"br"),
            ("location", b"/elsewhere"),
            ("set-cookie", b"a=1"),
            ("set-cookie", b"b=2"),
            ("x-odd", b"caf\xc3\xa9 \xff"),
            ("retry-after", b"7"),
            ("date", b"Sat, 01 Jan 2000 00:00:00 GMT"),
        ] {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        backend.script([Answer::Whole(status, headers.clone(), body.clone().into())]);
        let request =
            http_client().request("PATCH".parse().unwrap(), format!("{}{INSTALLATION}", world.url));
        let token = world.token(&user("icfg_1"));
        let answer = request.bearer_auth(token).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), status);
        let mut came = answer.headers().clone();
        came.remove("content-length");
        assert_eq!(came, headers, "{status}");
        assert_eq!(answer.bytes().await.unwrap(), body, "{status}");
    }
    assert_eq!(backend.received().len(), 9);
}

/// B1, J1: `front` itself answers calls with a method or a path that it does not pass on.
#[tokio::test]
async fn other_methods_and_paths_are_not_passed_on() {
    let (world, backend) = Backend::behind().await;
    for (method, path, allowed) in [
        ("POST", INSTALLATION, "DELETE"),
        ("DELETE", RESOURCES, "POST"),
        ("PUT", RESOURCES, "POST"),
        ("HEAD", RESOURCES, "POST"),
        ("PUT", RESOURCE, "DELETE"),
    ] {
        let request =
            http_client().request(method.parse().unwrap(), format!("{}{path}", world.url));
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["allow"]),
            (405, &HeaderValue::from_static(allowed))
        );
    }
    for path in ["/v1/products/p/plans", "/v1/installations/icfg_1/plans", "/api/front"] {
        assert_eq!(call(&world, "GET", path).send().await.error(), (404, "not_found"), "{path}");
    }
    assert!(backend.received().is_empty());
}

/// J6: bodies of up to 4 MiB pass in both directions. Bodies over 4 MiB do not pass.
#[tokio::test]
async fn bodies_pass_up_to_4_mib() {
    const MOST: usize = 4 << 20;
    let (world, backend) = Backend::behind().await;
    let token = world.token(&user("icfg_1"));
    let send = async |length: usize| {
        let request = http_client().patch(format!("{}{INSTALLATION}", world.url));
        let answer = request.bearer_auth(&token).body(vec![b'x'; length]).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().len())
    };
    backend.script([MOST, MOST + 1].map(|length| Answer::with_body(200, vec![b'y'; length])));
    assert_eq!(send(MOST).await, (200, MOST));
    assert_eq!(send(0).await.0, 502, "an answer that is too long is never cut");
    assert_eq!(send(MOST + 1).await.0, 413);
    assert_eq!(backend.received().len(), 2);
    assert_eq!(backend.received()[0].body.len(), MOST);
}

/// J6: if the backend hangs, breaks the connection or cannot be reached, the caller is answered 502. The
/// front calls the backend only once.
#[tokio::test]
async fn a_backend_without_an_answer_is_502() {
    let limits = Limits { backend: Duration::from_millis(200), ..limits() };
    let (backend, url) = Backend::start().await;
    let world = World::with_within(&[("BACKEND_URL", &url)], limits).await;
    upsert(&world).send().await;
    for (count, answer) in [(2, Answer::Silence), (3, Answer::Reset), (4, Answer::EffectThenReset)]
    {
        backend.script([answer.clone()]);
        let reply = within(provision(&world, "k1").send()).await;
        assert_eq!(reply.error(), (502, "backend_unavailable"), "{answer:?}");
        assert_eq!(backend.received().len(), count, "{answer:?}");
    }
    let nowhere = World::with(&[("BACKEND_URL", "http://127.0.0.1:9")]).await;
    let reply = call(&nowhere, "GET", RESOURCE).send().await;
    assert_eq!(reply.error(), (502, "backend_unavailable"));
}

/// J6: if the backend's answer is cut off, the caller is answered 502, and never gets a part of the answer as
/// a whole answer.
#[tokio::test]
async fn an_answer_that_breaks_off_is_502() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
            "nonsense\r\n\r\n",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]);
            assert!(request.starts_with("GET /base/v1/installations/icfg_1/"), "{request}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let world = World::with(&[("BACKEND_URL", &url)]).await;
    for _ in 0..3 {
        let reply = within(call(&world, "GET", RESOURCE).send()).await;
        assert_eq!(reply.error(), (502, "backend_unavailable"));
    }
}

/// J6: a call whose body does not arrive is answered 400, and the front does not call the backend.
#[tokio::test]
async fn a_body_that_does_not_arrive_is_refused() {
    let limits = Limits { passing_body: Duration::from_millis(100), ..limits() };
    let (backend, url) = Backend::start().await;
    let world = World::with_within(&[("BACKEND_URL", &url)], limits).await;
    let never = futures_util::stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
    let body = reqwest::Body::wrap(StreamBody::new(never));
    let reply = within(call(&world, "POST", RESOURCES).body(body).send()).await;
    assert_eq!(reply.error(), (400, "bad_request"));
    assert!(backend.received().is_empty());
    assert_eq!(reply.body["error"]["message"], json!("the body did not arrive in full"));
}

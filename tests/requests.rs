//! The form of a request (B).

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::world::{INSTALLATION, RESOURCE, World, user};

/// Sends this text as an HTTP request, and returns the answer's status.
async fn raw(world: &World, request: &str) -> u16 {
    let mut stream = TcpStream::connect(world.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// B3: an uninstall is accepted even if JavaScript cut its reason in the middle of an emoji.
#[tokio::test]
async fn half_of_a_surrogate_pair_is_read() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let body = r#"{"reason":"we move \ud83d","\udfff":"\ud83d"}"#;
    let reply = world.delete(INSTALLATION).key("k1").body(body).send().await;
    assert_eq!(reply.whole(), (200, json!({ "finalized": false })));
    let receipt = &world.items("icfg_1").await["receipt#installation"];
    assert_eq!(receipt["reason"], "we move \u{fffd}");
    assert_eq!(world.delete(INSTALLATION).key("k1").body(body).send().await.whole(), reply.whole());
}

/// B1: a request with a wrong method is answered 405, even without a token. A request to an unknown path is
/// answered 404.
#[tokio::test]
async fn other_methods_and_paths() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let token = world.token(&user("icfg_1"));
    for path in [INSTALLATION, RESOURCE] {
        for method in ["GET", "POST", "PUT", "PATCH", "OPTIONS", "delete", "PURGE"] {
            let reply = world.request(method, path).send().await;
            assert_eq!(reply.error(), (405, "method_not_allowed"), "{method}");
            assert_eq!(reply.headers["allow"], "DELETE");
        }
    }
    for path in [
        "/",
        "/v1/installations",
        "/v1/installations/",
        "/v1/installations/icfg_1/",
        "/v1/installations/icfg_1/resources",
        "/v1/installations/icfg_1/resources/",
        "/v1/installations/icfg_1/resources/db_1/x",
        "/api/delete_resource?installationId=icfg_1&resourceId=db_1",
        "/favicon.ico",
    ] {
        let reply = world.delete_as(path, &token).send().await;
        assert_eq!((reply.error(), reply.calls), ((404, "not_found"), 0), "{path}");
        assert_eq!(reply.headers["content-type"], "application/json");
    }
}

/// B2: the functions read ids only from the path, and decode them once. Ids in the query have no effect.
#[tokio::test]
async fn ids_come_only_from_the_path() {
    let world = World::new().await;
    for id in ["icfg_1", "icfg_2"] {
        world.install(id, &["db_1", "db_2"]).await;
    }
    let forged = format!("{RESOURCE}?installationId=icfg_2&resourceId=db_2&resourceId=db_2");
    assert_eq!(world.delete(&forged).send().await.status, 204);
    assert!(!world.is_live("icfg_1", "db_1").await);
    for (installation, resource) in [("icfg_1", "db_2"), ("icfg_2", "db_1"), ("icfg_2", "db_2")] {
        assert!(world.is_live(installation, resource).await);
    }

    let token = world.token(&user("icfg_1"));
    for (target, status) in [
        ("/v1/installations/icfg_1/resources/db%5F2", 204),
        ("/v1/installations/icfg_1/resources/%2e%2e", 400),
        ("/v1/installations/icfg_1/resources/..", 400),
        ("/v1/installations/icfg_1/resources/.", 400),
        ("/v1/installations/icfg_1/resources/a%2Fb", 400),
        ("/v1/installations/icfg_1/resources/a%252Fb", 400),
        ("/v1/installations/icfg_1/resources/a%00", 400),
        ("/v1/installations/icfg_1/resources/a%zz", 400),
        ("/v1/installations/icfg_1/resources/%ff", 400),
        ("/v1/installations/icfg_1/resources/a+b", 400),
        ("/v1/installations/icfg_1/resources/a;b", 400),
    ] {
        let request = format!(
            "DELETE {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        assert_eq!(raw(&world, &request).await, status, "{target}");
    }
    assert!(!world.is_live("icfg_1", "db_2").await);
    let longest = "x".repeat(255);
    let path = |id: &str| format!("{INSTALLATION}/resources/{id}");
    assert_eq!(world.delete(&path(&longest)).send().await.status, 204);
    let reply = world.delete(&path(&format!("{longest}x"))).send().await;
    assert_eq!(reply.error(), (400, "bad_request"));
}

/// B3: a body over 64 KiB is answered 413 by Delete Installation and Delete Resource, with or without a
/// `Content-Length`.
#[tokio::test]
async fn bodies_are_bounded() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let limit = 64 * 1024;
    for path in [INSTALLATION, RESOURCE] {
        let reply = world.delete(path).body(vec![b' '; limit + 1]).send().await;
        assert_eq!((reply.error(), reply.calls), ((413, "payload_too_large"), 0), "{path}");
    }
    let token = world.token(&user("icfg_1"));
    let chunked = format!(
        "DELETE {INSTALLATION} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        limit + 1,
        " ".repeat(limit + 1)
    );
    assert_eq!(raw(&world, &chunked).await, 413);
    assert!(world.is_live("icfg_1", "db_1").await);

    assert_eq!(world.delete(RESOURCE).body("no JSON").send().await.status, 204, "it is not read");
    let reason = "x".repeat(limit - r#"{"reason":""}"#.len());
    let reply = world.delete(INSTALLATION).json(&json!({ "reason": reason })).send().await;
    assert_eq!(reply.status, 200, "64 KiB and no byte more");
    assert_eq!(world.items("icfg_1").await["receipt#installation"]["reason"], reason);
}

/// B3, B5: a malformed body is answered 400 with a message that names what is wrong, and nothing is deleted.
#[tokio::test]
async fn a_wrong_body_is_named() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    for (body, message) in [
        ("[]", "the body is not a JSON object"),
        ("{\"reason\":", "the body is not a JSON object"),
        (r#"{"reason":1}"#, "the body's field `reason` must be a string"),
        (
            r#"{"cascadeResourceDeletion":0}"#,
            "the body's field `cascadeResourceDeletion` must be a boolean",
        ),
        (r#"{"reason":"x","reason":null}"#, "the body's field `reason` is repeated"),
    ] {
        let reply = world.delete(INSTALLATION).body(body).send().await;
        assert_eq!((reply.error(), reply.message()), ((400, "bad_request"), message));
        assert_eq!(reply.calls, 0);
    }
    assert!(world.is_live("icfg_1", "db_1").await);
    assert_eq!(world.delete(INSTALLATION).body("{}").send().await.status, 200);
}

/// B4: an idempotency key has 1 to 255 visible ASCII characters, and is sent once.
#[tokio::test]
async fn a_key_is_visible_ascii_and_sent_once() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let long = "k".repeat(256);
    for call in [
        world.delete(RESOURCE).key(""),
        world.delete(RESOURCE).key("a b"),
        world.delete(RESOURCE).key("schlüssel"),
        world.delete(RESOURCE).key(&long),
        world.delete(RESOURCE).key("k1").key("k1"),
    ] {
        let reply = call.send().await;
        assert_eq!((reply.error(), reply.calls), ((400, "bad_request"), 0));
        assert_eq!(
            reply.message(),
            "Idempotency-Key is 1 to 255 visible ASCII characters, sent once"
        );
    }
    assert_eq!(world.delete(RESOURCE).key(&long[1..]).send().await.status, 204);
}

/// B5: the body of an error is JSON with a code and a message.
#[tokio::test]
async fn an_error_is_json() {
    let world = World::new().await;
    let reply = world.request("DELETE", RESOURCE).send().await;
    insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"403 {"error":{"code":"invalid_token","message":"exactly one `Authorization: Bearer <token>` header is required"}}"#);
    assert_eq!(reply.headers["content-type"], "application/json");
}

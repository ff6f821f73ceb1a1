//! The issuer's keys on hosts that freeze the process after each answer, and keys in unusual forms (A7).

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;
use teardown::app::App;
use teardown::auth::jwks::AfterAnswer;
use teardown::{Endpoint, app};
use teardown_cli::issuer::Issuer;
use teardown_cli::server;

use super::server::{KeyServer, Mode};
use super::{RESOURCE, delete, delete_as, good};
use crate::support::world::{ISSUER, World, serve, user};

/// A test's world whose endpoints run as on a host that may freeze the process after each answer.
async fn freezing_world(server: &KeyServer) -> World {
    let mut world = server.warm_world().await;
    let store = world.proxied().await;
    let app = App::on_host(&world.config, store, world.clock.clone(), AfterAnswer::MayFreeze);
    world.url = serve(server::endpoints(app)).await;
    world
}

/// A7: a host that freezes the process runs nothing after an answer. Therefore, if the keys are 10 minutes
/// old, the next request waits for new keys, and refuses a withdrawn key.
#[tokio::test]
async fn a_withdrawn_key_is_refused_after_10_minutes() {
    let next = Issuer::generate().unwrap();
    let server = KeyServer::start(good()).await;
    let world = freezing_world(&server).await;
    // The first request also creates the HTTP client, which takes a part of a second.
    assert_eq!((delete_as(&world, &next).await.status, server.hits()), (403, 1));
    server.now(Mode::Serve(next.jwks()));
    world.clock.advance(Duration::from_secs(599));
    assert_eq!((delete(&world).await.status, server.hits()), (204, 1));
    world.clock.advance(Duration::from_secs(1));
    let reply = delete(&world).await;
    assert_eq!(reply.message(), "the token's key is not one of the issuer's");
    assert_eq!((reply.status, server.hits()), (403, 2));
    assert_eq!((delete_as(&world, &next).await.status, server.hits()), (204, 2));
}

/// A7: while the issuer hangs, one request in 30 s with a known key waits for new keys, for a second at most.
/// While the issuer hangs, all other requests with a known key do not wait.
#[tokio::test]
async fn a_known_key_waits_for_a_second_at_most() {
    let next = Issuer::generate().unwrap();
    let server = KeyServer::start(Mode::Hang).await;
    let world = freezing_world(&server).await;
    world.clock.advance(Duration::from_mins(10));
    for _ in 0..5 {
        assert_eq!(delete(&world).await.status, 204, "the issuer hangs");
    }
    // The fetch of the first request is still under way. If each request had waited for this fetch, the
    // fetch's time would be over now.
    server.now(Mode::Serve(next.jwks()));
    assert_eq!((delete_as(&world, &next).await.status, server.hits()), (204, 1));
}

/// A7: on Vercel, if a fetch is still under way after the answer, the host lets the fetch finish.
#[tokio::test]
async fn a_fetch_is_handed_to_the_host() {
    let server = KeyServer::start(Mode::Hang).await;
    let world = server.warm_world().await;
    let app = world.process().await;
    world.clock.advance(Duration::from_mins(10));
    let request = http::Request::delete(RESOURCE)
        .header("authorization", format!("Bearer {}", world.token(&user("icfg_1"))))
        .body(Full::<Bytes>::default())
        .unwrap();
    let (answer, follow_up) = app.handle_and_follow_up(Endpoint::DeleteResource, request).await;
    assert_eq!(answer.status(), 204, "nobody waits for it");
    let mut follow_up = pin!(follow_up.map(app::FollowUp::run).unwrap());
    assert!(follow_up.as_mut().now_or_never().is_none(), "it is under way");
    server.now(good());
    follow_up.await;
    assert_eq!(server.hits(), 1);
}

/// A7: the numbers `n` and `e` of a key may begin with zero octets.
#[tokio::test]
async fn a_keys_number_may_begin_with_zeros() {
    let padded = |encoded: &str, zeros: usize| {
        let octets = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        URL_SAFE_NO_PAD.encode([vec![0; zeros], octets].concat())
    };
    for (zeros_of_n, zeros_of_e) in [(1, 0), (0, 1), (4, 5)] {
        let mut key = ISSUER.jwk();
        key["n"] = json!(padded(key["n"].as_str().unwrap(), zeros_of_n));
        key["e"] = json!(padded(key["e"].as_str().unwrap(), zeros_of_e));
        let server = KeyServer::start(Mode::Serve(json!({ "keys": [key] }))).await;
        let world = server.cold_world().await;
        assert_eq!(delete(&world).await.status, 204, "{zeros_of_n} {zeros_of_e}");
    }
}

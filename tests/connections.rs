//! Connections to DynamoDB that died unnoticed, and the log lines of a DynamoDB that is out of reach (F6).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::Value;
use teardown::app::App;
use teardown::store::Store;
use teardown_cli::embedded::local_client;
use teardown_cli::server;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::dynamodb::Fault;
use crate::support::process::{DELETE_RESOURCE, Variables, free_port, start};
use crate::support::wire::{empty, listen};
use crate::support::world::{RESOURCE, World, http_client, serve, user};

/// A tunnel to DynamoDB whose open connections can go silent, without an end or an error, while new
/// connections work. In production, connections go silent after a freeze, after a node's failure, or if a NAT
/// loses its state.
struct Tunnel {
    url: String,
    connections: Arc<AtomicUsize>,
    silenced: watch::Sender<usize>,
}

impl Tunnel {
    async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let (silenced, silence) = watch::channel(0);
        let (count, to) = (connections.clone(), to.trim_start_matches("http://").to_owned());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (to, mut silence) = (to.clone(), silence.clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let silenced = async {
                        let _ = silence.wait_for(|silent| number < *silent).await;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        // The silent connection stays open, but nobody reads or writes any more.
                        () = silenced => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, connections, silenced }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Makes every open connection silent.
    fn silence(&self) {
        self.silenced.send_replace(self.connections());
    }
}

/// F6: if all connections in the pool are dead, the function waits for only one time-out, and no request
/// fails. After the first attempt that times out, the other idle connections are not used again.
#[tokio::test]
async fn a_pool_of_dead_connections_costs_one_time_out() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let tunnel = Tunnel::start(&world.dynamodb_url).await;
    let client = local_client(&tunnel.url).await.unwrap();
    let store = Store::new(client, &world.config, world.clock.clone());
    let app = App::with_store(&world.config, store, world.clock.clone());
    let url = format!("{}{RESOURCE}", serve(server::endpoints(app)).await);
    let token = world.token(&user("icfg_1"));
    let send = async || {
        let answer = http_client().delete(&url).bearer_auth(&token).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(join_all((0..16).map(|_| send())).await, [204; 16]);
    let opened = tunnel.connections();
    assert!(opened > 4, "{opened} connections");

    tunnel.silence();
    assert_eq!(send().await, 204, "one attempt's time-out, and a new connection");
    assert_eq!(tunnel.connections(), opened + 1);
    assert_eq!(join_all((0..16).map(|_| send())).await, [204; 16]);
}

/// Starts a function, and sends it a deletion, which is answered 503 `store_unavailable`. Returns the cause
/// of this answer, as the function logged it.
async fn cause(world: &World, variables: &[(&'static str, &str)]) -> String {
    let port = free_port();
    let mut environment: Variables = world.environment();
    environment.push(("VERCEL_DEV_PORT", port.to_string()));
    environment.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mut function = start(DELETE_RESOURCE, environment);
    function.line();
    let token = world.token(&user("icfg_1"));
    let url = format!("http://127.0.0.1:{port}{RESOURCE}");
    let answer = http_client().delete(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let log = function.end();
    let line = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = line.rev().find(|line| line["message"] == "answered").unwrap();
    assert_eq!(line["outcome"], "store_unavailable");
    line["cause"].as_str().unwrap().to_owned()
}

/// F6: the log names the error of the last attempt, instead of only saying that the time is over.
#[tokio::test(flavor = "multi_thread")]
async fn the_cause_is_the_last_attempts_error() {
    let (plain, _) = listen(async |_| Ok(empty(204))).await;
    let tls = plain.replace("http:", "https:");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let endpoint = "AWS_ENDPOINT_URL_DYNAMODB";
    let cases = [
        (Fault::None, Some("http://127.0.0.1:1"), "Connection refused"),
        // If no name server answers, the error is a time-out after the 1 s that an attempt to connect may
        // take.
        (Fault::None, Some("http://dynamodb.invalid"), "HTTP connect timeout|dns error"),
        (Fault::None, Some(tls.as_str()), "InvalidContentType"),
        (Fault::None, Some(silent.as_str()), "(single attempt) occurred after 2s"),
        (Fault::Throttle, None, "ThrottlingException"),
        (Fault::ServerError, None, "InternalServerError"),
        (Fault::Conflict, None, "TransactionCanceledException"),
        (Fault::ResetBefore, None, "connection"),
    ];
    join_all(cases.map(async |(fault, url, error)| {
        let world = World::new().await;
        world.install("icfg_1", &["db_1"]).await;
        world.dynamodb.lasting(fault);
        let variables: Vec<_> = url.into_iter().map(|url| (endpoint, url)).collect();
        let cause = cause(&world, &variables).await;
        assert!(cause.starts_with("given up after 8000 ms; the last attempt: "), "{cause}");
        assert!(error.split('|').any(|error| cause.contains(error)), "{error}: {cause}");
    }))
    .await;
}

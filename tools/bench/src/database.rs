//! The DynamoDB of a function or of its peer. Before each round of loads, a newly seeded database replaces
//! the old database at its address. A stub, which is never the bottleneck, can also replace a database.
//!
//! At each transaction, the embedded DynamoDB searches the tokens of all transactions of the last 10 minutes.
//! Amazon's DynamoDB makes no such search. If a database were not replaced, the function would wait longer
//! and longer for this search. The function's peer uses no transactions, so the peer would not wait.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use teardown_cli::embedded::Embedded;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::requests::INSTALLATIONS;
use crate::seed::{Resource, make_idempotency_table, seed};

/// The operations that the instant DynamoDB accepts: the writes of the function and of its peer.
const WRITES: [&str; 4] = ["TransactWriteItems", "PutItem", "DeleteItem", "UpdateItem"];

/// The database. The database's server ends when this value is dropped.
pub(crate) struct Database {
    /// The database has its own runtime, so that the database's connections end when the runtime ends. `None`
    /// only while the database is replaced.
    runtime: Option<Runtime>,
    address: SocketAddr,
    resources: usize,
    is_for_peer: bool,
}

impl Database {
    /// Starts a database with this many live resources. A database for the peer also has the peer's own
    /// table.
    pub(crate) fn start(
        resources: usize,
        is_for_peer: bool,
    ) -> anyhow::Result<(Self, Vec<Resource>)> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let mut database = Self { runtime: None, address, resources, is_for_peer };
        let resources = database.renew()?;
        Ok((database, resources))
    }

    /// The database's address, for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the database with a new database, which holds what the old database held at its start.
    /// Connections to the old database break.
    pub(crate) fn renew(&mut self) -> anyhow::Result<Vec<Resource>> {
        let runtime = self.serve(|listener| {
            Embedded::serve(None, listener)?;
            Ok(())
        })?;
        let (url, count, is_for_peer) = (self.url(), self.resources, self.is_for_peer);
        let resources = runtime.block_on(runtime.spawn(async move {
            let resources = seed(url.clone(), count, INSTALLATIONS).await?;
            if is_for_peer {
                make_idempotency_table(url).await?;
            }
            anyhow::Ok(resources)
        }))??;
        self.runtime = Some(runtime);
        Ok(resources)
    }

    /// Replaces the database with a stub that accepts every write immediately, and keeps nothing. The stub
    /// refuses reads: if a server reads, the measurement fails, so such a server cannot look fast.
    /// Connections to the old database break.
    pub(crate) fn make_instant(&mut self) -> anyhow::Result<()> {
        let router = Router::new().fallback(async |headers: HeaderMap, _: Bytes| {
            let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
            let operation = target.and_then(|target| target.split_once('.')).map(|(_, name)| name);
            let agrees = operation.is_some_and(|operation| WRITES.contains(&operation));
            let status = if agrees { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], "{}")
        });
        let runtime = self.serve(|listener| {
            tokio::spawn(axum::serve(listener, router).into_future());
            Ok(())
        })?;
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Ends the database's present server, and starts another server at its address. Returns the new server's
    /// runtime.
    fn serve(
        &mut self,
        start: impl FnOnce(TcpListener) -> anyhow::Result<()>,
    ) -> anyhow::Result<Runtime> {
        drop(self.runtime.take());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        self.address = runtime.block_on(async {
            let listener = TcpListener::bind(self.address).await?;
            let address = listener.local_addr()?;
            start(listener)?;
            anyhow::Ok(address)
        })?;
        Ok(runtime)
    }
}

//! The DynamoDB of a side. It is replaced by a newly seeded one before each round of loads, at the same
//! address. A stub that limits nobody can replace it, too.
//!
//! At each transaction, the embedded DynamoDB goes through the tokens of all transactions of the last 10
//! minutes. Amazon's does not. A function would wait for that, and its peer would not.

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

/// The operations that an instant DynamoDB agrees to: those that the sides write with.
const WRITES: [&str; 4] = ["TransactWriteItems", "PutItem", "DeleteItem", "UpdateItem"];

/// The database. It ends when dropped.
pub(crate) struct Database {
    /// A runtime of its own, so that its connections end with it. `None` only while the database is replaced.
    runtime: Option<Runtime>,
    address: SocketAddr,
    resources: usize,
    is_for_peer: bool,
}

impl Database {
    /// Starts a database with this many live resources, and with the peer's table if it is for the peer.
    pub(crate) fn start(
        resources: usize,
        is_for_peer: bool,
    ) -> anyhow::Result<(Self, Vec<Resource>)> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let mut database = Self { runtime: None, address, resources, is_for_peer };
        let resources = database.renew()?;
        Ok((database, resources))
    }

    /// Its address, for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces it with a database as it was at first. Its connections break.
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

    /// Replaces it with a stub that agrees to every write at once, and keeps nothing. The stub refuses all
    /// else, so that a side that reads is not measured as if it did not. Connections break.
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

    /// Ends what is served, and serves something else at the same address.
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

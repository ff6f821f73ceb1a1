//! The DynamoDB of a side: empty and seeded anew before each round of loads, at the same address.
//!
//! The embedded one goes through the tokens of all transactions of the last 10 minutes at each
//! transaction, which Amazon's does not: a function, and not its peer, would wait for that.

use std::net::{Ipv4Addr, SocketAddr};

use teardown_dev::embedded::Embedded;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::requests::INSTALLATIONS;
use crate::seed::{Resource, make_idempotency_table, seed};

/// The database. It ends when dropped.
pub(crate) struct Database {
    /// Its own, so that its connections end with it. Always there but while it is renewed.
    runtime: Option<Runtime>,
    address: SocketAddr,
    resources: usize,
    is_for_peer: bool,
}

impl Database {
    /// Starts one with so many live resources, and with the peer's table where it is the peer's.
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

    /// Makes it as it was at first. Its connections break.
    pub(crate) fn renew(&mut self) -> anyhow::Result<Vec<Resource>> {
        drop(self.runtime.take());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        self.address = runtime.block_on(async {
            let listener = TcpListener::bind(self.address).await?;
            let address = listener.local_addr()?;
            Embedded::serve(None, listener)?;
            anyhow::Ok(address)
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
}

//! The embedded DynamoDB, and clients that talk to it or to another emulator.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use dynoxide::Database;
use teardown::store::Aws;
use tokio::net::TcpListener;

/// A DynamoDB in this process, with its own port on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    address: SocketAddr,
}

impl Embedded {
    /// Starts a database that keeps its data in `file`. Without a file, the data is lost when the process
    /// ends.
    ///
    /// # Errors
    ///
    /// If the file is not a database, or no port is free.
    pub async fn start(file: Option<&Path>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free")?;
        Self::serve(file, listener)
    }

    /// Starts a database as [`Embedded::start`] does, but on a port that is already bound. The database runs
    /// as long as the tokio runtime.
    ///
    /// # Errors
    ///
    /// If the file is not a database.
    pub fn serve(file: Option<&Path>, listener: TcpListener) -> anyhow::Result<Self> {
        Self::listening(open(file)?, listener)
    }

    /// Starts a database as [`Embedded::start`] does, and also returns it for use in this process.
    ///
    /// # Errors
    ///
    /// If the file is not a database, or no port is free.
    pub(crate) async fn open(file: Option<&Path>) -> anyhow::Result<(Self, Database)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free")?;
        let database = open(file)?;
        Ok((Self::listening(database.clone(), listener)?, database))
    }

    fn listening(database: Database, listener: TcpListener) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        Ok(Self { address })
    }

    /// The database's address, for `AWS_ENDPOINT_URL_DYNAMODB`.
    #[must_use]
    pub fn url(self) -> String {
        format!("http://{}", self.address)
    }
}

fn open(file: Option<&Path>) -> anyhow::Result<Database> {
    let database = match file {
        None => Database::memory(),
        Some(path) => Database::new(&path.to_string_lossy()),
    };
    database.map_err(|error| match file {
        None => anyhow!("{error}"),
        Some(path) => anyhow!("{}: {error}", path.display()),
    })
}

/// A builder of HTTP clients for this machine's own ports. The clients use no proxy, because a proxy cannot
/// reach these ports. This machine's own ports use no TLS, so the clients read no root certificates, which
/// would take milliseconds.
pub(crate) fn this_machine() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().tls_certs_only([])
}

/// A DynamoDB client for an emulator at `url`, with the functions' own time-outs and retries. An emulator
/// accepts any region and any credentials.
///
/// # Errors
///
/// If the AWS environment is malformed.
pub async fn local_client(url: &str) -> anyhow::Result<Client> {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(url);
    Ok(Aws::load(loader).await?.dynamodb())
}

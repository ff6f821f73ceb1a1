//! The DynamoDB that a command uses. If the DynamoDB does not answer, the command fails within seconds. A
//! `Store` would repeat its requests for much longer.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use reqwest::Url;
use teardown::clock::Clock;
use teardown::config::Config;
use teardown::store::{Aws, Store};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::settings::{of_table, variable};
use super::typed;
use crate::embedded::{local_client, this_machine};
use crate::page::CLOCK_PATH;

/// If any of these variables is set, the environment names a DynamoDB. If no such variable is set, commands
/// use the DynamoDB of a `teardown dev`.
const NAMES_ONE: [&str; 6] = [
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
];

/// The time limit for opening a connection on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the first answer of a DynamoDB may take. On AWS, the SDK may have to fetch credentials before the
/// request.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first answer of a DynamoDB on this machine may take.
const FIRST_LOCAL_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A DynamoDB, and the table in this DynamoDB that the configuration names.
pub(super) struct Destination {
    client: Client,
    config: Config,
    /// The AWS environment, which knows who the operator is. `None` if the DynamoDB is on this machine.
    aws: Option<Aws>,
    /// Where the DynamoDB is, for messages: its address or its region.
    place: String,
    /// The clock of the `teardown dev`, which may be ahead of the system's clock. If the environment names a
    /// DynamoDB, this field is the system's clock.
    clock: Clock,
    /// Whether the table exists.
    has_table: bool,
}

impl Destination {
    /// Finds the DynamoDB, and asks it whether the table exists. If the environment names no DynamoDB, the
    /// function finds the DynamoDB of the `teardown dev` on `port`.
    pub(super) async fn find(port: u16) -> anyhow::Result<Self> {
        Box::pin(Self::find_with(port, of_table()?)).await
    }

    /// Whether the environment names a DynamoDB. If the environment names no DynamoDB, commands use the
    /// DynamoDB of a `teardown dev`.
    pub(super) fn is_named() -> bool {
        NAMES_ONE.into_iter().any(|name| variable(name).is_some())
    }

    /// Does what [`Self::find`] does, for a store with this configuration.
    pub(super) async fn find_with(port: u16, config: Config) -> anyhow::Result<Self> {
        let named_one = Self::is_named();
        let (endpoint, aws, client) = if named_one {
            let endpoint = endpoint()?;
            let aws = named(endpoint.as_ref()).await?;
            let client = aws.dynamodb();
            (endpoint, Some(aws), client)
        } else {
            let url = format!("http://127.0.0.1:{port}");
            (Some(Url::parse(&url)?), None, local_client(&url).await?)
        };
        let local = endpoint.as_ref().filter(|url| is_loopback(url));
        let place = match &endpoint {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("AWS {}", client.config().region().map_or("", Region::as_ref)),
        };
        if let Some(url) = local {
            connect(url).await.map_err(|_| nothing_answers(&place))?;
        }
        let time = if local.is_some() { FIRST_LOCAL_ANSWER_TIMEOUT } else { FIRST_ANSWER_TIMEOUT };
        let call = client.describe_table().table_name(&config.table_name).send();
        let answer = timeout(time, call).await.map_err(|_| nothing_answers(&place))?;
        let has_table = match answer {
            Ok(_) => true,
            Err(error) => is_there(error, &place)?,
        };
        let aws = aws.filter(|_| local.is_none());
        let clock = if named_one { Clock::system() } else { clock_of(port).await };
        Ok(Self { client, config, aws, place, clock, has_table })
    }

    /// The store. Fails if the table does not exist.
    pub(super) fn store(&self) -> anyhow::Result<Store> {
        if self.has_table {
            Ok(Store::new(self.client.clone(), &self.config, self.clock.clone()))
        } else {
            bail!(
                "there is no table {} at {}: `{}` creates it",
                self.table(),
                self.place,
                typed("table")
            )
        }
    }

    /// The AWS environment, if the DynamoDB is not on this machine.
    pub(super) fn aws(&self) -> Option<&Aws> {
        self.aws.as_ref()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The clock by which the times in the table were set.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn table(&self) -> &str {
        &self.config.table_name
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

/// The clock of the `teardown dev` on a port, or the system's clock if no `teardown dev` answers on this
/// port.
pub(super) async fn clock_of(port: u16) -> Clock {
    let clock = Clock::system();
    clock.advance(Duration::from_secs(moved(port).await.unwrap_or_default()));
    clock
}

async fn moved(port: u16) -> Option<u64> {
    let http = this_machine().timeout(CONNECT_TIMEOUT).build().ok()?;
    let answer = http.get(format!("http://127.0.0.1:{port}{CLOCK_PATH}")).send().await.ok()?;
    let clock: serde_json::Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    clock["movedSeconds"].as_u64()
}

fn nothing_answers(place: &str) -> anyhow::Error {
    anyhow!(
        "no DynamoDB answers at {place}: start `{}` in another terminal, give its --port, or set \
         AWS_ENDPOINT_URL_DYNAMODB",
        typed("dev")
    )
}

/// The endpoint that the environment names, from the same variables that the SDK reads.
fn endpoint() -> anyhow::Result<Option<Url>> {
    for name in ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"] {
        if let Some(text) = variable(name) {
            return match Url::parse(&text) {
                Ok(url) if url.has_host() => Ok(Some(url)),
                _ => bail!("{name}: is not a URL"),
            };
        }
    }
    Ok(None)
}

fn is_loopback(url: &Url) -> bool {
    host(url) == "localhost" || host(url).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

async fn connect(url: &Url) -> anyhow::Result<()> {
    let port = url.port_or_known_default().context("no port")?;
    timeout(CONNECT_TIMEOUT, TcpStream::connect((host(url), port))).await??;
    Ok(())
}

/// Loads the AWS environment. If the endpoint is on this machine, the region and the credentials have
/// defaults, because an emulator accepts any region and any credentials.
async fn named(endpoint: Option<&Url>) -> anyhow::Result<Aws> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if endpoint.is_some_and(is_loopback) {
        loader = with_local_defaults(loader);
    }
    Ok(Aws::load(loader).await?)
}

fn with_local_defaults(loader: ConfigLoader) -> ConfigLoader {
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(Region::from_static("us-east-1"));
    let loader = loader.region(region);
    if ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"].into_iter().any(|name| variable(name).is_some()) {
        return loader;
    }
    loader.credentials_provider(Credentials::new("local", "local", None, None, "local"))
}

/// Whether the table exists, judged by the error with which DynamoDB refused to describe it.
fn is_there(error: SdkError<DescribeTableError>, place: &str) -> anyhow::Result<bool> {
    match error.code() {
        Some("ResourceNotFoundException") => Ok(false),
        // This error does not mean that the table is missing, because a role may be allowed to use the table
        // but not to describe it.
        Some("AccessDeniedException") => Ok(true),
        Some(code) => {
            let message = error.message().unwrap_or_default();
            bail!("the DynamoDB at {place} refuses: {code} {message}")
        }
        None if error.as_service_error().is_some() => {
            bail!("what answers at {place} is no DynamoDB")
        }
        None => Err(anyhow!(error).context(format!("the DynamoDB at {place} cannot be reached"))),
    }
}

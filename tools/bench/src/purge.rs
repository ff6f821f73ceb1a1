//! The purge of uninstalled installations by the function `sweep`, with and without a provider.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;
use teardown::clock::Clock;
use teardown::config::Config;
use teardown::store::Store;
use teardown::{App, Endpoint};
use teardown_cli::embedded::{Embedded, local_client};
use teardown_cli::issuer::Issuer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::environment;
use crate::function::{Cores, Function, Memory, on_its_core};
use crate::requests::token;
use crate::seed::{installation, seed};

/// How many resources the purged installations have.
const SIZES: [usize; 2] = [1_000, 10_000];

/// The secret that the sweep's caller sends.
const CRON_SECRET: &str = "bench";

/// How long a purge may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// The measurements of a purge.
pub(crate) struct Purge {
    pub(crate) resources: u32,
    /// Whether each resource was announced to a provider.
    pub(crate) announced: bool,
    /// The time from the first sweep until no job was due any more.
    pub(crate) elapsed: Duration,
    /// The CPU time of the function.
    pub(crate) cpu: Duration,
    /// The function's memory after the purge.
    pub(crate) memory: Memory,
}

/// Purges an installation of each size, with and without a provider. Each purge has its own function
/// process.
pub(crate) fn measure(
    runtime: &Runtime,
    binary: &Path,
    issuer: &Issuer,
    cores: Option<Cores>,
) -> anyhow::Result<Vec<Purge>> {
    let mut purges = Vec::new();
    for announced in [false, true] {
        for resources in SIZES {
            let dynamodb = runtime.block_on(Embedded::start(None))?.url();
            let mut variables = environment(issuer, dynamodb.clone());
            variables.push(("CRON_SECRET", CRON_SECRET.to_owned()));
            if announced {
                let provider = runtime.block_on(runtime.spawn(provider()))??;
                variables.push(("PROVIDER_URL", provider));
                let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
                variables.push(("PROVIDER_SECRET", secret.to_owned()));
            }
            let bearer = issuer.sign(&token(0).claims());
            let uninstalled = uninstall(dynamodb, resources, variables.clone(), bearer);
            runtime.block_on(runtime.spawn(uninstalled))??;
            let mut function = on_its_core(cores, || Function::start(binary, &variables))?;
            let address = function.address();
            function.wait_until_it_listens()?;
            let before = function.cpu()?;
            let elapsed = runtime.block_on(runtime.spawn(sweep_all(address.to_string())))??;
            let (user, system) = function.cpu()?.since(before);
            let (resources, cpu) = (u32::try_from(resources)?, user + system);
            let memory = function.memory()?;
            purges.push(Purge { resources, announced, elapsed, cpu, memory });
        }
    }
    Ok(purges)
}

/// Starts a provider that answers 204 to every announcement. Returns the provider's address.
async fn provider() -> anyhow::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(|| async { StatusCode::NO_CONTENT });
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(format!("http://{address}/"))
}

/// Registers an installation with this many resources, and uninstalls it.
async fn uninstall(
    dynamodb: String,
    resources: usize,
    variables: Vec<(&'static str, String)>,
    bearer: String,
) -> anyhow::Result<()> {
    seed(dynamodb.clone(), resources, 1).await?;
    let config = Config::from_variables(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    })?;
    let clock = Clock::system();
    let store = Store::new(local_client(&dynamodb).await?, &config, clock.clone());
    let request = Request::delete(format!("/v1/installations/{}", installation(0)))
        .header("authorization", format!("Bearer {bearer}"))
        .body(Body::empty())?;
    let app = App::with_store(&config, store, clock);
    let answer = app.handle(Endpoint::DeleteInstallation, request).await;
    ensure!(answer.status() == StatusCode::OK, "the uninstall was answered {}", answer.status());
    Ok(())
}

/// Sweeps until no job is due any more.
async fn sweep_all(address: String) -> anyhow::Result<Duration> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let swept = http.get(format!("http://{address}/api/sweep")).bearer_auth(CRON_SECRET);
        let report = swept.send().await?.error_for_status()?.bytes().await?;
        let report: Value = serde_json::from_slice(&report)?;
        let taken = report["claimed"].as_u64().context("no report")?;
        ensure!(report["parked"] == 0, "{report}");
        if taken == 0 {
            return Ok(began.elapsed());
        }
    }
    Err(anyhow!("the purge has no end"))
}

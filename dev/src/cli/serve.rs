//! `cargo dev` itself: everything on one port, until it is told to stop.

use std::io::{self, ErrorKind, IsTerminal as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::Router;
use teardown::App;
use teardown::clock::Clock;
use teardown::store::{Store, table};
use teardown::telemetry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::samples::Samples;
use super::settings::{issuer, of_endpoints, variable};
use super::{print, welcome};
use crate::embedded::{Embedded, local_client};
use crate::server::everything;

/// How long requests under way may take to end after Ctrl-C.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) async fn run(port: u16, data: Option<&Path>) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    tokio::select! {
        up = start(port, data) => serve(up?, &mut stop).await?,
        () = stop.requested() => {}
    }
    let kept = data.map_or_else(String::new, |file| format!("; {} has the data", file.display()));
    Ok(print(&format!("\nteardown has stopped{kept}\n"))?)
}

/// What is ready to be served, and how to say so.
struct Ready {
    listener: TcpListener,
    router: Router,
    welcome: String,
}

async fn start(port: u16, data: Option<&Path>) -> anyhow::Result<Ready> {
    let listener = bind(port).await?;
    let address = listener.local_addr()?;
    log_to_stderr()?;
    let issuer = issuer()?;
    let config = of_endpoints(&issuer, address.port())?;
    let dynamodb = start_dynamodb(data).await?;
    let client = local_client(&dynamodb.url()).await?;
    table::create(&client, &config.table_name)
        .await
        .map_err(anyhow::Error::from_boxed)
        .context("the table")?;
    let clock = Clock::system();
    let store = Store::new(client, &config, clock.clone());
    let samples = Samples::register(&store).await?;
    let welcome = welcome::text(address, data, &config, &issuer, &samples);
    let app = App::with_store(&config, store, clock);
    let router = everything(app, issuer.jwks(), dynamodb.url());
    Ok(Ready { listener, router, welcome })
}

async fn serve(ready: Ready, stop: &mut Stop) -> anyhow::Result<()> {
    let (end, ended) = oneshot::channel::<()>();
    let server = axum::serve(ready.listener, ready.router).with_graceful_shutdown(async {
        let _ = ended.await;
    });
    let server = tokio::spawn(async { server.await });
    print(&ready.welcome)?;
    stop.requested().await;
    let _ = end.send(());
    // What takes longer is cut off: nothing is lost by it but its answer.
    let _ = tokio::time::timeout(FAREWELL, server).await;
    Ok(())
}

async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    bound.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!("port {port} is busy: choose another with --port"),
        _ => anyhow!(error).context(format!("port {port}")),
    })
}

async fn start_dynamodb(data: Option<&Path>) -> anyhow::Result<Embedded> {
    if let Some(file) = data {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            bail!("--data: there is no folder {}", folder.display());
        }
        if file.is_dir() {
            bail!("--data: {} is a folder", file.display());
        }
    }
    Embedded::start(data).await.context(if data.is_some() { "--data" } else { "the DynamoDB" })
}

/// The signals that end the tool. They are caught from the start on, so that it always ends alike.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Sends logs to standard error, to be read by people.
fn log_to_stderr() -> anyhow::Result<()> {
    let asked = variable("RUST_LOG");
    let mut filter = telemetry::filter(asked.as_deref())?;
    if asked.is_none() {
        // It warns of every condition that does not hold, which is how deletions learn.
        filter = filter.with_target("dynoxide", LevelFilter::ERROR);
    }
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

//! `teardown dev` itself: serves everything on one port, until a signal stops it.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::Router;
use dynoxide::Database;
use teardown::App;
use teardown::backend;
use teardown::clock::Clock;
use teardown::config::{Config, ConfigError};
use teardown::store::Store;
use teardown::store::admin::table;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::samples::{ACCOUNT, Samples};
use super::settings::{issuer, of_endpoints, sample_backend, variable};
use super::{logs, sweeps, welcome};
use crate::embedded::{Embedded, local_client};
use crate::issuer::{Issuer, Subject, Token};
use crate::page::{self, DevPage, Journal, open_door};
use crate::server::{Others, everything};
use crate::standin::backend::Backend as SampleBackend;
use crate::standin::call_back::CallBack;
use crate::standin::{VERCEL_PATH, provider, vercel};
use crate::terminal::{note, print};

/// How long open requests and a running sweep may continue after Ctrl-C.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the token for a call back is valid. Vercel's stand-in uses the token immediately.
const CALL_BACK_EXPIRY: Duration = Duration::from_mins(1);

/// The options of `teardown dev` itself.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file that keeps the data. Without --data, the data is lost when the command ends
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// If a configuration is deleted at Vercel's stand-in, the stand-in calls Delete Installation
    #[arg(long)]
    call_back: bool,
    /// The backend to which the front passes Vercel's other calls on [default: a sample backend]
    #[arg(long, value_name = "URL")]
    backend: Option<String>,
}

impl Args {
    /// The name of the first option that the user gave, such as `--data`. `None` if the user gave none of
    /// these options.
    pub(super) fn given(&self) -> Option<&'static str> {
        let data = self.data.as_ref().map(|_| "--data");
        let backend = self.backend.as_ref().map(|_| "--backend");
        data.or(backend).or_else(|| self.call_back.then_some("--call-back"))
    }
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    tokio::select! {
        up = Box::pin(start(port, args)) => serve(up?, &mut stop).await?,
        () = stop.requested() => {}
    }
    let data = args.data.as_ref();
    let kept = data.map_or_else(String::new, |file| format!("; {} has the data", file.display()));
    Ok(print(&format!("\nteardown has stopped{kept}\n"))?)
}

/// What `teardown dev` serves, and the welcome that it prints.
struct Ready {
    listener: TcpListener,
    app: App,
    router: Router,
    welcome: String,
}

async fn start(port: u16, args: &Args) -> anyhow::Result<Ready> {
    let data = args.data.as_deref();
    let listener = bind(port).await?;
    let address = listener.local_addr()?;
    logs::to_stderr()?;
    let issuer = Arc::new(issuer()?);
    let config = of_endpoints(&issuer, address.port(), args.backend.as_deref())
        .map_err(|error| in_options(error, args))?;
    for name in ["OIDC_JWKS", "OIDC_JWKS_URL"] {
        if variable(name).is_some() {
            note(&format!("{name} is ignored: `dev` accepts only the tokens of its own issuer"));
        }
    }
    let (dynamodb, database) = start_dynamodb(data).await?;
    let clock = Clock::system();
    let journal = Journal::new(clock.clone());
    let table = config.table_name.clone();
    let door = open_door(database, dynamodb.url(), table, journal.clone()).await?;
    let client = local_client(&door.endpoints).await?;
    table::create(&client, &config.table_name)
        .await
        .map_err(anyhow::Error::from_boxed)
        .context("the table")?;
    let store = Store::new(client.clone(), &config, clock.clone());
    let samples = Samples::register(&store).await?;
    let welcome = welcome::text(address, data, &config, &samples);
    let app = App::with_store(&config, store.clone(), clock.clone());
    let call_back = args
        .call_back
        .then(|| call_back(&config, &issuer, format!("http://{address}"), clock.clone()));
    let stand_ins =
        stand_ins(&config, address.port(), &app, call_back.transpose()?, store.clone(), &clock)?;
    let backend = config.backend_url.clone().map(|url| Others {
        is_sample: url.as_str() == sample_backend(address.port()),
        backend: backend::Backend::new(url),
    });
    let router = everything(app.clone(), backend, issuer.jwks(), stand_ins, door.others);
    let parts = page::Parts {
        app: &app,
        store: &store,
        client: &client,
        reader: local_client(&dynamodb.url()).await?,
        config: &config,
        clock: &clock,
        issuer: &issuer,
        journal: &journal,
        account: ACCOUNT,
        by: variable("USER").unwrap_or_else(|| "local".to_owned()),
    };
    let page = DevPage::new(address, parts);
    let router = page.around(router);
    tokio::spawn(page.begin());
    Ok(Ready { listener, app, router, welcome })
}

/// Names the option in place of the variable, if the mistake is in the option.
fn in_options(error: ConfigError, args: &Args) -> anyhow::Error {
    match (&args.backend, error.variable) {
        (Some(_), "BACKEND_URL") => anyhow!("--backend: {}", error.problem),
        _ => error.into(),
    }
}

/// The routes of the stand-ins, each at its path.
fn stand_ins(
    config: &Config,
    port: u16,
    app: &App,
    call_back: Option<CallBack>,
    store: Store,
    clock: &Clock,
) -> anyhow::Result<Router> {
    let mut router = Router::new().nest(VERCEL_PATH, vercel::router(call_back, Some(store)));
    let sample = sample_backend(port);
    let is_sample = config.backend_url.as_ref().is_some_and(|url| url.as_str() == sample);
    let backend = is_sample.then(|| SampleBackend::new(app.verifier().clone()));
    if let Some(backend) = &backend {
        router = router.merge(backend.clone().router());
    }
    Ok(match &config.provider {
        Some(it) => router.merge(provider::router(&it.secrets, clock.clone(), backend)?),
        None => router,
    })
}

fn call_back(
    config: &Config,
    issuer: &Arc<Issuer>,
    endpoints: String,
    clock: Clock,
) -> reqwest::Result<CallBack> {
    let token = Token {
        issuer: config.oidc_issuer.clone(),
        audience: config.integration_ids.first().to_owned(),
        account: ACCOUNT.to_owned(),
        installation: None,
        subject: Subject::System,
        expires: CALL_BACK_EXPIRY,
    };
    CallBack::new(endpoints, Arc::clone(issuer), token, clock)
}

async fn serve(ready: Ready, stop: &mut Stop) -> anyhow::Result<()> {
    // The server and the sweeps end when `running` is dropped.
    let (running, mut ended) = watch::channel(());
    let sweeps = sweeps::run(ready.app, ended.clone());
    let server = axum::serve(ready.listener, ready.router).with_graceful_shutdown(async move {
        let _ = ended.changed().await;
    });
    let server = tokio::spawn(async { server.await });
    print(&ready.welcome)?;
    // The sweeps start after the welcome is printed, so that their log lines come below the welcome.
    let sweeps = tokio::spawn(sweeps);
    stop.requested().await;
    drop(running);
    // A request that takes longer than `FAREWELL` is cut off. Only the request's answer is lost, because its
    // jobs stay in the table and become due again.
    let _ = tokio::time::timeout(FAREWELL, async { tokio::join!(server, sweeps) }).await;
    Ok(())
}

async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    bound.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!("port {port} is busy: choose another with --port"),
        _ => anyhow!(error).context(format!("port {port}")),
    })
}

async fn start_dynamodb(data: Option<&Path>) -> anyhow::Result<(Embedded, Database)> {
    if let Some(file) = data {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            bail!("--data: there is no folder {}", folder.display());
        }
        if file.is_dir() {
            bail!("--data: {} is a folder", file.display());
        }
    }
    Embedded::open(data).await.context(if data.is_some() { "--data" } else { "the DynamoDB" })
}

/// The signals that end the tool. The tool catches these signals from its start, so that every signal ends it
/// in the same way.
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

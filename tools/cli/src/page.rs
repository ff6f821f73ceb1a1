//! The page of `teardown dev`, at `/`. It simulates Vercel, and shows live what teardown does for each
//! request.
//!
//! `door` sees each write to the table, with the items before and after the write. `watch` sees each request
//! to the endpoints and to the stand-ins. `journal` records writes and requests in their order, and notifies
//! the open pages through `events`. `act` sends requests over HTTP, as Vercel would. teardown's functions do
//! not use the modules of the page.

mod act;
mod answers;
mod door;
mod entry;
mod events;
mod journal;
mod make;
mod news;
mod time;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use aws_sdk_dynamodb::Client;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::HeaderName;
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use teardown::App;
use teardown::clock::Clock;
use teardown::config::Config;
use teardown::ids::InstallationId;
use teardown::store::Store;

use self::act::Caller;
use self::answers::Answers;
pub(crate) use self::door::open as open_door;
pub(crate) use self::journal::Journal;
use crate::issuer::Issuer;
use crate::web::guard::{Here, no_other_site, own_pages};
use crate::web::operate::{Operator, Order};
use crate::web::sections::{Again, Frame, SectionQuery, Sections};
use crate::web::table::Table;
use crate::web::{assets, duration, failed, html};

/// The prefix of all of the page's paths except `/`.
const BASE: &str = "/page";

/// The path that answers how far the page has moved the clock forward.
pub(crate) const CLOCK_PATH: &str = "/page/clock.json";

/// How many installations the page lists at a time.
const LISTED: usize = 50;

/// What the page needs from its `teardown dev`.
pub(crate) struct Parts<'a> {
    pub(crate) app: &'a App,
    pub(crate) store: &'a Store,
    /// A client whose requests pass through the door, so that the page shows the client's writes.
    pub(crate) client: &'a Client,
    /// A client that reads from the database directly, without the door.
    pub(crate) reader: Client,
    pub(crate) config: &'a Config,
    pub(crate) clock: &'a Clock,
    pub(crate) issuer: &'a Arc<Issuer>,
    pub(crate) journal: &'a Journal,
    /// The account of the installations that the page makes.
    pub(crate) account: &'static str,
    /// The name under which operators' acts are recorded.
    pub(crate) by: String,
}

/// The page. All clones share its journal and its settings.
#[derive(Clone)]
pub(crate) struct DevPage {
    here: Here,
    app: App,
    clock: Clock,
    journal: Journal,
    answers: Answers,
    caller: Caller,
    client: Client,
    table_name: String,
    sections: Sections,
    operator: Operator,
    grace: Duration,
}

impl DevPage {
    pub(crate) fn new(address: SocketAddr, parts: Parts<'_>) -> Self {
        let table = Table::new(parts.reader.clone(), parts.config.table_name.clone());
        let frame = Frame { base: BASE.to_owned(), again: Again::News, as_vercel: true };
        Self {
            here: Here { port: address.port() },
            app: parts.app.clone(),
            clock: parts.clock.clone(),
            journal: parts.journal.clone(),
            answers: Answers::default(),
            caller: Caller::new(address, &parts),
            client: parts.client.clone(),
            table_name: parts.config.table_name.clone(),
            sections: Sections { table, frame },
            operator: Operator { store: parts.store.clone(), by: parts.by },
            grace: parts.config.grace_period,
        }
    }

    /// Watches everything that `teardown dev` serves, and adds the page's routes.
    pub(crate) fn around(&self, everything: Router) -> Router {
        let watched = everything
            .layer(from_fn_with_state(self.clone(), watch::requests))
            .layer(from_fn_with_state(self.here, no_other_site));
        watched.merge(self.router())
    }

    /// Adds the installations that are already in the table to the page's list.
    pub(crate) async fn begin(self) {
        match self.sections.table.installations().await {
            Ok(items) => self.journal.known(&items),
            Err(error) => tracing::warn!(%error, "the page does not list what is stored"),
        }
    }

    fn router(&self) -> Router {
        let own = Router::new()
            .route("/installations", get(installations))
            .route("/facts", get(facts))
            .route("/resources", get(resources))
            .route("/jobs", get(jobs))
            .route("/holds", get(holds))
            .route("/receipts", get(receipts))
            .route("/last", get(news::last))
            .route("/news", get(news::fragment))
            .route("/entry", get(news::entry))
            .route("/clock", get(time::fragment))
            .route("/clock.json", get(time::offset))
            .route("/clock/{how}", post(time::advance))
            .route("/answers", get(answers::fragment).post(answers::set))
            .route("/events", get(events::stream))
            .route("/act", post(act::run))
            .route("/make", post(make::run))
            .route("/operate", post(operate))
            .merge(assets::router());
        Router::new()
            .route("/", get(whole))
            .nest(BASE, own)
            .layer(from_fn_with_state(self.here, own_pages))
            .with_state(self.clone())
    }
}

#[derive(Template)]
#[template(path = "page/page.html")]
struct Whole {
    installation: Option<String>,
    version: u64,
    run: u64,
    list: String,
    last: String,
    news: String,
    time: String,
    answers: String,
    facts: String,
    resources: String,
    jobs: String,
    holds: String,
    receipts: String,
    grace: String,
}

#[derive(Debug, Default, Deserialize)]
struct Selected {
    #[serde(default)]
    installation: String,
    #[serde(default)]
    after: String,
}

/// The page itself, with all of its sections.
async fn whole(State(page): State<DevPage>, Query(selected): Query<Selected>) -> Response {
    match Box::pin(page.whole(selected)).await {
        Ok(response) => response,
        Err(error) => failed(&error),
    }
}

impl DevPage {
    async fn whole(&self, selected: Selected) -> anyhow::Result<Response> {
        // The journal's version is read before the sections, so that every later change reaches the page as
        // news.
        let version = self.journal.version();
        let installation = match selected.installation.as_str() {
            "" => self.journal.first_installation(),
            id => Some(id.to_owned()),
        };
        let query = SectionQuery {
            installation: installation.clone().unwrap_or_default(),
            after: String::new(),
        };
        let now = self.clock.timestamp();
        let (sections, known) = (&self.sections, installation.is_some());
        let read = async {
            if !known {
                return anyhow::Ok(Default::default());
            }
            let (facts, resources, jobs, holds, receipts) = tokio::try_join!(
                sections.facts(&query),
                sections.resources(&query),
                sections.jobs(&query, now),
                sections.holds(&query),
                sections.receipts(&query),
            )?;
            Ok([
                facts.render()?,
                resources.render()?,
                jobs.render()?,
                holds.render()?,
                receipts.render()?,
            ])
        };
        let [facts, resources, jobs, holds, receipts] = Box::pin(read).await?;
        Ok(html(&Whole {
            version,
            run: self.journal.run(),
            list: self.list(installation.as_deref().unwrap_or_default(), "").render()?,
            last: news::Last::of(self, &query.installation).render()?,
            news: news::News::of(self, &query.installation, None).render()?,
            time: time::Time::unread(self).render()?,
            answers: answers::Shown::of(&self.answers).render()?,
            facts,
            resources,
            jobs,
            holds,
            receipts,
            grace: duration(self.grace.as_secs()),
            installation,
        }))
    }

    fn list(&self, selected: &str, after: &str) -> Installations {
        let (rows, next) = self.journal.installations(after, LISTED);
        Installations { rows, next, after: after.to_owned(), selected: selected.to_owned() }
    }
}

#[derive(Template)]
#[template(path = "page/installations.html")]
struct Installations {
    rows: Vec<journal::Known>,
    next: Option<String>,
    after: String,
    selected: String,
}

async fn installations(State(page): State<DevPage>, Query(selected): Query<Selected>) -> Response {
    html(&page.list(&selected.installation, &selected.after))
}

async fn facts(State(page): State<DevPage>, Query(query): Query<SectionQuery>) -> Response {
    page.sections.facts(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn resources(State(page): State<DevPage>, Query(query): Query<SectionQuery>) -> Response {
    page.sections.resources(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn jobs(State(page): State<DevPage>, Query(query): Query<SectionQuery>) -> Response {
    let now = page.clock.timestamp();
    page.sections.jobs(&query, now).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn holds(State(page): State<DevPage>, Query(query): Query<SectionQuery>) -> Response {
    page.sections.holds(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn receipts(State(page): State<DevPage>, Query(query): Query<SectionQuery>) -> Response {
    page.sections.receipts(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

/// Carries out the operator's act that a button of the page asks for.
async fn operate(State(page): State<DevPage>, Form(order): Form<Order>) -> Response {
    let result = page.operator.run(&order).await;
    // If the act made a job due, this sweep runs the job immediately.
    page.sweep();
    message(&result.unwrap_or_else(|error| format!("{error:#}")))
}

impl DevPage {
    /// Finds an id that no installation has: `begin`, followed by a number.
    async fn unused(&self, begin: &str) -> anyhow::Result<InstallationId> {
        let mut number = 1_u64;
        loop {
            let id = InstallationId::parse(&format!("{begin}{number}"))?;
            if self.sections.table.item(&id, "#installation").await?.is_none() {
                return Ok(id);
            }
            number += 1;
        }
    }

    /// Runs a sweep now, in addition to the automatic sweeps.
    fn sweep(&self) {
        let app = self.app.clone();
        tokio::spawn(async move { app.sweep(time::SWEEP).await });
    }
}

#[derive(Template)]
#[template(source = "<p>{{ text }}</p>", ext = "html")]
struct Message<'a> {
    text: &'a str,
}

/// An answer that makes the browser open the page of an installation.
fn page_of(installation: &str) -> Response {
    [(HeaderName::from_static("hx-redirect"), format!("/?installation={installation}"))]
        .into_response()
}

/// An answer with a sentence for the page's line that says what a button did.
fn message(text: &str) -> Response {
    Message { text }
        .render()
        .map_or_else(|error| failed(&error.into()), |it| Html(it).into_response())
}

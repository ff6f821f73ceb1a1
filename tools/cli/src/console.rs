//! The console: web pages on which operators see and change the table that the AWS environment names. The
//! console's first page shows what needs an operator's attention. The console also finds an installation,
//! shows its story, and carries out operators' acts. The console never makes a request in the name of Vercel.

mod attention;
mod story;

use std::fmt::Write as _;

use askama::Template;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use teardown::clock::Clock;
use teardown::ids::{InstallationId, ResourceId};
use teardown::store::Store;

use self::attention::Attention;
use self::story::Story;
use crate::web::guard::{Here, own_pages};
use crate::web::operate::{Operator, Order};
use crate::web::sections::{Again, Frame, SectionQuery, Sections};
use crate::web::table::Table;
use crate::web::{assets, failed, html};

/// The parts from which a [`Console`] is made.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) table: Table,
    pub(crate) clock: Clock,
    /// Where the table is, as the pages show it.
    pub(crate) place: String,
    pub(crate) table_name: String,
    /// The operator's name, which is recorded with each act.
    pub(crate) by: String,
}

/// The console. All clones of a console show the same table.
#[derive(Clone)]
pub(crate) struct Console {
    base: String,
    place: String,
    table_name: String,
    clock: Clock,
    store: Store,
    sections: Sections,
    operator: Operator,
}

impl Console {
    /// Makes a console. The paths of the console's pages begin with a new random secret.
    ///
    /// # Errors
    ///
    /// If the system provides no random bytes.
    pub(crate) fn new(parts: Parts) -> anyhow::Result<Self> {
        let mut secret = [0; 16];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
        let base = secret.iter().fold(String::from("/"), |mut base, byte| {
            let _ = write!(base, "{byte:02x}");
            base
        });
        let frame = Frame { base: base.clone(), again: Again::NowAndThen, as_vercel: false };
        Ok(Self {
            base,
            place: parts.place,
            table_name: parts.table_name,
            clock: parts.clock,
            sections: Sections { table: parts.table, frame },
            operator: Operator { store: parts.store.clone(), by: parts.by },
            store: parts.store,
        })
    }

    /// The path of the first page.
    pub(crate) fn path(&self) -> String {
        format!("{}/", self.base)
    }

    /// The routes of the pages. `port` is the port on which the tool serves the pages.
    pub(crate) fn router(&self, port: u16) -> Router {
        let own = Router::new()
            .route("/attention", get(attention))
            .route("/search", get(search))
            .route("/installation", get(installation))
            .route("/facts", get(facts))
            .route("/resources", get(resources))
            .route("/jobs", get(jobs))
            .route("/holds", get(holds))
            .route("/receipts", get(receipts))
            .route("/story", get(story))
            .route("/operate", post(operate))
            .merge(assets::router());
        Router::new()
            .route(&self.path(), get(home))
            .nest(&self.base, own)
            .layer(from_fn_with_state(Here { port }, own_pages))
            .with_state(self.clone())
    }
}

#[derive(Template)]
#[template(path = "console/home.html")]
struct Home<'a> {
    head: Head<'a>,
    attention: String,
}

/// The values for the head of each page of the console.
struct Head<'a> {
    base: &'a str,
    place: &'a str,
    table: &'a str,
    by: &'a str,
    now_ms: u128,
    title: &'a str,
}

impl Console {
    fn head<'a>(&'a self, title: &'a str) -> Head<'a> {
        Head {
            base: &self.base,
            place: &self.place,
            table: &self.table_name,
            by: &self.operator.by,
            now_ms: self.clock.now().as_millis(),
            title,
        }
    }

    async fn home(&self) -> anyhow::Result<Response> {
        let attention = Attention::read(self).await?.render()?;
        Ok(html(&Home { head: self.head("what needs somebody"), attention }))
    }
}

async fn home(State(it): State<Console>) -> Response {
    Box::pin(it.home()).await.unwrap_or_else(|error| failed(&error))
}

async fn attention(State(it): State<Console>) -> Response {
    let read = Box::pin(Attention::read(&it)).await;
    read.map_or_else(|error| failed(&error), |attention| html(&attention))
}

#[derive(Debug, Deserialize)]
struct Sought {
    #[serde(default)]
    id: String,
}

/// Finds an installation by its id, or a resource by `installation/resource`.
async fn search(State(it): State<Console>, Query(sought): Query<Sought>) -> Response {
    let id = sought.id.trim();
    let (installation, resource) = id.split_once('/').unwrap_or((id, ""));
    let is_one = InstallationId::parse(installation).is_ok()
        && (resource.is_empty() || ResourceId::parse(resource).is_ok());
    if !is_one {
        let head = it.head("no such id");
        return html(&NotFound { head, id });
    }
    // The ids need no encoding: they are ASCII, without characters that have a meaning in a query.
    let query = format!("installation={installation}&resource={resource}");
    Redirect::to(&format!("{}/installation?{query}", it.base)).into_response()
}

#[derive(Template)]
#[template(path = "console/not_found.html")]
struct NotFound<'a> {
    head: Head<'a>,
    id: &'a str,
}

#[derive(Template)]
#[template(path = "console/installation.html")]
struct Installation<'a> {
    head: Head<'a>,
    facts: String,
    story: String,
    jobs: String,
    holds: String,
    receipts: String,
    resources: String,
}

#[derive(Debug, Deserialize)]
struct Selected {
    installation: String,
    #[serde(default)]
    resource: String,
}

async fn installation(State(it): State<Console>, Query(selected): Query<Selected>) -> Response {
    Box::pin(it.installation(&selected)).await.unwrap_or_else(|error| failed(&error))
}

impl Console {
    async fn installation(&self, selected: &Selected) -> anyhow::Result<Response> {
        let query =
            SectionQuery { installation: selected.installation.clone(), after: String::new() };
        let (sections, now) = (&self.sections, self.clock.timestamp());
        let (facts, story, jobs, holds, receipts, resources) = tokio::try_join!(
            sections.facts(&query),
            self.story(selected),
            sections.jobs(&query, now),
            sections.holds(&query),
            sections.receipts(&query),
            sections.resources(&query),
        )?;
        let head = self.head(&selected.installation);
        let (facts, jobs, holds) = (facts.render()?, jobs.render()?, holds.render()?);
        let (receipts, resources) = (receipts.render()?, resources.render()?);
        let story = story.render()?;
        Ok(html(&Installation { head, facts, story, jobs, holds, receipts, resources }))
    }

    async fn story(&self, selected: &Selected) -> anyhow::Result<Story> {
        let id = InstallationId::parse(&selected.installation)?;
        let resource = match selected.resource.as_str() {
            "" => None,
            resource => Some(ResourceId::parse(resource)?),
        };
        let now = self.clock.timestamp();
        Story::read(&self.sections.table, &self.sections.frame, &id, resource.as_ref(), now).await
    }
}

async fn story(State(it): State<Console>, Query(selected): Query<Selected>) -> Response {
    it.story(&selected).await.map_or_else(|error| failed(&error), |story| html(&story))
}

async fn facts(State(it): State<Console>, Query(query): Query<SectionQuery>) -> Response {
    it.sections.facts(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn resources(State(it): State<Console>, Query(query): Query<SectionQuery>) -> Response {
    it.sections.resources(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn jobs(State(it): State<Console>, Query(query): Query<SectionQuery>) -> Response {
    let now = it.clock.timestamp();
    it.sections.jobs(&query, now).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn holds(State(it): State<Console>, Query(query): Query<SectionQuery>) -> Response {
    it.sections.holds(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

async fn receipts(State(it): State<Console>, Query(query): Query<SectionQuery>) -> Response {
    it.sections.receipts(&query).await.map_or_else(|error| failed(&error), |it| html(&it))
}

#[derive(Template)]
#[template(source = "<p>{{ text }}</p>", ext = "html")]
struct Message {
    text: String,
}

/// Carries out an operator's act. The answer's header makes every section of the page load itself again.
async fn operate(State(it): State<Console>, Form(order): Form<Order>) -> Response {
    let text = it.operator.run(&order).await.unwrap_or_else(|error| format!("{error:#}"));
    let message = Message { text }.render().unwrap_or_default();
    ([("hx-trigger", "acted")], Html(message)).into_response()
}

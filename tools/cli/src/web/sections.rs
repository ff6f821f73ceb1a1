//! The sections that show an installation as it is stored: the installation itself, its resources, jobs,
//! holds and receipts. Each section is a fragment of HTML that a page can load again.

use askama::Template;
use serde::Deserialize;
use teardown::clock::Timestamp;
use teardown::ids::InstallationId;

use super::table::Table;
use crate::attributes::{Item, map, named, number, text, time, truth};

/// How many rows a section shows at a time.
const ROWS: usize = 50;

/// How many holds the section shows, which is more than anybody places.
const HOLDS: usize = 200;

/// The parameters of a request for a section.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SectionQuery {
    #[serde(default)]
    pub(crate) installation: String,
    /// The sort key after which the rows begin. For the first rows, this text is empty.
    #[serde(default)]
    pub(crate) after: String,
}

/// What a section needs to know about the page that contains it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The prefix of the page's addresses.
    pub(crate) base: String,
    /// When a section loads itself again.
    pub(crate) again: Again,
    /// Whether the page can make requests as Vercel.
    pub(crate) as_vercel: bool,
}

/// When a section loads itself again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Again {
    /// The section loads itself again when it has news. The page then gets an event with the section's name.
    News,
    /// The section loads itself again every 15 seconds, and after an operator's act. Reads cost money on AWS,
    /// so the page does not read more often.
    NowAndThen,
}

impl Frame {
    /// The htmx trigger of a section.
    pub(crate) fn trigger(&self, section: &str) -> String {
        match self.again {
            Again::News => format!("{section} from:#live"),
            Again::NowAndThen => "every 15s, acted from:body".to_owned(),
        }
    }
}

/// Reads sections.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    pub(crate) table: Table,
    pub(crate) frame: Frame,
}

#[derive(Template)]
#[template(path = "web/facts.html")]
pub(crate) struct Facts<'a> {
    frame: &'a Frame,
    id: String,
    state: String,
    rows: Vec<(&'static str, String)>,
    open: bool,
}

pub(crate) struct Resource {
    id: String,
    name: String,
    product: String,
    status: String,
}

#[derive(Template)]
#[template(path = "web/resources.html")]
pub(crate) struct Resources<'a> {
    frame: &'a Frame,
    id: String,
    after: String,
    next: Option<String>,
    live: bool,
    count: String,
    rows: Vec<Resource>,
}

pub(crate) struct Job {
    /// The part of the job's sort key after `work#`.
    pub(crate) what: String,
    pub(crate) meaning: &'static str,
    pub(crate) state: JobState,
    pub(crate) attempts: String,
    pub(crate) error: Option<String>,
    /// The resource whose deletion the job announces. `None` for other jobs.
    pub(crate) resource: Option<String>,
    /// Whether the job still has to send the `deleted` event.
    pub(crate) announces: bool,
}

/// When a worker tries a job next, or why no worker tries it.
pub(crate) enum JobState {
    Due(Timestamp),
    Leased(Timestamp),
    Parked(Timestamp),
    Held(String),
    Unknown,
}

#[derive(Template)]
#[template(path = "web/jobs.html")]
pub(crate) struct Jobs<'a> {
    frame: &'a Frame,
    id: String,
    after: String,
    next: Option<String>,
    rows: Vec<Job>,
}

pub(crate) struct Hold {
    on: String,
    resource: String,
    since: String,
    by: String,
    reason: String,
    until: String,
    /// When, by whom and why the hold was released. `None` if the hold was not released.
    released: Option<String>,
}

#[derive(Template)]
#[template(path = "web/holds.html")]
pub(crate) struct Holds<'a> {
    frame: &'a Frame,
    id: String,
    rows: Vec<Hold>,
}

pub(crate) struct Receipt {
    what: String,
    at: String,
    by: String,
    reason: String,
    end: String,
}

#[derive(Template)]
#[template(path = "web/receipts.html")]
pub(crate) struct Receipts<'a> {
    frame: &'a Frame,
    id: String,
    after: String,
    next: Option<String>,
    rows: Vec<Receipt>,
}

impl Sections {
    pub(crate) async fn facts(&self, query: &SectionQuery) -> anyhow::Result<Facts<'_>> {
        let id = InstallationId::parse(&query.installation)?;
        let item = self.table.item(&id, "#installation").await?;
        let token = self.table.item(&id, "#token").await?.is_some();
        let state = item
            .as_ref()
            .map_or("never registered", |item| text(item, "state").unwrap_or("unknown"));
        let rows = item.as_ref().map(|item| facts(item, token)).unwrap_or_default();
        let open = item.as_ref().is_some_and(|item| text(item, "billing") != Some("settled"));
        let state = state_text(state).to_owned();
        Ok(Facts { frame: &self.frame, id: id.to_string(), state, rows, open })
    }

    pub(crate) async fn resources(&self, query: &SectionQuery) -> anyhow::Result<Resources<'_>> {
        let id = InstallationId::parse(&query.installation)?;
        let item = self.table.item(&id, "#installation").await?.unwrap_or_default();
        let live = text(&item, "state") == Some("active");
        let page = self.table.page(&id, "resource#", after(query), ROWS).await?;
        let rows = page.items.iter().filter_map(|item| resource(item, live)).collect();
        let count = if live { number(&item, "resources").unwrap_or("0") } else { "0" }.to_owned();
        Ok(Resources {
            frame: &self.frame,
            id: id.to_string(),
            after: query.after.clone(),
            next: page.next,
            live,
            count,
            rows,
        })
    }

    pub(crate) async fn jobs(
        &self,
        query: &SectionQuery,
        now: Timestamp,
    ) -> anyhow::Result<Jobs<'_>> {
        let id = InstallationId::parse(&query.installation)?;
        let page = self.table.page(&id, "work#", after(query), ROWS).await?;
        let rows = page.items.iter().filter_map(|item| Job::of(item, now)).collect();
        let (frame, id, after) = (&self.frame, id.to_string(), query.after.clone());
        Ok(Jobs { frame, id, after, next: page.next, rows })
    }

    pub(crate) async fn holds(&self, query: &SectionQuery) -> anyhow::Result<Holds<'_>> {
        let id = InstallationId::parse(&query.installation)?;
        let page = self.table.page(&id, "hold#", None, HOLDS).await?;
        let rows = page.items.iter().filter_map(Hold::of).collect();
        Ok(Holds { frame: &self.frame, id: id.to_string(), rows })
    }

    pub(crate) async fn receipts(&self, query: &SectionQuery) -> anyhow::Result<Receipts<'_>> {
        let id = InstallationId::parse(&query.installation)?;
        let page = self.table.page(&id, "receipt#", after(query), ROWS).await?;
        let rows = page.items.iter().filter_map(Receipt::of).collect();
        let (frame, id, after) = (&self.frame, id.to_string(), query.after.clone());
        Ok(Receipts { frame, id, after, next: page.next, rows })
    }
}

fn after(query: &SectionQuery) -> Option<&str> {
    Some(query.after.as_str()).filter(|after| !after.is_empty())
}

/// The state of an installation, as a text for people.
pub(crate) fn state_text(state: &str) -> &str {
    match state {
        "deleting" => "deleted, being purged",
        "purged" => "deleted, to be finalized",
        "finalized" => "deleted and finalized",
        other => other,
    }
}

fn facts(item: &Item, token: bool) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("account", text(item, "accountId").unwrap_or("-").to_owned()),
        ("team", team(item)),
        ("invoices", text(item, "billing").unwrap_or("open").to_owned()),
        ("access token", if token { "stored" } else { "none" }.to_owned()),
    ];
    if let Some(at) = time(item, "deletedAt") {
        rows.push(("deleted", format!("{at} by {}", actor(item))));
    }
    if let Some(reason) = text(item, "reason") {
        rows.push(("reason", reason.to_owned()));
    }
    if let Some(finalized) = truth(item, "finalized") {
        rows.push(("finalized", if finalized { "yes" } else { "no" }.to_owned()));
    }
    if let Some(at) = time(item, "teardownAt") {
        rows.push(("teardown at", at.to_string()));
    }
    if let Some(at) = time(item, "configurationDeletedAt") {
        rows.push(("configuration deleted", at.to_string()));
    }
    rows
}

fn team(item: &Item) -> String {
    match (text(item, "teamId"), text(item, "teamSlug")) {
        (Some(id), Some(slug)) => format!("{id} ({slug})"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

/// Who made a deletion, from its attribute `deletedBy`.
pub(crate) fn actor(item: &Item) -> String {
    let Some(by) = map(item, "deletedBy") else { return "-".to_owned() };
    let account = text(by, "accountId").unwrap_or("-");
    match (text(by, "userId"), text(by, "role")) {
        (Some(user), Some(role)) => format!("user {user} ({role}) of {account}"),
        (Some(user), None) => format!("user {user} of {account}"),
        (None, _) => format!("{} of {account}", text(by, "kind").unwrap_or("-")),
    }
}

fn resource(item: &Item, live: bool) -> Option<Resource> {
    let or_empty = |name| text(item, name).unwrap_or_default().to_owned();
    Some(Resource {
        id: named(item, "resource#")?.to_owned(),
        name: or_empty("name"),
        product: or_empty("productId"),
        status: if live { text(item, "status").unwrap_or("ready") } else { "gone" }.to_owned(),
    })
}

impl Job {
    pub(crate) fn of(item: &Item, now: Timestamp) -> Option<Self> {
        let what = named(item, "work#")?;
        let announces = what.starts_with("announce#");
        let meaning = match (what, text(item, "phase")) {
            (_, Some("scheduled")) => "tells the provider that a teardown is scheduled",
            ("purge", _) => "removes the items of the deleted installation",
            ("finalize", _) => "ends Vercel's wait for final invoices",
            ("configuration", _) => "deletes the configuration at Vercel, then here",
            _ if announces => "tells the provider to tear it down",
            _ => "",
        };
        Some(Self {
            what: what.to_owned(),
            meaning,
            state: JobState::of(item, now),
            attempts: number(item, "attempts").unwrap_or("0").to_owned(),
            error: text(item, "lastError").map(str::to_owned),
            resource: what.strip_prefix("announce#resource#").map(str::to_owned),
            announces,
        })
    }
}

impl JobState {
    fn of(item: &Item, now: Timestamp) -> Self {
        let Some(due) = time(item, "dueAt") else { return Self::Unknown };
        match text(item, "dueShard") {
            Some("parked") => Self::Parked(due),
            Some("held") => Self::Held(
                text(item, "heldUnder")
                    .unwrap_or_default()
                    .trim_start_matches("hold#")
                    .replace('#', " "),
            ),
            _ => match time(item, "leaseUntil") {
                Some(end) if end > now => Self::Leased(end),
                _ => Self::Due(due),
            },
        }
    }
}

impl Hold {
    fn of(item: &Item) -> Option<Self> {
        let on = named(item, "hold#")?;
        let or_dash = |name| text(item, name).unwrap_or("-").to_owned();
        let resource = on.strip_prefix("resource#").unwrap_or_default().to_owned();
        Some(Self {
            on: if resource.is_empty() { "all of it".to_owned() } else { resource.clone() },
            resource,
            since: when(item, "heldAt"),
            by: or_dash("heldBy"),
            reason: or_dash("reason"),
            until: time(item, "until").map_or("it is released".to_owned(), |at| at.to_string()),
            released: time(item, "releasedAt").map(|at| {
                format!("released {at} by {}: {}", or_dash("releasedBy"), or_dash("releaseReason"))
            }),
        })
    }
}

impl Receipt {
    fn of(item: &Item) -> Option<Self> {
        let what = named(item, "receipt#")?.replacen('#', " ", 1);
        let reason = text(item, "reason").unwrap_or_default().to_owned();
        if let Some(to) = text(item, "movedTo") {
            let by = text(item, "movedBy").unwrap_or("-").to_owned();
            return Some(Self {
                what,
                at: when(item, "movedAt"),
                by,
                reason,
                end: format!("moved to {to}"),
            });
        }
        let end = if let Some(kept) = map(item, "kept") {
            let or_dash = |name| text(kept, name).unwrap_or("-");
            format!("kept by {}: {}", or_dash("by"), or_dash("reason"))
        } else if truth(item, "unannounced") == Some(true) {
            "the provider is not notified".to_owned()
        } else {
            format!("teardown at {}", when(item, "teardownAt"))
        };
        Some(Self { what, at: when(item, "deletedAt"), by: actor(item), reason, end })
    }
}

/// The time in an attribute, or a dash if the item does not have the attribute.
fn when(item: &Item, name: &str) -> String {
    time(item, name).map_or_else(|| "-".to_owned(), |at| at.to_string())
}

//! Shows the entries of the journal, the newest first: requests with their answers and changes, writes of
//! workers and of other programs, and the requests that the stand-ins got.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::DevPage;
use super::entry::{Call, Changes, Entry, SHOWN_CHANGES, Side, What, Writer};
use crate::web::html;
use crate::web::items::Change;

/// How many entries the page shows at a time.
const SHOWN: usize = 30;

#[derive(Debug, Default, Deserialize)]
pub(super) struct NewsQuery {
    #[serde(default)]
    installation: String,
    /// The number of an entry. The page asks for entries that are older than this entry.
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "page/news.html")]
pub(super) struct News {
    installation: String,
    before: Option<u64>,
    /// The number of the last entry that is shown. `None` if there are no older entries.
    older: Option<u64>,
    entries: Vec<Entry>,
}

impl News {
    pub(super) fn of(page: &DevPage, installation: &str, before: Option<u64>) -> Self {
        let (entries, older) = page.journal.entries(installation, before, SHOWN);
        let last = entries.last().map(|entry| entry.number);
        Self {
            installation: installation.to_owned(),
            before,
            older: last.filter(|_| older),
            entries,
        }
    }
}

/// The last request about an installation, with its answers and its changes.
#[derive(Template)]
#[template(path = "page/last.html")]
pub(super) struct Last {
    installation: String,
    number: u64,
    call: Option<Call>,
}

impl Last {
    pub(super) fn of(page: &DevPage, installation: &str) -> Self {
        let entry = page.journal.last_request(installation);
        let number = entry.as_ref().map_or(0, |entry| entry.number);
        let call = entry.and_then(|entry| match entry.what {
            What::Call(call) => Some(call),
            _ => None,
        });
        Self { installation: installation.to_owned(), number, call }
    }
}

pub(super) async fn last(State(page): State<DevPage>, Query(query): Query<NewsQuery>) -> Response {
    html(&Last::of(&page, &query.installation))
}

/// The content of an opened entry.
#[derive(Template)]
#[template(path = "page/entry.html")]
struct Opened {
    number: u64,
    call: Option<Call>,
    changes: Changes,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    number: u64,
}

pub(super) async fn entry(State(page): State<DevPage>, Query(wanted): Query<Wanted>) -> Response {
    let number = wanted.number;
    let (call, changes) = match page.journal.entry(number).map(|entry| entry.what) {
        Some(What::Call(call)) => (Some(call.clone()), call.changes),
        Some(What::Written(_, changes)) => (None, changes),
        Some(What::Moved(_)) | None => (None, Changes::default()),
    };
    html(&Opened { number, call, changes })
}

pub(super) async fn fragment(
    State(page): State<DevPage>,
    Query(query): Query<NewsQuery>,
) -> Response {
    html(&News::of(&page, &query.installation, query.before))
}

impl Call {
    /// The answers in one line of text: `204 No Content`, `64 × 204 No Content`, `no answer yet`.
    fn outcome(&self) -> String {
        let times = |count: usize, text: &str| {
            if self.sent == 1 { text.to_owned() } else { format!("{count} × {text}") }
        };
        let mut parts: Vec<_> =
            self.answers.iter().map(|(answer, count)| times(*count, &answer.status)).collect();
        if self.gone > 0 {
            parts.push(times(self.gone, "no answer: the caller went"));
        }
        if self.under_way > 0 {
            parts.push(times(self.under_way, "no answer yet"));
        }
        parts.join(", ")
    }

    fn direction(&self) -> &'static str {
        match self.side {
            Side::Endpoints => "request",
            Side::Vercel => "to Vercel",
            Side::Provider => "to the provider",
        }
    }

    /// The type of an announcement's event. `None` for other requests.
    fn event(&self) -> Option<&str> {
        let (_, body) = self.request.text.split_once("\n\n")?;
        let (_, rest) = body.split_once("\"type\":\"")?;
        rest.split('"').next()
    }
}

impl Changes {
    fn hidden(&self) -> usize {
        self.count.saturating_sub(SHOWN_CHANGES)
    }

    fn text(&self) -> String {
        if self.count == 1 {
            "1 item changed".to_owned()
        } else {
            format!("{} items changed", self.count)
        }
    }
}

impl Writer {
    fn text(self) -> &'static str {
        match self {
            Self::Endpoints => "by teardown",
            Self::Others => "by another program",
        }
    }
}

impl Entry {
    /// The time of day: `19:25:05`.
    fn time(&self) -> String {
        let text = self.at.to_string();
        text.get(11..19).unwrap_or(&text).to_owned()
    }
}

//! The stream of server-sent events that keeps an open page up to date. An event names a section that has
//! news, and the page then loads that section again. The first event of a kind is sent at once. After that,
//! an event of this kind is sent every tenth of a second at most. In a flood it is sent every half second,
//! because the page needs time to show a section.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::DevPage;
use super::journal::{Section, Topic};

/// The shortest time between two events of a kind.
const PAUSE: Duration = Duration::from_millis(100);

/// After this many events of a kind in a row, each right after the pause, there is a flood, and the pause is
/// longer.
const FLOOD: u32 = 8;
const FLOOD_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    #[serde(default)]
    installation: String,
    /// The run and the version of the journal that the page was made from.
    run: u64,
    version: u64,
}

/// The kinds of events: the sections that a page can load again.
const KINDS: [&str; 9] =
    ["list", "facts", "resources", "jobs", "holds", "receipts", "news", "clock", "answers"];

/// The pause after `row` events of a kind in a row.
fn pause(row: u32) -> Duration {
    if row >= FLOOD { FLOOD_PAUSE } else { PAUSE }
}

struct Listener {
    installation: String,
    topics: Receiver<Topic>,
    /// When an event of each kind was last sent, and how many events of the kind came before it in a row.
    sent: HashMap<&'static str, (Instant, u32)>,
    /// The kinds of events that are to be sent, and when each is to be sent.
    waiting: Vec<(&'static str, Instant)>,
}

pub(super) async fn stream(
    State(page): State<DevPage>,
    Query(seen): Query<Seen>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let topics = page.journal.listen();
    let stale = page.journal.run() != seen.run || page.journal.version() != seen.version;
    let now = Instant::now();
    // A stale page may have missed any event, so all its sections are loaded again. A page that was just
    // opened has not yet read the next due job, which the section `clock` shows.
    let missed = KINDS.into_iter().filter(|kind| stale || *kind == "clock");
    let waiting = missed.map(|kind| (kind, now)).collect();
    let listener =
        Listener { installation: seen.installation, topics, sent: HashMap::new(), waiting };
    let events = stream::unfold(listener, |mut listener| async move {
        let kind = listener.next().await?;
        Some((Ok(Event::default().event(kind).data("")), listener))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(20)))
}

impl Listener {
    /// Waits until an event is to be sent, and returns its kind. `None` when the journal has ended.
    async fn next(&mut self) -> Option<&'static str> {
        loop {
            let first = self.waiting.iter().enumerate().min_by_key(|(_, (_, at))| *at);
            let first = first.map(|(index, (_, at))| (index, *at));
            let topic = match first {
                None => self.topics.recv().await,
                Some((index, at)) if at <= Instant::now() => {
                    let (kind, _) = self.waiting.swap_remove(index);
                    // If the event came during the pause, it continues the row.
                    let sent = self.sent.get(kind);
                    let goes_on = sent.filter(|(last, row)| at <= *last + pause(*row));
                    let row = goes_on.map_or(0, |(_, row)| row + 1);
                    self.sent.insert(kind, (Instant::now(), row));
                    return Some(kind);
                }
                Some((_, at)) => tokio::select! {
                    topic = self.topics.recv() => topic,
                    () = tokio::time::sleep_until(at.into()) => continue,
                },
            };
            match topic {
                Ok(topic) => self.kinds(&topic).into_iter().for_each(|kind| self.add(kind)),
                Err(RecvError::Lagged(_)) => KINDS.into_iter().for_each(|kind| self.add(kind)),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn add(&mut self, kind: &'static str) {
        if self.waiting.iter().all(|(waiting, _)| *waiting != kind) {
            let now = Instant::now();
            let sent = self.sent.get(kind);
            let at = sent.map_or(now, |(sent, row)| (*sent + pause(*row)).max(now));
            self.waiting.push((kind, at));
        }
    }

    /// The sections that this page has to load again because of a topic.
    fn kinds(&self, topic: &Topic) -> Vec<&'static str> {
        match topic {
            Topic::List => vec!["list"],
            Topic::Stored(id, section) if *id == self.installation => match section {
                Section::Facts => vec!["facts"],
                Section::Resources => vec!["resources"],
                // The section `clock` shows the next due job, which may have changed.
                Section::Jobs => vec!["jobs", "clock"],
                Section::Holds => vec!["holds"],
                Section::Receipts => vec!["receipts"],
            },
            Topic::Stored(_, Section::Jobs) => vec!["clock"],
            Topic::News(about) if about.as_ref().is_none_or(|id| *id == self.installation) => {
                vec!["news"]
            }
            Topic::Stored(..) | Topic::News(_) => Vec::new(),
            Topic::Clock => vec!["clock", "jobs", "news"],
            Topic::Answers => vec!["answers"],
        }
    }
}

//! The stream of server-sent events that keeps an open page up to date. If an event names a section, the page
//! loads this section again. The first event that names a section is sent immediately. Later events that name
//! the same section are at least a tenth of a second apart. In a flood of events they are half a second
//! apart, because the page needs time to show a section.

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

/// The shortest time between two events of the same kind.
const PAUSE: Duration = Duration::from_millis(100);

/// A flood begins after this many events of the same kind, if each event was sent right after the pause. In a
/// flood, the pause is longer.
const FLOOD: u32 = 8;
const FLOOD_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    #[serde(default)]
    installation: String,
    /// The run and the version of the journal from which the page was made.
    run: u64,
    version: u64,
}

/// The kinds of events: the sections that a page can load again.
const KINDS: [&str; 9] =
    ["list", "facts", "resources", "jobs", "holds", "receipts", "news", "clock", "answers"];

/// The pause after `row` events of the same kind in a row.
fn pause(row: u32) -> Duration {
    if row >= FLOOD { FLOOD_PAUSE } else { PAUSE }
}

struct Listener {
    installation: String,
    topics: Receiver<Topic>,
    /// For each kind, when an event was last sent, and how many events came in a row before the last one.
    sent: HashMap<&'static str, (Instant, u32)>,
    /// The kinds of the events that wait, and when each of these events is to be sent.
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
    /// Waits until it is time to send an event, and returns the event's kind. `None` when the journal has
    /// ended.
    async fn next(&mut self) -> Option<&'static str> {
        loop {
            let first = self.waiting.iter().enumerate().min_by_key(|(_, (_, at))| *at);
            let first = first.map(|(index, (_, at))| (index, *at));
            let topic = match first {
                None => self.topics.recv().await,
                Some((index, at)) if at <= Instant::now() => {
                    let (kind, _) = self.waiting.swap_remove(index);
                    // If an event came during the pause, it continues the row of events.
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

    /// The sections that this page has to load again if a topic has news.
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

//! The clock of `teardown dev`. The clock runs like a normal clock, and the page can move it forward: by an
//! hour, by a day, or to the next due job. A sweep runs right after each move of the clock.

use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use teardown::app::HostTime;
use teardown::clock::{Clock, Timestamp};

use super::entry::What;
use super::journal::Topic;
use super::{DevPage, message};
use crate::web::{duration, failed, html};

/// How long a sweep that a button starts may take. Automatic sweeps have the same time limit as sweeps that a
/// button starts.
pub(super) const SWEEP: HostTime = HostTime(Duration::from_secs(20));

/// How many jobs are read from each shard: only the job that is due first.
const FIRST: i32 = 1;

#[derive(Template)]
#[template(path = "page/clock.html")]
pub(super) struct Time {
    now_ms: u128,
    now: Timestamp,
    moved: Option<String>,
    next: NextDue,
}

/// The job that is due next.
enum NextDue {
    /// The next due job was not read yet. A page that was just opened asks for the next due job after the
    /// page is shown.
    Unread,
    Nothing,
    Is(Next),
}

struct Next {
    what: String,
    installation: String,
    at: Timestamp,
}

impl Time {
    pub(super) fn unread(page: &DevPage) -> Self {
        Self::with(page, NextDue::Unread)
    }

    async fn of(page: &DevPage) -> anyhow::Result<Self> {
        let due = page.sections.table.due(None, FIRST).await?.into_iter().next();
        let next = due.map_or(NextDue::Nothing, |due| {
            NextDue::Is(Next {
                what: due.sk.trim_start_matches("work#").to_owned(),
                installation: due.installation,
                at: due.at,
            })
        });
        Ok(Self::with(page, next))
    }

    fn with(page: &DevPage, next: NextDue) -> Self {
        let moved = moved(&page.clock).as_secs();
        Self {
            now_ms: page.clock.now().as_millis(),
            now: page.clock.timestamp(),
            moved: (moved > 0).then(|| duration(moved)),
            next,
        }
    }
}

/// How far a clock was moved forward, rounded to seconds. The rounding hides the short time between the
/// readings of this clock and the system's clock.
fn moved(clock: &Clock) -> Duration {
    let apart = clock.now().saturating_sub(Clock::system().now());
    Duration::from_secs((apart + Duration::from_millis(500)).as_secs())
}

pub(super) async fn fragment(State(page): State<DevPage>) -> Response {
    Time::of(&page).await.map_or_else(|error| failed(&error), |time| html(&time))
}

/// Answers how far the clock was moved forward, for the commands in another terminal.
pub(super) async fn offset(State(page): State<DevPage>) -> Json<Value> {
    Json(json!({ "movedSeconds": moved(&page.clock).as_secs() }))
}

pub(super) async fn advance(State(page): State<DevPage>, Path(how): Path<String>) -> Response {
    let by = match how.as_str() {
        "hour" => Duration::from_hours(1),
        "day" => Duration::from_hours(24),
        "next" => {
            let due = page.sections.table.due(None, FIRST).await;
            match due.map(|due| due.into_iter().next()) {
                Err(error) => return failed(&error),
                Ok(None) => return message("No job is left: nothing is due, ever."),
                Ok(Some(due)) => {
                    Duration::from_secs(due.at.as_secs()).saturating_sub(page.clock.now())
                }
            }
        }
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    if !by.is_zero() {
        page.clock.advance(by);
        page.journal.add(None, What::Moved(duration(by.as_secs().max(1))));
        page.journal.notify(Topic::Clock);
    }
    page.sweep();
    message(&format!("The clock was moved on by {}, and a sweep runs.", duration(by.as_secs())))
}

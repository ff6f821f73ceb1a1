//! How the stand-ins answer: as the real services are documented, or as a user of the page has set.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::DevPage;
use super::entry::Side;
use super::journal::Topic;
use crate::web::html;

/// The value of `Retry-After`, in seconds.
const RETRY_AFTER_SECONDS: u64 = 20;

/// How long a stand-in delays a hanging answer, which is longer than all time-outs of the endpoints and of
/// the page.
const HANGING: Duration = Duration::from_mins(2);

/// An answer that the page can set for a stand-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Setting {
    /// The documented answer: 2xx.
    #[default]
    Documented,
    /// An answer of 202 with `Retry-After`, which means that the work is not done yet.
    Accepted,
    /// An answer of 500.
    Failing,
    /// No answer at all.
    Hanging,
}

impl Setting {
    const ALL: [Self; 4] = [Self::Documented, Self::Accepted, Self::Failing, Self::Hanging];

    fn value(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Accepted => "accepted",
            Self::Failing => "failing",
            Self::Hanging => "hanging",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Documented => "as documented: 2xx",
            Self::Accepted => "202, Retry-After 20 s",
            Self::Failing => "500",
            Self::Hanging => "hangs: no answer",
        }
    }
}

/// The settings of the two stand-ins. All clones share these settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Mutex<Both>>);

#[derive(Clone, Copy, Debug, Default)]
struct Both {
    vercel: Setting,
    provider: Setting,
}

impl Answers {
    fn get(&self) -> Both {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, to: Both) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// The answer that the page has set for a stand-in. `None` if the stand-in gives its own answer.
    pub(super) async fn instead(&self, side: Side) -> Option<Response> {
        let both = self.get();
        let setting = match side {
            Side::Endpoints => return None,
            Side::Vercel => both.vercel,
            Side::Provider => both.provider,
        };
        match setting {
            Setting::Documented => None,
            Setting::Accepted => {
                let headers = [(RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())];
                Some((StatusCode::ACCEPTED, headers).into_response())
            }
            Setting::Failing => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            Setting::Hanging => {
                tokio::time::sleep(HANGING).await;
                Some(StatusCode::GATEWAY_TIMEOUT.into_response())
            }
        }
    }
}

#[derive(Template)]
#[template(path = "page/answers.html")]
pub(super) struct Shown {
    sides: [(&'static str, &'static str, Setting); 2],
}

impl Shown {
    pub(super) fn of(answers: &Answers) -> Self {
        let Both { vercel, provider } = answers.get();
        Self {
            sides: [
                ("vercel", "Vercel's API answers", vercel),
                ("provider", "The provider answers", provider),
            ],
        }
    }
}

/// The settings of both stand-ins, as the form sends them.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    vercel: Setting,
    provider: Setting,
}

pub(super) async fn fragment(State(page): State<DevPage>) -> Response {
    html(&Shown::of(&page.answers))
}

pub(super) async fn set(State(page): State<DevPage>, Form(chosen): Form<Chosen>) -> Response {
    page.answers.set(Both { vercel: chosen.vercel, provider: chosen.provider });
    page.journal.notify(Topic::Answers);
    html(&Shown::of(&page.answers))
}

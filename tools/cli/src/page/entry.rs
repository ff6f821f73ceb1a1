//! The entries that the page shows: a request with its answers, a write, a move of the clock.

use std::time::Instant;

use teardown::clock::Timestamp;

use crate::web::items::ItemChange;

/// How many changed items an entry shows.
pub(super) const SHOWN_CHANGES: usize = 12;

/// Who wrote to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// An endpoint, a worker (after an endpoint's answer or in a sweep), or an operator's act on the page.
    Endpoints,
    /// Another program: a command of the tool, or a backend.
    Others,
}

/// The receiver of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The endpoints, which the page and other programs call in place of Vercel.
    Endpoints,
    Vercel,
    Provider,
}

/// A request as it was sent over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The method and the path.
    pub(super) line: String,
    /// The whole request, with tokens shortened.
    pub(super) text: String,
    /// What the request's token claims, as a sentence. `None` if the request has no token with claims.
    pub(super) token: Option<String>,
}

/// An answer as it was sent over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) text: String,
}

/// Equal requests that were under way at the same time, with their answers so far.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) side: Side,
    pub(super) request: Request,
    pub(super) sent: usize,
    pub(super) under_way: usize,
    /// Each different answer, and how many requests got it.
    pub(super) answers: Vec<(Answer, usize)>,
    /// How many of the requests their callers aborted before the answer.
    pub(super) gone: usize,
    /// The items that were changed while the requests were under way.
    pub(super) changes: Changes,
    began: Instant,
    pub(super) took_ms: u128,
}

impl Call {
    /// Begins an entry with the entry's first request.
    pub(super) fn begin(side: Side, request: Request) -> Self {
        Self {
            side,
            request,
            sent: 1,
            under_way: 1,
            answers: Vec::new(),
            gone: 0,
            changes: Changes::default(),
            began: Instant::now(),
            took_ms: 0,
        }
    }

    /// Records the end of one of the entry's requests. `answer` is `None` if the caller aborted the request.
    pub(super) fn end(&mut self, answer: Option<Answer>) {
        self.under_way -= 1;
        self.took_ms = self.began.elapsed().as_millis();
        let Some(answer) = answer else {
            self.gone += 1;
            return;
        };
        match self.answers.iter_mut().find(|(it, _)| *it == answer) {
            Some((_, count)) => *count += 1,
            None => self.answers.push((answer, 1)),
        }
    }
}

/// The items that were changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// The first changes, at most [`SHOWN_CHANGES`].
    pub(super) shown: Vec<ItemChange>,
    pub(super) count: usize,
}

impl Changes {
    pub(super) fn add(&mut self, changes: Vec<ItemChange>) {
        self.count += changes.len();
        let room = SHOWN_CHANGES.saturating_sub(self.shown.len());
        self.shown.extend(changes.into_iter().take(room));
    }
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Call(Call),
    Written(Writer, Changes),
    /// The page's user moved the clock forward by this duration.
    Moved(String),
}

/// An entry of the journal: something that happened.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    /// The installation that the entry concerns. `None` if the entry concerns all installations.
    pub(super) installation: Option<String>,
    pub(super) what: What,
}

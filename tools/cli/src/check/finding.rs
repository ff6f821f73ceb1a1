//! What a check expects of an answer, and what it finds.

use serde_json::Value;

use super::wire::{Answer, Exchange};

/// How a check ended, if not well.
#[derive(Debug)]
pub(super) enum Finding {
    /// The backend did not do what was expected.
    Wrong {
        expected: String,
        seen: String,
        /// The request whose answer shows it.
        at: Box<Exchange>,
    },
    /// The check could not be made, and why.
    Skipped(String),
}

pub(super) type Verdict = Result<(), Finding>;

impl Finding {
    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }
}

/// How a token or a signature may be refused.
const REFUSALS: [u16; 3] = [400, 401, 403];

impl Exchange {
    /// The answer, which every exchange has that a check gets.
    pub(super) fn answer(&self) -> Result<&Answer, Finding> {
        self.answer.as_ref().map_err(|_| self.wrong("an answer"))
    }

    /// Finds that something else was expected of this answer.
    pub(super) fn wrong(&self, expected: impl Into<String>) -> Finding {
        self.wrong_as(expected, self.seen())
    }

    /// Finds that something else was expected here, in words of the check's own for what was seen.
    pub(super) fn wrong_as(&self, expected: impl Into<String>, seen: impl Into<String>) -> Finding {
        Finding::Wrong { expected: expected.into(), seen: seen.into(), at: Box::new(self.clone()) }
    }

    /// Expects what is said here.
    pub(super) fn expect(&self, holds: bool, expected: &str) -> Verdict {
        if holds { Ok(()) } else { Err(self.wrong(expected)) }
    }

    /// Expects a 2xx.
    pub(super) fn succeeds(&self) -> Verdict {
        self.expect(self.is_success(), "200 or 204")
    }

    /// Expects anything but a 5xx.
    pub(super) fn is_no_500(&self) -> Verdict {
        self.expect(self.status() < 500, "no 5xx")
    }

    /// Expects a 2xx, and leaves a 5xx to the check that is named.
    pub(super) fn succeeds_but_for(&self, other: &str) -> Verdict {
        if self.status() >= 500 {
            return Err(Finding::skipped(format!("{other} found a {}", self.status())));
        }
        self.succeeds()
    }

    /// Expects that the token or the signature opens nothing. How it is refused is another check's affair.
    pub(super) fn is_refused(&self) -> Verdict {
        let refused = self.status() >= 500 || REFUSALS.contains(&self.status());
        self.expect(refused, "403")
    }

    /// Expects a refusal of the token, which may hide what is there.
    pub(super) fn is_refused_or_hidden(&self) -> Verdict {
        if self.status() == 404 { Ok(()) } else { self.is_refused() }
    }

    /// Expects that a refusal is not a 5xx, but for a 503 that says when to come again: an unknown key may be
    /// Vercel's newest, which cannot be looked up at once.
    pub(super) fn is_no_broken_refusal(&self) -> Verdict {
        let later = self.status() == 503 && self.answer()?.header("retry-after").is_some();
        self.expect(later || self.status() < 500, "403")
    }

    /// The answer's error in the form that Vercel documents.
    pub(super) fn error(&self) -> Result<Value, Finding> {
        let body = self.answer()?.json().unwrap_or_default();
        let error = &body["error"];
        if error["code"].is_string() && error["message"].is_string() {
            return Ok(error.clone());
        }
        Err(self.wrong(r#"{"error":{"code":"…","message":"…"}}"#))
    }
}

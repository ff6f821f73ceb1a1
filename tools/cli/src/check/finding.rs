//! What a check expects of an answer, and what the check finds.

use serde_json::Value;

use super::wire::{Answer, Exchange};

/// Why a check did not pass.
#[derive(Debug)]
pub(super) enum Finding {
    /// The backend did not do what the check expected.
    Wrong {
        expected: String,
        seen: String,
        /// The request whose answer shows the fault, with that answer.
        at: Box<Exchange>,
    },
    /// The check could not run, for this reason.
    Skipped(String),
}

pub(super) type Verdict = Result<(), Finding>;

impl Finding {
    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }
}

/// The statuses by which a backend may refuse a token or a signature.
const REFUSALS: [u16; 3] = [400, 401, 403];

impl Exchange {
    /// The answer. Returns a finding if the exchange has no answer. An exchange that `Call::send` returned
    /// always has an answer.
    pub(super) fn answer(&self) -> Result<&Answer, Finding> {
        self.answer.as_ref().map_err(|_| self.wrong("an answer"))
    }

    /// The finding that an answer is not the one that the check expected.
    pub(super) fn wrong(&self, expected: impl Into<String>) -> Finding {
        self.wrong_as(expected, self.seen())
    }

    /// The finding that the check saw something else than it expected. `seen` describes what the check saw.
    pub(super) fn wrong_as(&self, expected: impl Into<String>, seen: impl Into<String>) -> Finding {
        Finding::Wrong { expected: expected.into(), seen: seen.into(), at: Box::new(self.clone()) }
    }

    /// Passes if `holds` is true. If `holds` is false, the finding names what the check expected.
    pub(super) fn expect(&self, holds: bool, expected: &str) -> Verdict {
        if holds { Ok(()) } else { Err(self.wrong(expected)) }
    }

    /// Expects a 2xx.
    pub(super) fn succeeds(&self) -> Verdict {
        self.expect(self.is_success(), "200 or 204")
    }

    /// Expects a status below 500.
    pub(super) fn is_no_500(&self) -> Verdict {
        self.expect(self.status() < 500, "no 5xx")
    }

    /// Expects a 2xx. A 5xx skips the check, because the check `other` reports the 5xx.
    pub(super) fn succeeds_but_for(&self, other: &str) -> Verdict {
        if self.status() >= 500 {
            return Err(Finding::skipped(format!("{other} found a {}", self.status())));
        }
        self.succeeds()
    }

    /// Expects that the backend did not accept the token or the signature. A 5xx is allowed here, because
    /// other checks report a 5xx.
    pub(super) fn is_refused(&self) -> Verdict {
        let refused = self.status() >= 500 || REFUSALS.contains(&self.status());
        self.expect(refused, "403")
    }

    /// Expects that the backend refused the token. A 404 is allowed, because a backend may answer 404 to hide
    /// what exists.
    pub(super) fn is_refused_or_hidden(&self) -> Verdict {
        if self.status() == 404 { Ok(()) } else { self.is_refused() }
    }

    /// Expects a status below 500, or a 503 with `Retry-After`. A backend may answer 503 if it cannot look up
    /// the token's key immediately, because an unknown key may be Vercel's newest key.
    pub(super) fn is_no_broken_refusal(&self) -> Verdict {
        let later = self.status() == 503 && self.answer()?.header("retry-after").is_some();
        self.expect(later || self.status() < 500, "403")
    }

    /// The error in an answer. Returns a finding if the error does not have the form that Vercel documents.
    pub(super) fn error(&self) -> Result<Value, Finding> {
        let body = self.answer()?.json().unwrap_or_default();
        let error = &body["error"];
        if error["code"].is_string() && error["message"].is_string() {
            return Ok(error.clone());
        }
        Err(self.wrong(r#"{"error":{"code":"…","message":"…"}}"#))
    }
}

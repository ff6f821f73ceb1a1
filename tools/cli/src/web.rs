//! What the page of `teardown dev` and the console share: the check of who may send requests, files, items as
//! text, operators' acts, and reads of the table. This module uses neither the page nor the console.

pub(crate) mod assets;
pub(crate) mod guard;
pub(crate) mod items;
pub(crate) mod operate;
pub(crate) mod sections;
pub(crate) mod table;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};

/// Renders a template as an HTML answer.
pub(crate) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => failed(&anyhow::Error::new(error)),
    }
}

/// The answer if a page's read or write failed. The page shows the error's message instead of the requested
/// section.
pub(crate) fn failed(error: &anyhow::Error) -> Response {
    let message = crate::terminal::one_line(&format!("{error:#}"));
    tracing::warn!(error = message, "a page was not shown");
    (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

/// A duration as text, in the duration's two largest units: `6 d 23 h`, `29 s`.
pub(crate) fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let (mut left, mut parts) = (seconds, Vec::new());
    for (size, unit) in units {
        if left >= size {
            parts.push(format!("{} {unit}", left / size));
            left %= size;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        let texts = [0, 29, 60, 3 * 3600 + 61, 7 * 86_400 - 1].map(duration);
        assert_eq!(texts, ["0 s", "29 s", "1 min", "3 h 1 min", "6 d 23 h"]);
    }
}

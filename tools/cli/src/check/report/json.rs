//! The report as JSON.

use serde_json::{Value, json};

use crate::check::run::{Outcome, Report, Row};

/// The names of all outcomes.
pub(super) const OUTCOMES: [&str; 6] = ["pass", "warn", "fail", "accepted", "skipped", "not run"];

/// The report as JSON.
#[must_use]
pub fn json(report: &Report) -> Value {
    let counts = OUTCOMES.map(|name| (name.to_owned(), json!(report.count(name))));
    json!({
        "baseUrl": report.base_url,
        "counts": Value::Object(counts.into_iter().collect()),
        "stopped": report.stopped,
        "untrusted": report.untrusted,
        "leftBehind": report.left,
        "requests": report.requests,
        "seconds": report.took.as_secs_f64(),
        "checks": report.rows.iter().map(check).collect::<Vec<_>>(),
    })
}

fn check(row: &Row) -> Value {
    let check = row.check;
    let mut json = json!({
        "id": check.id,
        "group": check.group(),
        "title": check.title,
        "outcome": row.outcome.name(),
        "says": check.basis.statement(),
        "url": check.basis.url(),
        "steps": row.steps,
    });
    if let Some(wrong) = row.outcome.wrong() {
        json["expected"] = json!(wrong.expected);
        json["seen"] = json!(wrong.seen);
        json["curl"] = json!(wrong.curl);
        json["note"] = json!(wrong.note);
        json["mend"] = json!(check.mend);
    }
    if let Outcome::Skipped(why) | Outcome::NotRun(why) = &row.outcome {
        json["why"] = json!(why);
    }
    json
}

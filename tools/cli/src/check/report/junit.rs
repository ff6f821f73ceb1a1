//! The report in `JUnit`'s format, which CI systems read.

use std::fmt::Write as _;

use crate::check::list::GROUPS;
use crate::check::run::{Outcome, Report, Row};

/// The report as `JUnit`'s XML. Each group is a suite, and each check is a case. A check with a warning or an
/// accepted failure counts as passed, with the finding in `system-out`. A check that was not run counts as an
/// error.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"teardown check\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\">",
        report.rows.len(),
        report.count("fail"),
        report.count("not run"),
        report.took.as_secs_f64(),
    );
    for (group, _) in GROUPS {
        let rows: Vec<_> = report.rows.iter().filter(|row| row.check.group() == group).collect();
        let such = |name| rows.iter().filter(|row| row.outcome.name() == name).count();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{group}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
            rows.len(),
            such("fail"),
            such("not run"),
            such("skipped"),
        );
        for row in rows {
            case(&mut xml, row);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, row: &Row) {
    let (id, title) = (row.check.id, escaped(row.check.title));
    let _ = write!(xml, "    <testcase classname=\"{}\" name=\"{id}: {title}\"", row.check.group());
    let problem = row.outcome.wrong().map(|wrong| {
        let lines = [
            format!("expected: {}", wrong.expected),
            format!("seen: {}", wrong.seen),
            wrong.curl.clone(),
            wrong.note.clone().unwrap_or_default(),
            format!(
                "documented: {} {}",
                row.check.basis.statement(),
                row.check.basis.url().unwrap_or("")
            ),
            format!("mend: {}", row.check.mend),
        ];
        (escaped(&wrong.seen), escaped(&lines.join("\n")))
    });
    let inside = match (&row.outcome, problem) {
        (Outcome::Passed, _) => None,
        (Outcome::Failed(_), Some((seen, problem))) => {
            Some(format!("<failure message=\"{seen}\">{problem}</failure>"))
        }
        (Outcome::Skipped(why), _) => Some(format!("<skipped message=\"{}\"/>", escaped(why))),
        (Outcome::NotRun(why), _) => Some(format!("<error message=\"{}\"/>", escaped(why))),
        (outcome, problem) => {
            let problem = problem.map(|(_, problem)| problem).unwrap_or_default();
            Some(format!("<system-out>{}: {problem}</system-out>", outcome.name()))
        }
    };
    match inside {
        None => xml.push_str("/>\n"),
        Some(inside) => {
            let _ = writeln!(xml, ">\n      {inside}\n    </testcase>");
        }
    }
}

/// Escapes a text for XML. Control characters except tabs and line feeds become U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push('\t'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N2: no text in a backend's answer breaks the XML document.
    #[test]
    fn a_text_is_escaped() {
        assert_eq!(
            escaped("<a b=\"&\">\n\u{1b}\u{0}"),
            "&lt;a b=&quot;&amp;&quot;&gt;&#10;\u{fffd}\u{fffd}"
        );
    }
}

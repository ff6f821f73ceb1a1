//! The report for people, and the page of all checks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::check::entry::Check;
use crate::check::list::{GROUPS, all};
use crate::check::run::{Outcome, Report, Row};
use crate::terminal::{ERROR, HEADING, one_line};

/// The report of a run: a table of the groups, each finding, the skipped checks with the reasons, and the
/// totals.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = table(report);
    for row in &report.rows {
        if let Some(finding) = finding(row) {
            text.push('\n');
            text += &finding;
        }
    }
    text += &skipped(report);
    text.push('\n');
    text += &sum(report);
    text
}

fn table(report: &Report) -> String {
    const COLUMNS: [&str; 4] = ["pass", "warn", "fail", "skipped"];
    let mut table = format!("{HEADING}{:<22}", "group");
    for column in COLUMNS {
        let _ = write!(table, "{column:>9}");
    }
    let _ = writeln!(table, "{HEADING:#}");
    for (group, _) in GROUPS {
        let rows = || report.rows.iter().filter(|row| row.check.group() == group);
        if rows().next().is_none() {
            continue;
        }
        let _ = write!(table, "{group:<22}");
        for column in COLUMNS {
            let counted = rows().filter(|row| counts_as(&row.outcome) == column).count();
            let shown = if counted == 0 { "-".to_owned() } else { counted.to_string() };
            let _ = write!(table, "{shown:>9}");
        }
        table.push('\n');
    }
    table
}

/// The column of the table in which an outcome is counted.
fn counts_as(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "pass",
        Outcome::Warned(_) | Outcome::Accepted(_) => "warn",
        Outcome::Failed(_) => "fail",
        Outcome::Skipped(_) | Outcome::NotRun(_) => "skipped",
    }
}

fn finding(row: &Row) -> Option<String> {
    let (check, wrong) = (row.check, row.outcome.wrong()?);
    let style = if matches!(row.outcome, Outcome::Failed(_)) { ERROR } else { HEADING };
    let name = row.outcome.name().to_uppercase();
    let mut text =
        format!("{style}{name}{style:#} {HEADING}{}{HEADING:#}: {}\n", check.id, check.title);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    line("expected", &one_line(&wrong.expected));
    line("seen", &one_line(&wrong.seen));
    if let Some((_, before)) = row.steps.split_last().filter(|(_, before)| !before.is_empty()) {
        let shown = before.iter().rev().take(4).rev().map(String::as_str).collect::<Vec<_>>();
        line("before", &one_line(&shown.join(", ")));
    }
    match check.basis.url() {
        Some(url) => line("says", &format!("{} {url}", check.basis.statement())),
        None => line("why", check.basis.statement()),
    }
    line("mend", check.mend);
    let curl = wrong.curl.lines().map(one_line).collect::<Vec<_>>().join("\n  ");
    let _ = writeln!(text, "  {curl}");
    if let Some(note) = &wrong.note {
        let _ = writeln!(text, "  # {}", one_line(note));
    }
    Some(text)
}

/// The reasons why checks were skipped or not run, each with the checks that it stopped.
fn skipped(report: &Report) -> String {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &report.rows {
        if let Outcome::Skipped(why) | Outcome::NotRun(why) = &row.outcome {
            reasons.entry(why).or_default().push(row.check.id);
        }
    }
    let mut text = String::new();
    for (why, ids) in reasons {
        let why = why.lines().map(one_line_kept).collect::<Vec<_>>().join("\n  ");
        let checks = if ids.len() == 1 { "1 check" } else { &format!("{} checks", ids.len()) };
        let _ =
            writeln!(text, "\n{HEADING}SKIPPED{HEADING:#} {checks}: {why}\n  ({})", ids.join(", "));
    }
    text
}

/// A line without control characters. The blanks at the line's beginning stay.
fn one_line_kept(line: &str) -> String {
    let blanks = line.len() - line.trim_start().len();
    format!("{}{}", &line[..blanks], one_line(line))
}

fn sum(report: &Report) -> String {
    let counted = |name, words: &str| match report.count(name) {
        0 => String::new(),
        count => format!("{count} {words}, "),
    };
    let mut text = format!(
        "{}{}{}{}{}{}{} requests in {:.1} s\n",
        counted("pass", "passed"),
        counted("warn", "warned"),
        counted("fail", "failed"),
        counted("accepted", "failed as --accept says"),
        counted("skipped", "skipped"),
        counted("not run", "not run"),
        report.requests,
        report.took.as_secs_f64(),
    );
    if let Some(why) = &report.stopped {
        let _ = writeln!(text, "{ERROR}stopped:{ERROR:#} {why}");
    }
    if report.untrusted {
        let _ = writeln!(
            text,
            "{ERROR}not checked:{ERROR:#} the backend accepts no token of this run, so no permitted deletion \
             was checked"
        );
    }
    let (installations, resources) = report.made;
    if !report.left.is_empty() {
        let left: Vec<_> = report.left.iter().map(|it| one_line(it)).collect();
        let _ = writeln!(text, "{ERROR}left behind:{ERROR:#} {}", left.join(", "));
    } else if installations + resources > 0 {
        let _ = writeln!(
            text,
            "{installations} installations and {resources} resources were made and deleted; nothing is left \
             behind"
        );
    }
    text
}

/// All checks as a Markdown page, with a table for each group.
#[must_use]
pub fn page() -> String {
    let mut page = String::new();
    for (group, about) in GROUPS {
        let _ = writeln!(page, "\n## {group}\n\n{}{}.\n", about[..1].to_uppercase(), &about[1..]);
        page.push_str("| check | what the backend does | what is documented | where | else | how to mend it |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        for check in all().filter(|check| check.group() == group) {
            let name = check.id.split('/').next_back().unwrap_or_default();
            let _ = writeln!(
                page,
                "| `{name}` | {} | {} | {} | {} | {} |",
                cell(check.title),
                cell(check.basis.statement()),
                address(check),
                if check.basis.is_binding() { "fail" } else { "warn" },
                cell(check.mend),
            );
        }
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A link to the documentation of a check's basis. The link's text is the last part of the address.
fn address(check: &Check) -> String {
    let Some(url) = check.basis.url() else { return "good practice".to_owned() };
    let name = url.rsplit('/').next().unwrap_or_default();
    format!("[{}]({url})", name.replace('#', ", "))
}

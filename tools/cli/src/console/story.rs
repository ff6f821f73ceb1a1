//! The story of an installation, in order of time: what happened, and what will happen. The story is made
//! from the installation's items.

use askama::Template;
use teardown::clock::Timestamp;
use teardown::ids::{InstallationId, ResourceId};

use crate::attributes::{Item, map, named, text, time, truth};
use crate::web::sections::{Frame, actor};
use crate::web::table::Table;

/// How many items of each kind the story reads, which is more than anybody looks at.
const READ: usize = 300;

/// Something that happened, or that will happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    at: Timestamp,
    what: String,
    detail: String,
}

/// The story of an installation or of a resource.
#[derive(Template)]
#[template(path = "console/story.html")]
pub(super) struct Story {
    frame: Frame,
    id: String,
    resource: String,
    past: Vec<Event>,
    future: Vec<Event>,
    /// Whether the story is incomplete, because the table has more items than were read.
    cut: bool,
}

impl Story {
    /// Reads the story of an installation, or of one of its resources.
    pub(super) async fn read(
        table: &Table,
        frame: &Frame,
        id: &InstallationId,
        resource: Option<&ResourceId>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let mut items: Vec<Item> = table.item(id, "#installation").await?.into_iter().collect();
        let mut cut = false;
        if let Some(resource) = resource {
            for sk in [
                format!("resource#{resource}"),
                format!("receipt#resource#{resource}"),
                format!("work#announce#resource#{resource}"),
                format!("hold#resource#{resource}"),
                "hold#installation".to_owned(),
            ] {
                items.extend(table.item(id, &sk).await?);
            }
        } else {
            for prefix in ["receipt#", "hold#", "work#"] {
                let page = table.page(id, prefix, None, READ).await?;
                cut |= page.next.is_some();
                items.extend(page.items);
            }
        }
        let mut events: Vec<_> = items.iter().flat_map(events).collect();
        events.sort();
        let (past, future) = events.into_iter().partition(|event| event.at <= now);
        let resource = resource.map_or_else(String::new, ToString::to_string);
        Ok(Self { frame: frame.clone(), id: id.to_string(), resource, past, future, cut })
    }
}

/// A text that says what a job does.
fn doing(job: &str, phase: Option<&str>) -> String {
    let what = |rest: &str| match rest.strip_prefix("resource#") {
        Some(resource) => resource.to_owned(),
        None => format!("the {rest}"),
    };
    match (job, job.strip_prefix("announce#"), phase) {
        (_, Some(rest), Some("scheduled")) => {
            format!("telling the provider that the teardown of {} is scheduled", what(rest))
        }
        (_, Some(rest), _) => format!("telling the provider to tear down {}", what(rest)),
        ("purge", ..) => "the purge of what the installation had".to_owned(),
        ("finalize", ..) => "the finalization at Vercel".to_owned(),
        ("configuration", ..) => "the deletion of the configuration".to_owned(),
        (other, ..) => other.to_owned(),
    }
}

/// The events that an item records.
fn events(item: &Item) -> Vec<Event> {
    let mut events = Vec::new();
    let mut add = |name: &str, what: String, detail: String| {
        if let Some(at) = time(item, name) {
            events.push(Event { at, what, detail });
        }
    };
    let or_empty = |name: &str| text(item, name).unwrap_or_default().to_owned();
    let by_and_why = |by: &str, why: &str| {
        let (by, why) = (or_empty(by), or_empty(why));
        if why.is_empty() { format!("by {by}") } else { format!("by {by}: {why}") }
    };
    if named(item, "#installation").is_some() {
        let state = text(item, "state").unwrap_or_default();
        if state == "active" {
            add("updatedAt", "registered, or changed last".to_owned(), or_empty("settledBy"));
        }
        add("configurationDeletedAt", "the configuration was deleted".to_owned(), String::new());
        add("expiresAt", "the tombstone expires".to_owned(), String::new());
    } else if let Some(resource) = named(item, "resource#") {
        add("updatedAt", format!("{resource} was registered, or changed last"), String::new());
    } else if let Some(what) = named(item, "receipt#") {
        let what = what.replacen('#', " ", 1);
        let reason = or_empty("reason");
        let by = actor(item);
        let detail =
            if reason.is_empty() { format!("by {by}") } else { format!("by {by}: {reason}") };
        add("deletedAt", format!("{what} was deleted"), detail);
        add(
            "movedAt",
            format!("{what} was moved to {}", or_empty("movedTo")),
            by_and_why("movedBy", "reason"),
        );
        let is_notified = truth(item, "unannounced") != Some(true);
        if let Some(kept) = map(item, "kept") {
            let text = |name| text(kept, name).unwrap_or_default();
            if let Some(at) = time(kept, "at") {
                let (what, detail) =
                    (format!("{what} was kept"), format!("by {}: {}", text("by"), text("reason")));
                events.push(Event { at, what, detail });
            }
        } else if is_notified {
            add("teardownAt", format!("the grace period of {what} ends"), String::new());
        }
    } else if let Some(on) = named(item, "hold#") {
        let on = on.replacen('#', " ", 1);
        add("heldAt", format!("a hold was placed on {on}"), by_and_why("heldBy", "reason"));
        add("until", format!("the hold on {on} ends"), String::new());
        add(
            "releasedAt",
            format!("the hold on {on} was released"),
            by_and_why("releasedBy", "releaseReason"),
        );
    } else if let Some(job) = named(item, "work#") {
        let doing = doing(job, text(item, "phase"));
        add("failingSince", format!("began to fail: {doing}"), or_empty("lastError"));
        match text(item, "dueShard") {
            Some("parked") => add("dueAt", format!("parked: {doing}"), or_empty("lastError")),
            Some("held") => {}
            _ => add("dueAt", format!("due: {doing}"), String::new()),
        }
        add("finalizesAt", "until then a final invoice can be sent".to_owned(), String::new());
    }
    events
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::items::json::of_json;

    #[test]
    fn items_tell_what_happened_to_them_and_what_is_to_come() {
        let lines = |item: serde_json::Value| {
            let events = events(&of_json(&item).unwrap()).into_iter();
            let texts = events.map(|it| format!("{} {} {}", it.at.as_secs(), it.what, it.detail));
            texts.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let (n, s) = (|n: u64| json!({ "N": n.to_string() }), |s: &str| json!({ "S": s }));
        let by = json!({ "M": { "kind": s("system"), "accountId": s("acc_1") } });
        assert_eq!(
            lines(json!({
                "sk": s("receipt#resource#db_1"), "deletedAt": n(5), "deletedBy": by,
                "reason": s("unused"), "teardownAt": n(9),
            })),
            [
                "5 resource db_1 was deleted by system of acc_1: unused",
                "9 the grace period of resource db_1 ends"
            ]
        );
        let kept = json!({ "M": { "at": n(7), "by": s("olga"), "reason": s("back") } });
        assert_eq!(
            lines(json!({ "sk": s("receipt#resource#db_1"), "teardownAt": n(9), "kept": kept })),
            ["7 resource db_1 was kept by olga: back"]
        );
        assert_eq!(
            lines(json!({
                "sk": s("hold#installation"), "heldAt": n(3), "heldBy": s("olga"), "reason": s("42"),
                "releasedAt": n(4), "releasedBy": s("ivan"), "releaseReason": s("done"),
            })),
            [
                "3 a hold was placed on installation by olga: 42",
                "4 the hold on installation was released by ivan: done"
            ]
        );
        assert_eq!(
            lines(json!({
                "sk": s("work#purge"), "dueShard": s("parked"), "dueAt": n(8),
                "failingSince": n(2), "lastError": s("no answer"),
            })),
            [
                "2 began to fail: the purge of what the installation had no answer",
                "8 parked: the purge of what the installation had no answer"
            ]
        );
    }
}

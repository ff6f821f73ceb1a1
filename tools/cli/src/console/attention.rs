//! What needs an operator's attention: parked jobs, late finalizations, jobs that hang, and holds.

use std::time::Duration;

use askama::Template;
use teardown::clock::Timestamp;
use teardown::store::admin::holds::Hold;
use teardown::store::admin::operations::ParkedJob;

use super::Console;
use crate::attributes::{Item, named, number, text, time};
use crate::web::table::Due;

/// The most rows that the page shows of parked jobs, of hanging jobs and of holds: more than anybody reads.
const SHOWN: usize = 50;

/// How long a job may be due before it counts as hanging, which is longer than the 5 minutes between sweeps.
const HANGING: Duration = Duration::from_mins(15);

/// How many jobs are read from each shard of the index, to find hanging jobs.
const PER_SHARD: i32 = 20;

/// How many jobs that call Vercel the page reads.
const URGENT: i32 = 100;

/// The age at which a finalization is late: an hour before Vercel's 24 hours are over.
const LATE: Duration = Duration::from_hours(23);

/// The longest wait between two attempts at a finalization.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// A finalization for which Vercel's 24 hours are over or nearly over.
pub(super) struct Late {
    installation: String,
    /// When Vercel's 24 hours are over.
    over: Timestamp,
    is_over: bool,
    attempts: String,
    error: String,
}

/// What needs an operator's attention.
#[derive(Template)]
#[template(path = "console/attention.html")]
pub(super) struct Attention {
    base: String,
    parked: Vec<ParkedJob>,
    late: Vec<Late>,
    hanging: Vec<Due>,
    holds: Vec<Hold>,
}

impl Attention {
    pub(super) async fn read(it: &Console) -> anyhow::Result<Self> {
        let now = it.clock.timestamp();
        let table = &it.sections.table;
        let long_ago = Timestamp::from_secs(now.as_secs().saturating_sub(HANGING.as_secs()));
        let (parked, holds, hanging, urgent) = tokio::try_join!(
            async { it.store.parked(SHOWN).await.map_err(anyhow::Error::from) },
            async { it.store.holds(SHOWN).await.map_err(anyhow::Error::from) },
            table.due(Some(long_ago), PER_SHARD),
            table.urgent(now + LONGEST_WAIT, URGENT),
        )?;
        let finalizations: Vec<_> =
            urgent.into_iter().filter(|due| due.sk == "work#finalize").collect();
        let items = table.items(&finalizations).await?;
        let late = items.iter().filter_map(|item| Late::of(item, now)).collect();
        let hanging = hanging.into_iter().take(SHOWN).collect();
        Ok(Self { base: it.base.clone(), parked, late, hanging, holds })
    }

    fn is_quiet(&self) -> bool {
        self.parked.is_empty() && self.late.is_empty() && self.hanging.is_empty()
    }

    /// The resource that a hold is on. If the hold is on a whole installation, this text is empty.
    #[expect(clippy::unused_self, reason = "a template calls it")]
    fn resource<'a>(&self, hold: &'a Hold) -> &'a str {
        hold.subject.resource.as_ref().map_or("", |it| it.as_str())
    }
}

impl Late {
    fn of(item: &Item, now: Timestamp) -> Option<Self> {
        named(item, "work#finalize")?;
        let deleted = time(item, "deletedAt")?;
        let over = deleted + Duration::from_hours(24);
        (deleted + LATE <= now).then(|| Self {
            installation: text(item, "installationId").unwrap_or("-").to_owned(),
            over,
            is_over: over <= now,
            attempts: number(item, "attempts").unwrap_or("0").to_owned(),
            error: text(item, "lastError").unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::items::json::of_json;

    #[test]
    fn a_finalization_is_late_from_an_hour_before_the_24_hours_are_over() {
        let item = of_json(&json!({
            "sk": { "S": "work#finalize" }, "installationId": { "S": "icfg_1" },
            "deletedAt": { "N": "1763769600" },
        }));
        let item = item.unwrap();
        let late = |hours: u64| {
            let now = Timestamp::from_secs(1_763_769_600) + Duration::from_hours(hours);
            Late::of(&item, now).map(|late| late.is_over)
        };
        assert_eq!([late(22), late(23), late(24)], [None, Some(false), Some(true)]);
    }
}

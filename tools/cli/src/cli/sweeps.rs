//! The sweeps of `teardown dev`, as a host's schedule has them, only more often.

use std::time::Duration;

use teardown::App;
use teardown::app::HostTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The time between sweeps: a developer who has settled an invoice sees the result while looking, and the
/// eight queries of a sweep that finds nothing cost a machine nothing.
const EVERY: Duration = Duration::from_secs(2);

/// How long a sweep may take: what the last thing it takes may need, which leaves a quarter of it to
/// take. Leases last a little longer, and what a killed tool was at is due again after that.
const TIME: HostTime = HostTime(Duration::from_secs(20));

/// Sweeps again and again, one sweep at a time, until `ended` has no sender any more.
pub(super) async fn run(app: App, mut ended: watch::Receiver<()>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ended.changed() => return,
            _ = due.tick() => {}
        }
        // It logs what it did, and how it failed; the next one tries again.
        app.sweep(TIME).await;
    }
}

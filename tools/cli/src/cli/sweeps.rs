//! The sweeps of `teardown dev`: like those of a host's schedule, but more often.

use std::time::Duration;

use teardown::App;
use teardown::app::HostTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The time between sweeps: a developer who has settled an invoice sees the result soon, and a sweep that
/// finds nothing costs only eight local queries.
const EVERY: Duration = Duration::from_secs(2);

/// How long a sweep may take: as long as its last job may need, so it claims jobs for a quarter of this time.
/// Leases last a little longer. After them, the jobs that a killed tool had claimed are due again.
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
        // The sweep logs what it did, and how it failed; the next sweep tries again.
        app.sweep(TIME).await;
    }
}

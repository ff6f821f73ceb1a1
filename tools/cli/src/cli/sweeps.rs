//! The sweeps of `teardown dev`. They run like the scheduled sweeps of a deployment, but more often.

use std::time::Duration;

use teardown::App;
use teardown::app::HostTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The time between sweeps. It is short, so that a developer who settles invoices sees the result soon. A
/// sweep that finds no job makes only eight local queries.
const EVERY: Duration = Duration::from_secs(2);

/// How long a sweep may take. This is as long as one job may need, so a sweep claims jobs only in the first
/// quarter of this time. A lease lasts a little longer than a sweep. If the tool is killed, the jobs that it
/// had claimed are due again when their leases end.
const TIME: HostTime = HostTime(Duration::from_secs(20));

/// Runs sweeps, one at a time, until the sender of `ended` is dropped.
pub(super) async fn run(app: App, mut ended: watch::Receiver<()>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ended.changed() => return,
            _ = due.tick() => {}
        }
        // The sweep itself logs its result or its failure. After a failure, the next sweep tries again.
        app.sweep(TIME).await;
    }
}

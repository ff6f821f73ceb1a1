//! The sweeps of `teardown dev`, which run more often than the scheduled sweeps of a deployment.

use std::time::Duration;

use teardown::App;
use teardown::app::HostTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The time between sweeps. This time is short, so that a developer who settles invoices sees the result
/// soon. A sweep that finds no job makes only eight local queries.
const EVERY: Duration = Duration::from_secs(2);

/// How long a sweep may take. One job may need the whole of a sweep's time, so a sweep claims jobs only in
/// the first quarter of its time. A lease lasts a little longer than a sweep. If the tool is killed, its
/// claimed jobs are due again when their leases end.
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
        // The function `sweep` logs the sweep's result or failure. After a failure, the next sweep tries
        // again.
        app.sweep(TIME).await;
    }
}

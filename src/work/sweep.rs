//! The sweep: finds the jobs that are due, and runs them. Other sweeps may run at the same time (G4). New
//! jobs that the table's stream reports are run without a search (L2).

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;

use super::Worker;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::InstallationId;
use crate::job::{Job, Report};
use crate::telemetry;

/// How many jobs a sweep runs at the same time.
const AT_A_TIME: usize = 16;

/// How many entries of the index a sweep reads at a time, and keeps in memory.
const PAGE: i32 = 64;

/// How long before its end a sweep stops claiming jobs. The 20 s give the last claimed job time for a call
/// that times out (12 s) and for DynamoDB (8 s). If DynamoDB is slow both before and after the call, the job
/// may need more time. If the end of the sweep cuts a job off, the job is retried later. [`claiming`] says
/// what a short sweep does.
const LAST: Duration = Duration::from_secs(20);

/// How many times a sweep looks again for jobs that it rescheduled, because the index is some milliseconds
/// behind the table.
const LAGS: u32 = 4;

/// How long a sweep waits before it looks again for jobs that it rescheduled.
const LAG: Duration = Duration::from_millis(100);

/// After its answer, a function runs the jobs that are due immediately, for at most this long. This time and
/// the longest request together must fit in the 60 s that `vercel.json` grants a function. The longest
/// request is a Delete Configuration. A Delete Configuration needs 3 s for the issuer's keys, 8 s for
/// DynamoDB, 12 s for Vercel, and 8 s for DynamoDB after Vercel's answer. Each further call to Vercel needs
/// 12 s more. If a slow DynamoDB makes the request longer, the host cuts the jobs off, and the sweep runs
/// them.
const FOLLOW_UP: Duration = Duration::from_secs(15);

/// How much of its `time` a sweep uses to claim jobs. The last part of the time, [`LAST`], is for running the
/// claimed jobs. Even a short sweep claims jobs for a quarter of its time.
fn claiming(time: Duration) -> Duration {
    time.saturating_sub(LAST).max(time / 4)
}

impl Worker {
    /// Runs the jobs that are due, for `time` at most. Other sweeps may run at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`] if the index could not be read. The failure of a
    /// single job is logged, and the job becomes due again.
    pub(crate) async fn sweep(&self, time: Duration) -> Result<Report, Error> {
        let began = Instant::now();
        let taking = claiming(time);
        let end = began + time;
        // Jobs that become due after `now` are left to the next sweep, so that this sweep ends.
        let now = self.clock.timestamp();
        let mut shards: Vec<_> = Job::shards().collect();
        // Sweeps that begin at the same time should claim different jobs. Urgent jobs come first in every
        // sweep.
        fastrand::shuffle(&mut shards[1..]);
        let (mut report, mut lag) = (Report::default(), 0);
        loop {
            let mut round = Report::default();
            for (index, shard) in shards.iter().enumerate() {
                // Urgent jobs get half of the time, so that a Vercel that does not answer cannot delay the
                // other jobs.
                let taking = if index == 0 { taking / 2 } else { taking };
                round += self.sweep_shard(shard, now, began + taking, end).await?;
            }
            report += round;
            if began.elapsed() >= taking || (round.claimed == 0 && lag == 0) {
                return Ok(report);
            }
            // If the sweep made a job due again immediately, the index may not have the job yet.
            if round.claimed > 0 {
                lag = if round.unfinished > 0 { LAGS } else { 0 };
            } else {
                lag -= 1;
                tokio::time::sleep(LAG).await;
            }
        }
    }

    /// Claims and runs the due jobs of a shard, page by page. Claims no job after `taking_until`.
    async fn sweep_shard(
        &self,
        shard: &str,
        now: Timestamp,
        taking_until: Instant,
        end: Instant,
    ) -> Result<Report, Error> {
        let (mut report, mut from) = (Report::default(), None);
        while Instant::now() < taking_until {
            let page = self.store.due(shard, now, PAGE, from).await?;
            let mut due = page.due;
            fastrand::shuffle(&mut due);
            report += self.run_all(due, now, taking_until, end).await;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        Ok(report)
    }

    /// Runs the new jobs that are due immediately, for `time` at most. The next sweep runs the jobs that fail
    /// or get no time (L2).
    pub(crate) async fn run_new(&self, jobs: Vec<(InstallationId, Job)>, time: Duration) -> Report {
        let began = Instant::now();
        let due = jobs.into_iter().filter(|(_, job)| job.is_due_at_once()).collect();
        let now = self.clock.timestamp();
        self.run_all(due, now, began + claiming(time), began + time).await
    }

    /// Runs up to [`AT_A_TIME`] jobs at the same time. Claims no job after `taking_until`.
    async fn run_all(
        &self,
        jobs: Vec<(InstallationId, Job)>,
        now: Timestamp,
        taking_until: Instant,
        end: Instant,
    ) -> Report {
        let runs = stream::iter(jobs)
            .take_while(|_| std::future::ready(Instant::now() < taking_until))
            .map(|(installation, job)| self.count(installation, job, now, end))
            .buffer_unordered(AT_A_TIME);
        let counted = runs.fold(Report::default(), |mut sum, one| {
            sum += one;
            std::future::ready(sum)
        });
        counted.await
    }

    async fn count(
        &self,
        installation: InstallationId,
        job: Job,
        now: Timestamp,
        end: Instant,
    ) -> Report {
        match self.run(&installation, &job, now, end).await {
            Ok(None) => Report::default(),
            Ok(Some(result)) => Report::of(result),
            Err(error) => {
                let work = job.to_string();
                let cause = telemetry::chain(&error);
                tracing::error!(%installation, work, cause, "job broke off");
                // If the job was claimed before it broke off, it is due again when its lease ends. A job that
                // broke off is not counted.
                Report::default()
            }
        }
    }

    /// Tries each job in `due` once. If an attempt fails, or the process dies, the sweep runs the job.
    pub(crate) async fn follow_up(&self, installation: &InstallationId, due: Vec<Job>) {
        let end = Instant::now() + FOLLOW_UP;
        for job in due {
            if Instant::now() >= end {
                return;
            }
            let now = self.clock.timestamp();
            self.count(installation.clone(), job, now, end).await;
        }
    }
}

//! The sweep: finds the jobs that are due, and runs them, beside other sweeps (G4). Those that a stream
//! names need not be found (L2).

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;

use super::Worker;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::InstallationId;
use crate::job::{Job, Report};
use crate::telemetry;

/// How many jobs run at the same time.
const AT_A_TIME: usize = 16;

/// How many entries of the index are read at a time, and held in memory.
const PAGE: i32 = 64;

/// How long the last job that is claimed may run: a call's time-out (12 s) and DynamoDB's (8 s). A job
/// that needs more, since DynamoDB is slow before the call and after it, is cut off and retried later.
/// A sweep claims jobs for a quarter of its time at least, however short that time is.
const LAST: Duration = Duration::from_secs(20);

/// How often a sweep looks again for the jobs that it rescheduled itself, and after which time: the
/// index is behind the table by some milliseconds.
const LAGS: u32 = 4;
const LAG: Duration = Duration::from_millis(100);

/// How long what is due at once is tried after an answer: with the longest request within what
/// `vercel.json` grants a function (60 s). That is a Delete Configuration: the issuer's keys (3 s),
/// DynamoDB (8 s, and 8 s after Vercel's answer) and Vercel (12 s, and as much each time it has to
/// be asked again). If a slow DynamoDB makes it longer, the host cuts it off, and the sweep does
/// the rest.
const FOLLOW_UP: Duration = Duration::from_secs(15);

/// For how much of its time a sweep claims jobs: so that they can be carried out, and a quarter of the
/// time at least, however short it is.
fn claiming(time: Duration) -> Duration {
    time.saturating_sub(LAST).max(time / 4)
}

impl Worker {
    /// Runs the jobs that are due, for `time` at most. Other sweeps may run at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`] if the index could not be read. The
    /// failure of a single job is logged, and the job comes due again.
    pub(crate) async fn sweep(&self, time: Duration) -> Result<Report, Error> {
        let began = Instant::now();
        let taking = claiming(time);
        let end = began + time;
        // What comes due meanwhile is the next sweep's: this one ends.
        let now = self.clock.timestamp();
        let mut shards: Vec<_> = Job::shards().collect();
        // Sweeps that begin together should claim different jobs. Urgent jobs come first in each.
        fastrand::shuffle(&mut shards[1..]);
        let (mut report, mut lag) = (Report::default(), 0);
        loop {
            let mut round = Report::default();
            for (index, shard) in shards.iter().enumerate() {
                // What is urgent has half of the time: a Vercel that hangs holds up nothing else.
                let taking = if index == 0 { taking / 2 } else { taking };
                round += self.sweep_shard(shard, now, began + taking, end).await?;
            }
            report += round;
            if began.elapsed() >= taking || (round.claimed == 0 && lag == 0) {
                return Ok(report);
            }
            // A job that was rescheduled for at once may not be in the index yet.
            if round.claimed > 0 {
                lag = if round.unfinished > 0 { LAGS } else { 0 };
            } else {
                lag -= 1;
                tokio::time::sleep(LAG).await;
            }
        }
    }

    /// Claims and runs the due jobs of a shard, page by page. Claims none after `taking_until`.
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

    /// Runs the jobs that are new, and due at once, for `time` at most. What fails, or has no time left, is
    /// the next sweep's (L2).
    pub(crate) async fn run_new(&self, jobs: Vec<(InstallationId, Job)>, time: Duration) -> Report {
        let began = Instant::now();
        let due = jobs.into_iter().filter(|(_, job)| job.is_due_at_once()).collect();
        let now = self.clock.timestamp();
        self.run_all(due, now, began + claiming(time), began + time).await
    }

    /// Runs jobs side by side. Claims none after `taking_until`.
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
                // A job that was claimed comes due again when its lease ends; one that was not is no
                // progress.
                Report::default()
            }
        }
    }

    /// Tries what is due at once, once: what fails or dies is the sweep's.
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

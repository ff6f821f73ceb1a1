//! The next step of a worker and of the operator's command, with each condition of the store's transactions.

use teardown::job::announcement::{Timing, Turn};

use super::{Action, At, Command, Early, Flaw, Job, State, Teardowns, Worker};

impl State {
    fn nobody_holds(&mut self) {
        for worker in self.workers.iter_mut().flatten() {
            worker.fence = false;
        }
        if let Command::Read { fence } = &mut self.command {
            *fence = false;
        }
    }

    /// What `hold` or `keep` finds when it reads the job. If the job is gone, the `deleted` event may have
    /// been sent.
    fn timing(&self) -> Timing {
        self.job.map_or(Timing::InDoubt, Job::timing)
    }

    /// A worker sends the `deleted` event.
    fn announce(&mut self, worker: Worker) {
        self.notified = true;
        self.notified_late |= self.hold.is_some() && matches!(self.command, Command::Said { .. });
        let others = self.workers.iter().flatten().filter(|it| it.leased && it.at == At::Announced);
        self.twice |= worker.leased && others.count() > 1;
    }
}

impl Teardowns {
    pub(super) fn may_claim(&self, job: Job) -> bool {
        job.due
            && (job.lease != Some(true) || self.has(Flaw::ClaimNotLeased))
            && (!job.held || self.has(Flaw::ClaimNotHeld))
    }

    /// Changes the state by a step. `None` if the step is not possible.
    pub(super) fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Claim => self.claim(state)?,
            Action::Go(index) => self.go(state, index)?,
            Action::Fail(index) => self.fail(state, index)?,
            Action::Die(index) => state.workers[index] = None,
            Action::LeaseEnds => {
                let job = state.job.as_mut()?;
                (job.lease, job.due) = (Some(false), true);
                for worker in state.workers.iter_mut().flatten() {
                    worker.leased = false;
                }
            }
            Action::ComesDue => state.job.as_mut()?.due = true,
            Action::Time => state.time = true,
            Action::Hold => {
                if self.has(Flaw::HoldBeforeLook) {
                    let in_time = state.timing() == Timing::InTime;
                    state.command = Command::LookedFirst { in_time };
                } else {
                    Self::place(state);
                }
            }
            Action::Release => self.release(state),
            Action::Keep => {
                // `keep` waits while a worker has a lease. `keep` writes nothing if the `deleted` event may
                // have been sent.
                if state.command == Command::Kept || state.timing() != Timing::InTime {
                    return None;
                }
                state.command = Command::Read { fence: true };
            }
            Action::Type => self.type_on(state)?,
            Action::CutOff => match state.command {
                Command::Idle | Command::Kept | Command::Said { .. } => return None,
                cut_off => {
                    state.cut_off = cut_off == Command::Releasing;
                    state.command = Command::Idle;
                }
            },
        }
        Some(())
    }

    fn place(state: &mut State) {
        state.holds += 1;
        state.hold = Some(state.holds);
        state.command = Command::Placed;
    }

    fn release(&self, state: &mut State) {
        if self.has(Flaw::ReleaseBeforeWake) {
            Self::wake(state);
        } else {
            state.hold = None;
        }
        state.command = Command::Releasing;
        state.cut_off = false;
    }

    fn wake(state: &mut State) {
        if let Some(job) = &mut state.job
            && job.held
        {
            (job.held, job.due) = (false, true);
        }
    }

    /// Takes the next step of the operator's command.
    fn type_on(&self, state: &mut State) -> Option<()> {
        match state.command {
            Command::LookedFirst { in_time } => {
                Self::place(state);
                state.command = Command::Said { in_time };
            }
            Command::Placed => match state.timing() {
                Timing::LeasedUntil(_) if !self.has(Flaw::WaitForLease) => return None,
                timing => {
                    state.command = Command::Said { in_time: timing != Timing::InDoubt };
                }
            },
            Command::Releasing => {
                if self.has(Flaw::ReleaseBeforeWake) {
                    state.hold = None;
                } else {
                    Self::wake(state);
                }
                state.command = Command::Idle;
            }
            Command::Read { fence } => {
                let may = state.job.is_some() && (fence || self.has(Flaw::KeepFence));
                state.command = if may { Command::Kept } else { Command::Idle };
                if may {
                    state.job = None;
                    state.nobody_holds();
                }
            }
            Command::Idle | Command::Said { .. } | Command::Kept => return None,
        }
        Some(())
    }

    fn claim(&self, state: &mut State) -> Option<()> {
        let job = state.job?;
        let free = state.workers.iter().position(Option::is_none)?;
        let dead = job.deleted && job.lease.is_some() && !self.has(Flaw::ClaimDoubt);
        let leased = !self.has(Flaw::LookUnderLease);
        let (at, early) =
            if leased { (At::Claimed, Early::No) } else { (At::Early, Early::Found(state.hold)) };
        let worker = Worker {
            deleted: job.deleted,
            in_doubt: job.in_doubt || dead,
            leased,
            fence: leased,
            early,
            at,
        };
        if leased {
            Self::take(state, job);
        }
        state.workers[free] = Some(worker);
        Some(())
    }

    fn take(state: &mut State, job: Job) {
        state.nobody_holds();
        state.job = Some(Job { due: false, lease: Some(true), held: false, ..job });
    }

    fn go(&self, state: &mut State, index: usize) -> Option<()> {
        let worker = state.workers[index]?;
        let next = match worker.at {
            At::Early => {
                // The worker claims the job only after it has read the holds.
                let job = state.job.filter(|job| self.may_claim(*job));
                let Some(job) = job else {
                    state.workers[index] = None;
                    return Some(());
                };
                Self::take(state, job);
                let worker = state.workers[index].as_mut()?;
                (worker.leased, worker.fence) = (true, true);
                (worker.deleted, worker.in_doubt) = (job.deleted, job.in_doubt);
                At::Claimed
            }
            At::Claimed => match worker.turn(state.time) {
                Turn::Notify => At::Notified,
                Turn::SkipNotice if self.has(Flaw::ScheduledAnnounces) => At::Looked(state.hold),
                Turn::SkipNotice => return self.go_on(state, index),
                Turn::Announce if self.has(Flaw::Look) => At::Looked(None),
                Turn::Announce => At::Looked(match worker.early {
                    Early::No => state.hold,
                    Early::Found(hold) => hold,
                }),
            },
            At::Looked(Some(hold)) => {
                let stands = state.hold == Some(hold) || self.has(Flaw::PutOnHoldStands);
                let ours = worker.fence || self.has(Flaw::PutOnHoldFence);
                if ours && !stands {
                    // The hold that the worker read is no longer in force, so the worker reads the holds
                    // again.
                    At::Looked(state.hold)
                } else {
                    state.workers[index] = None;
                    if let Some(job) = state.job.as_mut().filter(|_| ours) {
                        let in_doubt = worker.in_doubt && !self.has(Flaw::HeldDoubt);
                        // The job stays due, but no worker claims a job that is held.
                        *job = Job { due: true, lease: None, held: true, in_doubt, ..*job };
                        state.nobody_holds();
                    }
                    return Some(());
                }
            }
            At::Looked(None) => {
                if !worker.leased && !self.has(Flaw::LeaseNotOver) {
                    state.workers[index] = None;
                    return Some(());
                }
                state.workers[index].as_mut()?.at = At::Announced;
                state.announce(worker);
                return Some(());
            }
            At::Notified => return self.go_on(state, index),
            At::Announced => {
                state.workers[index] = None;
                if worker.fence || self.has(Flaw::CompleteFence) {
                    state.job = None;
                    state.nobody_holds();
                }
                return Some(());
            }
        };
        state.workers[index].as_mut()?.at = next;
        Some(())
    }

    fn go_on(&self, state: &mut State, index: usize) -> Option<()> {
        let worker = state.workers[index].take()?;
        if worker.fence || self.has(Flaw::GoOnFence) {
            let due = state.time;
            if let Some(job) = &mut state.job {
                *job = Job { deleted: true, due, lease: None, ..*job };
            }
        }
        Some(())
    }

    fn fail(&self, state: &mut State, index: usize) -> Option<()> {
        let worker = state.workers[index].take()?;
        state.failures += 1;
        let announced = worker.at == At::Announced && !self.has(Flaw::FailureDoubt);
        if (worker.fence || self.has(Flaw::FailFence))
            && let Some(job) = &mut state.job
        {
            let in_doubt = worker.in_doubt || announced;
            *job = Job { due: false, lease: None, held: false, in_doubt, ..*job };
        }
        Some(())
    }
}

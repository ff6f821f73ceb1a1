//! The properties of the model of jobs: those that every state must have, and those that some state must
//! have.

use stateright::Property;

use super::{EARLY, FINALIZE, OVERWROTE, PARKED, Scope, Stage, Sweeps, Worker};
use crate::Protocol;

/// The properties that every state must have, and those that some state must have.
pub(super) fn properties(scope: Scope) -> Vec<Property<Sweeps>> {
    type P = Property<Sweeps>;
    let mut properties = vec![
        P::always("no lost announcement", |_, state| {
            state.notified.iter().zip(state.jobs).enumerate().all(|(index, (notified, job))| {
                *notified || job.is_some() || (index < 2 && state.resources[index])
            })
        }),
        P::always("a job that is done does not come back", |_, state| {
            state.done.iter().zip(state.jobs).all(|(done, job)| !(*done && job.is_some()))
        }),
        P::always("no job runs twice at once", |_, state| {
            (0..5).all(|job| {
                let holds = |worker: &&Worker| worker.job == job && worker.leased && worker.fence;
                let by_time = |worker: &&Worker| worker.job == job && worker.leased;
                state.workers.iter().flatten().filter(holds).count() <= 1
                    && state.workers.iter().flatten().filter(by_time).count() <= 1
            })
        }),
        P::always("a worker without its lease changes nothing", |_, state| {
            state.wrong != Some(OVERWROTE)
        }),
        P::always("a parked job stays parked until an operator retries it", |_, state| {
            state.wrong != Some(PARKED)
        }),
        P::always("nothing is finalized before its time", |_, state| state.wrong != Some(EARLY)),
        P::always("the token is kept until it is finalized", |_, state| {
            state.token || state.tombstone.finalized || !state.had_token
        }),
        P::always("an installation marked as finalized is finalized", |_, state| {
            !(state.tombstone.finalized && state.done[FINALIZE])
                || state.finalized
                || state.configuration_gone
                || !state.had_token
        }),
        P::always("purged means that nothing is left", |_, state| {
            state.tombstone.stage == Stage::Deleting || state.resources == [false; 2]
        }),
        P::always("a tombstone expires once it is purged and finalized", |_, state| {
            state.tombstone.stage != Stage::Finalized || (state.tombstone.finalized && !state.token)
        }),
        P::sometimes("a late worker runs beside the next one", |_, state| {
            state.workers.iter().flatten().any(|worker| !worker.fence)
                && state.workers.iter().flatten().any(|worker| worker.fence)
        }),
        P::sometimes("every job is done", Protocol::is_well),
    ];
    if scope == Scope::Finalization {
        properties.push(P::sometimes("it is finalized before it is purged", |_, state| {
            state.done[FINALIZE] && state.tombstone.stage == Stage::Deleting
        }));
    }
    properties
}

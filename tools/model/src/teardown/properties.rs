//! The properties of the model of an announcement: those that every state must have, and those that some
//! state must have.

use stateright::Property;

use super::{Command, Teardowns};

/// The properties that every state must have, and those that some state must have.
pub(super) fn properties() -> Vec<Property<Teardowns>> {
    type P = Property<Teardowns>;
    vec![
        P::always("a hold reported as in time is in time", |_, state| {
            let in_time = state.command == Command::Said { in_time: true };
            !(in_time && state.hold.is_some() && state.notified)
        }),
        P::always("nothing is announced under a reported hold", |_, state| !state.notified_late),
        P::always("a kept resource is never announced", |_, state| {
            !(state.command == Command::Kept && state.notified)
        }),
        P::always("nothing is announced twice at once", |_, state| !state.twice),
        P::always("no lost announcement", |_, state| {
            state.job.is_some() || state.notified || state.command == Command::Kept
        }),
        P::sometimes("a hold is in time", |model, state| {
            model.keeps || state.command == Command::Said { in_time: true }
        }),
        P::sometimes("a hold is too late", |model, state| {
            model.keeps || state.command == Command::Said { in_time: false }
        }),
        P::sometimes("it is held", |model, state| {
            model.keeps || state.job.is_some_and(|job| job.held)
        }),
        P::sometimes("it is kept", |model, state| !model.keeps || state.command == Command::Kept),
        P::sometimes("it is announced", |_, state| state.notified && state.job.is_none()),
    ]
}

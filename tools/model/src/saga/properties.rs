//! The properties of the model of Delete Configuration: those that every state must have, and those that some
//! state must have.

use stateright::Property;

use super::process::{At, Ended, Process};
use super::state::{INVOICES, OVERWROTE, UNASKED};
use super::table::Stage;
use super::{Sagas, Scope};
use crate::Protocol as _;

/// The properties that every state must have, and those that some state must have.
pub(super) fn properties(scope: Scope) -> Vec<Property<Sagas>> {
    type P = Property<Sagas>;
    let mut properties = vec![
        P::always("204 only when both sides are gone", |_, state| {
            state.processes().all(|process| process.at != At::Ended(Ended::Gone))
                || (state.is_gone() && (!state.exists || state.alone))
        }),
        P::always("our side stays until Vercel's is gone", |_, state| {
            !state.is_gone() || !state.exists || state.alone
        }),
        P::always("our side goes alone only without a token", |_, state| {
            state.wrong != Some(UNASKED)
        }),
        P::always("no lost deletion", |_, state| {
            let doubt =
                state.installation.unclear || state.intent.is_some_and(|intent| intent.unclear);
            (state.exists && !state.in_flight) || state.is_gone() || doubt
        }),
        P::always("no doubt is forgotten", |_, state| {
            state.intent.is_none_or(|intent| intent.unclear || !state.installation.unclear)
        }),
        P::always("what Vercel did is heard of, or asked again", |_, state| {
            state.exists
                || state.in_flight
                || state.is_gone()
                || state.intent.is_some()
                || state.untold
                || state.processes().any(Process::is_busy)
        }),
        P::always("no second effect", |_, state| state.commits <= 1 && state.uninstalls <= 1),
        P::always("no effect without its outcome", |_, state| {
            state
                .processes()
                .all(|process| !(process.acted && process.is_keyed()) || state.outcome.is_some())
        }),
        P::always("the first answer again", |_, state| {
            state.processes().all(|process| {
                !process.is_keyed()
                    || process.at != At::Ended(Ended::Gone)
                    || state.outcome == Some(process.request)
            })
        }),
        P::always("Vercel is not asked while invoices are open", |_, state| {
            state.wrong != Some(INVOICES)
        }),
        P::always("one at a time", |_, state| {
            let Some(intent) = state.intent.filter(|intent| intent.leased) else { return true };
            let holds = |process: &&Process| {
                process.fence() == Some(intent.fence) && !matches!(process.at, At::Committing(..))
            };
            state.processes().filter(holds).count() <= 1
        }),
        P::always("who lost a lease changes nothing", |_, state| state.wrong != Some(OVERWROTE)),
        P::sometimes("a late worker hears that it is gone", |_, state| {
            state.processes().any(|process| {
                process.heard
                    && process.fence().is_some()
                    && process.fence() != state.intent.map(|intent| intent.fence)
            })
        }),
        P::sometimes("it is owed again", |_, state| {
            state.processes().any(|process| process.at == At::OwingAgain)
                && state.installation.unclear
                && state.intent.is_none()
                && !state.is_gone()
        }),
        P::sometimes("it is withdrawn in doubt", |_, state| {
            state.installation.unclear && state.intent.is_none() && !state.is_gone()
        }),
    ];
    if scope == Scope::Moves {
        properties.push(P::sometimes("it moved, and is gone", |model, state| {
            state.team == 1 && state.commits == 1 && !state.exists && model.is_well(state)
        }));
        properties.push(P::sometimes("a request names the team before", |_, state| {
            state.processes().any(|process| process.at == At::Ended(Ended::OtherTeam))
        }));
    }
    if scope == Scope::Meanwhile {
        properties.push(P::sometimes(
            "it was uninstalled meanwhile, and is gone",
            |model, state| {
                state.uninstalls == 1
                    && state.commits == 1
                    && state.installation.stage == Stage::Finalized
                    && model.is_well(state)
            },
        ));
    }
    properties
}

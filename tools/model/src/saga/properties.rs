//! The properties of the model of Delete Configuration: those that every state must have, and those that some
//! state must have.

use stateright::Property;

use super::process::{At, Ended, Process};
use super::state::{INVOICES, NOT_CALLED, OVERWROTE};
use super::table::Stage;
use super::{Sagas, Scope};
use crate::Protocol as _;

/// The properties that every state must have, and those that some state must have.
pub(super) fn properties(scope: Scope) -> Vec<Property<Sagas>> {
    type P = Property<Sagas>;
    let mut properties = vec![
        P::always("204 only if both sides are deleted", |_, state| {
            state.processes().all(|process| process.at != At::Ended(Ended::Gone))
                || (state.is_gone() && (!state.exists || state.alone))
        }),
        P::always("the table keeps it until Vercel has deleted it", |_, state| {
            !state.is_gone() || !state.exists || state.alone
        }),
        P::always("the table deletes alone only without a token", |_, state| {
            state.wrong != Some(NOT_CALLED)
        }),
        P::always("no lost deletion", |_, state| {
            let doubt =
                state.installation.in_doubt || state.intent.is_some_and(|intent| intent.in_doubt);
            (state.exists && !state.in_flight) || state.is_gone() || doubt
        }),
        P::always("no doubt is lost", |_, state| {
            state.intent.is_none_or(|intent| intent.in_doubt || !state.installation.in_doubt)
        }),
        P::always("Vercel's result becomes known, or Vercel is called again", |_, state| {
            state.exists
                || state.in_flight
                || state.is_gone()
                || state.intent.is_some()
                || state.may_stay_unknown
                || state.processes().any(Process::is_busy)
        }),
        P::always("no second effect", |_, state| state.commits <= 1 && state.uninstalls <= 1),
        P::always("no effect without its outcome", |_, state| {
            state
                .processes()
                .all(|process| !(process.acted && process.is_keyed()) || state.outcome.is_some())
        }),
        P::always("a replay gets the first answer", |_, state| {
            state.processes().all(|process| {
                !process.is_keyed()
                    || process.at != At::Ended(Ended::Gone)
                    || state.outcome == Some(process.request)
            })
        }),
        P::always("Vercel is not called while invoices are open", |_, state| {
            state.wrong != Some(INVOICES)
        }),
        P::always("one lease at a time", |_, state| {
            let Some(intent) = state.intent.filter(|intent| intent.leased) else { return true };
            let holds = |process: &&Process| {
                process.fence() == Some(intent.fence) && !matches!(process.at, At::Committing(..))
            };
            state.processes().filter(holds).count() <= 1
        }),
        P::always("a worker without its lease changes nothing", |_, state| {
            state.wrong != Some(OVERWROTE)
        }),
        P::sometimes("a late worker learns that it is gone", |_, state| {
            state.processes().any(|process| {
                process.knows_it_is_gone
                    && process.fence().is_some()
                    && process.fence() != state.intent.map(|intent| intent.fence)
            })
        }),
        P::sometimes("a new intent is written", |_, state| {
            state.processes().any(|process| process.at == At::SchedulingAgain)
                && state.installation.in_doubt
                && state.intent.is_none()
                && !state.is_gone()
        }),
        P::sometimes("an intent is withdrawn in doubt", |_, state| {
            state.installation.in_doubt && state.intent.is_none() && !state.is_gone()
        }),
    ];
    if scope == Scope::Moves {
        properties.push(P::sometimes("a moved configuration is gone", |model, state| {
            state.team == 1 && state.commits == 1 && !state.exists && model.is_well(state)
        }));
        properties.push(P::sometimes("a request names the former team", |_, state| {
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

//! The properties of the deletion model: those that every state must have, and those that some state must
//! have.

use stateright::Property;

use super::Deletions;
use super::requests::By;
use super::state::{At, BILLED, BROKEN, INDEBTED, Installation, LATE, Refusal, TAKEN};
use crate::Protocol as _;

/// The properties that every state must have.
pub(super) fn properties() -> Vec<Property<Deletions>> {
    type P = Property<Deletions>;
    vec![
        P::always("no lost deletion", |model, state| {
            state.clients().all(|client| match client.at {
                At::Answered(reply) => state.holds(model.request(client), reply),
                _ => true,
            })
        }),
        P::always("no effect without its outcome", |model, state| {
            state.clients().all(|client| {
                let planned = model.request(client);
                let recorded = state.outcomes[planned.operation];
                !(client.acted && planned.request.keyed) || recorded.is_some()
            })
        }),
        P::always("no effect without its receipt and its work", |_, state| {
            let resources = (0..2).all(|resource| {
                state.deleted[resource] == 0
                    || (state.receipts[resource] && state.announced[resource] > 0)
            });
            resources
                && (state.uninstalled == 0
                    || (state.installation_receipt
                        && state.uninstall_announced > 0
                        && (state.purge || state.purged)))
        }),
        P::always("no second effect", |_, state| {
            let most = |counts: [u8; 2]| counts.iter().all(|count| *count <= 1);
            most(state.gone)
                && most(state.announced)
                && most([state.uninstalled, state.uninstall_announced])
        }),
        P::always("a replay gets the first answer", |model, state| {
            state.clients().all(|client| {
                let planned = model.request(client);
                let At::Answered(reply) = client.at else { return true };
                !planned.request.keyed
                    || state.outcomes[planned.operation].is_some_and(|outcome| {
                        let first = &model.requests[usize::from(outcome.request)];
                        outcome.reply == reply && first.request.kind == planned.request.kind
                    })
            })
        }),
        P::always("no live resource under a deleted installation", |_, state| {
            state.wrong != Some(LATE)
                && !(state.purged && state.resources.iter().any(Option::is_some))
                && (state.uninstalled == 0 || state.is_deleted())
        }),
        P::always("a deleted resource is not registered again", |_, state| {
            (0..2).all(|resource| !(state.receipts[resource] && state.is_live(resource)))
        }),
        P::always("the count is the number of resources", |_, state| {
            let items = state.resources.iter().flatten().count();
            match state.installation {
                Installation::Active { live, .. } => usize::try_from(live) == Ok(items),
                _ => true,
            }
        }),
        P::always("resources that must stay are not deleted", |_, state| {
            state.wrong != Some(TAKEN)
        }),
        P::always("a resource being provisioned is not deleted", |_, state| {
            state.wrong != Some(BROKEN)
        }),
        P::always("nothing is live twice, or deleted and live", |_, state| {
            !(state.away && (state.is_live(0) || state.gone[0] > 0))
        }),
        P::always("a moved resource is not announced by its source", |_, state| {
            !(state.away && state.announced[0] > 0)
        }),
        P::always("an uninstall's answer matches the billing", |_, state| {
            state.wrong != Some(BILLED)
        }),
        P::always("an uninstall is refused while invoices are open", |_, state| {
            state.wrong != Some(INDEBTED)
        }),
        P::always("no other account's installation is deleted", |model, state| {
            state.clients().all(|client| {
                model.request(client).request.by != By::Another
                    || !(client.acted || matches!(client.at, At::Answered(_)))
            })
        }),
        P::always("no error after an effect", |_, state| {
            state.clients().all(|client| !(client.acted && matches!(client.at, At::Refused(_))))
        }),
        P::always("a failed condition teaches something", |_, state| {
            state.clients().all(|client| client.at != At::Contradicted)
        }),
    ]
}

/// The properties that some state must have. A model that does nothing fails the properties that some state
/// must have, and no other property.
pub(super) fn possibilities() -> Vec<Property<Deletions>> {
    type P = Property<Deletions>;
    vec![
        P::sometimes("a key is refused for another request", |_, state| {
            state.clients().any(|client| client.at == At::Refused(Refusal::KeyReused))
        }),
        P::sometimes("a resource is busy", |_, state| {
            state.clients().any(|client| client.at == At::Refused(Refusal::Busy))
        }),
        P::sometimes("resources remain", |_, state| {
            state.clients().any(|client| client.at == At::Refused(Refusal::Remain))
        }),
        P::sometimes("open invoices stop an uninstall", |_, state| {
            state.clients().any(|client| client.at == At::Refused(Refusal::InvoicesOpen))
        }),
        P::sometimes("a client dies after its effect, and sends again", |_, state| {
            state.clients().any(|client| client.acted && client.at == At::default())
        }),
        P::sometimes("a resource is moved, and its source deleted", |_, state| {
            state.away && state.purged
        }),
        P::sometimes("every resource is deleted, purged and answered", |model, state| {
            state.uninstalled == 1 && state.deleted[0] == 1 && model.is_well(state)
        }),
    ]
}

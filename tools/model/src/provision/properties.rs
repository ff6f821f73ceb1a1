//! The properties of the Provision model: those that every state must have, and those that some state must
//! have.

use stateright::Property;

use super::state::{
    ANNOUNCED_ANEW, BEGAN_DELETED, CONTRADICTED, ENDED_LATER, ENDED_OTHERS, Installation, Job,
    OVERWROTE, Purge, REGISTERED_DELETED, REVIVED, Receipt,
};
use super::{Provisions, Scope};

/// The properties that every state must have.
pub(super) fn properties() -> Vec<Property<Provisions>> {
    type P = Property<Provisions>;
    vec![
        P::always("no resource that was made is lost", |_, state| {
            state.resources.iter().all(|resource| {
                !resource.made
                    || resource.item
                    || resource.job != Job::None
                    || resource.notified
                    || resource.receipt != Receipt::None
                    || resource.excused
                    || state.intent.is_some()
            })
        }),
        P::always("the count is the number of resources", |_, state| match state.installation {
            Installation::Active { count } => {
                usize::from(count) == state.resources.iter().filter(|it| it.item).count()
            }
            Installation::Absent => state.resources.iter().all(|resource| !resource.item),
            Installation::Deleted => true,
        }),
        P::always("nothing is begun in a deleted installation", |_, state| {
            state.wrong != Some(BEGAN_DELETED)
        }),
        P::always("nothing is registered in a deleted installation", |_, state| {
            state.wrong != Some(REGISTERED_DELETED)
        }),
        P::always("a deleted installation stays deleted", |_, state| state.wrong != Some(REVIVED)),
        P::always("purged means that nothing is left", |_, state| {
            state.installation != Installation::Deleted
                || state.purge != Purge::None
                || state.resources.iter().all(|resource| !resource.item)
        }),
        P::always("a deleted resource is not registered again", |_, state| {
            state.resources.iter().all(|it| !it.item || it.receipt == Receipt::None)
        }),
        P::always("a live resource is not announced", |_, state| {
            state.resources.iter().all(|it| !it.item || it.job == Job::None)
        }),
        P::always("a kept resource is never announced", |_, state| {
            let kept = |it: &&super::state::Resource| it.receipt == Receipt::Kept;
            state.resources.iter().filter(kept).all(|it| it.job == Job::None && !it.notified)
        }),
        P::always("a pending announcement is not written again", |_, state| {
            state.wrong != Some(ANNOUNCED_ANEW)
        }),
        P::always("a refusal ends no other call's intent", |_, state| {
            state.wrong != Some(ENDED_OTHERS)
        }),
        P::always("a sweep ends no intent of a later attempt", |_, state| {
            state.wrong != Some(ENDED_LATER)
        }),
        P::always("a worker without its lease changes nothing", |_, state| {
            state.wrong != Some(OVERWROTE)
        }),
        P::always("a failed condition teaches something", |_, state| {
            state.wrong != Some(CONTRADICTED)
        }),
    ]
}

/// The properties that some state must have.
pub(super) fn possibilities(scope: Scope) -> Vec<Property<Provisions>> {
    type P = Property<Provisions>;
    let mut properties = vec![
        P::sometimes("it is registered and listed", |_, state| {
            state.resources.iter().any(|it| it.item && it.listed && state.intent.is_none())
        }),
        P::sometimes("it is announced in a deleted installation", |_, state| {
            state.installation == Installation::Deleted
                && state.resources.iter().any(|resource| resource.notified)
        }),
        P::sometimes("a resource may stay unknown", |_, state| {
            state.resources.iter().any(|it| it.excused)
        }),
        P::sometimes("an attempt overtakes a worker", |_, state| {
            state.workers.iter().flatten().any(|worker| worker.overtaken)
        }),
    ];
    if scope == Scope::Uninstall {
        properties.push(P::sometimes("an intent is parked", |_, state| {
            state.intent.is_some_and(|intent| intent.parked)
        }));
    }
    if scope == Scope::Deletion {
        properties.push(P::sometimes("it is deleted before it is registered", |_, state| {
            state.resources[0].receipt == Receipt::Deleted && state.intent.is_some()
        }));
        properties.push(P::sometimes("it is kept", |_, state| {
            state.resources[0].receipt == Receipt::Kept
        }));
    }
    properties
}

//! Texts for states, which commands and pages share.

use teardown::store::admin::holds::Subject;
use teardown::store::admin::teardown_state::TeardownState;

/// The name of the installation or resource that a hold is on.
pub(crate) fn subject(subject: &Subject) -> String {
    match &subject.resource {
        None => subject.installation.to_string(),
        Some(resource) => format!("{resource} of {}", subject.installation),
    }
}

/// A text for the state of an installation or a resource.
pub(crate) fn teardown_state(state: &TeardownState) -> String {
    match state {
        TeardownState::Live => "not deleted; a deletion to come is held".to_owned(),
        TeardownState::Unknown => {
            "not known here: check the id; a deletion to come is held".to_owned()
        }
        TeardownState::Pending(at) => format!("deleted, to be torn down at {at}; that is held"),
        TeardownState::Unannounced => "deleted, and the provider is not notified".to_owned(),
        TeardownState::Moved(to) if to == "out" => "moved out of the marketplace".to_owned(),
        TeardownState::Moved(to) => format!("moved to {to}"),
        TeardownState::Kept => "kept".to_owned(),
        TeardownState::AnnouncedSeparately => {
            "deleted alone before this, and torn down: the provider was told".to_owned()
        }
        TeardownState::InDoubt => "the provider may have heard it; held from now on".to_owned(),
        TeardownState::Announced => "too late, the provider was told to tear it down".to_owned(),
        TeardownState::NoRecord => {
            "nothing is left that says whether the provider was told".to_owned()
        }
    }
}

//! Texts for states. Commands and pages share them.

use teardown::store::admin::holds::Subject;
use teardown::store::admin::standing::Standing;

/// The name of the installation or resource that a hold is on.
pub(crate) fn subject(subject: &Subject) -> String {
    match &subject.resource {
        None => subject.installation.to_string(),
        Some(resource) => format!("{resource} of {}", subject.installation),
    }
}

/// A text for the state of an installation or a resource.
pub(crate) fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Live => "not deleted; a deletion to come is held".to_owned(),
        Standing::Unknown => "not known here: check the id; a deletion to come is held".to_owned(),
        Standing::Owed(at) => format!("deleted, to be torn down at {at}; that is held"),
        Standing::Unannounced => "deleted, and the provider is not told of it".to_owned(),
        Standing::Moved(to) if to == "out" => "moved out of the marketplace".to_owned(),
        Standing::Moved(to) => format!("moved to {to}"),
        Standing::Kept => "kept".to_owned(),
        Standing::AnnouncedBefore => {
            "deleted alone before this, and torn down: the provider was told".to_owned()
        }
        Standing::InDoubt => "the provider may have heard it; held from now on".to_owned(),
        Standing::Announced => "too late, the provider was told to tear it down".to_owned(),
        Standing::Untold => "nothing is left that says whether the provider was told".to_owned(),
    }
}

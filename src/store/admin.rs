//! The acts of operators on the table, through the tool. None of the deployed functions calls this module.

pub mod comparison;
pub mod forget;
pub mod holds;
pub mod installations;
pub mod keep;
pub mod moves;
pub mod operations;
pub mod table;
pub mod teardown_state;

/// Which operator acts, and why (H5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// An AWS caller's ARN, or a user's name.
    pub by: String,
    /// The reason that the operator gave.
    pub reason: String,
}

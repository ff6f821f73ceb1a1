//! What operators read and change in the table with the tool `teardown`. None of the deployed functions calls
//! this module.

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
    /// The operator: the ARN of an AWS identity, or a name.
    pub by: String,
    /// The reason that the operator gave.
    pub reason: String,
}

//! What operators do to the table by the tool. No function calls any of it.

pub mod comparison;
pub mod forget;
pub mod holds;
pub mod installations;
pub mod keep;
pub mod moves;
pub mod operations;
pub mod standing;
pub mod table;

/// Who does an operator's act, and why (H5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// An AWS caller's ARN, or a user's name.
    pub by: String,
    /// In the operator's words.
    pub reason: String,
}

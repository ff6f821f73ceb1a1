//! The report of a run, for people and for machines.

mod json;
mod junit;
mod text;

pub use self::json::json;
pub use self::junit::junit;
pub use self::text::{page, text};

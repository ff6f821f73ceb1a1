//! `teardown check` tests whether a provider's backend, in any language, does what Vercel documents about
//! deletion. The command plays Vercel: it signs tokens with its own key, makes and deletes installations and
//! resources, and checks the backend's answers and the data that remains.
//!
//! `list` has one entry for each check. [`run()`] runs the checks, and `report` prints what they found. No
//! check depends on how the backend works inside.

mod entry;
mod finding;
pub mod keys;
mod list;
mod options;
pub mod report;
mod run;
mod scene;
mod session;
mod signer;
mod stock;
mod survey;
mod wire;

pub use self::entry::{Basis, Check, Needs};
pub use self::list::{GROUPS, all};
pub use self::options::{ISSUER, KeyUrls, Options, PATIENCE, Product, Supply};
pub use self::run::{Outcome, Report, Row, Selection, Wrong, run};
pub use self::signer::{Signer, webhook_signature};
pub use self::survey::WEBHOOK_PATHS;

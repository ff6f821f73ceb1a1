//! `teardown check`: holds a provider's backend, in any language, against what Vercel documents of
//! deletion. It plays Vercel: it has an issuer of its own, makes installations and resources, deletes them,
//! and looks at what is answered and what is left.
//!
//! `list` has the checks, each one entry; [`run()`] makes them; `report` says what was found. Nothing
//! here knows anything of how the backend works.

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
mod standing;
mod stock;
mod wire;

pub use self::entry::{Basis, Check, Needs};
pub use self::list::{GROUPS, all};
pub use self::options::{ISSUER, KeyUrls, Options, PATIENCE, Product, Supply};
pub use self::run::{Outcome, Report, Row, Selection, Wrong, run};
pub use self::signer::{Signer, webhook_signature};
pub use self::standing::WEBHOOK_PATHS;

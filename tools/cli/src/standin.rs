//! Stand-ins for those whom a deletion calls: Vercel's REST API and the provider's own endpoint; and a sample
//! of the provider's backend.
//!
//! They behave as documented, remember nothing beyond the process, and say on standard output what
//! they were sent.

pub mod backend;
pub mod provider;
pub mod vercel;

use std::io::Write as _;

use crate::terminal::one_line;

/// The path that the stand-in for Vercel's REST API is under: one of its paths is ours too.
pub const VERCEL_PATH: &str = "/vercel";

/// The path of the sample backend.
pub const BACKEND_PATH: &str = "/backend";

/// The path of the stand-in provider.
pub const PROVIDER_PATH: &str = "/provider";

/// Prints a line, made of what any client may have sent. A closed standard output does not change the
/// answer.
fn say(line: &str) {
    let _ = writeln!(anstream::stdout(), "{}", one_line(line));
}

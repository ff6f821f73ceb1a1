//! Stand-ins for Vercel's REST API and the provider's own endpoint, which deletions call, and a sample of the
//! provider's backend.
//!
//! They behave as documented, remember nothing beyond the process, and say on standard output what
//! they were sent.

pub mod backend;
pub mod provider;
pub mod vercel;

use std::io::Write as _;

use crate::terminal::one_line;

/// The prefix of the stand-in for Vercel's REST API: one of its paths is also an endpoint's.
pub const VERCEL_PATH: &str = "/vercel";

/// The path of the sample backend.
pub const BACKEND_PATH: &str = "/backend";

/// The path of the stand-in provider.
pub const PROVIDER_PATH: &str = "/provider";

/// Prints a line with text that any client may have sent. A closed standard output does not change the
/// answer.
fn say(line: &str) {
    let _ = writeln!(anstream::stdout(), "{}", one_line(line));
}

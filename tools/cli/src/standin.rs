//! Stand-ins for Vercel's REST API and the provider's own endpoint, which teardown calls, and a sample of the
//! provider's backend.
//!
//! The stand-ins behave as documented, and keep their memory only in the process. On standard output, the
//! stand-ins print what they receive.

pub mod backend;
pub mod call_back;
pub mod provider;
pub mod vercel;

use std::io::Write as _;

use crate::terminal::one_line;

/// The path prefix of the stand-in for Vercel's REST API. Without the prefix, a path of the API would be the
/// same as an endpoint's path.
pub const VERCEL_PATH: &str = "/vercel";

/// The path of the sample backend.
pub const BACKEND_PATH: &str = "/backend";

/// The path of the stand-in provider.
pub const PROVIDER_PATH: &str = "/provider";

/// Prints a line, without control characters, because any client may have sent the line's text. A closed
/// standard output does not change the stand-in's answer.
fn say(line: &str) {
    let _ = writeln!(anstream::stdout(), "{}", one_line(line));
}

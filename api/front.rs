//! Calls that pass through to the provider's backend: `PUT` and `PATCH` of an installation, `POST`, `GET`
//! and `PATCH` of a resource.

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::Front)
}

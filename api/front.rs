//! Passes `PUT` and `PATCH` of an installation, and `POST`, `GET` and `PATCH` of a resource, on to the
//! provider's backend.

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::Front)
}

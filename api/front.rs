//! What passes through to the provider's backend: `PUT` and `PATCH` of an installation, `POST` of a
//! resource, `GET` and `PATCH` of one.

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::Front)
}

//! `GET /api/sweep`: runs the jobs that are due.

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::Sweep)
}

//! `GET /api/sweep`: finishes what is due.

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::Sweep)
}

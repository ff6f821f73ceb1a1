//! `DELETE /v1/installations/{installationId}/resources/{resourceId}`

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::DeleteResource)
}

//! `DELETE /v1/installations/{installationId}`

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::DeleteInstallation)
}

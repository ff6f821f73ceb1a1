//! `DELETE /v1/integrations/configuration/{id}`

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::DeleteConfiguration)
}

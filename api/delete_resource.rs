//! `DELETE /v1/installations/{installationId}/resources/{resourceId}`

use std::process::ExitCode;

use mimalloc::MiMalloc;
use teardown::{Endpoint, host};

/// A request takes some 500 small blocks of memory and gives them back.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    host::serve(Endpoint::DeleteResource)
}

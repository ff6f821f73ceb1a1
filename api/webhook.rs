//! `POST /api/webhook`: receives Vercel's webhooks.

use std::process::ExitCode;

use teardown::{Endpoint, host};

fn main() -> ExitCode {
    host::serve(Endpoint::Webhook)
}

//! The stand-in for Vercel calls Delete Installation, as Vercel does when a configuration is deleted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use teardown::clock::Clock;
use teardown::ids::InstallationId;

use super::say;
use crate::embedded::this_machine;
use crate::issuer::{Issuer, Token};

/// How long the stand-in waits for teardown's answer to a call back. This time is less than the 5 s that
/// teardown waits for Vercel, so that a call back that hangs does not leave the deletion in doubt.
const CALL_BACK_TIMEOUT: Duration = Duration::from_secs(3);

/// The call to Delete Installation that Vercel makes when a configuration is deleted.
#[derive(Clone, Debug)]
pub struct CallBack {
    http: reqwest::Client,
    endpoints: String,
    issuer: Arc<Issuer>,
    token: Token,
    clock: Clock,
}

impl CallBack {
    /// Calls back the endpoints at the address `endpoints`. Each call carries `token`, with the call's
    /// installation, issued at the clock's time.
    ///
    /// # Errors
    ///
    /// If no HTTP client can be made.
    pub fn new(
        endpoints: String,
        issuer: Arc<Issuer>,
        token: Token,
        clock: Clock,
    ) -> reqwest::Result<Self> {
        let http = this_machine().timeout(CALL_BACK_TIMEOUT).build()?;
        Ok(Self { http, endpoints, issuer, token, clock })
    }

    /// Calls Delete Installation for an installation. Returns an error if the endpoints do not answer with a
    /// 2xx.
    pub(super) async fn call(&self, installation: &str) -> anyhow::Result<()> {
        let installation = InstallationId::parse(installation)?;
        let token = Token { installation: Some(installation.to_string()), ..self.token.clone() };
        let request =
            self.http.delete(format!("{}/v1/installations/{installation}", self.endpoints));
        let request = request
            .bearer_auth(self.issuer.sign(&token.claims_at(self.clock.now())))
            .header("X-Vercel-Auth", "system")
            .body(json!({ "cascadeResourceDeletion": true }).to_string());
        let status = request.send().await?.status();
        say(&format!("vercel    Delete Installation of {installation} answered {status}"));
        ensure!(status.is_success(), "it answered {status}");
        Ok(())
    }
}

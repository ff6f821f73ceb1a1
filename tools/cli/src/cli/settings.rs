//! The settings of the commands: the functions' configuration with defaults for this machine, and the
//! issuer's key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use teardown::config::{Config, ConfigError};

use crate::issuer::Issuer;
use crate::server::JWKS_PATH;
use crate::standin::{BACKEND_PATH, PROVIDER_PATH, VERCEL_PATH};

/// The integration's id if `INTEGRATION_ID` is not set.
const INTEGRATION_ID: &str = "oac_local";

/// The secret of the sweep's caller if `CRON_SECRET` is not set.
const CRON_SECRET: &str = "local";

/// The secret that signs webhooks if `CLIENT_SECRET` is not set.
const CLIENT_SECRET: &str = "local";

/// The secret that signs announcements to the stand-in provider.
const PROVIDER_SECRET: &str = "whsec_YSBzZWNyZXQgb2YgdGhpcyBtYWNoaW5l";

/// The grace period if `GRACE_PERIOD` is not set. This grace period is long enough for a developer to stop a
/// teardown by hand.
const GRACE_PERIOD: &str = "30s";

/// The configuration of the endpoints on `port`. The endpoints accept only the local issuer's tokens. The
/// endpoints call the stand-ins for Vercel, the provider and its backend, unless `backend` or the environment
/// names other addresses.
pub(super) fn of_endpoints(
    issuer: &Issuer,
    port: u16,
    backend: Option<&str>,
) -> Result<Config, ConfigError> {
    let url = format!("http://127.0.0.1:{port}");
    let provider = ["PROVIDER_URL", "PROVIDER_SECRET"].into_iter().any(|it| variable(it).is_some());
    Config::from_variables(|name| match name {
        "OIDC_JWKS" => Some(issuer.jwks().to_string()),
        "OIDC_JWKS_URL" => Some(format!("{url}{JWKS_PATH}")),
        "VERCEL_API_URL" => variable(name).or_else(|| Some(format!("{url}{VERCEL_PATH}"))),
        "CRON_SECRET" => variable(name).or_else(|| Some(CRON_SECRET.to_owned())),
        "CLIENT_SECRET" => variable(name).or_else(|| Some(CLIENT_SECRET.to_owned())),
        "BACKEND_URL" => {
            let named = backend.map(str::to_owned).or_else(|| variable(name));
            named.or_else(|| Some(sample_backend(port)))
        }
        "GRACE_PERIOD" => variable(name).or_else(|| Some(GRACE_PERIOD.to_owned())),
        // If only one of `PROVIDER_URL` and `PROVIDER_SECRET` is set, `Config::from_variables` reports this
        // mistake.
        "PROVIDER_URL" if !provider => Some(stand_in_provider(port)),
        "PROVIDER_SECRET" if !provider => Some(PROVIDER_SECRET.to_owned()),
        name => or_local(name),
    })
}

/// The address of the sample backend.
pub(super) fn sample_backend(port: u16) -> String {
    format!("http://127.0.0.1:{port}{BACKEND_PATH}")
}

/// The address of the stand-in for the provider's endpoint.
pub(super) fn stand_in_provider(port: u16) -> String {
    format!("http://127.0.0.1:{port}{PROVIDER_PATH}")
}

/// The header of the sweep's caller, for a shell. The header does not contain a secret from the environment,
/// because the shell inserts such a secret.
pub(super) fn sweep_header(config: &Config) -> String {
    let local = config.cron_secret.as_ref().is_some_and(|it| it.expose() == CRON_SECRET);
    if local {
        format!("'Authorization: Bearer {CRON_SECRET}'")
    } else {
        "\"Authorization: Bearer $CRON_SECRET\"".to_owned()
    }
}

/// The configuration of `teardown token`.
pub(super) fn of_tokens() -> Result<Config, ConfigError> {
    only(&["INTEGRATION_ID", "OIDC_ISSUER"])
}

/// The configuration of the store that operators' commands use.
pub(super) fn of_table() -> Result<Config, ConfigError> {
    only(&["TABLE_NAME", "RECEIPT_RETENTION"])
}

/// The grace period from `text`, else from the environment, else the default of teardown's functions.
pub(super) fn grace_period(text: Option<&str>) -> Result<Duration, ConfigError> {
    let config = Config::from_variables(|name| match name {
        "INTEGRATION_ID" => Some(INTEGRATION_ID.to_owned()),
        "GRACE_PERIOD" => text.map(str::to_owned).or_else(|| variable(name)),
        _ => None,
    });
    config.map(|config| config.grace_period)
}

/// Parses a grace period from the command line, in the same way as the variable `GRACE_PERIOD`.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    grace_period(Some(text)).map_err(|error| error.problem)
}

/// The configuration for the comparison with Vercel. If the environment names no DynamoDB, the comparison
/// calls the stand-in for Vercel of the `teardown dev` on `port`, unless `VERCEL_API_URL` names another API.
pub(super) fn of_comparison(port: u16, is_named: bool) -> Result<Config, ConfigError> {
    Config::from_variables(|name| match name {
        "VERCEL_API_URL" if !is_named => {
            variable(name).or_else(|| Some(format!("http://127.0.0.1:{port}{VERCEL_PATH}")))
        }
        "TABLE_NAME" | "RECEIPT_RETENTION" | "PROVISIONING_LIMIT" | "FINALIZE_MARGIN"
        | "VERCEL_API_URL" | "INTEGRATION_ID" => or_local(name),
        _ => None,
    })
}

/// A configuration from only these variables, so that a command does not fail because of a variable that it
/// does not need.
fn only(names: &[&str]) -> Result<Config, ConfigError> {
    Config::from_variables(|name| {
        if names.contains(&name) {
            or_local(name)
        } else {
            (name == "INTEGRATION_ID").then(|| INTEGRATION_ID.to_owned())
        }
    })
}

fn or_local(name: &str) -> Option<String> {
    let value = variable(name);
    if name == "INTEGRATION_ID" { value.or_else(|| Some(INTEGRATION_ID.to_owned())) } else { value }
}

/// A variable of the environment. `None` if the variable is absent or empty.
pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

/// The issuer of this checkout. Every `teardown dev` of the checkout uses this issuer's key, so that a token
/// is valid for every `teardown dev`.
pub(super) fn issuer() -> anyhow::Result<Issuer> {
    let program = std::env::current_exe().context("the issuer's key has no place")?;
    Issuer::in_file(&key_file(&program)).context("the issuer's key")
}

/// The file of the issuer's key: `<target>/teardown/issuer.pkcs8`. If the program is not in cargo's target
/// folder, the key's file is next to the program.
fn key_file(program: &Path) -> PathBuf {
    let is_target = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
    match program.ancestors().skip(2).take(3).find(is_target) {
        Some(target) => target.join("teardown/issuer.pkcs8"),
        None => program.with_file_name("issuer.pkcs8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_in_the_target_folder_or_beside_the_program() {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        for place in ["debug/teardown", "debug/deps/x-1", "x86_64-linux/release/teardown"] {
            let key = key_file(&target.join(place));
            assert_eq!(key, target.join("teardown/issuer.pkcs8"), "{place}");
        }
        let elsewhere = Path::new("/nowhere/bin/teardown");
        assert_eq!(key_file(elsewhere), Path::new("/nowhere/bin/issuer.pkcs8"));
    }
}

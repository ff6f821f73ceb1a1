//! The settings of the commands: the functions' own configuration with defaults for one machine, and the
//! issuer's key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use teardown::config::{Config, ConfigError};

use crate::issuer::Issuer;
use crate::server::JWKS_PATH;
use crate::standin::{BACKEND_PATH, PROVIDER_PATH, VERCEL_PATH};

/// The integration's id where the environment has none.
const INTEGRATION_ID: &str = "oac_local";

/// The secret of the sweep where the environment has none.
const CRON_SECRET: &str = "local";

/// The secret that signs webhooks where the environment has none.
const CLIENT_SECRET: &str = "local";

/// The secret that signs announcements to the stand-in provider.
const PROVIDER_SECRET: &str = "whsec_YSBzZWNyZXQgb2YgdGhpcyBtYWNoaW5l";

/// The grace period where the environment has none: long enough to stop a deletion by hand.
const GRACE_PERIOD: &str = "30s";

/// The configuration of the endpoints on `port`. Tokens are the local issuer's, and nobody else's;
/// for Vercel, the provider and its backend there are the stand-ins, unless `backend` or the environment
/// names others.
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
        // One of the two alone is a mistake, and to be named as such.
        "PROVIDER_URL" if !provider => Some(format!("{url}{PROVIDER_PATH}")),
        "PROVIDER_SECRET" if !provider => Some(PROVIDER_SECRET.to_owned()),
        name => or_local(name),
    })
}

/// The address of the sample backend.
pub(super) fn sample_backend(port: u16) -> String {
    format!("http://127.0.0.1:{port}{BACKEND_PATH}")
}

/// The header of the sweep's caller, to be pasted: a secret of the environment's stays there.
pub(super) fn sweep_header(config: &Config) -> String {
    let local = config.cron_secret.as_ref().is_some_and(|it| it.expose() == CRON_SECRET);
    if local {
        format!("'Authorization: Bearer {CRON_SECRET}'")
    } else {
        "\"Authorization: Bearer $CRON_SECRET\"".to_owned()
    }
}

/// The configuration that tokens go by.
pub(super) fn of_tokens() -> Result<Config, ConfigError> {
    only(&["INTEGRATION_ID", "OIDC_ISSUER"])
}

/// The configuration that the store of operators goes by.
pub(super) fn of_table() -> Result<Config, ConfigError> {
    only(&["TABLE_NAME", "RECEIPT_RETENTION"])
}

/// A grace period: this one, else the environment's, else that of the functions.
pub(super) fn grace_period(text: Option<&str>) -> Result<Duration, ConfigError> {
    let config = Config::from_variables(|name| match name {
        "INTEGRATION_ID" => Some(INTEGRATION_ID.to_owned()),
        "GRACE_PERIOD" => text.map(str::to_owned).or_else(|| variable(name)),
        _ => None,
    });
    config.map(|config| config.grace_period)
}

/// Reads a grace period that is typed, as `GRACE_PERIOD` is read.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    grace_period(Some(text)).map_err(|error| error.problem)
}

/// The configuration that the comparison with Vercel goes by. If no DynamoDB is named, it is that of the
/// `teardown dev` on `port`, and so is Vercel's stand-in.
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

/// Reads some variables alone: no command fails for what it does not need.
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

/// A variable of the environment. An empty one is an absent one.
pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

/// The issuer of this checkout: one key for all its `teardown dev`, so that a token that one prints is
/// good for another.
pub(super) fn issuer() -> anyhow::Result<Issuer> {
    let program = std::env::current_exe().context("the issuer's key has no place")?;
    Issuer::in_file(&key_file(&program)).context("the issuer's key")
}

/// `<target>/teardown/issuer.pkcs8`; where the program is in no target folder, beside it.
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

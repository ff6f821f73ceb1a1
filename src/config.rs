//! Reads the configuration from environment variables. When a function starts, it parses every environment
//! variable of teardown once. If a variable is malformed, the function does not start, and the error names
//! the variable.
//!
//! `log` reads the filter of the logs, and `times` reads durations. `libraries` checks the variables that the
//! AWS SDK and the HTTP clients read.

mod libraries;
mod log;
mod times;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

pub use self::log::{log_filter, log_filter_of_functions};
use crate::auth::keys::KeySet;
use crate::deletion::OpenInvoices;
use crate::ids::IntegrationIds;
use crate::outbound::is_loopback;
use crate::secret::Secret;

/// The settings of teardown's functions, from the environment variables.
#[derive(Clone, Debug)]
pub struct Config {
    /// `INTEGRATION_ID`: the ids that tokens may have as their `aud`.
    pub integration_ids: IntegrationIds,
    /// `TABLE_NAME`: the DynamoDB table.
    pub table_name: String,
    /// `OIDC_ISSUER`: the `iss` of tokens.
    pub oidc_issuer: String,
    /// `OIDC_JWKS_URL`: the address of the keys that verify tokens.
    pub oidc_jwks_url: Url,
    /// `OIDC_JWKS`: the issuer's keys to use until the first fetch of keys.
    pub oidc_jwks: Option<KeySet>,
    /// `VERCEL_API_URL`: the address of Vercel's REST API.
    pub vercel_api_url: Url,
    /// `PROVIDER_URL` and `PROVIDER_SECRET`: the provider's endpoint, to which deletions are announced.
    pub provider: Option<ProviderConfig>,
    /// `BACKEND_URL`: the provider's backend, to which `front` passes calls on.
    pub backend_url: Option<Url>,
    /// `AWS_ROLE_ARN` and `AWS_ROLE_SESSION_NAME`: the AWS role that a function on Vercel assumes.
    pub role: Option<AwsRole>,
    /// `CRON_SECRET`: the secret that the sweep's caller must send.
    pub cron_secret: Option<Secret>,
    /// `CLIENT_SECRET`: the secret with which Vercel signs webhooks.
    pub client_secret: Option<Secret>,
    /// `SUPPORT_URL`: the address that errors have as `error.user.url`.
    pub support_url: Option<Url>,
    /// `GRACE_PERIOD`: the time from a deletion to its `deleted` event, in whole seconds (H1).
    pub grace_period: Duration,
    /// `PROVISIONING_LIMIT`: how long a resource that is being provisioned cannot be deleted, counted from
    /// the resource's last write, in whole seconds (C2).
    pub provisioning_limit: Duration,
    /// `UNINSTALL_WITH_OPEN_INVOICES`: whether an uninstall is accepted while invoices are open (D7).
    pub open_invoices: OpenInvoices,
    /// `RECEIPT_RETENTION`: how long receipts are kept after a deletion.
    pub receipt_retention: Duration,
    /// `FINALIZE_MARGIN`: a finalization is due at least this long before the end of Vercel's 24 hours for
    /// the final invoice.
    pub finalize_margin: Duration,
}

/// The provider's endpoint, to which deletions are announced (G1).
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// `PROVIDER_URL`.
    pub url: Url,
    /// `PROVIDER_SECRET`: the `whsec_…` secrets that sign announcements, at least one, the newest first.
    pub secrets: Vec<Secret>,
}

/// An AWS role, which a function on Vercel assumes with the OIDC token of Vercel's platform.
#[derive(Clone, Debug)]
pub struct AwsRole {
    /// `AWS_ROLE_ARN`.
    pub arn: String,
    /// `AWS_ROLE_SESSION_NAME`: the session's name in `CloudTrail`.
    pub session_name: String,
}

/// The error for a variable that is missing or malformed. The error names the variable and the rule, but not
/// the variable's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong with the variable.
    pub problem: String,
}

impl ConfigError {
    /// Makes the error for a variable. `problem` says what is wrong with the variable.
    pub fn new(variable: &'static str, problem: impl fmt::Display) -> Self {
        Self { variable, problem: problem.to_string() }
    }
}

impl Config {
    /// Reads the configuration from the process's environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first variable that is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(from_env)
    }

    /// Reads the configuration with `variable`, a function that returns a variable's value. An empty variable
    /// counts as absent.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first variable that is missing or malformed, even if only a library reads the
    /// variable (S1).
    pub fn from_variables(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let read = |name| whole(name, variable(name));
        libraries::check(&variable)?;
        let issuer = "https://marketplace.vercel.com";
        let keys = "https://marketplace.vercel.com/.well-known/jwks";
        Ok(Self {
            integration_ids: integration_ids(read("INTEGRATION_ID")?)?,
            table_name: table_name(read("TABLE_NAME")?.unwrap_or_else(|| "teardown".to_owned()))?,
            oidc_issuer: oidc_issuer(read("OIDC_ISSUER")?.unwrap_or_else(|| issuer.to_owned()))?,
            oidc_jwks_url: url(
                "OIDC_JWKS_URL",
                &read("OIDC_JWKS_URL")?.unwrap_or_else(|| keys.to_owned()),
            )?,
            oidc_jwks: read("OIDC_JWKS")?
                .map(|document| KeySet::parse(document.as_bytes()))
                .transpose()
                .map_err(|error| ConfigError::new("OIDC_JWKS", error))?,
            vercel_api_url: url(
                "VERCEL_API_URL",
                &read("VERCEL_API_URL")?.unwrap_or_else(|| "https://api.vercel.com".to_owned()),
            )?,
            provider: provider(read("PROVIDER_URL")?, read("PROVIDER_SECRET")?)?,
            backend_url: read("BACKEND_URL")?.map(|text| backend(&text)).transpose()?,
            role: role(read("AWS_ROLE_ARN")?, read("AWS_ROLE_SESSION_NAME")?)?,
            cron_secret: read("CRON_SECRET")?.map(cron_secret).transpose()?,
            client_secret: read("CLIENT_SECRET")?.map(Secret::new),
            support_url: read("SUPPORT_URL")?.map(|text| url("SUPPORT_URL", &text)).transpose()?,
            grace_period: times::grace(&read("GRACE_PERIOD")?.unwrap_or_else(|| "7d".to_owned()))?,
            provisioning_limit: times::provisioning_limit(
                &read("PROVISIONING_LIMIT")?.unwrap_or_else(|| "1h".to_owned()),
            )?,
            open_invoices: open_invoices(read("UNINSTALL_WITH_OPEN_INVOICES")?.as_deref())?,
            receipt_retention: times::retention(
                &read("RECEIPT_RETENTION")?.unwrap_or_else(|| "90d".to_owned()),
            )?,
            finalize_margin: times::margin(
                &read("FINALIZE_MARGIN")?.unwrap_or_else(|| "2h".to_owned()),
            )?,
        })
    }
}

/// The value of a variable in the process's environment. Bytes that are not UTF-8 become U+FFFD, which most
/// rules reject.
pub(crate) fn from_env(name: &'static str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// A variable's value. `None` if the variable is absent or empty. A value that begins or ends with a blank or
/// a line break is refused. `echo … | vercel env add` appends a line break, which would become part of an
/// address or a secret.
pub(crate) fn whole(
    name: &'static str,
    value: Option<String>,
) -> Result<Option<String>, ConfigError> {
    match value {
        Some(value) if value.trim() != value => {
            Err(ConfigError::new(name, "has a blank or a line break at an end"))
        }
        value => Ok(value.filter(|value| !value.is_empty())),
    }
}

impl Config {
    /// The secret `CRON_SECRET`, which the sweep requires.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `CRON_SECRET` is missing.
    pub fn require_cron_secret(&self) -> Result<&Secret, ConfigError> {
        self.cron_secret.as_ref().ok_or_else(|| missing("CRON_SECRET"))
    }

    /// The address of the backend, which `front` requires.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `BACKEND_URL` is missing.
    pub fn require_backend_url(&self) -> Result<&Url, ConfigError> {
        self.backend_url.as_ref().ok_or_else(|| missing("BACKEND_URL"))
    }

    /// The secret `CLIENT_SECRET`, which the receiver of webhooks requires.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `CLIENT_SECRET` is missing.
    pub fn require_client_secret(&self) -> Result<&Secret, ConfigError> {
        self.client_secret.as_ref().ok_or_else(|| missing("CLIENT_SECRET"))
    }
}

fn missing(variable: &'static str) -> ConfigError {
    ConfigError::new(variable, "is required")
}

/// Parses the integration's ids, such as `oac_…`. An integration's id that breaks rule B2 is surely a typing
/// error.
fn integration_ids(ids: Option<String>) -> Result<IntegrationIds, ConfigError> {
    let ids = ids.ok_or_else(|| missing("INTEGRATION_ID"))?;
    IntegrationIds::parse(&ids).map_err(|rule| ConfigError::new("INTEGRATION_ID", rule))
}

/// Checks that the issuer is a URL. Returns the issuer unchanged, because a token's `iss` must be exactly
/// this text.
fn oidc_issuer(text: String) -> Result<String, ConfigError> {
    match Url::parse(&text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(text),
        _ => Err(ConfigError::new("OIDC_ISSUER", "is not a URL")),
    }
}

/// Checks a table's name by DynamoDB's rule: 3 to 255 characters of `A-Z a-z 0-9 _ . -`.
fn table_name(name: String) -> Result<String, ConfigError> {
    let permitted = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if (3..=255).contains(&name.len()) && name.bytes().all(permitted) {
        Ok(name)
    } else {
        Err(ConfigError::new("TABLE_NAME", "is not 3 to 255 of A-Z a-z 0-9 _ . -"))
    }
}

/// Parses an https address, or an http address of this machine. An http address of another machine is
/// refused, because teardown sends secrets to the address, or trusts the answers from the address.
fn url(variable: &'static str, text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text).map_err(|_| ConfigError::new(variable, "is not a URL"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(ConfigError::new(variable, "must be https, or http on loopback")),
    }
}

/// Parses the backend's address. The front appends each call's path and query to the backend's address. The
/// backend's address may have a path, but no query, no fragment and no credentials.
fn backend(text: &str) -> Result<Url, ConfigError> {
    let url = url("BACKEND_URL", text)?;
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    if url.query().is_some() || url.fragment().is_some() || has_credentials {
        let rule =
            "has a query, a fragment or credentials; it is a scheme, a host and maybe a path";
        return Err(ConfigError::new("BACKEND_URL", rule));
    }
    Ok(url)
}

fn provider(
    address: Option<String>,
    secret: Option<String>,
) -> Result<Option<ProviderConfig>, ConfigError> {
    let (address, secret) = match (address, secret) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            let problem = "is required, because PROVIDER_SECRET is set";
            return Err(ConfigError::new("PROVIDER_URL", problem));
        }
        (Some(_), None) => {
            let problem = "is required, because PROVIDER_URL is set";
            return Err(ConfigError::new("PROVIDER_SECRET", problem));
        }
        (Some(address), Some(secret)) => (address, secret),
    };
    let secrets: Vec<_> = secret.split(' ').filter(|secret| !secret.is_empty()).collect();
    if !secrets.iter().all(|secret| is_webhook_secret(secret)) {
        let rule = "must be whsec_ and the base64 of 24 to 64 bytes";
        return Err(ConfigError::new("PROVIDER_SECRET", rule));
    }
    let secrets = secrets.into_iter().map(|secret| Secret::new(secret.to_owned())).collect();
    Ok(Some(ProviderConfig { url: url("PROVIDER_URL", &address)?, secrets }))
}

/// Whether a text is a secret of Standard Webhooks, which is `whsec_` and the base64 of 24 to 64 bytes.
fn is_webhook_secret(text: &str) -> bool {
    let bytes = text.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    bytes.is_some_and(|bytes| (24..=64).contains(&bytes.len()))
}

/// Checks a role's ARN, `arn:<partition>:iam::<account>:role/<path and name>`, and a session's name, by the
/// rules of STS.
fn role(arn: Option<String>, session_name: Option<String>) -> Result<Option<AwsRole>, ConfigError> {
    let Some(arn) = arn else { return Ok(None) };
    let is_role = match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", partition, "iam", "", account, role] => {
            !partition.is_empty()
                && account.len() == 12
                && account.bytes().all(|byte| byte.is_ascii_digit())
                && role.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        }
        _ => false,
    };
    if !is_role {
        return Err(ConfigError::new(
            "AWS_ROLE_ARN",
            "is not arn:<partition>:iam::<account>:role/…",
        ));
    }
    let session_name = session_name.unwrap_or_else(|| "teardown".to_owned());
    let permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&session_name.len()) || !session_name.bytes().all(permitted) {
        let rule = "is not 2 to 64 of A-Z a-z 0-9 _ + = , . @ -";
        return Err(ConfigError::new("AWS_ROLE_SESSION_NAME", rule));
    }
    Ok(Some(AwsRole { arn, session_name }))
}

/// Checks that an HTTP header can contain the secret unchanged.
fn cron_secret(secret: String) -> Result<Secret, ConfigError> {
    if secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(secret))
    } else {
        Err(ConfigError::new("CRON_SECRET", "must be visible ASCII characters"))
    }
}

fn open_invoices(text: Option<&str>) -> Result<OpenInvoices, ConfigError> {
    match text {
        None | Some("accept") => Ok(OpenInvoices::Accept),
        Some("refuse") => Ok(OpenInvoices::Refuse),
        Some(_) => {
            Err(ConfigError::new("UNINSTALL_WITH_OPEN_INVOICES", "is neither accept nor refuse"))
        }
    }
}

#[cfg(test)]
mod tests;

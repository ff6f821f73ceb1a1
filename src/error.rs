//! Every way a request can fail, and the one table that says how each is answered (B5).
//!
//! A message here is public: it says what the caller did or may do, never what went on inside.
//! What went on inside is the error's `source`, for the log.

use std::time::Duration;

use http::Method;

use crate::auth::{AuthError, TokenError};
use crate::ids::InvalidId;
use crate::vercel::Said;

/// The cause of an error that the caller is not told, for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request was not answered with a 2xx. Such a request has deleted nothing (B6); only where
/// DynamoDB was not heard of again, with [`Error::StoreUnavailable`], what it was told last may be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller did not prove who it is (A1 to A4).
    #[error("{0}")]
    InvalidToken(TokenError),
    /// The sweep's caller did not send its secret (B1).
    #[error("exactly one `Authorization: Bearer <CRON_SECRET>` header is required")]
    NotTheScheduler,
    /// The caller is known, and may not do this (A5, A6).
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The request breaks a rule of B2, B3 or B4.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// No endpoint of this function is at this path (B1).
    #[error("there is nothing at this path")]
    NotFound,
    /// The path has an endpoint, but not for this method (B1).
    #[error("this path answers {allowed} only")]
    MethodNotAllowed {
        /// The method that the `Allow` header names.
        allowed: Method,
    },
    /// The body is over 64 KiB (B3).
    #[error("the body is over 64 KiB")]
    PayloadTooLarge,
    /// The resource is still being provisioned (C2).
    #[error("the resource is still being provisioned")]
    ResourceBusy,
    /// Resources are live and the caller did not want them deleted (D3).
    #[error("the installation still has live resources: {0}")]
    ResourcesRemain(u64),
    /// The `Idempotency-Key` has stood for another request before (F2).
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyKeyReused,
    /// No configuration of this id was ever known (E4).
    #[error("there is no such configuration")]
    ConfigurationUnknown,
    /// Another request is deleting the configuration (F4).
    #[error("the configuration is being deleted by another request")]
    RequestInProgress {
        /// When that one has ended at the latest.
        retry_after: Duration,
    },
    /// Vercel would take the token that final invoices need (E3).
    #[error("the installation's invoices are not settled")]
    InvoicesOpen,
    /// Vercel refuses to delete the configuration (E3), in its own words.
    #[error("Vercel refuses to delete the configuration: {0}")]
    UpstreamRefused(Said),
    /// Vercel's API is out of reach (E3).
    #[error("Vercel's API is not available")]
    UpstreamUnavailable {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The token's key could not be looked up (A7).
    #[error("the keys that verify tokens are not available")]
    KeysUnavailable {
        /// When a lookup is possible again.
        retry_after: Duration,
    },
    /// DynamoDB did not let us through in time (F6).
    #[error("the store is not available")]
    StoreUnavailable(#[source] Cause),
    /// A fault of ours or of our configuration.
    #[error("internal error")]
    Internal(#[source] Cause),
}

/// What a known caller may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// A5: `USER` is a read-only role.
    #[error("the token's user_role may not delete: ADMIN may")]
    ReadOnlyRole,
    /// A6: one answer for every installation that is not the caller's, stored or not.
    #[error("the token does not stand for this installation")]
    OtherInstallation,
    /// E1: `teamId` or `slug` is not the installation's.
    #[error("teamId and slug do not stand for this installation's team")]
    OtherTeam,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// An identifier or a key breaks its rule (B2, B4).
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The body is no JSON object (B3).
    #[error("the body is not a JSON object")]
    Body,
    /// A field of the body is not of its type (B3).
    #[error("the body's field `{name}` must be a {expected}")]
    FieldType {
        /// The field's name.
        name: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
    /// A field of the body is there twice (B3).
    #[error("the body's field `{0}` is repeated")]
    FieldRepeated(&'static str),
    /// A parameter of the query is there twice (B4).
    #[error("the query parameter `{0}` is repeated")]
    QueryRepeated(&'static str),
    /// The body broke off, or took longer than [`crate::http::BODY_TIMEOUT`].
    #[error("the body did not arrive in full")]
    BodyIncomplete,
    /// It came to Lambda in an event that nothing reads: of a load balancer, or malformed.
    #[error("the request did not come in an event of API Gateway that can be read")]
    Event,
}

/// How an error is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub status: u16,
    /// `error.code` in the body.
    pub code: &'static str,
    /// `error.user.message` in the body, for the customer in Vercel's dashboard.
    pub user_message: Option<&'static str>,
    /// When it happens, in the words of `docs/errors.md`.
    pub meaning: &'static str,
}

macro_rules! table {
    ($($name:ident = $status:literal $code:literal, $user:expr, $meaning:literal;)*) => {
        $(const $name: Row =
            Row { status: $status, code: $code, user_message: $user, meaning: $meaning };)*

        /// The table of errors. Nothing else in the code writes an error's status or code.
        pub const TABLE: &[Row] = &[$($name),*];
    };
}

table! {
    BAD_REQUEST = 400 "bad_request", None,
        "An id, a header or the body breaks its rule; the message says which.";
    INVALID_TOKEN = 403 "invalid_token", None,
        "The token is missing, malformed, forged, expired or meant for somebody else.";
    READ_ONLY_ROLE = 403 "forbidden",
        Some("Your role is read-only. Ask a team member who may manage integrations to delete this."),
        "The user's role is read-only.";
    OTHER_INSTALLATION = 403 "forbidden",
        Some("You do not have access to this installation."),
        "The token stands for another installation or account.";
    OTHER_TEAM = 403 "forbidden",
        Some("You do not have access to this team."),
        "`teamId` or `slug` is not that of the installation.";
    NOT_THE_SCHEDULER = 403 "invalid_token", None,
        "The sweep's caller did not send `CRON_SECRET`.";
    NOT_FOUND = 404 "not_found", None,
        "No endpoint is at this path.";
    CONFIGURATION_UNKNOWN = 404 "not_found", None,
        "No configuration of this id was ever known.";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed", None,
        "The endpoint takes another method; `Allow` names it.";
    RESOURCE_BUSY = 409 "resource_busy",
        Some("This resource is still being set up. Try again when it is ready."),
        "The resource is still being provisioned.";
    RESOURCES_REMAIN = 409 "resources_remain",
        Some("This installation still has resources. Delete them first."),
        "`cascadeResourceDeletion` is `false` and resources are live; the message says how many.";
    IDEMPOTENCY_KEY_REUSED = 409 "idempotency_key_reused",
        Some("This request could not be matched with an earlier one. Try again."),
        "The `Idempotency-Key` has stood for another request in the last 7 days.";
    REQUEST_IN_PROGRESS = 409 "request_in_progress",
        Some("This is being deleted already. Try again in a moment."),
        "Another request is deleting this configuration; try again after `Retry-After` seconds.";
    INVOICES_OPEN = 409 "invoices_open",
        Some("Final invoices are still open. Try again when they are settled, or a day after the uninstall."),
        "Invoices are not settled, and the uninstall, if any, is not 24 h ago.";
    UPSTREAM_REFUSED = 409 "upstream_refused",
        Some("Vercel did not permit this deletion."),
        "Vercel refuses to delete the configuration; the message has its words.";
    PAYLOAD_TOO_LARGE = 413 "payload_too_large", None,
        "The body is over 64 KiB.";
    INTERNAL_ERROR = 500 "internal_error", None,
        "A fault of the deployment; its log has the cause.";
    KEYS_UNAVAILABLE = 503 "keys_unavailable", None,
        "The token's key cannot be looked up now; try again after `Retry-After` seconds.";
    STORE_UNAVAILABLE = 503 "store_unavailable", None,
        "DynamoDB, or STS where it gives the role, did not answer in time; try again after `Retry-After` seconds.";
    UPSTREAM_UNAVAILABLE = 503 "upstream_unavailable", None,
        "Vercel's API is out of reach; the deletion goes on by itself, or by a request after `Retry-After` seconds.";
}

/// What a caller should wait before it asks again for what DynamoDB refused for 8 s (F6). DynamoDB
/// throttles by the second.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Error {
    /// How this error is answered.
    #[must_use]
    pub fn row(&self) -> &'static Row {
        match self {
            Self::BadRequest(_) => &BAD_REQUEST,
            Self::InvalidToken(_) => &INVALID_TOKEN,
            Self::Forbidden(Forbidden::ReadOnlyRole) => &READ_ONLY_ROLE,
            Self::Forbidden(Forbidden::OtherInstallation) => &OTHER_INSTALLATION,
            Self::Forbidden(Forbidden::OtherTeam) => &OTHER_TEAM,
            Self::NotTheScheduler => &NOT_THE_SCHEDULER,
            Self::NotFound => &NOT_FOUND,
            Self::ConfigurationUnknown => &CONFIGURATION_UNKNOWN,
            Self::RequestInProgress { .. } => &REQUEST_IN_PROGRESS,
            Self::InvoicesOpen => &INVOICES_OPEN,
            Self::UpstreamRefused(_) => &UPSTREAM_REFUSED,
            Self::UpstreamUnavailable { .. } => &UPSTREAM_UNAVAILABLE,
            Self::MethodNotAllowed { .. } => &METHOD_NOT_ALLOWED,
            Self::ResourceBusy => &RESOURCE_BUSY,
            Self::ResourcesRemain(_) => &RESOURCES_REMAIN,
            Self::IdempotencyKeyReused => &IDEMPOTENCY_KEY_REUSED,
            Self::PayloadTooLarge => &PAYLOAD_TOO_LARGE,
            Self::Internal(_) => &INTERNAL_ERROR,
            Self::KeysUnavailable { .. } => &KEYS_UNAVAILABLE,
            Self::StoreUnavailable(_) => &STORE_UNAVAILABLE,
        }
    }

    /// What `Retry-After` says, in whole seconds, at least 1.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Self::KeysUnavailable { retry_after }
            | Self::RequestInProgress { retry_after }
            | Self::UpstreamUnavailable { retry_after } => *retry_after,
            Self::StoreUnavailable(_) => STORE_RETRY_AFTER,
            _ => return None,
        };
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Some(whole.max(1))
    }
}

impl From<AuthError> for Error {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Token(error) => Self::InvalidToken(error),
            AuthError::KeysUnavailable { retry_after } => Self::KeysUnavailable { retry_after },
        }
    }
}

impl From<InvalidId> for Error {
    fn from(error: InvalidId) -> Self {
        Self::BadRequest(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B5: every 409 and every 403 `forbidden` tells the customer something.
    #[test]
    fn conflicts_and_refusals_speak_to_the_user() {
        for row in TABLE {
            if row.status == 409 || row.code == "forbidden" {
                assert!(row.user_message.is_some(), "{}", row.code);
            }
        }
    }

    /// A7, F6: `Retry-After` is whole seconds, rounded up.
    #[test]
    fn retry_after_is_rounded_up() {
        let after =
            |ms| Error::KeysUnavailable { retry_after: Duration::from_millis(ms) }.retry_after();
        assert_eq!(
            (after(0), after(1), after(1000), after(1001)),
            (Some(1), Some(1), Some(1), Some(2))
        );
    }
}

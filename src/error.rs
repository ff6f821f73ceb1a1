//! Every way in which a request can fail, and the only table of the answers to errors (B5).
//!
//! The messages of errors are public. An error's message says what the caller did wrong or can do next, but
//! nothing about teardown's internals. An error's internal cause is in the error's `source`, and only the log
//! shows the cause.

use std::time::Duration;

use http::Method;

use crate::auth::{AuthError, TokenError};
use crate::ids::InvalidId;
use crate::vercel::VercelError;

/// The cause of an error, for the log. The caller does not see the cause of an error.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The answer to a request that fails with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub status: u16,
    /// `error.code` in the body.
    pub code: &'static str,
    /// `error.user.message` in the body, for the customer in Vercel's dashboard.
    pub user_message: Option<&'static str>,
    /// When the error happens, as `docs/errors.md` says it.
    pub when: &'static str,
}

/// Makes [`Error`], [`TABLE`] and [`Error::row`] from one entry for each error. An entry of `errors!` has the
/// variant, the status, the code, and the message with its argument if there is one. The last parts of an
/// entry of `errors!` are the customer's message, if there is one, and a text that says when the error
/// happens.
macro_rules! errors {
    ($(
        #[doc = $doc:literal]
        $name:ident $(($($tuple:tt)*))? $({$($fields:tt)*})? =
            $status:literal $code:literal
            $message:literal $([$argument:expr])?
            $(user $user:literal)?
            when $when:literal;
    )*) => {
        /// Why teardown did not answer a request with a 2xx. A request that fails has deleted nothing (B6),
        /// as far as teardown knows. If DynamoDB's answer was lost, the deletion may be committed despite an
        /// [`Error::StoreUnavailable`].
        #[derive(Debug, thiserror::Error)]
        pub enum Error {$(
            #[doc = $doc]
            #[error($message $(, $argument)?)]
            $name $(($($tuple)*))? $({$($fields)*})?,
        )*}

        /// The table of errors. No other code writes an error's status or code.
        pub const TABLE: &[Row] = &[$(errors!(@row $status $code ($($user)?) $when)),*];

        impl Error {
            /// The answer to a request that fails with the error.
            #[must_use]
            pub fn row(&self) -> &'static Row {
                match self {
                    $(Self::$name { .. } => &errors!(@row $status $code ($($user)?) $when),)*
                }
            }
        }
    };
    (@row $status:literal $code:literal () $when:literal) => {
        Row { status: $status, code: $code, user_message: None, when: $when }
    };
    (@row $status:literal $code:literal ($user:literal) $when:literal) => {
        Row { status: $status, code: $code, user_message: Some($user), when: $when }
    };
}

errors! {
    /// The request breaks rule B2, B3 or B4.
    BadRequest(BadRequest) = 400 "bad_request"
        "{0}"
        when "An id, a header or the body breaks its rule; the message says which.";
    /// The caller did not prove who it is (A1 to A4).
    InvalidToken(TokenError) = 403 "invalid_token"
        "{0}"
        when "The token is missing, malformed, forged, expired or meant for somebody else.";
    /// The user may not delete, because the user's role is not `ADMIN` (A5).
    ReadOnlyRole = 403 "forbidden"
        "the token's user_role may not delete: ADMIN may"
        user "Your role is read-only. Ask a team member who may manage integrations to delete this."
        when "The user's role is read-only.";
    /// The token is not for this installation. The answer hides whether the installation is stored (A6).
    OtherInstallation = 403 "forbidden"
        "the token does not stand for this installation"
        user "You do not have access to this installation."
        when "The token is for another installation or account.";
    /// `teamId` or `slug` does not belong to the installation's team (E1).
    OtherTeam = 403 "forbidden"
        "teamId and slug do not stand for this installation's team"
        user "You do not have access to this team."
        when "`teamId` or `slug` is not that of the installation.";
    /// The sweep's caller did not send `CRON_SECRET` (B1).
    InvalidCronSecret = 403 "invalid_token"
        "exactly one `Authorization: Bearer <CRON_SECRET>` header is required"
        when "The sweep's caller did not send `CRON_SECRET`.";
    /// A webhook is not signed as Vercel signs it (K1).
    InvalidSignature = 403 "invalid_signature"
        "exactly one `x-vercel-signature` header is required, the body's HMAC-SHA1 in lower-case hex"
        when "A webhook is not signed with `CLIENT_SECRET`.";
    /// The function has no endpoint at the request's path (B1).
    NotFound = 404 "not_found"
        "there is nothing at this path"
        when "No endpoint is at this path.";
    /// teardown has never known a configuration with the request's id (E4).
    ConfigurationUnknown = 404 "not_found"
        "there is no such configuration"
        when "No configuration of this id was ever known.";
    /// The request's path has an endpoint, but not for the request's method (B1).
    MethodNotAllowed {
        /// The methods that the `Allow` header names.
        allowed: Methods,
    } = 405 "method_not_allowed"
        "this path answers {allowed} only"
        when "The endpoint takes another method; `Allow` names it.";
    /// The installation was deleted, so no resource can be created in the installation (J4).
    InstallationDeleted = 409 "installation_deleted"
        "the installation was deleted"
        user "This installation was removed. Install the integration again to create resources."
        when "A call would make a resource in a deleted installation. If the backend has already made it, teardown announces it as deleted.";
    /// The resource is still being provisioned (C2).
    ResourceBusy = 409 "resource_busy"
        "the resource is still being provisioned"
        user "This resource is still being set up. Try again when it is ready."
        when "The resource is still being provisioned.";
    /// The installation has this number of live resources, and the caller did not permit their deletion (D3).
    ResourcesRemain(u64) = 409 "resources_remain"
        "the installation still has live resources: {0}"
        user "This installation still has resources. Delete them first."
        when "`cascadeResourceDeletion` is `false` and resources are live; the message says how many.";
    /// The deployment refuses an uninstall while invoices are open (D7).
    UninstallWithOpenInvoices = 409 "invoices_open"
        "the installation's invoices are not settled, and it is not uninstalled until they are"
        user "This installation has open invoices. Uninstall it when they are settled."
        when "Invoices are not settled, and `UNINSTALL_WITH_OPEN_INVOICES` is `refuse`: nothing is uninstalled.";
    /// An earlier, different request used the same `Idempotency-Key` (F2).
    IdempotencyKeyReused = 409 "idempotency_key_reused"
        "this Idempotency-Key was used for another request"
        user "This request could not be matched with an earlier one. Try again."
        when "The `Idempotency-Key` was used for another request in the last 7 days.";
    /// Another request is deleting the configuration (F4).
    RequestInProgress {
        /// The time after which the request that is deleting the configuration has certainly ended.
        retry_after: Duration,
    } = 409 "request_in_progress"
        "the configuration is being deleted by another request"
        user "This is being deleted already. Try again in a moment."
        when "Another request is deleting this configuration; try again after `Retry-After` seconds.";
    /// Invoices are open, and Vercel would revoke the token that final invoices need (E3).
    InvoicesOpen = 409 "invoices_open"
        "the installation's invoices are not settled"
        user "Final invoices are still open. Try again when they are settled, or a day after the uninstall."
        when "A configuration is not deleted: invoices are not settled, and the uninstall, if any, is not 24 h ago.";
    /// Vercel refuses to delete the configuration (E3). The variant contains Vercel's own error.
    UpstreamRefused(VercelError) = 409 "upstream_refused"
        "Vercel refuses to delete the configuration: {0}"
        user "Vercel did not permit this deletion."
        when "Vercel refuses to delete the configuration; the message has its words.";
    /// The request's body is larger than the endpoint accepts (B3, K1).
    PayloadTooLarge {
        /// The longest body that the endpoint accepts, in bytes.
        limit: u64,
    } = 413 "payload_too_large"
        "the body is over {size}" [size = size(*limit)]
        when "The body is larger than the endpoint takes; the message has the limit.";
    /// teardown has a fault, or is configured wrongly.
    Internal(#[source] Cause) = 500 "internal_error"
        "internal error"
        when "A fault of the deployment; its log has the cause.";
    /// The provider's backend gave no answer that teardown can pass on (J6).
    BackendUnavailable(#[source] Cause) = 502 "backend_unavailable"
        "the provider's backend did not answer"
        when "The provider's backend did not answer in time, broke off, or answered over 4 MiB.";
    /// The token's key could not be looked up (A7).
    KeysUnavailable {
        /// The time until the issuer's keys can be looked up again.
        retry_after: Duration,
    } = 503 "keys_unavailable"
        "the keys that verify tokens are not available"
        when "The token's key cannot be looked up now; try again after `Retry-After` seconds.";
    /// DynamoDB did not answer in time, or STS gave no session of the AWS role (F6).
    StoreUnavailable(#[source] Cause) = 503 "store_unavailable"
        "the store is not available"
        when "DynamoDB did not answer in time, or STS did not give the role; try again after `Retry-After` seconds.";
    /// Vercel's API gave no definite answer, or cannot be reached (E3).
    UpstreamUnavailable {
        /// The time after which the caller should repeat the request.
        retry_after: Duration,
    } = 503 "upstream_unavailable"
        "Vercel's API is not available"
        when "Vercel's API is out of reach; a sweep continues the deletion, or a request after `Retry-After` seconds.";
}

/// The methods that a path permits, shown as the `Allow` header lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(pub &'static [Method]);

impl std::fmt::Display for Methods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let methods: Vec<_> = self.0.iter().map(Method::as_str).collect();
        f.write_str(&methods.join(", "))
    }
}

/// A number of bytes as text for people, in MiB or KiB.
fn size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{} KiB", bytes / KIB)
    }
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// An identifier or an `Idempotency-Key` breaks its rule (B2, B4).
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The body is not a JSON object (B3).
    #[error("the body is not a JSON object")]
    Body,
    /// A field of the body has the wrong type (B3).
    #[error("the body's field `{name}` must be a {expected}")]
    FieldType {
        /// The field's name.
        name: &'static str,
        /// The type that the field must have.
        expected: &'static str,
    },
    /// The body has a field twice (B3).
    #[error("the body's field `{0}` is repeated")]
    FieldRepeated(&'static str),
    /// The query has a parameter twice (B4).
    #[error("the query parameter `{0}` is repeated")]
    QueryRepeated(&'static str),
    /// The request's body broke off, or took longer to arrive than [`Limits`](crate::limits::Limits) permits.
    #[error("the body did not arrive in full")]
    BodyIncomplete,
    /// teardown cannot read the request's event on Lambda, because a load balancer sent it or because it is
    /// malformed.
    #[error("the request did not come in an event of API Gateway that can be read")]
    Event,
}

/// The time after which the caller should repeat a request that DynamoDB did not answer for 8 s (F6). 2 s are
/// enough if DynamoDB has throttled the request, because DynamoDB's limits are limits per second.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Error {
    /// The value of `Retry-After`, in whole seconds, at least 1.
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

impl From<BadRequest> for Error {
    fn from(error: BadRequest) -> Self {
        Self::BadRequest(error)
    }
}

impl From<InvalidId> for Error {
    fn from(error: InvalidId) -> Self {
        BadRequest::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B5: every 409 and every 403 `forbidden` has a message for the customer.
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

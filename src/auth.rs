//! Reads from a request's headers who sent the request, as a [`Caller`].
//!
//! [`jws`] parses a token and checks its signature, [`keys`] decides which keys teardown accepts, [`jwks`]
//! caches the keys, and [`claims`] reads and checks the token's claims. The modules of `auth` know nothing
//! about deletions or about the table.

pub mod claims;
pub mod jwks;
pub mod jws;
pub mod keys;

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use self::claims::Claims;
use self::jwks::{Jwks, LookupError};
use self::jws::Jws;
use crate::clock::Clock;
use crate::ids::IntegrationIds;

/// Why a token does not prove who sent the request. The answer to a request with a bad token is always 403
/// `invalid_token` (A1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A1: the request has no `Authorization` header, has several, or uses another scheme than `Bearer`.
    #[error("exactly one `Authorization: Bearer <token>` header is required")]
    Authorization,
    /// A3: the token is over 8 KiB.
    #[error("the token is over 8 KiB")]
    TooLong,
    /// The token is not three parts of base64url with a JSON header (RFC 7515, section 7.1).
    #[error("the token is not a signed JWT")]
    Malformed,
    /// A2: the header's `alg` is not `RS256`.
    #[error("the token is not signed with RS256")]
    Algorithm,
    /// A2: the token requires extensions of JWS, which teardown does not support (RFC 7515, section 4.1.11).
    #[error("the token has a crit header")]
    Critical,
    /// A2: the token has no `kid`, so its key cannot be looked up.
    #[error("the token has no kid")]
    KeyId,
    /// The issuer's keys were looked up, and the token's key is not among them.
    #[error("the token's key is not one of the issuer's")]
    UnknownKey,
    /// The signature was not made with the token's key.
    #[error("the token's signature is wrong")]
    Signature,
    /// A3, A4: a claim is missing, repeated or of the wrong JSON type.
    #[error("the token's claims are missing or of the wrong type")]
    Claims,
    /// A3: the token's `iss` is not the configured issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// A3: the token's `aud` is not one of the integration's ids.
    #[error("the token is meant for another integration")]
    Audience,
    /// A3: the token's `exp` is in the past.
    #[error("the token has expired")]
    Expired,
    /// A3: the token's `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A4: the token is neither a user's nor the system's.
    #[error("the token is neither a user's nor the system's")]
    Kind,
    /// A4: `X-Vercel-Auth` contradicts the token.
    #[error("X-Vercel-Auth does not agree with the token")]
    AuthStyle,
}

/// Why teardown does not know who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token does not prove who sent the request.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's key could not be looked up (A7).
    #[error("the keys that verify tokens are not available")]
    KeysUnavailable {
        /// The time until the issuer's keys can be looked up again.
        retry_after: Duration,
    },
}

/// The caller that a verified token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user in Vercel's dashboard.
    User {
        /// `installation_id`: the only installation that the token is for.
        installation: String,
        /// The claim `account_id`.
        account: String,
        /// The claim `user_id`.
        user: String,
        /// The claim `user_role`.
        role: Role,
    },
    /// Vercel itself.
    System {
        /// The claim `installation_id`. `None` if the system's token is for all installations of the account.
        installation: Option<String>,
        /// The claim `account_id`.
        account: String,
    },
}

impl Caller {
    /// The kind of the caller, `user` or `system`, as in `X-Vercel-Auth` and in receipts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::System { .. } => "system",
        }
    }
}

/// What a user may do (A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `ADMIN`: the user may delete.
    Admin,
    /// `USER`, or a role that teardown does not know: the user may not delete.
    ReadOnly,
}

/// The longest token that is parsed, in bytes (A3).
const MAX_TOKEN: usize = 8 * 1024;

/// Turns a request's headers into a [`Caller`].
#[derive(Clone, Debug)]
pub struct Verifier {
    issuer: String,
    audiences: IntegrationIds,
    jwks: Jwks,
    clock: Clock,
}

impl Verifier {
    /// Makes a verifier from the `iss` that tokens must have, the ids that tokens may have as `aud`, and the
    /// cache of the issuer's keys.
    #[must_use]
    pub fn new(issuer: String, audiences: IntegrationIds, jwks: Jwks, clock: Clock) -> Self {
        Self { issuer, audiences, jwks, clock }
    }

    /// The running fetch of the issuer's keys, if there is one. A fetch of keys must end before the host
    /// freezes the process.
    pub(crate) fn under_way(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        self.jwks.fetch_under_way()
    }

    /// Finds out from a request's headers who sent the request (A1 to A4, A7).
    ///
    /// # Errors
    ///
    /// [`AuthError::Token`] if the headers do not prove who sent the request. [`AuthError::KeysUnavailable`]
    /// if the token's key cannot be looked up now.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        let jws = Jws::parse(bearer(headers)?)?;
        let key = self.jwks.find(jws.key_id()?).await.map_err(|error| match error {
            LookupError::Unknown => AuthError::Token(TokenError::UnknownKey),
            LookupError::Unavailable { retry_after } => AuthError::KeysUnavailable { retry_after },
        })?;
        let claims = Claims::parse(&jws.verify(&key)?)?;
        let caller = claims.caller(&self.issuer, &self.audiences, self.clock.now())?;
        check_auth_style(headers, &caller)?;
        Ok(caller)
    }
}

/// The token of a request's only `Authorization` header, if its scheme is `Bearer` (A1). The scheme may be in
/// upper or lower case (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(TokenError::Authorization);
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(TokenError::Authorization)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(TokenError::Authorization);
    }
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLong);
    }
    Ok(token)
}

/// A4: checks that `X-Vercel-Auth`, if the caller sent it, agrees with the token.
fn check_auth_style(headers: &HeaderMap, caller: &Caller) -> Result<(), TokenError> {
    let mut styles = headers.get_all("x-vercel-auth").iter();
    match (styles.next(), styles.next()) {
        (None, _) => Ok(()),
        (Some(style), None) if style.as_bytes() == caller.kind().as_bytes() => Ok(()),
        _ => Err(TokenError::AuthStyle),
    }
}

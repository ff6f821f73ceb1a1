//! Parses tokens in the JWS compact serialization (RFC 7515). A token must be signed with RS256, and have a
//! key id and no critical header parameters (A2).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};

use super::TokenError;
use super::keys::PublicKey;
use crate::json;

/// A parsed token, which is not verified yet. Only `verify` returns the token's payload.
pub struct Jws<'a> {
    kid: Option<String>,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl fmt::Debug for Jws<'_> {
    /// Shows only the `kid`, because a reader of the log could use a token that was shown whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The header parameters that teardown reads. teardown ignores `jku`, `x5u`, `jwk` and all other header
/// parameters (A2).
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    crit: Option<serde_json::Value>,
}

impl<'a> Jws<'a> {
    /// Parses a token in the compact serialization.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`], [`TokenError::Algorithm`] or [`TokenError::Critical`].
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = decode(header)?;
        let header: Header =
            json::from_slice(object(&header)?).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        if header.alg != "RS256" {
            return Err(TokenError::Algorithm);
        }
        Ok(Self { kid: header.kid, message, payload, signature })
    }

    /// The header's `kid`.
    ///
    /// # Errors
    ///
    /// [`TokenError::KeyId`] if the header has no `kid`.
    pub fn key_id(&self) -> Result<&str, TokenError> {
        self.kid.as_deref().ok_or(TokenError::KeyId)
    }

    /// Checks the token's signature, and returns the token's payload.
    ///
    /// # Errors
    ///
    /// [`TokenError::Signature`] if the signature is wrong. [`TokenError::Malformed`] if a part of the token
    /// is not base64url.
    pub fn verify(&self, key: &PublicKey) -> Result<Vec<u8>, TokenError> {
        let valid = jsonwebtoken::crypto::verify(
            self.signature,
            self.message.as_bytes(),
            key.decoding(),
            Algorithm::RS256,
        );
        match valid {
            Ok(true) => decode(self.payload),
            Ok(false) => Err(TokenError::Signature),
            Err(_) => Err(TokenError::Malformed),
        }
    }
}

/// Decodes strict base64url, which has no padding, no white space and no stray bits (RFC 7515, section 2).
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// Returns `json` if it is an object in UTF-8 (RFC 7515, section 4, and RFC 7519, section 7.2). `serde` alone
/// would also read a struct from an array, and would ignore bytes that are not UTF-8 in a member that it does
/// not need.
pub(super) fn object(json: &[u8]) -> Result<&[u8], TokenError> {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') && str::from_utf8(json).is_ok() {
        Ok(json)
    } else {
        Err(TokenError::Malformed)
    }
}

/// Reads a field that may be absent, but not `null`.
pub(super) fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

//! Makes good and bad tokens, with the claims of Vercel's two schemas, and the signatures of webhooks.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::issuer::Issuer;

/// Signs tokens with the key that the backend trusts, and with a stranger's key.
pub struct Signer {
    trusted: Arc<Issuer>,
    stranger: Issuer,
    /// The tokens that were signed so far. A token is stored because most tokens are sent many times, and a
    /// signature takes long.
    signed: Mutex<HashMap<String, String>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("kid", &self.trusted.kid()).finish_non_exhaustive()
    }
}

/// A token's claims, and a text that describes the token.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    pub json: Value,
    pub description: String,
}

impl Claims {
    /// Sets a claim.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.json[name] = value;
        self
    }

    /// Leaves a claim out.
    pub(super) fn without(mut self, name: &str) -> Self {
        if let Some(claims) = self.json.as_object_mut() {
            claims.remove(name);
        }
        self
    }

    /// Adds to the text that describes the token.
    pub(super) fn described(mut self, text: &str) -> Self {
        self.description = format!("{}, {text}", self.description);
        self
    }

    /// The `X-Vercel-Auth` that Vercel sends with a token that has these claims.
    fn style(&self) -> &'static str {
        if self.json.get("user_id").is_some() { "user" } else { "system" }
    }
}

/// A request's `Authorization` and `X-Vercel-Auth`.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    /// The value of `Authorization`. `None` if the request does not have this header.
    pub value: Option<String>,
    /// The value of `Authorization` that reports show, without the token.
    pub shown: Option<String>,
    /// A text that describes the token.
    pub description: Option<String>,
    /// The value of `X-Vercel-Auth`. `None` if the request does not have this header.
    pub style: Option<&'static str>,
}

impl Bearer {
    /// A request without `Authorization`.
    pub(super) fn none() -> Self {
        Self { value: None, shown: None, description: None, style: Some("user") }
    }

    /// An `Authorization` that is not secret, so reports show it unchanged.
    pub(super) fn literal(value: &str) -> Self {
        let value = Some(value.to_owned());
        Self { shown: value.clone(), value, description: None, style: Some("user") }
    }

    /// This `Authorization`, without `X-Vercel-Auth`.
    pub(super) fn without_style(mut self) -> Self {
        self.style = None;
        self
    }

    fn token(token: &str, description: &str, style: &'static str) -> Self {
        Self {
            value: Some(format!("Bearer {token}")),
            shown: Some("Bearer $TOKEN".to_owned()),
            description: Some(description.to_owned()),
            style: Some(style),
        }
    }
}

impl Signer {
    /// Makes a signer with a key that the backend trusts, or that an operator still has to give to the
    /// backend.
    ///
    /// # Errors
    ///
    /// If the operating system gives no random bytes.
    pub fn new(trusted: Arc<Issuer>) -> anyhow::Result<Self> {
        Ok(Self { trusted, stranger: Issuer::generate()?, signed: Mutex::default() })
    }

    /// The JWKS document that the backend should trust.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.trusted.jwks()
    }

    /// A JWKS document that no backend should trust. The document has the stranger's key, under the trusted
    /// key's id.
    #[must_use]
    pub fn strange_jwks(&self) -> Value {
        let mut key = self.stranger.jwk();
        key["kid"] = json!(self.trusted.kid());
        json!({ "keys": [key] })
    }

    /// A token with a good signature.
    pub(super) fn sign(&self, claims: &Claims) -> Bearer {
        self.sign_under(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.trusted.kid() }), claims)
    }

    /// A token with a good signature, under this header.
    pub(super) fn sign_under(&self, header: &Value, claims: &Claims) -> Bearer {
        Bearer::token(
            &self.signed_by(&self.trusted, header, claims),
            &claims.description,
            claims.style(),
        )
    }

    fn signed_by(&self, issuer: &Issuer, header: &Value, claims: &Claims) -> String {
        let message = format!("{} {header}.{}", issuer.kid(), claims.json);
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        let sign = || issuer.sign_with_header(header, &claims.json);
        signed.entry(message).or_insert_with(sign).clone()
    }

    /// The header of a token of the trusted key, with one more member.
    pub(super) fn header(&self, name: &str, value: &Value) -> Value {
        json!({ "alg": "RS256", "typ": "JWT", "kid": self.trusted.kid(), name: value })
    }

    /// A token that the stranger's key signed, and whose header names the stranger's key.
    pub(super) fn forge(&self, claims: &Claims) -> Bearer {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.stranger.kid() });
        self.forge_under(&header, &claims.clone().described("signed by a stranger's key"))
    }

    /// A token that the stranger's key signed, under a header that may name the trusted key or hold the
    /// stranger's key.
    pub(super) fn forge_under(&self, header: &Value, claims: &Claims) -> Bearer {
        Bearer::token(
            &self.signed_by(&self.stranger, header, claims),
            &claims.description,
            claims.style(),
        )
    }

    /// The stranger's public key.
    pub(super) fn strange_key(&self) -> Value {
        self.stranger.jwk()
    }

    /// A good token whose claims were changed after it was signed.
    pub(super) fn altered(&self, signed: &Claims, claims: &Claims) -> Bearer {
        let token = self.bare(signed);
        let mut parts = token.split('.');
        let (header, signature) = (parts.next(), parts.nth(1));
        let payload = encode(&claims.json);
        let token =
            format!("{}.{payload}.{}", header.unwrap_or_default(), signature.unwrap_or_default());
        let description = claims.clone().described("changed after it was signed").description;
        Bearer::token(&token, &description, claims.style())
    }

    /// A good token without its signature.
    pub(super) fn unsigned(&self, claims: &Claims) -> Bearer {
        let token = self.bare(claims);
        let (message, _) = token.rsplit_once('.').unwrap_or_default();
        let description = claims.clone().described("with an empty signature").description;
        Bearer::token(&format!("{message}."), &description, claims.style())
    }

    /// A token whose header says that it needs no signature.
    pub(super) fn alg_none(&self, claims: &Claims) -> Bearer {
        let header = json!({ "alg": "none", "typ": "JWT", "kid": self.trusted.kid() });
        let token = format!("{}.{}.", encode(&header), encode(&claims.json));
        Bearer::token(
            &token,
            &claims.clone().described("with alg none").description,
            claims.style(),
        )
    }

    /// Tokens signed by HS256 with the public key as the secret. Each token uses a different form of the
    /// public key, because libraries hold the key in different forms.
    pub(super) fn hs256_by_the_public_key(&self, claims: &Claims) -> Vec<Bearer> {
        let pem = self.trusted.public_key_pem();
        let jwk = self.trusted.jwk();
        let n = jwk["n"].as_str().unwrap_or_default().as_bytes();
        [pem.as_bytes(), pem.trim_end().as_bytes(), n]
            .map(|secret| self.hs256(claims, secret, "the public key"))
            .into()
    }

    /// A token signed by HS256 with the client secret as the secret.
    pub(super) fn hs256_by_the_client_secret(&self, claims: &Claims, secret: &str) -> Bearer {
        self.hs256(claims, secret.as_bytes(), "the client secret")
    }

    fn hs256(&self, claims: &Claims, secret: &[u8], name: &str) -> Bearer {
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": self.trusted.kid() });
        let message = format!("{}.{}", encode(&header), encode(&claims.json));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
        let description = claims
            .clone()
            .described(&format!("signed with HS256 and {name} as the secret"))
            .description;
        Bearer::token(&format!("{message}.{signature}"), &description, claims.style())
    }

    fn bare(&self, claims: &Claims) -> String {
        let bearer = self.sign(claims).value.unwrap_or_default();
        bearer.trim_start_matches("Bearer ").to_owned()
    }
}

fn encode(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// `x-vercel-signature` of a webhook's body: HMAC-SHA1 in lower-case hexadecimal.
#[must_use]
pub fn webhook_signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    let nibbles = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    nibbles.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | openssl dgst -sha1 -hmac key` prints the same signature.
    #[test]
    fn a_webhooks_signature_is_openssls() {
        let signature = webhook_signature("key", "hello");
        assert_eq!(signature, "b34ceac4516ff23a143e61d79d0fa7a4fbe5f266");
    }
}

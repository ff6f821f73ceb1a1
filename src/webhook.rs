//! Vercel's webhooks: the signature of a body, without I/O (K1).

use aws_lc_rs::hmac;
use http::HeaderMap;
use subtle::ConstantTimeEq as _;

use crate::error::Error;
use crate::ids::hex;
use crate::secret::Secret;

/// The longest body of a webhook, in bytes (K1).
pub const MAX_BODY: u64 = 256 * 1024;

/// The header with the signature.
const HEADER: &str = "x-vercel-signature";

/// The length of a signature: an HMAC-SHA1 in hexadecimal.
const LENGTH: usize = 40;

/// A text that may be the signature of a body. No log shows it: it stays valid, and could be replayed.
pub struct Signature<'a>(&'a [u8]);

impl<'a> Signature<'a> {
    /// Takes the header's value, before the body is read.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSignature`] where the header is absent, repeated, or not 40 hexadecimal digits in
    /// lower case.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, Error> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Error::InvalidSignature);
        };
        let value = value.as_bytes();
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if value.len() == LENGTH && value.iter().all(is_digit) {
            Ok(Self(value))
        } else {
            Err(Error::InvalidSignature)
        }
    }

    /// Compares the signature with that of the body, in constant time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSignature`], also where there is no secret.
    pub fn verify(&self, body: &[u8], secret: Option<&Secret>) -> Result<(), Error> {
        let secret = secret.ok_or(Error::InvalidSignature)?;
        // Vercel signs so, and HMAC asks of its hash less than what SHA-1 has lost.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
        let expected = hex(hmac::sign(&key, body).as_ref());
        if expected.as_bytes().ct_eq(self.0).into() { Ok(()) } else { Err(Error::InvalidSignature) }
    }
}

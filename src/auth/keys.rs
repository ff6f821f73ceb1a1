//! Reads a JWKS document (RFC 7517), and selects the keys that teardown accepts to verify tokens (A7).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;

/// The sizes of an RSA modulus that teardown accepts, in bits (A7). The signature library accepts no modulus
/// of more than 8192 bits.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// An RSA key that is strong enough and meant for verifying RS256 signatures. Clones of a [`PublicKey`] share
/// the key.
#[derive(Clone)]
pub struct PublicKey {
    kid: Arc<str>,
    decoding: Arc<DecodingKey>,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PublicKey").field(&self.kid).finish()
    }
}

impl PublicKey {
    /// The public key in the form that the signature library needs.
    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

/// The usable keys of a JWKS document, at least one.
#[derive(Clone, Debug)]
pub struct KeySet(Vec<PublicKey>);

/// Why a JWKS document contains no usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The document is not a JSON object with an array `keys`.
    #[error("not a JWKS document")]
    Malformed,
    /// No key of the document is a strong enough RSA key for RS256 signatures.
    #[error("the JWKS document has no usable key")]
    NoUsableKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Box<RawValue>>,
}

/// The fields that decide whether a key is usable. A key is skipped if a field that teardown reads has a
/// wrong type.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    n: String,
    e: String,
    r#use: Option<String>,
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
}

impl KeySet {
    /// Reads a JWKS document. Keys that are not usable are skipped, so one bad key does not make the good
    /// keys useless.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] if the document is malformed, or has no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        // Bytes that are not UTF-8 are accepted, because they may be in a key that is skipped.
        let document = String::from_utf8_lossy(document);
        let document: Document =
            json::from_slice(document.as_bytes()).map_err(|_| KeySetError::Malformed)?;
        let keys: Vec<_> = document.keys.iter().filter_map(|key| usable(key)).collect();
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self(keys)) }
    }

    /// The first key of the document with the id `kid`.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| &*key.kid == kid)
    }
}

/// Makes a key from its JSON. `None` if the key is not meant for RS256 signatures, or is weak.
fn usable(key: &RawValue) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_str(key.get()).ok()?;
    let meant_for_it = jwk.kty == "RSA"
        && jwk.r#use.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.alg.as_deref().is_none_or(|alg| alg == "RS256")
        && jwk.key_ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !meant_for_it {
        return None;
    }
    let (modulus, exponent) = (number(&jwk.n)?, number(&jwk.e)?);
    if !MODULUS_BITS.contains(&bits(&modulus)) || !is_odd_exponent(&exponent) || is_roca(&modulus) {
        return None;
    }
    let decoding = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    Some(PublicKey { kid: jwk.kid.into(), decoding: decoding.into() })
}

/// The octets of a number (RFC 7518, section 2), without leading zero octets. Java's `BigInteger` writes
/// leading zero octets, which the signature library does not accept.
fn number(encoded: &str) -> Option<Vec<u8>> {
    let octets = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    Some(octets.into_iter().skip_while(|octet| *octet == 0).collect())
}

/// The length of a big-endian number, in bits.
fn bits(number: &[u8]) -> usize {
    let significant = number.iter().skip_while(|byte| **byte == 0);
    let mut significant = significant.peekable();
    let Some(first) = significant.peek() else { return 0 };
    let leading = first.leading_zeros() as usize;
    significant.count() * 8 - leading
}

/// Whether an RSA exponent is odd and at least 3 (RFC 8017, section 3.1), and has at most 32 bits. No RSA
/// exponent in use has more than 32 bits.
fn is_odd_exponent(exponent: &[u8]) -> bool {
    (2..=32).contains(&bits(exponent)) && exponent.last().is_some_and(|byte| byte % 2 == 1)
}

/// Whether a modulus looks like a modulus from a broken library of Infineon, whose keys can be factored
/// (ROCA, CVE-2017-15361). A modulus from Infineon's library is a power of 65537 modulo every small prime.
fn is_roca(modulus: &[u8]) -> bool {
    const GENERATOR: u32 = 65_537;
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
        97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|&prime| {
        let residue = modulus.iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * (GENERATOR % prime) % prime;
            power == residue
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The modulus of the key in RFC 7515, appendix A.2. The modulus has 2048 bits, and the key's exponent is
    /// 65537.
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

    fn count(keys: &Value) -> Result<usize, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).map(|set| set.0.len())
    }

    fn rsa(change: &Value) -> Value {
        let mut key = json!({ "kty": "RSA", "kid": "k1", "n": N, "e": "AQAB" });
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        key
    }

    /// A7: a key is skipped if it is not an RSA key of at least 2048 bits for RS256 signatures, or if its
    /// exponent is unusual.
    #[test]
    fn unusable_keys_are_passed_over() {
        for good in [
            json!({}),
            json!({ "use": "sig", "alg": "RS256", "key_ops": ["verify"] }),
            json!({ "x5c": 7, "surprise": {} }),
        ] {
            assert_eq!(count(&json!([rsa(&good)])), Ok(1));
        }
        for bad in [
            json!({ "kty": "EC" }),
            json!({ "use": "enc" }),
            json!({ "use": 5 }),
            json!({ "alg": "RS512" }),
            json!({ "alg": "RSA-OAEP" }),
            json!({ "key_ops": ["sign"] }),
            json!({ "key_ops": "verify" }),
            json!({ "kid": null }),
            json!({ "n": &N[..170] }),
            json!({ "n": format!("{N}=") }),
            json!({ "n": "" }),
            json!({ "e": "AQ" }),
            json!({ "e": "Ag" }),
            json!({ "e": "AAAA" }),
            json!({ "e": "AQAAAAAAAQ" }),
        ] {
            assert_eq!(count(&json!([rsa(&bad)])), Err(KeySetError::NoUsableKey), "{bad}");
        }
    }

    /// A7: one bad key in a JWKS document does not make the good keys useless. A text that is not a JWKS
    /// document is refused.
    #[test]
    fn one_bad_key_never_spoils_the_set() {
        let odd = json!([1, null, "x", {}, rsa(&json!({ "use": 5 })), rsa(&json!({}))]);
        assert_eq!(count(&odd), Ok(1));
        let good = rsa(&json!({})).to_string();
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for odd in [r#"{"x":1e999}"#, r#"{"x":"\ud83d"}"#, r#"{"kty":1e999}"#, &deep] {
            let document = format!(r#"{{"keys":[{odd},{good}]}}"#);
            assert!(KeySet::parse(document.as_bytes()).is_ok(), "{odd}");
        }
        for document in ["", "[]", "{}", "null", r#"{"keys":{}}"#] {
            let parsed = KeySet::parse(document.as_bytes());
            assert_eq!(parsed.unwrap_err(), KeySetError::Malformed, "{document}");
        }
    }

    #[test]
    fn bits_are_counted_from_the_first_that_is_set() {
        assert_eq!([&[][..], &[0, 0], &[1], &[0, 1, 0], &[0x80, 0]].map(bits), [0, 0, 1, 9, 16]);
    }
}

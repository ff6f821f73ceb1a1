//! Identifiers, which are parsed once and trusted afterwards.
//!
//! A parsed identifier is safe in a path, in a DynamoDB key (whose separator is `#`) and in a log line. No
//! other code has to escape a parsed identifier, or to check it again.

use std::fmt;

use sha2::{Digest, Sha256};

/// The error for a text that is not an identifier. The error's message states the rule that the text breaks,
/// but does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text is not 1 to 255 of the permitted characters, or is `.` or `..` (B2).
    #[error("an id is 1 to 255 of A-Z a-z 0-9 . _ : ~ - and not . or ..")]
    Id,
    /// The text is not 1 to 255 visible ASCII characters (B4).
    #[error("Idempotency-Key is 1 to 255 visible ASCII characters, sent once")]
    IdempotencyKey,
}

/// The longest identifier and the longest idempotency key, in bytes (B2, B4).
const MAX_LEN: usize = 255;

/// B2: whether a text is 1 to 255 of `A-Z a-z 0-9 . _ : ~ -`, and not `.` or `..`.
fn is_id(text: &str) -> bool {
    let permitted = |b: u8| b.is_ascii_alphanumeric() || b"._:~-".contains(&b);
    (1..=MAX_LEN).contains(&text.len())
        && text.bytes().all(permitted)
        && text != "."
        && text != ".."
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Makes an identifier from its decoded text.
            ///
            /// # Errors
            ///
            /// [`InvalidId::Id`] if the text breaks rule B2.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(text.into())) } else { Err(InvalidId::Id) }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// The id of an installation, such as `icfg_9bceb8ccT32d3U417ezb5c8p`.
    InstallationId
}

id! {
    /// The provider's id of a resource within its installation.
    ResourceId
}

id! {
    /// The id of a webhook, a log drain or a project's environment variable, which belongs to an
    /// installation's configuration.
    AttachmentId
}

/// The ids of the provider's integration (A3). The provider may use one id for staging and one id for
/// production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrationIds {
    first: AttachmentId,
    others: Vec<AttachmentId>,
}

impl IntegrationIds {
    /// Reads one id, or several ids with commas between them and blanks around the commas.
    ///
    /// # Errors
    ///
    /// [`InvalidId::Id`] if one of the ids breaks rule B2. An empty id breaks rule B2 too.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let mut ids = text.split(',').map(|id| AttachmentId::parse(id.trim_matches([' ', '\t'])));
        let first = ids.next().unwrap_or(Err(InvalidId::Id))?;
        Ok(Self { first, others: ids.collect::<Result<_, _>>()? })
    }

    /// The first of the integration's ids.
    #[must_use]
    pub fn first(&self) -> &str {
        self.first.as_str()
    }

    /// Whether `id` is one of the integration's ids.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.first() == id || self.others.iter().any(|other| other.as_str() == id)
    }
}

/// An `Idempotency-Key`. teardown keeps only the key's SHA-256, because it does not need the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    sha256: String,
}

impl IdempotencyKey {
    /// Makes a key from the value of the `Idempotency-Key` header.
    ///
    /// # Errors
    ///
    /// [`InvalidId::IdempotencyKey`] if the value breaks rule B4.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidId> {
        if (1..=MAX_LEN).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic) {
            Ok(Self { sha256: sha256_hex(value) })
        } else {
            Err(InvalidId::IdempotencyKey)
        }
    }

    /// The key's SHA-256 in lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// The SHA-256 of `bytes` in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// B2: an id has 1 to 255 of the permitted characters, and a text with fewer, more or other characters is
    /// refused.
    #[test]
    fn an_id_is_1_to_255_of_its_alphabet() {
        for good in ["a", "icfg_9bceb8ccT32d3U417ezb5c8p", "a.b_c:d~e-f", "...", &"x".repeat(255)] {
            assert_eq!(InstallationId::parse(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "a#b", "a%2Fb", "é", "a\0", &"x".repeat(256)] {
            assert_eq!(ResourceId::parse(bad), Err(InvalidId::Id), "{bad:?}");
        }
    }

    proptest! {
        /// B2: an id that parses is safe in a key, a path and a log.
        #[test]
        fn what_is_parsed_has_no_separator(text in ".{0,300}") {
            if let Ok(id) = ResourceId::parse(&text) {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert!(!text.contains(['#', '/', '%', '?', ' ']) && text.is_ascii());
            }
        }

        /// B4: a text is a key exactly if it has 1 to 255 characters, and all are visible ASCII characters.
        #[test]
        fn a_key_is_visible_ascii(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let visible = value.iter().all(|b| (0x21..=0x7e).contains(b));
            let expected = visible && (1..=255).contains(&value.len());
            prop_assert_eq!(IdempotencyKey::parse(&value).is_ok(), expected);
        }
    }

    /// The digest of a key is SHA-256: the key "abc" has the digest that an example of FIPS 180-4 shows.
    #[test]
    fn the_digest_is_sha_256() {
        assert_eq!(
            IdempotencyKey::parse(b"abc").map(|key| key.sha256().to_owned()),
            Ok("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned())
        );
    }
}

//! Reads JSON that other programs wrote: requests, tokens, keys, Vercel's answers, lines to import.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Error as _};

/// Reads JSON that another program wrote. The JSON must be UTF-8 (RFC 8259, section 8.1).
///
/// A lone half of a surrogate pair is read as U+FFFD, in names and in values (B3). JavaScript's
/// `JSON.stringify` writes a lone half, for example `\ud83d`, for a text that was cut in the middle of an
/// emoji.
///
/// # Errors
///
/// [`serde_json::Error`] if the text is not JSON in UTF-8, or if `T` cannot be read from the JSON.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let text = str::from_utf8(json).map_err(serde_json::Error::custom)?;
    serde_json::from_slice(&whole_characters(text.as_bytes()))
}

/// Replaces each lone half of a surrogate pair in `json` with the escape of U+FFFD.
fn whole_characters(json: &[u8]) -> Cow<'_, [u8]> {
    let mut whole = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(escape) = json.get(at..).and_then(|rest| {
        at += rest.iter().position(|byte| *byte == b'\\')?;
        json.get(at..)
    }) {
        let is_pair = || matches!(escape.get(6..).and_then(code_unit), Some(0xDC00..=0xDFFF));
        at += match code_unit(escape) {
            Some(0xD800..=0xDBFF) if is_pair() => 12,
            Some(0xD800..=0xDFFF) => {
                whole.to_mut()[at..at + 6].copy_from_slice(br"\ufffd");
                6
            }
            Some(_) => 6,
            None => 2,
        };
    }
    whole
}

/// The UTF-16 code unit that an escape such as `\ud83d` means.
fn code_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(br"\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// B3: each lone half of a surrogate pair is read as U+FFFD, at any place, and all other text is read as
    /// it was written.
    #[test]
    fn half_of_a_pair_is_the_replacement_character() {
        for (json, text) in [
            (r#""we move \ud83d""#, "we move \u{fffd}"),
            (r#""\uD83D\uDE00\uDE00""#, "\u{1f600}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\n\ude00""#, "\u{fffd}\n\u{fffd}"),
            (r#""\\ud83d""#, r"\ud83d"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""\u00e4ä\"""#, "ää\""),
        ] {
            assert_eq!(from_slice::<String>(json.as_bytes()).unwrap(), text, "{json}");
        }
        let names: Value = from_slice(br#"{"a\udfff":{"\ud800":1}}"#).unwrap();
        assert_eq!(names.to_string(), "{\"a\u{fffd}\":{\"\u{fffd}\":1}}");
    }

    /// B3: a text that is not JSON, or not UTF-8, is refused.
    #[test]
    fn what_is_not_json_is_refused() {
        for json in ["\"\\u\"", "\"\\ud8\"", "\"\\ud83", "\"\\", "\\", "\\é", r#""\ud83d\u""#] {
            assert!(from_slice::<Value>(json.as_bytes()).is_err(), "{json}");
        }
        assert!(from_slice::<Value>(b"{\"x\":\"\xff\"}").is_err(), "not UTF-8");
    }

    proptest! {
        /// B3: each lone half of a surrogate pair is read as U+FFFD, and all other JSON is read as
        /// `serde_json` reads it.
        #[test]
        fn all_else_is_read_as_ever(parts in proptest::collection::vec(0..9_usize, 0..12)) {
            let written = [
                "a", "é", r"\\", r#"\""#, r"\n", r"\u00e4", r"\ud83d\ude00", r"\ud83d", r"\ude00",
            ];
            let whole = |part: &usize| if *part < 7 { written[*part] } else { "\u{fffd}" };
            // `json` puts a space between the parts, because two neighbouring halves would form a pair.
            let json = |part: &dyn Fn(&usize) -> &'static str| {
                let text = parts.iter().map(part).collect::<Vec<_>>().join(" ");
                format!("{{\"{text}\":[\"{text}\"]}}")
            };
            let read = from_slice::<Value>(json(&|part| written[*part]).as_bytes()).unwrap();
            prop_assert_eq!(read, serde_json::from_str::<Value>(&json(&whole)).unwrap());
        }
    }
}

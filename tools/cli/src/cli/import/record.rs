//! Reads a line as a record. If a line is refused, the message repeats no value of the line, because a value
//! may be a secret.

use teardown::json;
use teardown::store::registry::Record;

/// The longest name of a field or variant that a message repeats. Secrets are longer than this.
const MAX_NAME: usize = 20;

/// Reads a line. `None` for a blank line.
pub(super) fn parse(line: &str) -> Result<Option<Record>, String> {
    // Removes the byte order mark with which some editors begin a file.
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() {
        return Ok(None);
    }
    json::from_slice(line.as_bytes()).map(Some).map_err(|error| explain(&error))
}

fn explain(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let (message, column) = match whole.rsplit_once(" at line ") {
        Some((message, _)) => (message, error.column()),
        None => (whole.as_str(), 0),
    };
    let message = discreet(message);
    if column == 0 { message } else { format!("{message} (column {column})") }
}

/// Removes values from a message of serde, because serde quotes the values that it found. The kind of a value
/// may stay in the message.
fn discreet(message: &str) -> String {
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = message.strip_prefix(kind).and_then(split_expected) {
            let is_value = |c: char| matches!(c, '"' | '`');
            let found = found.split(is_value).next().unwrap_or_default().trim_end();
            return format!("{kind}{found}, expected {expected}");
        }
    }
    for kind in ["unknown variant `", "unknown field `"] {
        let name = message.strip_prefix(kind).and_then(|rest| rest.rsplit_once("`, expected "));
        if let Some((name, expected)) = name
            && name.len() > MAX_NAME
        {
            return format!("{}, expected {expected}", kind.trim_end_matches(" `"));
        }
    }
    message.to_owned()
}

/// Splits a message at its last `, expected `. A quoted value may contain the text `, expected `, but serde's
/// text about what it expected never contains it.
fn split_expected(message: &str) -> Option<(&str, &str)> {
    message.rsplit_once(", expected ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        parse(line).map(|record| record.is_some()).unwrap_err()
    }

    #[test]
    fn a_blank_line_is_no_record() {
        for line in ["", "  \t\r", "\u{feff}"] {
            assert!(parse(line).unwrap().is_none(), "{line:?}");
        }
        assert!(parse("\u{feff}{\"webhook\":{\"installationId\":\"i\",\"id\":\"w\"}}\r").is_ok());
    }

    #[test]
    fn a_refusal_says_why_and_where() {
        for (line, reason) in [
            ("{", "EOF while parsing an object (column 1)"),
            (r#"{"webhook":{"installationId":"i"}}"#, "missing field `id` (column 33)"),
            (
                r#"{"webhook":{"installationId":"a/b","id":"w"}}"#,
                "an id is 1 to 255 of A-Z a-z 0-9 . _ : ~ - and not . or .. (column 34)",
            ),
            (
                r#"{"webhook":{"installationId":"i","id":"w","url":"x"}}"#,
                "unknown field `url`, expected `installationId` or `id` (column 47)",
            ),
            (
                r#"{"installation":{"id":"i","accountId":"a","billing":"paid"}}"#,
                "unknown variant `paid`, expected `settled` or `open` (column 58)",
            ),
            (
                r#"{"installation":{"id":"i","accountId":"a","accessToken":""}}"#,
                "an access token is 1 or more visible ASCII characters (column 59)",
            ),
            (
                r#"{"installation":{"id":"i","accountId":"a","accessToken":"to ken\n"}}"#,
                "an access token is 1 or more visible ASCII characters (column 67)",
            ),
        ] {
            assert_eq!(refusal(line), reason, "{line}");
        }
    }

    /// B3: `teardown import` reads a line that has half of a surrogate pair in a name. The half of the
    /// surrogate pair becomes U+FFFD.
    #[test]
    fn half_of_a_surrogate_pair_is_read() {
        let line = r#"{"resource":{"installationId":"i","id":"r","name":"db \ud83d"}}"#;
        let Some(Record::Resource(resource)) = parse(line).unwrap() else { panic!("a resource") };
        assert_eq!(resource.name.as_deref(), Some("db \u{fffd}"));
    }

    #[test]
    fn a_refusal_repeats_no_value() {
        let secret = "vercel_secret, expected \\\"x\\\" 1234567890";
        for line in [
            format!(r#""{secret}""#),
            format!(r#"{{"installation":"{secret}"}}"#),
            format!(r#"{{"resource":["{secret}"]}}"#),
            format!(r#"{{"{secret}":{{}}}}"#),
            format!(r#"{{"installation":{{"id":"i","accountId":"a","{secret}":1}}}}"#),
            format!(r#"{{"installation":{{"id":"i","accountId":"a","billing":"{secret}"}}}}"#),
            format!(r#"{{"installation":{{"id":"{secret}","accountId":"a"}}}}"#),
            format!(r#"{{"webhook":{{"id":"w"}},"{secret}":1}}"#),
            r#"{"installation":{"id":"i","accountId":"a","accessToken":1234567890}}"#.to_owned(),
            r#"{"installation":{"id":"i","accountId":"a","accessToken":123456789.5}}"#.to_owned(),
        ] {
            let reason = refusal(&line);
            assert!(!reason.contains("vercel") && !reason.contains("123456789"), "{reason}");
        }
    }
}

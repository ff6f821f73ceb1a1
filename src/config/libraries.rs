//! The variables that libraries read: the AWS SDK, and the HTTP clients. A library that finds one of
//! them malformed goes on without it, refuses every request, or panics in the first (S1).

use reqwest::Url;

use super::{ConfigError, missing};

/// The names of variables, the rule that their values keep, and the rule's words.
type Rule = (&'static [&'static str], fn(&str) -> bool, &'static str);

const RULES: &[Rule] = &[
    (&["AWS_REGION", "AWS_DEFAULT_REGION"], is_region, "is not a region such as eu-central-1"),
    (
        &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
        is_visible,
        "must be visible ASCII characters",
    ),
    (
        &["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_STS"],
        is_endpoint,
        "is not an http or https address",
    ),
    (
        &["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        is_proxy,
        "is not the http or https address of a proxy",
    ),
    (&["SSL_CERT_FILE", "SSL_CERT_DIR"], is_there, "is not there"),
    (&["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"], is_truth, "must be true or false"),
];

/// Checks each of them.
///
/// # Errors
///
/// [`ConfigError`] for the first that is malformed.
pub(super) fn check(
    read: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
) -> Result<(), ConfigError> {
    for (names, rule, words) in RULES {
        for name in *names {
            if read(name)?.is_some_and(|value| !rule(&value)) {
                return Err(ConfigError::new(name, words));
            }
        }
    }
    // The names of files and profiles, and lists: any text will do that is whole.
    for name in [
        "AWS_CONFIG_FILE",
        "AWS_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "NO_PROXY",
        "no_proxy",
    ] {
        read(name)?;
    }
    // The SDK passes half of a pair over, and asks the network for credentials.
    let pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    match (read(pair[0])?, read(pair[1])?) {
        (Some(_), None) => Err(missing(pair[1])),
        (None, Some(_)) => Err(missing(pair[0])),
        _ => Ok(()),
    }
}

/// A label of a host's name: the SDK makes the endpoint of it.
fn is_region(text: &str) -> bool {
    let permitted = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 63 && text.bytes().all(permitted)
}

/// What a header can carry as it stands.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_endpoint(text: &str) -> bool {
    let url = Url::parse(text);
    url.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

/// A proxy may be named without its scheme, which is http then.
fn is_proxy(text: &str) -> bool {
    if text.contains("://") { is_endpoint(text) } else { is_endpoint(&format!("http://{text}")) }
}

/// A file or a folder, or several folders with colons between.
fn is_there(paths: &str) -> bool {
    std::env::split_paths(paths).all(|path| path.exists())
}

fn is_truth(text: &str) -> bool {
    ["true", "false"].contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::whole;

    fn checked(variables: &[(&str, &str)]) -> Result<(), String> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        check(|name| whole(name, find(name))).map_err(|error| error.to_string())
    }

    const KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", "a/+b")];

    /// S1: what libraries read is checked as a whole, and named.
    #[test]
    fn what_is_wrong_is_named() {
        for (name, value, problem) in [
            ("AWS_REGION", "us-east-1\n", "has a blank or a line break at an end"),
            ("AWS_REGION", "us east", "is not a region such as eu-central-1"),
            ("AWS_DEFAULT_REGION", "US_EAST_1", "is not a region such as eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "AKIA\n", "has a blank or a line break at an end"),
            ("AWS_ACCESS_KEY_ID", "AK IA", "must be visible ASCII characters"),
            ("AWS_SESSION_TOKEN", "tökén", "must be visible ASCII characters"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "localhost:8000", "is not an http or https address"),
            ("AWS_ENDPOINT_URL_STS", "sts", "is not an http or https address"),
            ("HTTPS_PROXY", "socks5://proxy:1080", "is not the http or https address of a proxy"),
            ("https_proxy", "http://", "is not the http or https address of a proxy"),
            ("NO_PROXY", "localhost ", "has a blank or a line break at an end"),
            ("SSL_CERT_FILE", "/nowhere/ca.pem", "is not there"),
            ("AWS_PROFILE", "production\n", "has a blank or a line break at an end"),
            ("AWS_USE_FIPS_ENDPOINT", "yes", "must be true or false"),
        ] {
            assert_eq!(checked(&[(name, value)]).unwrap_err(), format!("{name}: {problem}"));
        }
        for (half, other) in [(0, 1), (1, 0)] {
            let message = format!("{}: is required", KEYS[other].0);
            assert_eq!(checked(&KEYS[half..=half]).unwrap_err(), message);
        }
    }

    #[test]
    fn what_is_right_is_let_through() {
        assert_eq!(checked(&[]), Ok(()));
        assert_eq!(checked(&KEYS), Ok(()));
        for (name, value) in [
            ("AWS_REGION", "us-gov-west-1"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb:8000"),
            ("HTTPS_PROXY", "proxy.example:3128"),
            ("ALL_PROXY", "http://user:p%40ss@proxy.example:3128"),
            ("NO_PROXY", "localhost, .example"),
            ("SSL_CERT_FILE", file!()),
            ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE"),
        ] {
            let value = if name == "SSL_CERT_FILE" { env!("CARGO_MANIFEST_DIR") } else { value };
            assert_eq!(checked(&[(name, value)]), Ok(()), "{name}");
        }
    }
}

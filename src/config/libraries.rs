//! Checks the variables that the AWS SDK and the HTTP clients read. If a variable is malformed, the SDK and
//! the HTTP clients ignore it, fail every request, or panic in the first request (S1).

use std::fs;

use http::Uri;

use super::{ConfigError, missing, whole};

/// The names of variables, the rule for the variables' values, and the message if a value breaks the rule.
type Rule = (&'static [&'static str], fn(&str) -> bool, &'static str);

const RULES: &[Rule] = &[
    (&["AWS_REGION", "AWS_DEFAULT_REGION"], is_region, "is not a region such as eu-central-1"),
    (
        &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
        is_visible,
        "must be visible ASCII characters",
    ),
    (
        &[
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "AWS_ENDPOINT_URL_STS",
        ],
        is_endpoint,
        "is not an http or https address",
    ),
    (&["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"], is_proxy, PROXY),
    (
        &["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"],
        is_file,
        "is not there",
    ),
    (&["SSL_CERT_FILE"], has_certificate, "is not a file with a certificate in PEM"),
    (&["SSL_CERT_DIR"], has_folder, "is not there"),
    (
        &["AWS_EC2_METADATA_DISABLED", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT"],
        is_truth,
        "must be true or false",
    ),
    // These variables may have any value that does not begin or end with a blank or a line break.
    (
        &[
            "AWS_CONFIG_FILE",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
            "AWS_PROFILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "NO_PROXY",
            "no_proxy",
        ],
        |_| true,
        "",
    ),
];

const PROXY: &str = "is not the http or https address of a proxy";

/// Checks each variable that libraries read. `variable` returns a variable's value.
///
/// # Errors
///
/// [`ConfigError`] for the first variable that is malformed or missing.
pub(super) fn check(variable: impl Fn(&'static str) -> Option<String>) -> Result<(), ConfigError> {
    let read = |name| whole(name, variable(name));
    for (names, rule, words) in RULES {
        for name in *names {
            if read(name)?.is_some_and(|value| !rule(&value)) {
                return Err(ConfigError::new(name, words));
            }
        }
    }
    // The HTTP clients read `ALL_PROXY` if `HTTP_PROXY` or `HTTPS_PROXY` is not set.
    let is_set = |names: [&'static str; 2]| names.into_iter().any(|name| variable(name).is_some());
    if !is_set(["HTTP_PROXY", "http_proxy"]) || !is_set(["HTTPS_PROXY", "https_proxy"]) {
        for name in ["ALL_PROXY", "all_proxy"] {
            if read(name)?.is_some_and(|value| !is_proxy(&value)) {
                return Err(ConfigError::new(name, PROXY));
            }
        }
    }
    // If `SSL_CERT_FILE` or `SSL_CERT_DIR` is empty, the HTTP clients trust no certificate at all.
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if variable(name).is_some_and(|value| value.is_empty()) {
            return Err(ConfigError::new(name, "is empty: unset it"));
        }
    }
    // If only one half of an AWS access key is set, the SDK ignores this half, and asks the network for
    // credentials.
    let pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    match (read(pair[0])?, read(pair[1])?) {
        (Some(_), None) => Err(missing(pair[1])),
        (None, Some(_)) => Err(missing(pair[0])),
        _ => Ok(()),
    }
}

/// Whether a region can be a part of a host name, because the SDK makes the endpoint's host name from the
/// region.
fn is_region(text: &str) -> bool {
    let permitted = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 63 && text.bytes().all(permitted)
}

/// Whether an HTTP header can contain the text unchanged.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether the HTTP clients can parse a text as an http or https address.
fn is_endpoint(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
    })
}

/// Whether a text is the address of a proxy. An address without a scheme counts as http.
fn is_proxy(text: &str) -> bool {
    if text.contains("://") { is_endpoint(text) } else { is_endpoint(&format!("http://{text}")) }
}

fn is_file(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file())
}

fn has_certificate(path: &str) -> bool {
    fs::read(path).is_ok_and(|it| String::from_utf8_lossy(&it).contains("BEGIN CERTIFICATE"))
}

/// Whether at least one folder of `paths` exists. Colons separate the folders in `paths`.
fn has_folder(paths: &str) -> bool {
    std::env::split_paths(paths).any(|path| path.is_dir())
}

fn is_truth(text: &str) -> bool {
    ["true", "false"].contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(variables: &[(&str, &str)]) -> Result<(), String> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        check(find).map_err(|error| error.to_string())
    }

    const KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", "a/+b")];

    const NO_CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

    /// S1: teardown checks the whole value of each variable that libraries read, and the error names the
    /// variable.
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
            (
                "HTTPS_PROXY",
                "http://user:p^ss@proxy",
                "is not the http or https address of a proxy",
            ),
            ("ALL_PROXY", "socks5://proxy:1080", "is not the http or https address of a proxy"),
            ("AWS_ENDPOINT_URL", "http:localhost:8000", "is not an http or https address"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t\n", "has a blank or a line break at an end"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token", "is not there"),
            ("SSL_CERT_FILE", "/nowhere/ca.pem", "is not a file with a certificate in PEM"),
            ("SSL_CERT_FILE", NO_CERTIFICATE, "is not a file with a certificate in PEM"),
            ("SSL_CERT_FILE", "", "is empty: unset it"),
            ("SSL_CERT_DIR", "/nowhere:", "is not there"),
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
            ("SSL_CERT_DIR", concat!("/nowhere:", env!("CARGO_MANIFEST_DIR"), ":")),
            ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE"),
            ("AWS_REGION", ""),
        ] {
            assert_eq!(checked(&[(name, value)]), Ok(()), "{name}");
        }
        // The HTTP clients do not use `ALL_PROXY` if `HTTP_PROXY` and `HTTPS_PROXY` are set.
        let proxies = [("HTTP_PROXY", "p"), ("https_proxy", "p"), ("ALL_PROXY", "socks5://p")];
        assert_eq!(checked(&proxies), Ok(()));
    }
}

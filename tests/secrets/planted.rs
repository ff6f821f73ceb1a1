//! Planted secrets, and the forms in which they might appear in a log or in an answer.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::outside::PROVIDER_SECRET;

pub const CRON_SECRET: &str = "cron/3f0c+planted=95d1b7";
pub const CLIENT_SECRET: &str = "client/e21d+planted=7b03c8";
pub const ACCESS_TOKEN: &str = "access/51aa+planted=0be772";
pub const IDEMPOTENCY_KEY: &str = "key/77c2+planted=40efd3";
pub const OIDC_TOKEN: &str = "oidc/19b8+planted=a6c5e4.cGxhbnRlZA.c2lnbmF0dXJl";
pub const AWS_SECRET_KEY: &str = "aws/88d4+planted=f3b2a1";
pub const AWS_SESSION_TOKEN: &str = "session/02ee+planted=5c7d90";
/// A secret in the query of the provider's address.
pub const PROVIDER_KEY: &str = "hook-6d3a-planted-28f4c0";
/// The beginnings of the secret keys and of the session tokens that STS gives. The session's number follows
/// each beginning.
pub const STS_GIVES: [&str; 2] = ["s3cret-", "sess1on-"];
/// The user's email address in a token's claims.
pub const EMAIL: &str = "planted.somebody@example.com";

/// All texts that must not appear in a log or in an answer.
pub struct Planted(Vec<String>);

impl Default for Planted {
    fn default() -> Self {
        let mut planted = Self(Vec::new());
        for secret in [
            CRON_SECRET,
            CLIENT_SECRET,
            ACCESS_TOKEN,
            IDEMPOTENCY_KEY,
            OIDC_TOKEN,
            AWS_SECRET_KEY,
            AWS_SESSION_TOKEN,
            PROVIDER_KEY,
            PROVIDER_SECRET,
            PROVIDER_SECRET.trim_start_matches("whsec_"),
            EMAIL,
        ] {
            planted.text(secret);
        }
        planted.0.extend(STS_GIVES.map(str::to_owned));
        planted
    }
}

impl Planted {
    /// Adds a secret in each form in which it might appear.
    pub fn text(&mut self, secret: &str) {
        let bytes = secret.as_bytes();
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let list = format!("{bytes:?}");
        let mut forms = vec![
            secret.to_owned(),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
            hex,
            list.trim_matches(['[', ']']).to_owned(),
        ];
        // The base64 of a longer text contains the secret in one of three forms, depending on where the
        // secret begins.
        for before in ["", "x", "xx"] {
            let longer = [before.as_bytes(), bytes].concat();
            for encoded in [STANDARD.encode(&longer), URL_SAFE_NO_PAD.encode(&longer)] {
                let whole = if before.is_empty() { 0 } else { 4 };
                forms.push(encoded[whole..encoded.len() - 4].to_owned());
            }
        }
        for form in forms {
            self.0.extend(parts(&form));
        }
    }

    /// Adds a token: the whole token, its claims and its signature.
    pub fn token(&mut self, token: &str) {
        self.text(token);
        for part in token.split('.').skip(1).filter(|part| part.len() >= 16) {
            self.text(part);
        }
    }

    /// Checks that a text contains no planted secret.
    pub fn is_not_in(&self, text: &str) {
        for secret in &self.0 {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
                let line = text[line..].lines().next().unwrap_or_default();
                panic!("{secret} is in {line:.4000}");
            }
        }
    }
}

/// The start, the middle and the end of a long form of a secret, because a log may shorten the secret.
fn parts(form: &str) -> Vec<String> {
    const LENGTH: usize = 18;
    if form.len() <= LENGTH {
        return vec![form.to_owned()];
    }
    let starts = [0, (form.len() - LENGTH) / 2, form.len() - LENGTH];
    starts.map(|at| form[at..at + LENGTH].to_owned()).to_vec()
}

/// The search finds a planted secret in each of its forms, and finds no secret in another text.
#[test]
fn a_secret_is_found_in_every_form() {
    let mut planted = Planted(Vec::new());
    planted.text("s3cret/of+somebody=42");
    for leak in [
        "a log with s3cret/of+somebody=42 in it".to_owned(),
        "cut off: s3cret/of+somebody".to_owned(),
        "%73… s3cret%2Fof%2Bsomebody%3D42".to_owned(),
        format!("Basic {}", STANDARD.encode("user:s3cret/of+somebody=42")),
        format!("Basic {}", STANDARD.encode("users:s3cret/of+somebody=42 and more")),
        URL_SAFE_NO_PAD.encode(r#"{"a":"s3cret/of+somebody=42"}"#),
        format!("{:?}", "s3cret/of+somebody=42".as_bytes()),
        format!("{:?}", bytes::Bytes::from("s3cret/of+somebody=42")),
    ] {
        let found = std::panic::catch_unwind(|| planted.is_not_in(&leak));
        assert!(found.is_err(), "{leak}");
    }
    planted.is_not_in("s3cret is not of somebody");
}

//! The claims of a verified token, in Vercel's two schemas, and the caller that the claims name (A3, A4).

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::jws::{not_null, object};
use super::{Caller, Role, TokenError};
use crate::ids::IntegrationIds;
use crate::json;

/// How much the issuer's clock and teardown's clock may differ (A3).
const LEEWAY: Duration = Duration::from_mins(1);

/// The claims that teardown checks. The token is refused if a required claim is missing, or if a claim is
/// repeated or of a wrong type. Unknown claims are ignored. An optional claim may be absent, but not `null`.
#[derive(Debug, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    exp: f64,
    #[serde(default, deserialize_with = "not_null")]
    nbf: Option<f64>,
    account_id: String,
    #[serde(deserialize_with = "nullable")]
    sub: Option<String>,
    #[serde(deserialize_with = "nullable")]
    installation_id: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    user_role: Option<String>,
}

/// Reads a field that may be `null`, but not absent. By default, `serde` would read an absent field as
/// `None`.
fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

/// The two forms of `sub`.
#[derive(PartialEq, Eq)]
enum Subject {
    /// `account:<hex>`
    Account,
    /// `account:<hex>:user:<hex>`
    User,
}

impl Subject {
    fn parse(sub: &str) -> Result<Self, TokenError> {
        let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        let mut parts = sub.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("account"), Some(account), None, _, _) if hex(account) => Ok(Self::Account),
            (Some("account"), Some(account), Some("user"), Some(user), None)
                if hex(account) && hex(user) =>
            {
                Ok(Self::User)
            }
            _ => Err(TokenError::Kind),
        }
    }
}

impl Claims {
    /// Reads a token's payload.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`] if the payload is not a JSON object in UTF-8. [`TokenError::Claims`] if a
    /// claim is missing, repeated or of the wrong type.
    pub fn parse(payload: &[u8]) -> Result<Self, TokenError> {
        json::from_slice(object(payload)?).map_err(|_| TokenError::Claims)
    }

    /// Checks the claims, and returns the caller. `now` is the time since the Unix epoch.
    ///
    /// # Errors
    ///
    /// The [`TokenError`] of the first claim that is wrong.
    pub fn caller(
        self,
        issuer: &str,
        audiences: &IntegrationIds,
        now: Duration,
    ) -> Result<Caller, TokenError> {
        if self.iss != issuer {
            return Err(TokenError::Issuer);
        }
        if !audiences.contains(&self.aud) {
            return Err(TokenError::Audience);
        }
        let (now, leeway) = (now.as_secs_f64(), LEEWAY.as_secs_f64());
        // RFC 7519, section 4.1.4: a token is not accepted "on or after" its `exp`.
        if now >= self.exp + leeway {
            return Err(TokenError::Expired);
        }
        if self.nbf.is_some_and(|nbf| now < nbf - leeway) {
            return Err(TokenError::NotYetValid);
        }
        if self.account_id.is_empty() {
            return Err(TokenError::Kind);
        }
        let subject = self.sub.as_deref().map(Subject::parse).transpose()?;
        match (self.user_id, self.user_role, subject, self.installation_id) {
            (Some(user), Some(role), Some(Subject::User), Some(installation))
                if !user.is_empty() =>
            {
                let role = if role == "ADMIN" { Role::Admin } else { Role::ReadOnly };
                Ok(Caller::User { installation, account: self.account_id, user, role })
            }
            (None, None, None | Some(Subject::Account), installation) => {
                Ok(Caller::System { installation, account: self.account_id })
            }
            _ => Err(TokenError::Kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: f64 = 1_800_000_000.0;

    fn user() -> Value {
        json!({
            "iss": "https://issuer", "aud": "oac_1", "exp": NOW + 300.0,
            "account_id": "acc_1", "sub": "account:0aF:user:1b", "installation_id": "icfg_1",
            "user_id": "u1", "user_role": "ADMIN", "user_email": "a@b.c", "surprise": [1],
        })
    }

    fn system() -> Value {
        json!({
            "iss": "https://issuer", "aud": "oac_1", "exp": NOW + 300.0,
            "account_id": "acc_1", "sub": "account:0aF", "installation_id": null,
        })
    }

    fn check(claims: &Value) -> Result<Caller, TokenError> {
        Claims::parse(claims.to_string().as_bytes())?.caller(
            "https://issuer",
            &IntegrationIds::parse("oac_1, oac_staging").unwrap(),
            Duration::from_secs_f64(NOW),
        )
    }

    fn with(mut claims: Value, name: &str, value: Value) -> Value {
        claims[name] = value;
        claims
    }

    fn without(mut claims: Value, name: &str) -> Value {
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    /// A4: teardown accepts a user's token and the system's token. In a system's token, the claims `sub` and
    /// `installation_id` may be null.
    #[test]
    fn the_two_kinds_of_token() {
        assert_eq!(
            check(&user()),
            Ok(Caller::User {
                installation: "icfg_1".into(),
                account: "acc_1".into(),
                user: "u1".into(),
                role: Role::Admin,
            })
        );
        let caller =
            |installation| Ok(Caller::System { installation, account: "acc_1".to_owned() });
        assert_eq!(check(&system()), caller(None));
        assert_eq!(check(&with(system(), "sub", Value::Null)), caller(None));
        assert_eq!(
            check(&with(system(), "installation_id", json!("icfg_1"))),
            caller(Some("icfg_1".into()))
        );
    }

    /// A4: a token is refused if it has only some of a user's claims, or if it mixes a user's claims and the
    /// system's. A claim that is null does not count as absent.
    #[test]
    fn half_of_each_is_refused() {
        for claims in [
            without(user(), "user_role"),
            without(user(), "user_id"),
            with(user(), "sub", json!("account:0aF")),
            with(user(), "sub", Value::Null),
            with(user(), "installation_id", Value::Null),
            with(system(), "sub", json!("account:0aF:user:1b")),
            with(system(), "user_id", json!("u1")),
            with(system(), "user_role", json!("ADMIN")),
            with(user(), "user_id", json!("")),
            with(user(), "account_id", json!("")),
        ] {
            assert_eq!(check(&claims), Err(TokenError::Kind), "{claims}");
        }
        for sub in [
            "",
            "account:",
            "account:xyz",
            "user:0a",
            "account:0a:user:",
            "account:0a:user:1:2",
            "account:0a:team:1",
            " account:0a",
            "account:0a:",
        ] {
            assert_eq!(check(&with(system(), "sub", json!(sub))), Err(TokenError::Kind), "{sub}");
        }
        for (claims, name) in [
            (system(), "sub"),
            (system(), "installation_id"),
            (user(), "sub"),
            (user(), "installation_id"),
        ] {
            assert_eq!(check(&without(claims, name)), Err(TokenError::Claims), "{name}");
        }
    }

    /// A3: a token is refused if a required claim is absent, or if a checked claim is repeated or has a wrong
    /// JSON type.
    #[test]
    fn wrong_types_are_refused() {
        for name in ["iss", "aud", "exp", "account_id"] {
            assert_eq!(check(&without(user(), name)), Err(TokenError::Claims), "{name}");
        }
        for name in ["iss", "aud", "exp", "nbf", "account_id", "user_id", "user_role"] {
            for value in [json!(null), json!([]), json!({}), json!(true), json!(["oac_1"])] {
                let claims = with(user(), name, value);
                assert_eq!(check(&claims), Err(TokenError::Claims), "{claims}");
            }
        }
        for value in [json!("1800000300"), json!(null)] {
            assert_eq!(check(&with(user(), "exp", value)), Err(TokenError::Claims));
        }
        for value in [json!(1), json!(["icfg_1"])] {
            assert_eq!(check(&with(user(), "installation_id", value)), Err(TokenError::Claims));
        }
        let repeated = user().to_string().replacen('{', r#"{"aud":"oac_2","#, 1);
        assert_eq!(Claims::parse(repeated.as_bytes()).unwrap_err(), TokenError::Claims);
        assert_eq!(Claims::parse(b"[]").unwrap_err(), TokenError::Malformed);
    }

    /// A3: a token's whole payload must be UTF-8, even the parts that teardown does not read. A lone half of
    /// a surrogate pair is accepted like any other character.
    #[test]
    fn a_payload_is_utf8_as_a_whole() {
        let payload = |name: &[u8]| {
            let claims = with(user(), "user_name", json!("NAME")).to_string().into_bytes();
            let at = claims.windows(4).position(|window| window == b"NAME").unwrap();
            [&claims[..at], name, &claims[at + 4..]].concat()
        };
        let read = |name: &[u8]| Claims::parse(&payload(name)).map(drop);
        assert_eq!(read("Zoë".as_bytes()), Ok(()));
        assert_eq!(read(br"Zo\ud83d"), Ok(()));
        for stray in [&b"Zo\xeb"[..], b"\xed\xa0\xbd", b"\xc0\x80", b"\xff"] {
            assert_eq!(read(stray), Err(TokenError::Malformed), "{stray:?}");
        }
    }

    /// A3: a token's `iss` must be exactly the configured issuer. A token's `aud` must be exactly one of the
    /// integration's ids.
    #[test]
    fn issuer_and_audience_are_exact() {
        let claims = with(user(), "iss", json!("https://issuer/"));
        assert_eq!(check(&claims), Err(TokenError::Issuer));
        for other in ["oac_12", "oac_1, oac_staging", "oac_1,oac_staging", ""] {
            let claims = with(user(), "aud", json!(other));
            assert_eq!(check(&claims), Err(TokenError::Audience), "{other}");
        }
        for ours in ["oac_1", "oac_staging"] {
            assert!(check(&with(user(), "aud", json!(ours))).is_ok(), "{ours}");
        }
    }

    /// A5: every role except `ADMIN` is read-only.
    #[test]
    fn only_admin_is_admin() {
        for role in ["USER", "admin", "", "OWNER"] {
            let Ok(Caller::User { role: read, .. }) =
                check(&with(user(), "user_role", json!(role)))
            else {
                panic!("{role} is a role")
            };
            assert_eq!(read, Role::ReadOnly, "{role}");
        }
    }

    proptest! {
        /// A3: `exp` and `nbf` have 60 s of leeway each, and may be whole or fractional seconds.
        #[test]
        fn times_have_60_seconds_of_leeway(exp in -200.0..200.0f64, nbf in -200.0..200.0f64) {
            let claims = with(with(user(), "exp", json!(NOW + exp)), "nbf", json!(NOW + nbf));
            let expected = if exp <= -60.0 {
                Some(TokenError::Expired)
            } else if nbf > 60.0 {
                Some(TokenError::NotYetValid)
            } else {
                None
            };
            prop_assert_eq!(check(&claims).err(), expected);
        }
    }
}

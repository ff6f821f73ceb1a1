//! How the stand-in backend in the tests of `teardown check` verifies its callers: whom the backend refuses,
//! whom it accepts because of its fault, and how it answers a refused caller.

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use teardown::auth::claims::Claims;
use teardown::auth::jws::Jws;
use teardown::auth::keys::KeySet;
use teardown::auth::{Caller, Role, TokenError};
use teardown::clock::Clock;
use teardown::ids::IntegrationIds;

use crate::support::world::INTEGRATION;

/// The secret that signs webhooks. The backend must refuse a token that is signed with this secret.
pub const CLIENT_SECRET: &str = "client-s3cret";

/// Verifies the tokens of requests, with the trusted keys and the backend's fault.
pub struct Gate {
    keys: KeySet,
    fault: String,
    clock: Clock,
}

/// Why the backend refuses a caller.
#[derive(Debug)]
pub enum Refusal {
    Token(TokenError),
    /// A claim of a good token that a backend with a fault refuses.
    Claim,
    Role,
    Stranger {
        /// Whether the backend does not know the installation that the path names.
        unknown: bool,
    },
}

impl Gate {
    pub fn new(keys: KeySet, fault: &str, clock: Clock) -> Self {
        Self { keys, fault: fault.to_owned(), clock }
    }

    /// The caller of a request, or why the caller is refused. `path` has the installation's id, and the
    /// resource's id if there is one.
    pub fn caller(
        &self,
        headers: &HeaderMap,
        path: (&str, Option<&str>),
        deletes: bool,
    ) -> Result<Caller, Refusal> {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let error = match self.verify(authorization) {
            Ok(caller) if !deletes => return Ok(caller),
            Ok(caller) => return self.take(caller, headers, authorization),
            Err(error) => error,
        };
        let (installation, resource) = path;
        if deletes && self.accepts(error, authorization, resource.is_some()) {
            return Ok(Caller::User {
                installation: installation.to_owned(),
                account: "acc_check".to_owned(),
                user: "user_1".to_owned(),
                role: Role::Admin,
            });
        }
        Err(Refusal::Token(error))
    }

    /// The account that a valid token names. Empty if the token is not valid.
    pub fn account(&self, headers: &HeaderMap) -> String {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        match self.verify(authorization) {
            Ok(Caller::User { account, .. } | Caller::System { account, .. }) => account,
            Err(_) => String::new(),
        }
    }

    /// Whether the token is valid and names no installation.
    pub fn is_of_no_installation(&self, headers: &HeaderMap) -> bool {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        matches!(self.verify(authorization), Ok(Caller::System { installation: None, .. }))
    }

    fn verify(&self, authorization: Option<&str>) -> Result<Caller, TokenError> {
        let token = authorization.and_then(|it| it.strip_prefix("Bearer "));
        self.verify_token(token.ok_or(TokenError::Authorization)?)
    }

    fn verify_token(&self, token: &str) -> Result<Caller, TokenError> {
        let jws = Jws::parse(token)?;
        let key = self.keys.get(jws.key_id()?).ok_or(TokenError::UnknownKey)?;
        let ours = IntegrationIds::parse(INTEGRATION).unwrap();
        let issuer = "https://marketplace.vercel.com";
        Claims::parse(&jws.verify(key)?)?.caller(issuer, &ours, self.clock.now())
    }

    /// Accepts the caller of a valid token, unless the backend's fault refuses the token.
    fn take(
        &self,
        caller: Caller,
        headers: &HeaderMap,
        authorization: Option<&str>,
    ) -> Result<Caller, Refusal> {
        let claims = part(authorization, 1);
        let refused = match self.fault.as_str() {
            "tokens/optional-claims" => claims.get("user_name").is_some(),
            "tokens/required-claims" => {
                claims.get("user_id").is_some() && claims.get("user_email").is_none()
            }
            "tokens/unknown-claims" => claims.get("teardown_check").is_some(),
            "tokens/without-auth-style" => !headers.contains_key("x-vercel-auth"),
            _ => false,
        };
        if refused { Err(Refusal::Claim) } else { Ok(caller) }
    }

    /// Whether the backend's fault makes it accept a token that a right backend refuses.
    fn accepts(&self, error: TokenError, authorization: Option<&str>, on_resource: bool) -> bool {
        let (head, claims) = (part(authorization, 0), part(authorization, 1));
        let signature = authorization.unwrap_or_default().rsplit('.').next().unwrap_or_default();
        let is_altered = || self.was_altered(authorization.unwrap_or_default());
        let signed = error == TokenError::Signature && !signature.is_empty();
        let plain = signed && head.get("jwk").is_none() && head.get("jku").is_none();
        let hs256 = error == TokenError::Algorithm && head["alg"] == "HS256";
        let lacks = |name| error == TokenError::Claims && claims.get(name).is_none();
        if !on_resource {
            return match self.fault.as_str() {
                "tokens/uninstall-none" => authorization.is_none(),
                "tokens/uninstall-unknown-key" => error == TokenError::UnknownKey,
                _ => false,
            };
        }
        match self.fault.as_str() {
            "tokens/none" => authorization.is_none(),
            "tokens/garbage" => authorization == Some("Bearer garbage"),
            "tokens/other-scheme" => authorization.is_some_and(|it| it.starts_with("Basic ")),
            "tokens/unknown-key" => error == TokenError::UnknownKey,
            "tokens/strange-signature" => plain && !is_altered(),
            "tokens/altered-claims" => plain && is_altered(),
            "tokens/no-signature" => error == TokenError::Signature && signature.is_empty(),
            "tokens/alg-none" => error == TokenError::Algorithm && head["alg"] == "none",
            "tokens/alg-hs256" => hs256 && !is_by_the_client_secret(authorization),
            "tokens/client-secret" => hs256 && is_by_the_client_secret(authorization),
            "tokens/key-in-header" => signed && head.get("jwk").is_some(),
            "tokens/key-address-in-header" => signed && head.get("jku").is_some(),
            "tokens/issuer" => error == TokenError::Issuer,
            "tokens/audience" => error == TokenError::Audience,
            "tokens/no-audience" => lacks("aud"),
            "tokens/expired" => error == TokenError::Expired,
            "tokens/not-yet-valid" => error == TokenError::NotYetValid,
            "tokens/no-expiry" => lacks("exp"),
            "tokens/crit" => error == TokenError::Critical,
            _ => false,
        }
    }

    /// Whether the token was signed with the role `USER`, and altered to `ADMIN` afterwards.
    fn was_altered(&self, authorization: &str) -> bool {
        let token = authorization.trim_start_matches("Bearer ");
        let parts: Vec<_> = token.split('.').collect();
        let [head, claims, signature] = parts[..] else { return false };
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let before = URL_SAFE_NO_PAD.encode(claims.replace("\"ADMIN\"", "\"USER\""));
        self.verify_token(&format!("{head}.{before}.{signature}")).is_ok()
    }
}

/// Whether the token is an HS256 token that is signed with the client secret.
fn is_by_the_client_secret(authorization: Option<&str>) -> bool {
    let token = authorization.unwrap_or_default().trim_start_matches("Bearer ");
    let Some((message, signature)) = token.rsplit_once('.') else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, CLIENT_SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    hmac::verify(&key, message.as_bytes(), &signature).is_ok()
}

/// The part of a token at this position, as JSON. This function does not verify the token.
fn part(authorization: Option<&str>, number: usize) -> Value {
    let token = authorization.and_then(|it| it.split(' ').nth(1)).unwrap_or_default();
    let part = token.split('.').nth(number).unwrap_or_default();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default()
}

impl Refusal {
    /// The answer that a refused caller gets. If the backend's fault concerns answers to refused callers, the
    /// answer has that fault.
    pub fn response(&self, fault: &str, headers: &HeaderMap) -> Response {
        let mut message = "the token is not good for this".to_owned();
        let mut error = json!({ "code": "forbidden" });
        let mut status = StatusCode::FORBIDDEN;
        match self {
            Self::Token(_) => match fault {
                "errors/refusal-is-no-500" => status = StatusCode::INTERNAL_SERVER_ERROR,
                "errors/refusal-is-403" => status = StatusCode::UNAUTHORIZED,
                "errors/refusal-form" => {
                    return (status, axum::Json(json!({ "message": message }))).into_response();
                }
                "errors/content-type" => {
                    error["message"] = json!(message);
                    return (status, json!({ "error": error }).to_string()).into_response();
                }
                "errors/no-internals" => {
                    message += "\n    at verify (/app/node_modules/jose/index.js:1:1)";
                }
                "errors/no-token" => message = format!("{:?}", headers.get(header::AUTHORIZATION)),
                _ => {}
            },
            Self::Role if fault != "errors/role-has-user-message" => {
                error["user"] = json!({ "message": "Ask an admin of your team." });
            }
            Self::Stranger { unknown: true } if fault == "errors/same-for-known-and-unknown" => {
                status = StatusCode::NOT_FOUND;
            }
            Self::Role | Self::Claim | Self::Stranger { .. } => {}
        }
        error["message"] = json!(message);
        (status, axum::Json(json!({ "error": error }))).into_response()
    }
}

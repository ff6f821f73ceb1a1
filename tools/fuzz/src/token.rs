//! Fuzzes tokens: an input is a token's header and payload, with a newline between them. The target signs the
//! header and the payload unchanged (A1 to A4).
//!
//! A caller is accepted only if the issuer's key signed every byte of its token. The token says who the
//! caller is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;
use teardown::auth::jwks::{AfterAnswer, Jwks};
use teardown::auth::keys::KeySet;
use teardown::auth::{AuthError, Caller, Role, Verifier};
use teardown::clock::Clock;
use teardown::http::respond;
use teardown::ids::IntegrationIds;
use teardown::limits::Limits;
use teardown::outbound::Outbound;
use teardown_cli::issuer::Issuer;
use tokio::runtime::Runtime;

use super::answer::Answer;
use super::cost::{self, ANSWER};
use super::cut;
use super::fixture::{AUD, ISS, ISSUER, KID, LATER, NOWHERE, jwks, runtime};

/// Checks the rules for one input.
pub fn target(input: &[u8]) {
    FIXTURE.with(|fixture| {
        // The input itself is never a valid token, because the issuer's key is new in every process.
        let raw = fixture.authenticate(input, input);
        assert!(raw.is_none_or(|caller| caller.is_err()), "an unsigned token is accepted");
        fixture.signed(input);
    });
}

/// Signs the input as a token, and returns the caller that the token proves. `None` if the token is refused.
pub fn caller(input: &[u8]) -> Option<Caller> {
    FIXTURE.with(|fixture| fixture.signed(input))
}

thread_local! {
    static FIXTURE: &'static Fixture = Box::leak(Box::new(Fixture::new()));
}

struct Fixture {
    runtime: Runtime,
    verifier: Verifier,
    stranger: Issuer,
}

impl Fixture {
    fn new() -> Self {
        let first = KeySet::parse(jwks().as_bytes()).unwrap();
        let (clock, outbound) = (Clock::stopped(), Outbound::default());
        let jwks = Jwks::new(
            NOWHERE.parse().unwrap(),
            Some(first),
            outbound,
            clock.clone(),
            AfterAnswer::GoesOn,
            Limits::default(),
        );
        let fixture = Self {
            runtime: runtime(),
            verifier: Verifier::new(
                ISS.to_owned(),
                IntegrationIds::parse(AUD).unwrap(),
                jwks,
                clock,
            ),
            stranger: Issuer::generate().unwrap(),
        };
        // Because the clock is stopped, the verifier fetches keys only once. This token causes the fetch, and
        // makes the verifier create its HTTP client, so that no measured case includes this cost.
        let unknown = fixture.stranger.sign_bytes(br#"{"alg":"RS256","kid":"unknown"}"#, b"{}");
        let value = HeaderValue::from_str(&format!("Bearer {unknown}")).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        assert!(fixture.runtime.block_on(fixture.verifier.authenticate(&headers)).is_err());
        fixture
    }

    /// The verifier's answer to a token. `None` if no header can hold the token.
    fn authenticate(&self, input: &[u8], token: &[u8]) -> Option<Result<Caller, AuthError>> {
        let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let authenticate = self.verifier.authenticate(&headers);
        let caller = cost::bounded(input, &ANSWER, || self.runtime.block_on(authenticate));
        if let Err(error) = &caller {
            let response = respond(Err((*error).into()), None);
            let answer = self.runtime.block_on(Answer::check(response));
            let documented = [(403, "invalid_token"), (503, "keys_unavailable")];
            assert!(documented.contains(&(answer.status, &answer.code)), "{answer:?}");
        }
        Some(caller)
    }

    /// Signs the input as a token, and returns the caller that the token proves. Checks that the token is
    /// refused if one of its bytes is changed, or if another key signed it.
    fn signed(&self, input: &[u8]) -> Option<Caller> {
        let (header, payload) = cut(input, b"\n");
        let token = ISSUER.sign_bytes(header, payload);
        let caller = self.authenticate(input, token.as_bytes())?.ok();
        if let Some(caller) = &caller {
            check(caller, header, payload);
        }
        let forged = self.stranger.sign_bytes(header, payload);
        let unsigned = token.rsplit_once('.').map_or("", |(message, _)| message);
        for other in [forged, format!("{unsigned}."), format!("{token}A"), format!("{token}=")] {
            self.is_refused(input, other.as_bytes());
        }
        // Changes one byte in each part of the token. The input decides which byte is changed.
        let dots: Vec<_> = token.match_indices('.').map(|(at, _)| at).collect();
        let chosen = input
            .iter()
            .fold(7, |sum: usize, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        for (from, to) in [(0, dots[0]), (dots[0], dots[1]), (dots[1], token.len())] {
            let mut spoiled = token.clone().into_bytes();
            let byte = &mut spoiled[from + chosen % (to - from).max(1)];
            *byte = if *byte == b'A' { b'B' } else { b'A' };
            self.is_refused(input, &spoiled);
        }
        caller
    }

    fn is_refused(&self, input: &[u8], token: &[u8]) {
        let refused = self.authenticate(input, token).is_none_or(|caller| caller.is_err());
        assert!(refused, "{} is accepted", token.escape_ascii());
    }
}

/// Checks that an accepted header and payload name this caller. Reads every field without the verifier's
/// code.
fn check(caller: &Caller, header: &[u8], payload: &[u8]) {
    let whole = |json| whole_characters(std::str::from_utf8(json).expect("a token is UTF-8"));
    let (header, payload) = (whole(header), whole(payload));
    let fields = |json| serde_json::from_str::<BTreeMap<String, &RawValue>>(json).unwrap();
    let (header, payload) = (fields(&header), fields(&payload));
    let value = |fields: &BTreeMap<String, &RawValue>, name: &str| {
        fields.get(name).map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap())
    };
    assert_eq!(value(&header, "alg"), Some("RS256".into()));
    assert_eq!(value(&header, "kid"), Some(KID.into()));
    assert!(!header.contains_key("crit"));
    assert_eq!(value(&payload, "iss"), Some(ISS.into()));
    assert_eq!(value(&payload, "aud"), Some(AUD.into()));
    let time = |name| value(&payload, name).map(|time| time.as_f64().unwrap());
    let now = Clock::system().now().as_secs_f64();
    assert!(time("exp").unwrap() > now - 120.0 && time("nbf").is_none_or(|nbf| nbf < now + 120.0));
    assert!(now < f64::from(u32::try_from(LATER).unwrap()), "the seeds have expired");
    let text = |name| value(&payload, name).and_then(|value| value.as_str().map(str::to_owned));
    let account = text("account_id").unwrap();
    let said = match text("user_id") {
        Some(user) => Caller::User {
            installation: text("installation_id").unwrap(),
            account,
            user,
            role: match text("user_role").unwrap().as_str() {
                "ADMIN" => Role::Admin,
                _ => Role::ReadOnly,
            },
        },
        None => Caller::System { installation: text("installation_id"), account },
    };
    assert_eq!(*caller, said);
    assert!(payload.contains_key("sub") && payload.contains_key("installation_id"));
    let parts = text("sub").map(|sub| sub.split(':').map(str::len).collect::<Vec<_>>());
    match (said, parts.as_deref()) {
        (Caller::User { .. }, Some([7, _, 4, _]))
        | (Caller::System { .. }, None | Some([7, _])) => {}
        other => panic!("{other:?}"),
    }
}

/// The text `json`, with its `\u` escapes decoded and escaped again. Half of a surrogate pair becomes U+FFFD
/// (B3).
fn whole_characters(json: &str) -> String {
    let (mut whole, mut units, mut rest) = (String::new(), Vec::new(), json);
    loop {
        let digits = rest.strip_prefix("\\u").and_then(|rest| rest.get(..4));
        if let Some(unit) = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
            units.push(unit);
            rest = &rest[6..];
            continue;
        }
        for decoded in char::decode_utf16(units.drain(..)) {
            // Escapes the character again, because JSON does not allow some characters unescaped.
            for unit in decoded.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf16(&mut [0; 2]) {
                write!(whole, "\\u{unit:04x}").unwrap();
            }
        }
        // An escaped backslash does not begin another escape.
        let last = usize::from(rest.starts_with("\\\\"));
        let Some((at, character)) = rest.char_indices().nth(last) else { return whole };
        let (plain, after) = rest.split_at(at + character.len_utf8());
        whole.push_str(plain);
        rest = after;
    }
}

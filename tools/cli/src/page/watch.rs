//! Watches each request to the endpoints and to the stand-ins, and its answer. The watch also makes the
//! stand-ins answer as the page's user has set.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use teardown::clock::Timestamp;

use super::DevPage;
use super::entry::{Answer, Request, Side};

/// The longest body of a request that is read and shown, in bytes. A longer body is passed on, but not shown.
const MAX_BODY: usize = 1024 * 1024;

/// How many bytes of a body are shown.
const SHOWN: usize = 4096;

/// How long the watch waits for a request's body. After this time, it passes on the request with a body that
/// never ends.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes. All answers of endpoints and stand-ins are shorter.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// How many characters of a token are shown.
const TOKEN_SHOWN: usize = 12;

/// Watches a request, if an endpoint or a stand-in will receive it.
pub(super) async fn requests(
    State(page): State<DevPage>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let Some(side) = side(request.uri().path()) else { return next.run(request).await };
    let (head, body) = request.into_parts();
    let (body, seen) = read(&head.headers, body).await;
    let shown = shown(&head, seen.as_deref());
    let installation = installation(head.uri.path(), seen.as_deref().unwrap_or_default());
    let under_way = page.journal.begin(side, installation, shown);
    let request = axum::extract::Request::from_parts(head, body);
    let response = match page.answers.instead(side).await {
        Some(response) => response,
        None => next.run(request).await,
    };
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
    let status = head.status;
    let status = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let text = format!("HTTP/1.1 {status}\n{}", lines(&head.headers, Some(&body)));
    under_way.answered(Answer { status, text });
    Response::from_parts(head, Body::from(body))
}

fn side(path: &str) -> Option<Side> {
    if path.starts_with("/vercel/") {
        Some(Side::Vercel)
    } else if path == crate::standin::PROVIDER_PATH {
        Some(Side::Provider)
    } else if path.starts_with("/v1/") || path.starts_with("/api/") {
        Some(Side::Endpoints)
    } else {
        None
    }
}

/// Reads a body that is not too long. Returns a body to pass on, and the bytes if they were read.
async fn read(headers: &HeaderMap, body: Body) -> (Body, Option<Bytes>) {
    let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if http_body::Body::is_end_stream(&body) {
        return (body, Some(Bytes::new()));
    }
    if length.is_none_or(|length| length > MAX_BODY) {
        return (body, None);
    }
    let read = axum::body::to_bytes(body, MAX_BODY);
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(bytes)) => (Body::from(bytes.clone()), Some(bytes)),
        Ok(Err(error)) => {
            let failed = futures_util::stream::once(std::future::ready(Err::<Bytes, _>(error)));
            (Body::from_stream(failed), None)
        }
        // The body did not arrive in time. Because the endpoint gets a body that never ends, it answers after
        // its own time-out.
        Err(_) => {
            let silent = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            (Body::from_stream(silent), None)
        }
    }
}

fn shown(head: &Parts, body: Option<&[u8]>) -> Request {
    let path = head.uri.path_and_query().map_or("", |it| it.as_str());
    let line = format!("{} {path}", head.method);
    let text = format!("{line} HTTP/1.1\n{}", lines(&head.headers, body));
    let token = head.headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()).and_then(claims);
    Request { line, text, token }
}

/// Headers and a body as lines.
fn lines(headers: &HeaderMap, body: Option<&[u8]>) -> String {
    let header = |(name, value): (&HeaderName, &axum::http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = if name == AUTHORIZATION { shortened(&value) } else { value.into_owned() };
        format!("{name}: {value}\n")
    };
    let mut text: String = headers.iter().map(header).collect();
    match body {
        Some(b"") => {}
        Some(body) => {
            let hidden = without_secrets(body);
            let body = hidden.as_ref().map_or(body, String::as_bytes);
            let end = body.len().min(SHOWN);
            text.push('\n');
            text += &String::from_utf8_lossy(&body[..end]);
            if end < body.len() {
                text += "\n… and more";
            }
        }
        None => text += "\n(the body is not shown)",
    }
    text
}

/// A body without its secrets: access tokens, and the values of a resource's secrets. `None` if the body has
/// no secrets, or is not JSON.
fn without_secrets(body: &[u8]) -> Option<String> {
    let mut json: Value = serde_json::from_slice(body).ok()?;
    hide(&mut json, false).then(|| json.to_string())
}

/// Replaces the secrets in a JSON value. Returns whether the value had secrets.
fn hide(json: &mut Value, in_secrets: bool) -> bool {
    let mut hidden = false;
    match json {
        Value::Array(list) => {
            for value in list {
                hidden |= hide(value, in_secrets);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let secret = ["access_token", "accessToken", "client_secret"]
                    .contains(&name.as_str())
                    || (in_secrets && name == "value");
                if secret && value.is_string() {
                    *value = "(not shown)".into();
                    hidden = true;
                } else {
                    hidden |= hide(value, in_secrets || name == "secrets");
                }
            }
        }
        _ => {}
    }
    hidden
}

/// Shortens the token in an `Authorization` header: `Bearer eyJ0eXAiOiJK…`.
fn shortened(authorization: &str) -> String {
    let (scheme, token) = authorization.split_once(' ').unwrap_or(("", authorization));
    let shown: String = token.chars().take(TOKEN_SHOWN.min(token.chars().count() / 2)).collect();
    format!("{scheme} {shown}…")
}

/// What a token claims, in one line. The token's signature is not checked.
fn claims(authorization: &str) -> Option<String> {
    let payload = authorization.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let text = |name: &str| claims[name].as_str();
    let who = match text("user_role") {
        Some(role) => format!("a user with the role {role}"),
        None => "Vercel itself (system)".to_owned(),
    };
    let installation = text("installation_id").unwrap_or("null");
    let expiry = claims["exp"].as_u64().map(Timestamp::from_secs);
    let expiry = expiry.map_or_else(String::new, |at| format!(", expires at {at}"));
    Some(format!("{who}, for the installation {installation}{expiry}"))
}

/// The installation that a request concerns, from its path or its body.
fn installation(path: &str, body: &[u8]) -> Option<String> {
    let mut parts = path.split('/');
    if parts.any(|part| part == "installations" || part == "configuration") {
        return parts.next().map(str::to_owned);
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let found = ["/data/installationId", "/payload/configuration/id"].into_iter();
    found.filter_map(|pointer| body.pointer(pointer)).find_map(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shortened_and_its_claims_are_told() {
        assert_eq!(
            shortened("Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.e30.c2ln"),
            "Bearer eyJ0eXAiOiJK…"
        );
        assert_eq!(shortened("Bearer local"), "Bearer lo…");
        assert_eq!(shortened("secret"), " sec…");
        let claims =
            |json: &str| super::claims(&format!("Bearer x.{}.y", URL_SAFE_NO_PAD.encode(json)));
        assert_eq!(
            claims(r#"{"user_role":"ADMIN","installation_id":"icfg_1","exp":1763769600}"#).unwrap(),
            "a user with the role ADMIN, for the installation icfg_1, expires at 2025-11-22T00:00:00Z"
        );
        assert_eq!(claims("{}").unwrap(), "Vercel itself (system), for the installation null");
        assert_eq!(super::claims("Bearer local"), None);
    }

    /// M3: the page hides the secrets in the requests to a provider's backend, and in the backend's answers.
    #[test]
    fn secrets_in_a_body_are_not_shown() {
        let upsert = br#"{"credentials":{"access_token":"s3cret"},"scopes":[]}"#;
        let shown = without_secrets(upsert).unwrap();
        assert_eq!(shown, r#"{"credentials":{"access_token":"(not shown)"},"scopes":[]}"#);
        let provisioned = br#"{"id":"db_1","secrets":[{"name":"URL","value":"s3cret"}]}"#;
        let shown = without_secrets(provisioned).unwrap();
        assert_eq!(shown, r#"{"id":"db_1","secrets":[{"name":"URL","value":"(not shown)"}]}"#);
        assert_eq!(without_secrets(br#"{"reason":"value","value":"x"}"#), None, "as it came");
        assert_eq!(without_secrets(b"no JSON"), None);
    }

    #[test]
    fn the_installation_is_in_the_path_or_in_the_body() {
        let of = |path, body: &str| installation(path, body.as_bytes());
        assert_eq!(of("/v1/installations/icfg_1/resources/db_1", "").unwrap(), "icfg_1");
        assert_eq!(of("/vercel/v1/integrations/configuration/icfg_2", "").unwrap(), "icfg_2");
        assert_eq!(of("/provider", r#"{"data":{"installationId":"icfg_3"}}"#).unwrap(), "icfg_3");
        assert_eq!(of("/api/sweep", ""), None);
    }
}

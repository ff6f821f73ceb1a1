//! Requests and their answers, and the `curl` command that sends a request again.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

/// How much of an answer's body is read, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// How much of an answer's body is shown, in characters.
const SHOWN_BODY: usize = 200;

/// A request to the backend.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: Method,
    pub url: String,
    pub headers: Vec<Header>,
    pub body: Option<String>,
    /// What the shell variables in the request's `curl` command mean.
    pub note: Option<String>,
}

/// A header of a request.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub name: &'static str,
    pub value: String,
    /// The text that reports show in place of the header's value. The text may contain shell variables.
    pub shown: Option<String>,
}

/// The backend's answer to a request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A request, with its answer.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub request: Request,
    /// The answer, or why there is no answer.
    pub answer: Result<Answer, String>,
    pub took: Duration,
}

impl Request {
    /// The `curl` command that sends the request again, with one line for each header and for the body.
    pub(super) fn curl(&self) -> String {
        let mut command = format!("curl -i -X {} {}", self.method, quoted(&self.url));
        for Header { name, value, shown } in &self.headers {
            let header = match shown {
                Some(shown) => format!("\"{name}: {shown}\""),
                None => quoted(&format!("{name}: {value}")),
            };
            let _ = write!(command, " \\\n  -H {header}");
        }
        if let Some(body) = &self.body {
            let _ = write!(command, " \\\n  --data-binary {}", quoted(body));
        }
        command
    }

    /// The request's method and path.
    pub(super) fn line(&self) -> String {
        let path = self.url.splitn(4, '/').nth(3).unwrap_or_default();
        format!("{} /{path}", self.method)
    }

    /// Sends the request, and reads at most `MAX_BODY` bytes of the answer's body.
    pub(super) async fn send(&self, http: &reqwest::Client) -> Result<Answer, String> {
        let mut request = http.request(self.method.clone(), &self.url);
        for header in &self.headers {
            request = request.header(header.name, &header.value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(|error| reason(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - body.len())]);
            if body.len() == MAX_BODY {
                break;
            }
        }
        Ok(Answer { status, headers, body })
    }
}

/// Why there is no answer, in a text that does not repeat the backend's address.
fn reason(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let what = if error.is_connect() { "no connection" } else { "the connection broke off" };
    cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"))
}

/// A text in quotes, which a shell takes unchanged.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl Answer {
    /// The answer's body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer's body, if it is JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The type of the answer's body.
    pub(super) fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE.as_str()).unwrap_or("none")
    }

    /// The answer's status and the beginning of its body.
    pub(super) fn shown(&self) -> String {
        let text = self.text();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = text.chars().take(SHOWN_BODY).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        match shown.as_str() {
            "" => self.status.to_string(),
            shown => format!("{} {shown}", self.status),
        }
    }
}

impl Exchange {
    /// The answer's status, or 0 if there is no answer.
    pub(super) fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.status)
    }

    /// The answer as reports show it, or why there is no answer.
    pub(super) fn seen(&self) -> String {
        match &self.answer {
            Ok(answer) => answer.shown(),
            Err(reason) => reason.clone(),
        }
    }

    /// Whether the answer is a 2xx.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// The request's method and path, and the answer's status.
    pub(super) fn summary(&self) -> String {
        let answer = match &self.answer {
            Ok(answer) => answer.status.to_string(),
            Err(reason) => reason.clone(),
        };
        format!("{} → {answer}", self.request.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N2: the `curl` command does not contain the token, and a shell runs it unchanged.
    #[test]
    fn a_curl_line_leaves_the_token_out() {
        let header = |name, value: &str, shown: Option<&str>| Header {
            name,
            value: value.to_owned(),
            shown: shown.map(str::to_owned),
        };
        let request = Request {
            method: Method::DELETE,
            url: "http://127.0.0.1:1/v1/installations/icfg_1".to_owned(),
            headers: vec![
                header("Authorization", "Bearer s3cret", Some("Bearer $TOKEN")),
                header("Content-Type", "application/json", None),
            ],
            body: Some(r#"{"reason":"it's over"}"#.to_owned()),
            note: None,
        };
        assert_eq!(
            request.curl(),
            r#"curl -i -X DELETE 'http://127.0.0.1:1/v1/installations/icfg_1' \
  -H "Authorization: Bearer $TOKEN" \
  -H 'Content-Type: application/json' \
  --data-binary '{"reason":"it'\''s over"}'"#
        );
        assert_eq!(request.line(), "DELETE /v1/installations/icfg_1");
    }
}

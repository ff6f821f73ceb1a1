//! The rules for every answer (B5).

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use teardown::error::TABLE;

/// The longest message of an answer, in characters. The message is our own text, with at most 300 characters
/// of Vercel's message and 300 of Vercel's code.
const MAX_MESSAGE: usize = 700;

/// An answer that follows the rules for every answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The error's code. Empty if the answer is no error.
    pub(crate) code: String,
}

impl Answer {
    /// Reads an answer, and panics if it is not a documented answer.
    pub(crate) async fn check(response: Response<Full<Bytes>>) -> Self {
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await;
        let (status, body) = (head.status.as_u16(), body.to_bytes());
        let has = |name: &str| head.headers.contains_key(name);
        assert_eq!(has("allow"), status == 405);
        assert_eq!(has("retry-after"), status == 503);
        if status == 204 {
            assert!(body.is_empty() && !has("content-type"));
            return Self { status, code: String::new() };
        }
        assert_eq!(head.headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&body).expect("a body is JSON");
        if status == 200 {
            assert!(body["finalized"].is_boolean() || body["claimed"].is_u64(), "{body}");
            return Self { status, code: String::new() };
        }
        let error = &body["error"];
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let (code, message) = (text(&error["code"]), text(&error["message"]));
        let user = error.get("user").map(|user| text(&user["message"]));
        let documented = TABLE.iter().any(|row| {
            (row.status, row.code, row.user_message) == (status, &code, user.as_deref())
        });
        assert!(documented && status != 500, "{status} {body}");
        assert!(message.chars().count() <= MAX_MESSAGE, "{message}");
        assert!(!message.is_empty() && !message.contains(char::is_control), "{message:?}");
        Self { status, code }
    }
}

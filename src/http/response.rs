//! Answers and errors as responses (B5, C1, D1).

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::deletion::Answer;
use crate::error::Error;
use crate::job::Report;

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserMessage<'a>>,
}

#[derive(Serialize)]
struct UserMessage<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

/// What a request that succeeded is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A deletion's answer.
    Deleted(Answer),
    /// What a sweep did.
    Swept(Report),
}

impl Reply {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Deleted(answer) => answer.response().0,
            Self::Swept(_) => 200,
        }
    }
}

/// Makes the response for a result (B5). `support_url` becomes `error.user.url`.
#[must_use]
pub fn respond(result: &Result<Reply, Error>, support_url: Option<&str>) -> Response<Full<Bytes>> {
    match result {
        Ok(Reply::Deleted(answer)) => {
            let (status, body) = answer.response();
            json(status, body.map(|body| Bytes::from_static(body.as_bytes())))
        }
        Ok(reply @ Reply::Swept(report)) => {
            json(reply.status(), serde_json::to_vec(report).ok().map(Bytes::from))
        }
        Err(error) => {
            let row = error.row();
            let user = row.user_message.map(|message| UserMessage { message, url: support_url });
            let body = ErrorBody {
                error: ErrorObject { code: row.code, message: error.to_string(), user },
            };
            let mut response = json(row.status, serde_json::to_vec(&body).ok().map(Bytes::from));
            let headers = response.headers_mut();
            if let Error::MethodNotAllowed { allowed } = error
                && let Ok(allowed) = HeaderValue::from_str(allowed.as_str())
            {
                headers.insert(ALLOW, allowed);
            }
            if let Some(seconds) = error.retry_after() {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

fn json(status: u16, body: Option<Bytes>) -> Response<Full<Bytes>> {
    let has_body = body.is_some();
    let mut response = Response::new(Full::new(body.unwrap_or_default()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if has_body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

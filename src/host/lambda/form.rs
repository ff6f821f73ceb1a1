//! Converts a response to the form that a gateway expects. Every byte that JSON can represent stays unchanged
//! (J1).
//!
//! An HTTP API expects one value for each header name, and a separate list of cookies. A REST API, and an
//! HTTP API with payload 1.0, expect a list of values for each header name.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayV2httpResponse};
use lambda_http::request::RequestOrigin;
use serde::Serialize;
use serde_json::Value;

/// The longest body that is sent as text, in bytes. JSON's escapes count as part of the body. An answer to
/// Lambda has at most 6 MB, headers included. A body of 4 MiB becomes 5.6 MB of base64.
const MOST_ESCAPED: usize = 5_000_000;

/// The function's answer to Lambda.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// The answer to an HTTP API or a function URL.
    One(Box<ApiGatewayV2httpResponse>),
    /// The answer to a REST API, or to an HTTP API with payload 1.0.
    Many(Box<ApiGatewayProxyResponse>),
    /// The answer to an event that no gateway sent. The answer is the response's body, which is JSON.
    Other(Value),
}

impl Answer {
    /// Converts a response to a gateway's form.
    pub(super) fn to(gateway: &RequestOrigin, response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let is_base64_encoded = matches!(body, Body::Binary(_));
        let status_code = i64::from(head.status.as_u16());
        match gateway {
            RequestOrigin::ApiGatewayV2 => {
                let mut answer = ApiGatewayV2httpResponse::default();
                let cookies = head.headers.get_all(SET_COOKIE).iter().map(text);
                answer.cookies = cookies.collect();
                answer.headers = joined(&head.headers);
                answer.status_code = status_code;
                answer.is_base64_encoded = is_base64_encoded;
                answer.body = Some(body);
                Self::One(Box::new(answer))
            }
            RequestOrigin::ApiGatewayV1 => {
                let mut answer = ApiGatewayProxyResponse::default();
                let lines = head.headers.iter().map(|(name, value)| (name.clone(), utf8(value)));
                // `headers` stays empty, because a gateway would send the values of both `headers` and
                // `multi_value_headers`.
                answer.multi_value_headers = lines.collect();
                answer.status_code = status_code;
                answer.is_base64_encoded = is_base64_encoded;
                answer.body = Some(body);
                Self::Many(Box::new(answer))
            }
            _ => Self::Other(serde_json::from_slice(&body).unwrap_or_default()),
        }
    }
}

/// Converts a body to text, which every gateway sends unchanged. A body becomes base64 instead of text if it
/// is not UTF-8, or if JSON's escapes would make the body too long for Lambda.
pub(super) fn body(bytes: Bytes) -> Body {
    let bytes = Vec::from(bytes);
    if escaped_length(&bytes) > MOST_ESCAPED {
        return Body::Binary(bytes);
    }
    String::from_utf8(bytes).map_or_else(|error| Body::Binary(error.into_bytes()), Body::Text)
}

fn escaped_length(bytes: &[u8]) -> usize {
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    bytes.iter().map(escaped).sum()
}

/// Joins the values of each header name into one value (RFC 9110, section 5.2). The result does not contain
/// cookies.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let names = headers.keys().filter(|name| **name != SET_COOKIE);
    let one = |name: &HeaderName| {
        let mut lines = headers.get_all(name).iter();
        let first = utf8(lines.next()?);
        let all = lines.fold(first.as_bytes().to_vec(), |mut all, line| {
            all.extend_from_slice(b", ");
            all.extend_from_slice(utf8(line).as_bytes());
            all
        });
        Some((name.clone(), HeaderValue::from_bytes(&all).unwrap_or(first)))
    };
    names.filter_map(one).collect()
}

/// Converts a header's value to UTF-8, so that JSON can represent the value. If a header's bytes are not
/// UTF-8, they are read as ISO 8859-1, the old encoding of HTTP headers.
fn utf8(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_str(&text(value)).unwrap_or_else(|_| value.clone())
}

fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    let of_latin_1 = || bytes.iter().copied().map(char::from).collect();
    str::from_utf8(bytes).map_or_else(|_| of_latin_1(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn response(headers: &[(&'static str, &'static [u8])], bytes: &'static [u8]) -> Response<Body> {
        let mut response = Response::new(body(Bytes::from_static(bytes)));
        for (name, value) in headers {
            response.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        response
    }

    fn to(gateway: &RequestOrigin, response: Response<Body>) -> Value {
        serde_json::to_value(Answer::to(gateway, response)).unwrap()
    }

    const HEADERS: [(&str, &[u8]); 7] = [
        ("x-twice", b"a, b"),
        ("x-twice", b"c"),
        ("x-odd", b"caf\xc3\xa9"),
        ("x-old", b"caf\xe9"),
        ("set-cookie", b"a=\xc3\xa9; Expires=Sat, 01 Jan 2000 00:00:00 GMT"),
        ("set-cookie", b"b=2"),
        ("x-old", b"x"),
    ];

    /// J1: no header line of a response is lost, and no header line makes the function fail.
    #[test]
    fn headers_are_in_the_gateways_form() {
        let cookies = ["a=é; Expires=Sat, 01 Jan 2000 00:00:00 GMT", "b=2"];
        let one = to(&RequestOrigin::ApiGatewayV2, response(&HEADERS, b""));
        let expected = json!({ "x-twice": "a, b, c", "x-odd": "café", "x-old": "café, x" });
        assert_eq!((&one["headers"], &one["cookies"]), (&expected, &json!(cookies)));
        let many = to(&RequestOrigin::ApiGatewayV1, response(&HEADERS, b""));
        let expected = json!({
            "x-twice": ["a, b", "c"], "x-odd": ["café"], "x-old": ["café", "x"],
            "set-cookie": cookies,
        });
        assert_eq!((&many["multiValueHeaders"], &many["headers"]), (&expected, &json!({})));
    }

    /// J1: a body is sent as text if it is UTF-8, and in base64 if it is not. The headers of a response do
    /// not decide whether its body is sent as text or in base64.
    #[test]
    fn a_body_is_text_or_base64() {
        let expected: [(&str, &[u8]); 2] =
            [("content-type", b"text/plain; charset=iso-8859-1"), ("content-encoding", b"gzip")];
        for gateway in [RequestOrigin::ApiGatewayV1, RequestOrigin::ApiGatewayV2] {
            let form = |bytes| {
                let answer = to(&gateway, response(&expected, bytes));
                (answer["body"].clone(), answer["isBase64Encoded"].clone())
            };
            assert_eq!(form(b""), (json!(""), json!(false)));
            let text = "\u{feff}{\"a\":\"é\0\"}";
            assert_eq!(form(text.as_bytes()), (json!(text), json!(false)));
            assert_eq!(form(b"caf\xe9\xff"), (json!("Y2Fm6f8="), json!(true)));
        }
    }

    /// J6: a body of 4 MiB fits into an answer to Lambda, whatever the body contains.
    #[test]
    fn a_longest_body_fits() {
        for byte in [b'x', b'"', b'\n', 0, 0x7f, 0xff] {
            let response = Response::new(body(vec![byte; 4 << 20].into()));
            let answer = Answer::to(&RequestOrigin::ApiGatewayV2, response);
            let length = serde_json::to_vec(&answer).unwrap().len();
            assert!(length < 5_700_000, "{byte}: {length}");
        }
    }
}

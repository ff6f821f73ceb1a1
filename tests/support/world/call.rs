//! A request to the endpoints of a test's world, and their answer.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::{CLIENT_SECRET, World, user};

impl World {
    /// A deletion request for this path, with the token of the installation's `ADMIN`.
    pub fn delete(&self, path: &str) -> Call<'_> {
        let path_alone = path.split('?').next().unwrap_or_default();
        let at = if path.starts_with("/v1/integrations/") { 4 } else { 3 };
        let installation = path_alone.split('/').nth(at).unwrap_or_default();
        let token = self.token(&user(installation));
        self.delete_as(path, &token)
    }

    /// A deletion request for this path, with this token.
    pub fn delete_as(&self, path: &str, token: &str) -> Call<'_> {
        let request = self.http.delete(format!("{}{path}", self.url)).bearer_auth(token);
        Call { world: self, request }
    }

    /// A webhook of Vercel's with this body and its signature.
    pub fn webhook(&self, body: &str) -> Call<'_> {
        let call = self.request("POST", "/api/webhook").body(body.to_owned());
        call.header("x-vercel-signature", &signature(CLIENT_SECRET, body))
    }

    /// A request with this method and path, without a token.
    pub fn request(&self, method: &str, path: &str) -> Call<'_> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        Call { world: self, request: self.http.request(method, format!("{}{path}", self.url)) }
    }
}

pub fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let signature = hmac::sign(&key, body.as_bytes());
    signature.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// The answer's body, or null if the body is empty.
    pub body: Value,
    /// How many calls to DynamoDB the endpoints made for the request.
    pub calls: usize,
}

impl Reply {
    /// The answer's status and error code.
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or("no error"))
    }

    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or("no error")
    }

    /// The answer's status and body.
    pub fn whole(&self) -> (u16, Value) {
        (self.status, self.body.clone())
    }
}

/// A request that is not sent yet.
pub struct Call<'a> {
    world: &'a World,
    request: reqwest::RequestBuilder,
}

impl Call<'_> {
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Adds a header to the request. An earlier header with the same name stays.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.request = self.request.header(name, value);
        self
    }

    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub async fn send(self) -> Reply {
        let before = self.world.dynamodb.calls();
        let response = self.request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Reply { status, headers, body, calls: self.world.dynamodb.calls() - before }
    }
}

//! Requests in, responses out: the endpoints' paths, ids, headers and bodies, and what is sent back
//! (B1 to B5). What a request means is [`crate::deletion`]'s business.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::deletion::{Answer, Cascade};
use crate::error::{BadRequest, Error};
use crate::ids::{IdempotencyKey, InstallationId, InvalidId, ResourceId};

/// The endpoints, one function each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `DELETE /v1/installations/{installationId}/resources/{resourceId}`
    DeleteResource,
    /// `DELETE /v1/installations/{installationId}`
    DeleteInstallation,
}

/// The ids of a path as they stand there, percent-encoded and unchecked: who calls is asked first
/// (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawIds<'a> {
    /// Of a resource.
    Resource(&'a str, &'a str),
    /// Of an installation.
    Installation(&'a str),
}

/// The ids of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Of a resource.
    Resource(InstallationId, ResourceId),
    /// Of an installation.
    Installation(InstallationId),
}

impl Ids {
    /// The installation's id.
    #[must_use]
    pub fn installation(&self) -> &InstallationId {
        match self {
            Self::Resource(installation, _) | Self::Installation(installation) => installation,
        }
    }
}

impl Endpoint {
    /// The route, as logs name it.
    #[must_use]
    pub fn route(self) -> &'static str {
        match self {
            Self::DeleteResource => "/v1/installations/{installationId}/resources/{resourceId}",
            Self::DeleteInstallation => "/v1/installations/{installationId}",
        }
    }

    /// The ids in `path`, if it is this endpoint's. They come from nowhere else: hosts append them
    /// to the query string too, where a caller can forge them (B2).
    #[must_use]
    pub fn ids(self, path: &str) -> Option<RawIds<'_>> {
        let mut segments = path.strip_prefix("/v1/installations/")?.split('/');
        let ids = match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some(installation), None, _, _) => RawIds::Installation(installation),
            (Some(installation), Some("resources"), Some(resource), None) => {
                RawIds::Resource(installation, resource)
            }
            _ => return None,
        };
        match (self, ids) {
            (Self::DeleteResource, RawIds::Resource(installation, resource)) => {
                (!installation.is_empty() && !resource.is_empty()).then_some(ids)
            }
            (Self::DeleteInstallation, RawIds::Installation(installation)) => {
                (!installation.is_empty()).then_some(ids)
            }
            _ => None,
        }
    }

    /// Finds the endpoint's ids and checks the method (B1).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] or [`Error::MethodNotAllowed`].
    pub fn route_request<'a>(self, method: &Method, path: &'a str) -> Result<RawIds<'a>, Error> {
        let ids = self.ids(path).ok_or(Error::NotFound)?;
        if method == Method::DELETE {
            Ok(ids)
        } else {
            Err(Error::MethodNotAllowed { allow: "DELETE" })
        }
    }
}

impl RawIds<'_> {
    /// Decodes and checks the ids (B2).
    ///
    /// # Errors
    ///
    /// [`InvalidId::Id`].
    pub fn parse(self) -> Result<Ids, InvalidId> {
        Ok(match self {
            Self::Resource(installation, resource) => Ids::Resource(
                InstallationId::parse(&decode(installation)?)?,
                ResourceId::parse(&decode(resource)?)?,
            ),
            Self::Installation(installation) => {
                Ids::Installation(InstallationId::parse(&decode(installation)?)?)
            }
        })
    }
}

/// Decodes a segment once. What is no escape stays as it is, and its `%` is in no id.
fn decode(segment: &str) -> Result<std::borrow::Cow<'_, str>, InvalidId> {
    percent_decode_str(segment).decode_utf8().map_err(|_| InvalidId::Id)
}

/// The request's `Idempotency-Key` (B4).
///
/// # Errors
///
/// [`InvalidId::IdempotencyKey`].
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, InvalidId> {
    let mut values = headers.get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => IdempotencyKey::parse(value.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(InvalidId::IdempotencyKey),
    }
}

/// The longest body, in bytes (B3).
const MAX_BODY: u64 = 64 * 1024;

/// How long a body may take to arrive: hosts hand it over whole, so this is only for a caller that
/// holds the connection.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a body (B3).
///
/// # Errors
///
/// [`Error::PayloadTooLarge`] or [`BadRequest::BodyIncomplete`].
pub async fn read_body<B>(body: B) -> Result<Bytes, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > MAX_BODY {
        return Err(Error::PayloadTooLarge);
    }
    let limit = usize::try_from(MAX_BODY).unwrap_or(usize::MAX);
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::PayloadTooLarge),
        Ok(Err(_)) | Err(_) => Err(BadRequest::BodyIncomplete.into()),
    }
}

/// What the body of Delete Installation says (B3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uninstall {
    /// `cascadeResourceDeletion`; absent and null mean true (D2).
    pub cascade: Cascade,
    /// `reason`.
    pub reason: Option<String>,
}

/// Every value that was sent for each field, so that repeated ones are seen.
#[derive(Default)]
struct UninstallFields {
    cascade: Vec<Value>,
    reason: Vec<Value>,
}

impl Uninstall {
    /// Reads the body. No body, `{}` and null values are the same; unknown fields are passed over.
    ///
    /// # Errors
    ///
    /// [`BadRequest`] that names the field, or the body where it is no JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let fields = if body.is_empty() {
            UninstallFields::default()
        } else {
            serde_json::from_slice(body).map_err(|_| BadRequest::Body)?
        };
        let cascade = match one("cascadeResourceDeletion", fields.cascade)? {
            Value::Null | Value::Bool(true) => Cascade::Yes,
            Value::Bool(false) => Cascade::No,
            _ => {
                let name = "cascadeResourceDeletion";
                return Err(BadRequest::FieldType { name, expected: "boolean" });
            }
        };
        let reason = match one("reason", fields.reason)? {
            Value::Null => None,
            Value::String(reason) => Some(reason),
            _ => return Err(BadRequest::FieldType { name: "reason", expected: "string" }),
        };
        Ok(Self { cascade, reason })
    }
}

/// The one value of a field; null where there is none.
fn one(name: &'static str, mut values: Vec<Value>) -> Result<Value, BadRequest> {
    match values.len() {
        0 => Ok(Value::Null),
        1 => Ok(values.remove(0)),
        _ => Err(BadRequest::FieldRepeated(name)),
    }
}

impl<'de> Deserialize<'de> for UninstallFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = UninstallFields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = UninstallFields::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "cascadeResourceDeletion" => fields.cascade.push(map.next_value()?),
                        "reason" => fields.reason.push(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl Answer {
    /// The HTTP status and the JSON body of an answer (C1, D1).
    #[must_use]
    pub fn response(self) -> (u16, Option<&'static str>) {
        match self {
            Self::Gone => (204, None),
            Self::Uninstalled { finalized: true } => (200, Some(r#"{"finalized":true}"#)),
            Self::Uninstalled { finalized: false } => (200, Some(r#"{"finalized":false}"#)),
        }
    }

    /// The answer with this status and body, as [`Answer::response`] writes them.
    #[must_use]
    pub fn from_response(status: u16, body: Option<&str>) -> Option<Self> {
        [Self::Gone, Self::Uninstalled { finalized: true }, Self::Uninstalled { finalized: false }]
            .into_iter()
            .find(|answer| answer.response() == (status, body))
    }
}

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

/// Makes the response for a result (B5). `support_url` becomes `error.user.url`.
#[must_use]
pub fn respond(result: &Result<Answer, Error>, support_url: Option<&str>) -> Response<Full<Bytes>> {
    match result {
        Ok(answer) => {
            let (status, body) = answer.response();
            json(status, body.map(|body| Bytes::from_static(body.as_bytes())))
        }
        Err(error) => {
            let row = error.row();
            let user = row.user_message.map(|message| UserMessage { message, url: support_url });
            let body = ErrorBody {
                error: ErrorObject { code: row.code, message: error.to_string(), user },
            };
            let mut response = json(row.status, serde_json::to_vec(&body).ok().map(Bytes::from));
            let headers = response.headers_mut();
            if let Error::MethodNotAllowed { allow } = error {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// B1, B2: the contract's paths and no others, percent-decoded once.
    #[test]
    fn paths() {
        let resource = |path| Endpoint::DeleteResource.ids(path);
        let installation = |path| Endpoint::DeleteInstallation.ids(path);
        assert_eq!(installation("/v1/installations/i1"), Some(RawIds::Installation("i1")));
        assert_eq!(
            resource("/v1/installations/i1/resources/r1"),
            Some(RawIds::Resource("i1", "r1"))
        );
        assert_eq!(resource("/v1/installations/i1"), None);
        assert_eq!(installation("/v1/installations/i1/resources/r1"), None);
        for path in [
            "/",
            "",
            "/v1/installations",
            "/v1/installations/",
            "/v1/installations/i1/",
            "/v2/installations/i1",
            "//v1/installations/i1",
            "/v1/installations/i1/resources",
            "/v1/installations/i1/resources/",
            "/v1/installations//resources/r1",
            "/v1/installations/i1/resources/r1/",
            "/V1/installations/i1",
            "/api/delete_installation",
        ] {
            assert_eq!((resource(path), installation(path)), (None, None), "{path}");
        }
    }

    /// B2: decoded once, so that an encoded separator or an encoded escape is no id.
    #[test]
    fn ids_are_decoded_once() {
        let parse = |raw| RawIds::Installation(raw).parse();
        let id = |text| Ok(Ids::Installation(InstallationId::parse(text).unwrap()));
        assert_eq!(parse("a%2Db"), id("a-b"));
        assert_eq!(parse("%61"), id("a"));
        for bad in ["a%2Fb", "%252D", "%2e%2E", "a%zz", "%", "%ff", "a%00", "a+b", "a%20b", "."] {
            assert_eq!(parse(bad), Err(InvalidId::Id), "{bad}");
        }
    }

    /// B3: what the body may be, and what it says.
    #[test]
    fn bodies() {
        let said = |cascade, reason: Option<&str>| {
            Ok(Uninstall { cascade, reason: reason.map(str::to_owned) })
        };
        for nothing in [
            "",
            "{}",
            r#" {"cascadeResourceDeletion":null,"reason":null} "#,
            r#"{"surprise":[{"reason":5}],"reasons":1}"#,
            r#"{"cascadeResourceDeletion":true}"#,
        ] {
            assert_eq!(Uninstall::parse(nothing.as_bytes()), said(Cascade::Yes, None), "{nothing}");
        }
        assert_eq!(
            Uninstall::parse(br#"{"reason":"too dear","cascadeResourceDeletion":false}"#),
            said(Cascade::No, Some("too dear"))
        );
        for no_object in ["[]", "[true,\"x\"]", "null", "1", "\"x\"", "{", "{}x", " ", "\u{feff}{}"]
        {
            assert_eq!(
                Uninstall::parse(no_object.as_bytes()),
                Err(BadRequest::Body),
                "{no_object}"
            );
        }
        assert_eq!(Uninstall::parse(b"{\"reason\":\"\xff\"}"), Err(BadRequest::Body));
        for (body, message) in [
            (
                r#"{"cascadeResourceDeletion":"false"}"#,
                "the body's field `cascadeResourceDeletion` must be a boolean",
            ),
            (r#"{"reason":["x"]}"#, "the body's field `reason` must be a string"),
            (r#"{"reason":"a","reason":"a"}"#, "the body's field `reason` is repeated"),
            (
                r#"{"cascadeResourceDeletion":null,"cascadeResourceDeletion":false}"#,
                "the body's field `cascadeResourceDeletion` is repeated",
            ),
        ] {
            assert_eq!(Uninstall::parse(body.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    /// F1: what is stored of an answer gives the answer back.
    #[test]
    fn an_answer_can_be_read_back() {
        for answer in [
            Answer::Gone,
            Answer::Uninstalled { finalized: true },
            Answer::Uninstalled { finalized: false },
        ] {
            let (status, body) = answer.response();
            assert_eq!(Answer::from_response(status, body), Some(answer));
        }
        assert_eq!(Answer::from_response(200, None), None);
    }

    proptest! {
        /// No path and no body whatever makes a panic.
        #[test]
        fn any_request_is_parsed(path in "(/v1/installations/)?.{0,80}", body in ".{0,80}") {
            for endpoint in [Endpoint::DeleteResource, Endpoint::DeleteInstallation] {
                let _ = endpoint.ids(&path).map(RawIds::parse);
            }
            let _ = Uninstall::parse(body.as_bytes());
        }
    }
}

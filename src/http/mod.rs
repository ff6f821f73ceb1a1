//! Requests in, responses out: the endpoints' paths, ids, headers and bodies, and what is sent back
//! (B1 to B5). What a request means is [`crate::deletion`]'s business.

mod response;
mod uninstall;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;

pub use self::response::respond;
pub use self::uninstall::Uninstall;
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

    proptest! {
        /// No path whatever makes a panic.
        #[test]
        fn any_path_is_parsed(path in "(/v1/installations/)?.{0,80}") {
            for endpoint in [Endpoint::DeleteResource, Endpoint::DeleteInstallation] {
                let _ = endpoint.ids(&path).map(RawIds::parse);
            }
        }
    }
}

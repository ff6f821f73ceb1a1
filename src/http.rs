//! Requests in, responses out: the endpoints' paths, ids, headers and bodies, and what is sent back
//! (B1 to B5). What a request means is [`crate::deletion`]'s business.

mod query;
mod response;
mod sweep;
mod uninstall;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;

pub use self::query::team;
pub use self::response::{Reply, respond};
pub use self::sweep::authorize_sweep;
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
    /// `DELETE /v1/integrations/configuration/{id}`
    DeleteConfiguration,
    /// `GET /api/sweep`
    Sweep,
    /// `POST /api/webhook`
    Webhook,
}

/// The ids of a path as they stand there, percent-encoded and unchecked: who calls is asked first
/// (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawIds<'a> {
    /// Of a resource.
    Resource(&'a str, &'a str),
    /// Of an installation.
    Installation(&'a str),
    /// Of a configuration.
    Configuration(&'a str),
}

/// The route of a request, by its path and its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The deletion of what has these ids.
    Delete(RawIds<'a>),
    /// A sweep.
    Sweep,
    /// A webhook of Vercel's.
    Webhook,
}

/// The ids of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Of a resource.
    Resource(InstallationId, ResourceId),
    /// Of an installation.
    Installation(InstallationId),
    /// Of a configuration: its installation's.
    Configuration(InstallationId),
}

impl Ids {
    /// The installation's id.
    #[must_use]
    pub fn installation(&self) -> &InstallationId {
        match self {
            Self::Resource(installation, _)
            | Self::Installation(installation)
            | Self::Configuration(installation) => installation,
        }
    }

    /// The resource's id, where they are of one.
    #[must_use]
    pub fn resource(&self) -> Option<&ResourceId> {
        match self {
            Self::Resource(_, resource) => Some(resource),
            Self::Installation(_) | Self::Configuration(_) => None,
        }
    }
}

impl Endpoint {
    /// All of them. Their paths have nothing in common.
    pub const ALL: [Self; 5] = [
        Self::DeleteResource,
        Self::DeleteInstallation,
        Self::DeleteConfiguration,
        Self::Sweep,
        Self::Webhook,
    ];

    /// The name of its function: of the binary, and of the file in `api/`.
    #[must_use]
    pub fn function(self) -> &'static str {
        match self {
            Self::DeleteResource => "delete_resource",
            Self::DeleteInstallation => "delete_installation",
            Self::DeleteConfiguration => "delete_configuration",
            Self::Sweep => "sweep",
            Self::Webhook => "webhook",
        }
    }

    /// The one method that it answers (B1).
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Self::DeleteResource | Self::DeleteInstallation | Self::DeleteConfiguration => {
                Method::DELETE
            }
            Self::Sweep => Method::GET,
            Self::Webhook => Method::POST,
        }
    }

    /// The route, as logs name it.
    #[must_use]
    pub fn pattern(self) -> &'static str {
        match self {
            Self::DeleteResource => "/v1/installations/{installationId}/resources/{resourceId}",
            Self::DeleteInstallation => "/v1/installations/{installationId}",
            Self::DeleteConfiguration => "/v1/integrations/configuration/{id}",
            Self::Sweep => "/api/sweep",
            Self::Webhook => "/api/webhook",
        }
    }

    /// The route of `path`, if it is this endpoint's. Ids come from nowhere else: hosts append them
    /// to the query string too, where a caller can forge them (B2).
    #[must_use]
    pub fn route(self, path: &str) -> Option<Route<'_>> {
        let ids = match self {
            Self::Sweep => return (path == self.pattern()).then_some(Route::Sweep),
            Self::Webhook => return (path == self.pattern()).then_some(Route::Webhook),
            Self::DeleteConfiguration => {
                RawIds::Configuration(path.strip_prefix("/v1/integrations/configuration/")?)
            }
            Self::DeleteInstallation => {
                RawIds::Installation(path.strip_prefix("/v1/installations/")?)
            }
            Self::DeleteResource => {
                let ids = path.strip_prefix("/v1/installations/")?;
                let (installation, resource) = ids.split_once("/resources/")?;
                RawIds::Resource(installation, resource)
            }
        };
        ids.are_segments().then_some(Route::Delete(ids))
    }

    /// Finds out what a request asks for, and checks its method (B1).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] or [`Error::MethodNotAllowed`].
    pub fn route_request<'a>(self, method: &Method, path: &'a str) -> Result<Route<'a>, Error> {
        let route = self.route(path).ok_or(Error::NotFound)?;
        let allowed = self.method();
        if *method == allowed { Ok(route) } else { Err(Error::MethodNotAllowed { allowed }) }
    }
}

impl RawIds<'_> {
    /// Whether each raw id is exactly one segment of a path: not empty, and without `/`.
    fn are_segments(self) -> bool {
        let is_segment = |text: &str| !text.is_empty() && !text.contains('/');
        match self {
            Self::Resource(installation, resource) => {
                is_segment(installation) && is_segment(resource)
            }
            Self::Installation(id) | Self::Configuration(id) => is_segment(id),
        }
    }

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
            Self::Configuration(installation) => {
                Ids::Configuration(InstallationId::parse(&decode(installation)?)?)
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

/// The longest body of a deletion, in bytes (B3).
pub const MAX_BODY: u64 = 64 * 1024;

/// Reads a body of at most `limit` bytes that arrives within `time` (B3).
///
/// # Errors
///
/// [`Error::PayloadTooLarge`] or [`BadRequest::BodyIncomplete`].
pub async fn read_body<B>(body: B, limit: u64, time: Duration) -> Result<Bytes, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > limit {
        return Err(Error::PayloadTooLarge { limit });
    }
    let bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    match tokio::time::timeout(time, Limited::new(body, bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::PayloadTooLarge { limit }),
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
        let routes = |path| Endpoint::ALL.map(|endpoint: Endpoint| endpoint.route(path));
        let delete = |ids| Some(Route::Delete(ids));
        assert_eq!(
            routes("/v1/installations/i1/resources/r1"),
            [delete(RawIds::Resource("i1", "r1")), None, None, None, None]
        );
        assert_eq!(
            routes("/v1/installations/i1"),
            [None, delete(RawIds::Installation("i1")), None, None, None]
        );
        assert_eq!(
            routes("/v1/integrations/configuration/i1"),
            [None, None, delete(RawIds::Configuration("i1")), None, None]
        );
        assert_eq!(routes("/api/sweep"), [None, None, None, Some(Route::Sweep), None]);
        assert_eq!(routes("/api/webhook"), [None, None, None, None, Some(Route::Webhook)]);
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
            "/v1/installations/i1/resources/r1/resources/r2",
            "/v1/installations/resources/r1",
            "/v1/integrations/configuration/",
            "/v1/integrations/configuration/i1/",
            "/v1/integrations/configurations/i1",
            "/api/delete_installation",
            "/api/sweep/",
            "/api/sweep/i1",
            "/api/webhook/",
        ] {
            assert_eq!(routes(path), [None; 5], "{path}");
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
        /// No path makes the router panic.
        #[test]
        fn any_path_is_parsed(path in "(/v1/installations/)?.{0,80}") {
            for endpoint in [Endpoint::DeleteResource, Endpoint::DeleteInstallation] {
                if let Some(Route::Delete(ids)) = endpoint.route(&path) {
                    let _ = ids.parse();
                }
            }
        }
    }
}

//! Which endpoint answers which path and method, and which ids a path contains (B1, B2).

use http::Method;
use percent_encoding::percent_decode_str;

use crate::error::{Error, Methods};
use crate::ids::{InstallationId, InvalidId, ResourceId};

/// teardown's endpoints. Each endpoint is one function.
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
    /// Calls that teardown passes on to the provider's backend (J1), which are `PUT` and `PATCH` of an
    /// installation, and `POST`, `GET` and `PATCH` of a resource.
    Front,
    /// `POST /api/webhook`
    Webhook,
}

/// The ids of a path as the caller sent them, percent-encoded. teardown checks the ids of a path only after
/// it has verified the token (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawIds<'a> {
    /// The id of a resource's installation, and the resource's own id.
    Resource(&'a str, &'a str),
    /// The id of an installation.
    Installation(&'a str),
    /// The installation's id, from a path that ends with `/resources`.
    Resources(&'a str),
    /// The id of a configuration.
    Configuration(&'a str),
}

/// The route of a request, by its path and its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A deletion of the resource, installation or configuration whose ids are in the path.
    Delete(RawIds<'a>),
    /// A sweep.
    Sweep,
    /// A call that teardown passes on to the provider's backend.
    Front(RawIds<'a>),
    /// A webhook from Vercel.
    Webhook,
}

/// A method, and a path with placeholders for the ids. Logs and templates show paths with these placeholders.
pub type Pattern = (Method, &'static str);

const SWEEP_PATH: &str = "/api/sweep";
const WEBHOOK_PATH: &str = "/api/webhook";
const CONFIGURATION: &str = "/v1/integrations/configuration/{id}";
const RESOURCE: &str = "/v1/installations/{installationId}/resources/{resourceId}";
const RESOURCES: &str = "/v1/installations/{installationId}/resources";
const INSTALLATION: &str = "/v1/installations/{installationId}";

/// The ids of a path, decoded and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// The id of a resource's installation, and the resource's own id.
    Resource(InstallationId, ResourceId),
    /// The id of an installation.
    Installation(InstallationId),
    /// The id of a configuration. A configuration and its installation have the same id.
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

    /// The resource's id, if the path names a resource.
    #[must_use]
    pub fn resource(&self) -> Option<&ResourceId> {
        match self {
            Self::Resource(_, resource) => Some(resource),
            Self::Installation(_) | Self::Configuration(_) => None,
        }
    }
}

impl Endpoint {
    /// All endpoints. No two endpoints answer the same method at the same path.
    pub const ALL: [Self; 6] = [
        Self::DeleteResource,
        Self::DeleteInstallation,
        Self::DeleteConfiguration,
        Self::Sweep,
        Self::Front,
        Self::Webhook,
    ];

    /// The name of the endpoint's function. The endpoint's binary and its file in `api/` have the function's
    /// name.
    #[must_use]
    pub fn function(self) -> &'static str {
        match self {
            Self::DeleteResource => "delete_resource",
            Self::DeleteInstallation => "delete_installation",
            Self::DeleteConfiguration => "delete_configuration",
            Self::Sweep => "sweep",
            Self::Front => "front",
            Self::Webhook => "webhook",
        }
    }

    /// The methods and paths that the endpoint answers, at least one (B1).
    #[must_use]
    pub fn patterns(self) -> &'static [Pattern] {
        const DELETE_RESOURCE: &[Pattern] = &[(Method::DELETE, RESOURCE)];
        const DELETE_INSTALLATION: &[Pattern] = &[(Method::DELETE, INSTALLATION)];
        const DELETE_CONFIGURATION: &[Pattern] = &[(Method::DELETE, CONFIGURATION)];
        const SWEEP: &[Pattern] = &[(Method::GET, SWEEP_PATH)];
        const WEBHOOK: &[Pattern] = &[(Method::POST, WEBHOOK_PATH)];
        const FRONT: &[Pattern] = &[
            (Method::PUT, INSTALLATION),
            (Method::PATCH, INSTALLATION),
            (Method::POST, RESOURCES),
            (Method::GET, RESOURCE),
            (Method::PATCH, RESOURCE),
        ];
        match self {
            Self::DeleteResource => DELETE_RESOURCE,
            Self::DeleteInstallation => DELETE_INSTALLATION,
            Self::DeleteConfiguration => DELETE_CONFIGURATION,
            Self::Sweep => SWEEP,
            Self::Front => FRONT,
            Self::Webhook => WEBHOOK,
        }
    }

    /// Finds the route that `path` has at this endpoint. `None` if the endpoint does not answer `path`. Ids
    /// are read only from the path: hosts also append ids to the query string, but a caller can forge the
    /// query string (B2).
    #[must_use]
    pub fn route(self, path: &str) -> Option<Route<'_>> {
        let (ids, is_front) = match self {
            Self::Sweep => return (path == SWEEP_PATH).then_some(Route::Sweep),
            Self::Webhook => return (path == WEBHOOK_PATH).then_some(Route::Webhook),
            Self::DeleteConfiguration => {
                let id = path.strip_prefix("/v1/integrations/configuration/")?;
                (RawIds::Configuration(id), false)
            }
            Self::DeleteInstallation => (RawIds::installation(path)?, false),
            Self::DeleteResource => (RawIds::resource(path)?, false),
            Self::Front => {
                let ids = RawIds::resource(path).or_else(|| RawIds::resources(path));
                (ids.or_else(|| RawIds::installation(path))?, true)
            }
        };
        let route = if is_front { Route::Front(ids) } else { Route::Delete(ids) };
        ids.are_segments().then_some(route)
    }

    /// Finds the route of a request, and checks the request's method (B1).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the endpoint does not answer `path`. [`Error::MethodNotAllowed`] if the
    /// endpoint answers `path`, but not for `method`.
    pub fn route_request<'a>(self, method: &Method, path: &'a str) -> Result<Route<'a>, Error> {
        let route = self.route(path).ok_or(Error::NotFound)?;
        let allowed = route.methods();
        if allowed.contains(method) {
            Ok(route)
        } else {
            Err(Error::MethodNotAllowed { allowed: Methods(allowed) })
        }
    }
}

impl Route<'_> {
    /// The methods that this route's path permits (B1).
    fn methods(self) -> &'static [Method] {
        const DELETE: &[Method] = &[Method::DELETE];
        const GET: &[Method] = &[Method::GET];
        const POST: &[Method] = &[Method::POST];
        const PUT_OR_PATCH: &[Method] = &[Method::PUT, Method::PATCH];
        const GET_OR_PATCH: &[Method] = &[Method::GET, Method::PATCH];
        match self {
            Self::Delete(_) => DELETE,
            Self::Sweep => GET,
            Self::Front(RawIds::Resource(..)) => GET_OR_PATCH,
            Self::Webhook | Self::Front(RawIds::Resources(_)) => POST,
            Self::Front(RawIds::Installation(_) | RawIds::Configuration(_)) => PUT_OR_PATCH,
        }
    }

    /// The route's path in the form that logs show, with placeholders for the ids.
    #[must_use]
    pub fn pattern(self) -> &'static str {
        match self {
            Self::Sweep => SWEEP_PATH,
            Self::Webhook => WEBHOOK_PATH,
            Self::Delete(ids) | Self::Front(ids) => match ids {
                RawIds::Resource(..) => RESOURCE,
                RawIds::Resources(_) => RESOURCES,
                RawIds::Installation(_) => INSTALLATION,
                RawIds::Configuration(_) => CONFIGURATION,
            },
        }
    }
}

impl<'a> RawIds<'a> {
    fn installation(path: &'a str) -> Option<Self> {
        path.strip_prefix("/v1/installations/").map(Self::Installation)
    }

    fn resources(path: &'a str) -> Option<Self> {
        path.strip_prefix("/v1/installations/")?.strip_suffix("/resources").map(Self::Resources)
    }

    fn resource(path: &'a str) -> Option<Self> {
        let ids = path.strip_prefix("/v1/installations/")?;
        let (installation, resource) = ids.split_once("/resources/")?;
        Some(Self::Resource(installation, resource))
    }
}

impl RawIds<'_> {
    /// Whether each raw id is exactly one segment of a path, which means that the id is not empty and has no
    /// `/`.
    fn are_segments(self) -> bool {
        let is_segment = |text: &str| !text.is_empty() && !text.contains('/');
        match self {
            Self::Resource(installation, resource) => {
                is_segment(installation) && is_segment(resource)
            }
            Self::Installation(id) | Self::Resources(id) | Self::Configuration(id) => {
                is_segment(id)
            }
        }
    }

    /// Decodes and checks the ids (B2).
    ///
    /// # Errors
    ///
    /// [`InvalidId::Id`] if an id breaks rule B2.
    pub fn parse(self) -> Result<Ids, InvalidId> {
        Ok(match self {
            Self::Resource(installation, resource) => Ids::Resource(
                InstallationId::parse(&decode(installation)?)?,
                ResourceId::parse(&decode(resource)?)?,
            ),
            Self::Installation(installation) | Self::Resources(installation) => {
                Ids::Installation(InstallationId::parse(&decode(installation)?)?)
            }
            Self::Configuration(installation) => {
                Ids::Configuration(InstallationId::parse(&decode(installation)?)?)
            }
        })
    }
}

/// Percent-decodes a segment once. A `%` that does not begin an escape stays in the text, which is then not a
/// valid id.
fn decode(segment: &str) -> Result<std::borrow::Cow<'_, str>, InvalidId> {
    percent_decode_str(segment).decode_utf8().map_err(|_| InvalidId::Id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B1, B2: each endpoint answers the paths that the contract has for the endpoint, and no other path.
    #[test]
    fn paths() {
        let routes = |path| Endpoint::ALL.map(|endpoint: Endpoint| endpoint.route(path));
        let delete = |ids| Some(Route::Delete(ids));
        let front = |ids| Some(Route::Front(ids));
        let resource = RawIds::Resource("i1", "r1");
        assert_eq!(
            routes("/v1/installations/i1/resources/r1"),
            [delete(resource), None, None, None, front(resource), None]
        );
        let installation = RawIds::Installation("i1");
        assert_eq!(
            routes("/v1/installations/i1"),
            [None, delete(installation), None, None, front(installation), None]
        );
        assert_eq!(
            routes("/v1/installations/i1/resources"),
            [None, None, None, None, front(RawIds::Resources("i1")), None]
        );
        assert_eq!(
            routes("/v1/integrations/configuration/i1"),
            [None, None, delete(RawIds::Configuration("i1")), None, None, None]
        );
        assert_eq!(routes("/api/sweep"), [None, None, None, Some(Route::Sweep), None, None]);
        assert_eq!(routes("/api/webhook"), [None, None, None, None, None, Some(Route::Webhook)]);
        for path in [
            "/",
            "",
            "/v1/installations",
            "/v1/installations/",
            "/v1/installations/i1/",
            "/v2/installations/i1",
            "//v1/installations/i1",
            "/v1/installations//resources",
            "/v1/installations/i1/resources/",
            "/v1/installations//resources/r1",
            "/v1/installations/i1/resources/r1/",
            "/V1/installations/i1",
            "/v1/installations/i1/resources/r1/resources/r2",
            "/v1/installations/resources/r1",
            "/v1/integrations/configuration/",
            "/v1/integrations/configuration/i1/",
            "/v1/integrations/configurations/i1",
            "/v1/installations/i1/resources/r1/secrets/rotate",
            "/v1/installations/i1/plans",
            "/api/delete_installation",
            "/api/front",
            "/api/sweep/",
            "/api/sweep/i1",
            "/api/webhook/",
        ] {
            assert_eq!(routes(path), [None; 6], "{path}");
        }
    }

    /// B2: an id is percent-decoded once. An encoded separator, or an escape that is encoded again, makes the
    /// id invalid.
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
}

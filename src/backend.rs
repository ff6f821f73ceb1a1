//! The client for the provider's backend. teardown passes Vercel's calls on to the backend, and the backend's
//! answers back, byte for byte (J1).
//!
//! The client adds only `Host` and the headers that say where a body ends. The client follows no redirect and
//! decompresses nothing. The client sends each call only once, because nobody knows whether a lost call took
//! effect. The client does not use a connection that may have died while the host had frozen the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, Uri, request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::outbound::{CONNECT_TIMEOUT, is_loopback};

/// The longest body that teardown passes on to the backend or back to the caller, in bytes (J6).
pub const MAX_PASSING: u64 = 4 * 1024 * 1024;

/// The client for the provider's backend. Clones of the client share its connections.
#[derive(Clone, Debug)]
pub struct Backend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: Url,
    pool: Mutex<Option<Pool>>,
}

/// The client uses an idle connection again only if the last call is less than `FRESH` ago. Servers keep idle
/// connections open for some seconds at least.
const FRESH: Duration = Duration::from_secs(1);

/// The connections to the backend, and the time of the last call by the wall clock. A monotonic clock is not
/// used, because it may stop while the process is frozen.
#[derive(Debug)]
struct Pool {
    connector: HttpsConnector<Way>,
    client: Client,
    used: SystemTime,
}

/// Connections to the backend. Direct and tunneled connections share one type, because with two types the
/// compiler would compile all of the client's code twice.
type Client = legacy::Client<HttpsConnector<Way>, Full<Bytes>>;

/// How the client connects to the backend: directly, or through the proxy that the environment names (S3).
#[derive(Clone, Debug)]
enum Way {
    Direct(HttpConnector),
    Tunnel(Tunnel<HttpConnector>),
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Direct(connector) => connector.poll_ready(context).map_err(Into::into),
            Self::Tunnel(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self {
            Self::Direct(connector) => Box::pin(connector.call(to).err_into()),
            Self::Tunnel(tunnel) => Box::pin(tunnel.call(to).err_into()),
        }
    }
}

/// Why the backend gave no answer that teardown can pass on.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// teardown could not build the address of the call.
    #[error("the call's path cannot be appended to BACKEND_URL")]
    Address(#[source] http::Error),
    /// teardown could not read the machine's root certificates.
    #[error("the root certificates cannot be read")]
    Certificates(#[source] std::io::Error),
    /// The client could not connect, or the connection broke off before the answer began.
    #[error("the backend did not answer")]
    Broken(#[from] legacy::Error),
    /// The backend did not answer in time.
    #[error("the backend took too long")]
    TooLong,
    /// The backend's answer broke off, or is longer than 4 MiB.
    #[error("the backend's answer cannot be passed on whole")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Backend {
    /// Makes a client for the backend at the address `url`, which may have a path.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self(Arc::new(Inner { url, pool: Mutex::new(None) }))
    }

    /// Sends a call once, and returns the whole answer, if the answer arrives before `until`.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`], though the backend may have carried out the call.
    pub async fn call(
        &self,
        call: &request::Parts,
        body: Bytes,
        until: Instant,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(self.uri(call.uri.path_and_query()))
            .body(Full::new(body))
            .map_err(NoAnswer::Address)?;
        *request.headers_mut() = end_to_end(&call.headers, is_the_platforms);
        let answer = async {
            let (head, body) = self.client()?.request(request).await?.into_parts();
            let most = usize::try_from(MAX_PASSING).unwrap_or(usize::MAX);
            let body = Limited::new(body, most).collect().await.map_err(NoAnswer::Cut)?;
            let mut answer = Response::new(body.to_bytes());
            *answer.status_mut() = head.status;
            *answer.headers_mut() = end_to_end(&head.headers, |_| false);
            Ok(answer)
        };
        tokio::time::timeout_at(until.into(), answer).await.unwrap_or(Err(NoAnswer::TooLong))
    }

    /// The address of a call: the backend's own address, then the call's path and query, unchanged.
    fn uri(&self, call: Option<&PathAndQuery>) -> String {
        let base = self.0.url.as_str().trim_end_matches('/');
        format!("{base}{}", call.map_or("/", PathAndQuery::as_str))
    }

    /// The HTTP client. If the last call is more than `FRESH` ago, the client has no idle connections. The
    /// root certificates are read only at the first call, because reading them takes milliseconds.
    fn client(&self) -> Result<Client, NoAnswer> {
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let used = SystemTime::now();
        let (connector, client) = match pool.take() {
            Some(Pool { connector, client, used: last })
                if used.duration_since(last).is_ok_and(|idle| idle < FRESH) =>
            {
                (connector, client)
            }
            Some(Pool { connector, .. }) => (connector.clone(), client(connector)),
            None => {
                let connector = connector(&self.0.url).map_err(NoAnswer::Certificates)?;
                (connector.clone(), client(connector))
            }
        };
        *pool = Some(Pool { connector, client: client.clone(), used });
        Ok(client)
    }
}

fn client(connector: HttpsConnector<Way>) -> Client {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(FRESH).build(connector)
}

/// Makes the connector for an address. A connector without TLS needs no root certificates.
fn connector(url: &Url) -> std::io::Result<HttpsConnector<Way>> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let destination: Option<Uri> = url.as_str().parse().ok();
    let proxy = destination
        .filter(|_| !is_loopback(url))
        .and_then(|destination| Matcher::from_env().intercept(&destination));
    let way = match proxy {
        None => Way::Direct(connector),
        Some(proxy) => {
            let tunnel = Tunnel::new(proxy.uri().clone(), connector);
            Way::Tunnel(match proxy.basic_auth() {
                Some(auth) => tunnel.with_auth(auth.clone()),
                None => tunnel,
            })
        }
    };
    let tls = HttpsConnectorBuilder::new();
    let tls = if url.scheme() == "http" {
        let nobody = RootCertStore::empty();
        tls.with_tls_config(
            ClientConfig::builder().with_root_certificates(nobody).with_no_client_auth(),
        )
    } else {
        tls.with_native_roots()?
    };
    Ok(tls.https_or_http().enable_http1().wrap_connector(way))
}

/// The headers that are for one connection only (RFC 9110, section 7.6.1), or that say where a body ends.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether Vercel's or AWS's platform sets a header, so that the header is not the caller's (J1).
fn is_the_platforms(name: &HeaderName) -> bool {
    let name = name.as_str();
    *name == *HOST.as_str()
        || name == "x-vercel-oidc-token"
        || ["x-vercel-internal-", "x-vercel-proxy-signature", "x-amzn-"]
            .into_iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Returns the headers in their order, without the headers that are for one connection only, and without the
/// headers that `dropped` selects.
fn end_to_end(headers: &HeaderMap, dropped: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named: Vec<_> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let is_for_a_hop = |name: &HeaderName| {
        HOP_BY_HOP.contains(name) || named.iter().any(|named| named == name.as_str())
    };
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_for_a_hop(name) && !dropped(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    /// J1: teardown does not pass on the headers of one connection or of the platform, but passes on all
    /// other headers, even repeated ones.
    #[test]
    fn headers_go_from_end_to_end() {
        let sent = headers(&[
            ("host", "teardown.example"),
            ("authorization", "Bearer x"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "2"),
            ("content-encoding", "gzip"),
            ("x-vercel-oidc-token", "secret"),
            ("x-vercel-internal-invocation-id", "1"),
            ("x-vercel-proxy-signature-ts", "1"),
            ("x-amzn-trace-id", "Root=1"),
            ("x-vercel-auth", "user"),
            ("x-forwarded-for", "192.0.2.1"),
            ("via", "1.1 a"),
            ("via", "1.1 b"),
        ]);
        let kept = end_to_end(&sent, is_the_platforms);
        let kept: Vec<_> = kept.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let expected = [
            ("authorization", "Bearer x"),
            ("content-encoding", "gzip"),
            ("x-vercel-auth", "user"),
            ("x-forwarded-for", "192.0.2.1"),
            ("via", "1.1 a"),
            ("via", "1.1 b"),
        ];
        let expected = expected.map(|(name, value)| (name, HeaderValue::from_static(value)));
        assert_eq!(kept, expected.iter().map(|(name, it)| (*name, it)).collect::<Vec<_>>());
        let answered =
            headers(&[("x-amzn-requestid", "1"), ("connection", "x-hop"), ("x-hop", "1")]);
        assert_eq!(end_to_end(&answered, |_| false).len(), 1);
    }

    /// J1: the call's path and query are appended to the backend's address unchanged.
    #[test]
    fn an_address_is_the_backends_and_the_calls() {
        let uri = |backend: &str, call: &'static str| {
            let call = PathAndQuery::from_static(call);
            Backend::new(Url::parse(backend).unwrap()).uri(Some(&call))
        };
        let call = "/v1/installations/a%2e%2Eb/resources?x=1&x=%20+";
        assert_eq!(uri("https://api.example", call), format!("https://api.example{call}"));
        assert_eq!(uri("https://api.example/", call), format!("https://api.example{call}"));
        assert_eq!(uri("https://api.example/a/b/", call), format!("https://api.example/a/b{call}"));
    }
}

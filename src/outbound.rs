//! Requests to other services. One HTTP client, which uses the proxy that the environment names, is for
//! requests to other machines. Two HTTP clients without a proxy are for requests to this machine: one with
//! TLS, and one without TLS. Each client is made when it is first needed, and follows no redirect. `read`
//! refuses an answer that is longer than a given length.
//!
//! A `HeldBack` client is for a call that must not be sent before other work is done.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::RETRY_AFTER;
use reqwest::Url;
use tokio::sync::{Notify, Semaphore};
use tower::BoxError;
use tower::util::MapFutureLayer;

/// The `user-agent` of all requests to other services.
pub(crate) const USER_AGENT: &str = concat!("teardown/", env!("CARGO_PKG_VERSION"));

/// How long it may take to open a connection to another service. If the connection is not open after
/// `CONNECT_TIMEOUT`, the service counts as down.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The HTTP clients. Clones of [`Outbound`] share the clients and their connections.
#[derive(Clone, Debug, Default)]
pub struct Outbound(Arc<Clients>);

#[derive(Debug, Default)]
struct Clients {
    others: OnceLock<reqwest::Client>,
    loopback: OnceLock<reqwest::Client>,
    plain_loopback: OnceLock<reqwest::Client>,
}

/// Why teardown could not read an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The answer broke off.
    #[error("the answer broke off")]
    Http(#[from] reqwest::Error),
    /// The answer is longer than the limit given to [`read`].
    #[error("the answer is over {} KiB", .0 / 1024)]
    TooLarge(usize),
}

impl Outbound {
    /// The client for an address. A client is made at its first use, because many functions do not need every
    /// client.
    pub(crate) fn client(&self, url: &Url) -> reqwest::Result<&reqwest::Client> {
        let (slot, builder) = match (is_loopback(url), url.scheme()) {
            (true, "http") => (&self.0.plain_loopback, plain(builder(url))),
            (true, _) => (&self.0.loopback, builder(url)),
            (false, _) => (&self.0.others, builder(url)),
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = builder.connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(slot.get_or_init(|| client))
    }
}

fn builder(url: &Url) -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT);
    if is_loopback(url) { client.no_proxy() } else { client }
}

/// A client without TLS needs no root certificates, and reading root certificates takes milliseconds.
fn plain(client: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    client.tls_certs_only([])
}

/// A client for one call. The client opens a connection, but sends no part of the request before `send_now`
/// is called.
pub(crate) struct HeldBack {
    client: reqwest::Client,
    connected: Arc<Notify>,
    leave: Arc<Semaphore>,
}

impl HeldBack {
    /// Makes a client for a call to `url`.
    ///
    /// # Errors
    ///
    /// A [`reqwest::Error`] if teardown cannot read the machine's root certificates.
    pub(crate) fn new(url: &Url) -> reqwest::Result<Self> {
        let (connected, leave) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
        let (is_up, may_go) = (connected.clone(), leave.clone());
        let hold =
            MapFutureLayer::new(move |connecting: BoxFuture<'static, Result<_, BoxError>>| {
                let (is_up, may_go) = (is_up.clone(), may_go.clone());
                async move {
                    let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
                    is_up.notify_one();
                    // The semaphore is never closed, so `acquire` does not fail.
                    let _ = may_go.acquire().await;
                    Ok::<_, BoxError>(connection)
                }
            });
        let client = builder(url);
        let client = if url.scheme() == "http" { plain(client) } else { client };
        Ok(Self { client: client.connector_layer(hold).build()?, connected, leave })
    }

    /// The HTTP client that makes the call.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Waits until the client has opened a connection.
    pub(crate) async fn connected(&self) {
        self.connected.notified().await;
    }

    /// Permits the client to send the request.
    pub(crate) fn send_now(&self) {
        self.leave.add_permits(1);
    }
}

/// Whether no byte of a request was sent, because the request could not be built or no connection was opened.
/// A connection is open after the TLS handshake and, if there is a proxy, after the proxy's permission (E2).
pub(crate) fn was_not_sent(error: &reqwest::Error) -> bool {
    error.is_builder() || error.is_connect()
}

/// Whether an address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_this_machine)
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || ip(host).is_some_and(|ip| ip.is_loopback())
}

/// The IPv6 network of AWS's metadata and credentials, with `fd00:ec2::254` and `fd00:ec2::23`.
const AWS_METADATA: [u16; 7] = [0xfd00, 0x0ec2, 0, 0, 0, 0, 0];

/// Whether a host is local, so that requests to the host must not use a proxy. A local host is on this
/// machine or its network link, or serves AWS's metadata, which is secret. A proxy could not reach a local
/// host.
pub(crate) fn is_local(host: &str) -> bool {
    let is_near = match ip(host) {
        Some(IpAddr::V4(ip)) => ip.is_link_local(),
        Some(IpAddr::V6(ip)) => {
            ip.is_unicast_link_local() || ip.segments().starts_with(&AWS_METADATA)
        }
        None => false,
    };
    is_near || is_this_machine(host)
}

/// Reads the host of a URL as an IP address. In a URL, an IPv6 address is in brackets.
fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Reads an answer's body of at most `most` bytes.
pub(crate) async fn read(response: reqwest::Response, most: usize) -> Result<Vec<u8>, ReadError> {
    let mut response = response;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Err(ReadError::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The longest wait that `Retry-After` can cause, because a typing error in the header must not delay a job
/// for ever.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The wait that `Retry-After` asks for, in seconds or as a date (RFC 9110, section 10.2.3), up to a day.
/// `None` if the header is absent or cannot be read.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(SystemTime::now()).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A random wait between zero and `most` (full jitter), so that calls that failed at the same time are
/// not retried at the same time.
pub(crate) fn jitter(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// S3: requests to this machine, to its network link and to AWS's metadata do not use a proxy.
    #[test]
    fn local_hosts_are_called_without_a_proxy() {
        for (host, local) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("[fd00:ec2::254]", true),
            ("[fd00:ec2::23]", true),
            ("[fd00:ec3::23]", false),
            ("10.0.0.1", false),
            ("dynamodb.eu-central-1.amazonaws.com", false),
        ] {
            assert_eq!(is_local(host), local, "{host}");
        }
    }

    /// G1: `Retry-After` is read as seconds or as a date. A `Retry-After` in the past means no wait. A
    /// `Retry-After` that cannot be read is ignored.
    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("18446744073709551615"), Some(Duration::from_hours(24)));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let later = SystemTime::now() + Duration::from_hours(2);
        let wait = read(&httpdate::fmt_http_date(later)).unwrap();
        assert!((Duration::from_mins(119)..=Duration::from_hours(2)).contains(&wait), "{wait:?}");
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}

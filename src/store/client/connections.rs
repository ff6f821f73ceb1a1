//! The connections of the AWS client. The client opens a connection when it needs one, and abandons its
//! connections if an attempt times out (F6).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use http::Uri;

use crate::outbound::is_local;

/// Abandons all connections that an attempt may have used, if the attempt times out (F6).
#[derive(Debug)]
pub(super) struct Condemn(Connections);

impl Condemn {
    pub(super) fn of(connections: Connections) -> Self {
        Self(connections)
    }
}

/// The number of the set of pools that an attempt takes its connection from. When a set of pools is
/// abandoned, the next set gets the next number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Generation(u64);

impl Storable for Generation {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Condemn {
    fn name(&self) -> &'static str {
        "condemn"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(self.0.pools().generation);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.output_or_error()
            && error.is_timeout_error()
            && let Some(generation) = config.load::<Generation>()
        {
            self.0.condemn(*generation);
        }
        Ok(())
    }
}

/// A client's connections, through the proxy that the environment variables set (S3). Clones of this value
/// share the connections.
///
/// A frozen process, a failed node or a lost NAT entry can break all connections of a pool at the same time:
/// a request is sent, and no answer comes. After a time-out the client abandons the whole pool, and the next
/// attempt opens a new connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Pools>>);

/// The pools of connections, one for each pair of time-outs that the client uses.
#[derive(Debug, Default)]
struct Pools {
    generation: Generation,
    pools: Vec<(HttpConnectorSettings, SharedHttpConnector)>,
}

impl Connections {
    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Abandons the pools of this generation, unless another attempt has already abandoned them. Requests
    /// that already use these pools continue.
    fn condemn(&self, generation: Generation) {
        let mut pools = self.pools();
        if pools.generation == generation {
            *pools = Pools { generation: Generation(generation.0 + 1), pools: Vec::new() };
        }
    }
}

impl HttpClient for Connections {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let mut pools = self.pools();
        if let Some((_, pool)) = pools.pools.iter().find(|(of, _)| same(of, settings)) {
            return pool.clone();
        }
        let pool = SharedHttpConnector::new(Pool {
            settings: settings.clone(),
            others: OnceLock::new(),
            local: OnceLock::new(),
            plain_local: OnceLock::new(),
        });
        pools.pools.push((settings.clone(), pool.clone()));
        pool
    }
}

fn same(one: &HttpConnectorSettings, other: &HttpConnectorSettings) -> bool {
    (one.connect_timeout(), one.read_timeout()) == (other.connect_timeout(), other.read_timeout())
}

/// A connector for other hosts, a connector for this machine with TLS, and a connector for this machine without
/// TLS. Each is made when it is first needed. Calls to this machine use no proxy.
#[derive(Debug)]
struct Pool {
    settings: HttpConnectorSettings,
    others: OnceLock<Connector>,
    local: OnceLock<Connector>,
    plain_local: OnceLock<Connector>,
}

impl HttpConnector for Pool {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri: Option<Uri> = request.uri().parse().ok();
        let local = uri.filter(|uri| uri.host().is_some_and(is_local));
        // A call without TLS does not need the root certificates, which take milliseconds to read.
        let (slot, proxy, roots) = match local.as_ref().map(Uri::scheme_str) {
            Some(Some("http")) => (&self.plain_local, ProxyConfig::disabled(), TrustStore::empty()),
            Some(_) => (&self.local, ProxyConfig::disabled(), TrustStore::default()),
            None => (&self.others, ProxyConfig::from_env(), TrustStore::default()),
        };
        let connector = slot.get_or_init(|| {
            let tls = TlsContext::builder().with_trust_store(roots).build();
            Connector::builder()
                .connector_settings(self.settings.clone())
                .proxy_config(proxy)
                .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
                .tls_context(tls.expect("a trust store without certificates of its own"))
                .build()
        });
        connector.call(request)
    }
}

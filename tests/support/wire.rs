//! Servers that can break a connection, which a router of `axum` cannot do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Starts a server on a free port. Returns the server's address, and the number of connections so far. If the
/// handler returns an error, the connection breaks without an answer.
pub async fn listen<H, A>(handler: H) -> (String, Arc<AtomicUsize>)
where
    H: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let connection = hyper::server::conn::http1::Builder::new();
            let service = service_fn(handler.clone());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, connections)
}

/// An answer without a body.
pub fn empty(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).unwrap()
}

/// An answer with a JSON body.
pub fn json(status: u16, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let body = Full::from(body.to_string());
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(body).unwrap()
}

//! Calls to a backend on another machine, by TLS and through the proxy that the environment names (S3).

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::process::{FRONT, Variables, free_port, start};
use crate::support::world::{INSTALLATION, World, http_client, user};

const HOST: &str = "backend.invalid";

/// The requests that a stand-in received, in their order.
type Received = Arc<Mutex<Vec<String>>>;

fn take(received: &Received) -> Vec<String> {
    std::mem::take(&mut received.lock().unwrap())
}

/// Starts a backend with TLS that answers each request with the request's body. Returns the backend's
/// port and its certificate.
async fn by_tls(received: Received) -> (u16, NamedTempFile) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, received) = (acceptor.clone(), received.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate breaks the connection.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| repeat(request, received.clone()));
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, file)
}

async fn repeat(
    request: Request<Incoming>,
    received: Received,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let host = head.headers["host"].to_str().unwrap();
    received.lock().unwrap().push(format!("{} {host} {}", head.method, head.uri));
    Ok(Response::new(Full::new(body.collect().await?.to_bytes())))
}

/// Starts a proxy that connects its clients to this port, whatever address they request. Returns the proxy's
/// credentials and address.
async fn proxy(to: u16, received: Received) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let received = received.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0
                {
                }
                received.lock().unwrap().push(head);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut far).await;
            });
        }
    });
    format!("user:p%40ss@{address}")
}

/// Starts a function with these additional variables, and sends two Upserts to the function. Returns the
/// status and the body of each answer.
async fn send(world: &World, variables: &[(&'static str, &str)]) -> [(u16, Vec<u8>); 2] {
    let port = free_port();
    let mut environment: Variables = world.environment();
    environment.push(("VERCEL_DEV_PORT", port.to_string()));
    environment.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mut function = start(FRONT, environment);
    function.line();
    let token = world.token(&user("icfg_1"));
    let call = async || {
        let call = http_client().put(format!("http://127.0.0.1:{port}{INSTALLATION}"));
        let answer = call.bearer_auth(&token).body("{\"a\": \"b\"}").send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    };
    [call().await, call().await]
}

/// J6, S3: the front reaches the backend by TLS, through the proxy that the environment names. Two calls
/// share one connection. `SSL_CERT_FILE` names the certificates that the front trusts.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_reached_through_the_proxy() {
    let world = World::new().await;
    let (at_backend, at_proxy) = (Received::default(), Received::default());
    let (port, certificate) = by_tls(at_backend.clone()).await;
    let proxy = proxy(port, at_proxy.clone()).await;
    let proxied = format!("http://{proxy}");
    let trusted = ("SSL_CERT_FILE", certificate.path().to_str().unwrap());
    let backend = ("BACKEND_URL", "https://backend.invalid/base");

    for name in ["HTTPS_PROXY", "all_proxy"] {
        let answers = send(&world, &[backend, trusted, (name, &proxied)]).await;
        assert_eq!(answers, [(); 2].map(|()| (200, b"{\"a\": \"b\"}".to_vec())), "{name}");
        let put = format!("PUT {HOST} /base{INSTALLATION}");
        assert_eq!(take(&at_backend), [put.clone(), put]);
        let [head] = &take(&at_proxy)[..] else { panic!("{name}: one connection") };
        assert!(head.starts_with("CONNECT backend.invalid:443 HTTP/1.1\r\n"), "{head}");
        // The base64 of `user:p@ss`, in lower case.
        let credentials = "proxy-authorization: basic dxnlcjpwqhnz\r\n";
        assert!(head.to_ascii_lowercase().contains(credentials), "{head}");
    }
    let refused = |answers: [(u16, Vec<u8>); 2]| assert_eq!(answers.map(|it| it.0), [502; 2]);
    refused(send(&world, &[backend, ("HTTPS_PROXY", &proxied)]).await);
    assert_eq!(take(&at_proxy).len(), 2, "the certificate is not trusted");
    refused(send(&world, &[backend, trusted, ("HTTPS_PROXY", &proxied), ("NO_PROXY", HOST)]).await);
    refused(send(&world, &[backend, trusted, ("HTTP_PROXY", &proxied)]).await);
    let here = format!("https://127.0.0.1:{port}");
    let here = ("BACKEND_URL", here.as_str());
    refused(send(&world, &[here, trusted, ("HTTPS_PROXY", &proxied)]).await);
    assert_eq!(
        (take(&at_proxy).len(), take(&at_backend).len()),
        (0, 0),
        "what is here is asked directly"
    );
}

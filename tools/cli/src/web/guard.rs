//! Decides which requests the tool answers: only requests of the tool's own pages, from a browser on this
//! machine. If another site makes its name resolve to this machine (DNS rebinding), its requests have another
//! `Host`. If a form of another site posts to this machine, the form's request has another `Origin`.

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// The policy for browsers: a page may load files only from its own address, and may send requests only to
/// this address. Inline scripts and styles are forbidden.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The port that the pages are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    pub(crate) port: u16,
}

impl Here {
    fn is_host(self, host: &str) -> bool {
        ["127.0.0.1", "localhost"].into_iter().any(|name| {
            let rest = host.strip_prefix(name);
            rest.is_some_and(|rest| {
                rest == format!(":{}", self.port) || (rest.is_empty() && self.port == 80)
            })
        })
    }

    fn is_origin(self, origin: &str) -> bool {
        origin.strip_prefix("http://").is_some_and(|host| self.is_host(host))
    }

    /// `Ok` if the tool may answer a request. The error says what is wrong with the request.
    fn judge(self, method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
        let text = |name: HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().map(|value| value.to_str().unwrap_or_default());
            // A header that is sent twice counts as wrong.
            if values.next().is_some() { Some("") } else { value }
        };
        if !text(HOST).is_some_and(|host| self.is_host(host)) {
            return Err("the Host is not this machine");
        }
        match text(ORIGIN) {
            Some(origin) if !self.is_origin(origin) => Err("the Origin is another site"),
            None if !method.is_safe() => Err("the Origin is missing"),
            _ => Ok(()),
        }
    }
}

/// Answers the requests of the tool's own pages, and refuses all other requests. Adds headers that protect
/// the pages.
pub(crate) async fn own_pages(State(here): State<Here>, request: Request, next: Next) -> Response {
    if let Err(reason) = here.judge(request.method(), request.headers()) {
        return (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses the requests of another site's pages. A request without an `Origin` passes, because programs that
/// are not browsers do not send this header.
pub(crate) async fn no_other_site(
    State(here): State<Here>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(ORIGIN);
    if origin.is_some_and(|it| !it.to_str().is_ok_and(|origin| here.is_origin(origin))) {
        return (StatusCode::FORBIDDEN, "the Origin is another site\n").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M2: the guard refuses a request with another site's `Host` or `Origin`, and a POST without an
    /// `Origin`.
    #[test]
    fn only_this_machine_and_its_own_pages_may_ask() {
        let here = Here { port: 3000 };
        let judge = |method: Method, pairs: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, HeaderValue::from_static(value));
            }
            here.judge(&method, &headers).is_ok()
        };
        for host in ["127.0.0.1:3000", "localhost:3000"] {
            assert!(judge(Method::GET, &[(HOST, host)]), "{host}");
        }
        for host in ["127.0.0.1", "127.0.0.1:3001", "evil.example:3000", "localhost.evil:3000", ""]
        {
            assert!(!judge(Method::GET, &[(HOST, host)]), "{host}");
        }
        assert!(!judge(Method::GET, &[]));
        assert!(!judge(Method::GET, &[(HOST, "localhost:3000"), (HOST, "localhost:3000")]));
        let host = (HOST, "127.0.0.1:3000");
        let post = |origin| judge(Method::POST, &[host.clone(), (ORIGIN, origin)]);
        assert!(post("http://127.0.0.1:3000") && post("http://localhost:3000"));
        for origin in ["null", "https://evil.example", "http://127.0.0.1:3001", "http://127.0.0.1"]
        {
            assert!(!post(origin), "{origin}");
        }
        assert!(!judge(Method::POST, std::slice::from_ref(&host)));
        assert!(!judge(Method::GET, &[host.clone(), (ORIGIN, "https://evil.example")]));
    }
}

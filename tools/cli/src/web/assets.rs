//! The files of the pages. The program contains these files, so that a browser loads no file from another
//! server.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse as _;
use axum::routing::get;

/// htmx and its extension for server-sent events, unchanged from npm's `htmx.org` 4.0.1. The licence of htmx
/// is in the same folder as its files.
const HTMX: &str = include_str!("../../assets/htmx/htmx.min.js");
const SSE: &str = include_str!("../../assets/htmx/hx-sse.min.js");
const SCRIPT: &str = include_str!("../../assets/page.js");
const STYLE: &str = include_str!("../../assets/page.css");
const ICON: &str = include_str!("../../assets/icon.svg");

/// Serves the files, each under its name.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(kind)),
                // A browser keeps a file for only a minute, because another version of the tool may soon
                // serve this address.
                (CACHE_CONTROL, HeaderValue::from_static("max-age=60")),
            ];
            (headers, text).into_response()
        })
    };
    Router::new()
        .route("/htmx.js", file("text/javascript; charset=utf-8", HTMX))
        .route("/sse.js", file("text/javascript; charset=utf-8", SSE))
        .route("/page.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/page.css", file("text/css; charset=utf-8", STYLE))
        .route("/icon.svg", file("image/svg+xml", ICON))
}

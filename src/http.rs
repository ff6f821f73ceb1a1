//! Reads requests and makes responses: the endpoints' paths, ids, headers, bodies and answers (B1 to B5). The
//! module [`crate::deletion`] decides what a deletion's request changes.

mod query;
mod response;
mod route;
mod sweep;
mod uninstall;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

pub use self::query::team;
pub use self::response::{Reply, respond};
pub use self::route::{Endpoint, Ids, Pattern, RawIds, Route};
pub use self::sweep::authorize_sweep;
pub use self::uninstall::Uninstall;
use crate::error::{BadRequest, Error};
use crate::ids::{IdempotencyKey, InvalidId};

/// The request's `Idempotency-Key` (B4).
///
/// # Errors
///
/// [`InvalidId::IdempotencyKey`] if the header is malformed or repeated.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, InvalidId> {
    let mut values = headers.get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => IdempotencyKey::parse(value.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(InvalidId::IdempotencyKey),
    }
}

/// The longest body of a request for a deletion, in bytes (B3).
pub const MAX_BODY: u64 = 64 * 1024;

/// Reads a body of at most `limit` bytes that arrives within `time` (B3, J6).
///
/// # Errors
///
/// [`Error::PayloadTooLarge`] if the body is longer than `limit`. [`BadRequest::BodyIncomplete`] if the whole
/// body does not arrive within `time`.
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

//! Who may call the sweep (B1).

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;

use crate::error::Error;
use crate::secret::Secret;

/// Accepts a caller that sends `CRON_SECRET` as its bearer token, as Vercel's cron does. teardown always
/// needs the same time to refuse a wrong secret of the right length.
///
/// # Errors
///
/// [`Error::InvalidCronSecret`] if the caller does not send `CRON_SECRET`, or if no `CRON_SECRET` is
/// configured.
pub fn authorize_sweep(headers: &HeaderMap, secret: Option<&Secret>) -> Result<(), Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None, Some(secret)) = (values.next(), values.next(), secret) else {
        return Err(Error::InvalidCronSecret);
    };
    let (scheme, token) = value.as_bytes().split_at(value.len().min("bearer ".len()));
    let is_secret = token.ct_eq(secret.expose().as_bytes());
    if scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(is_secret) {
        Ok(())
    } else {
        Err(Error::InvalidCronSecret)
    }
}

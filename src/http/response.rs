//! Makes the responses for answers and errors (B5, C1, D1).

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::deletion::Answer;
use crate::error::Error;
use crate::job::Report;

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserMessage<'a>>,
}

#[derive(Serialize)]
struct UserMessage<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

/// The answer to a request that succeeded. [`Reply`] has no `Debug`, because a backend's answer may contain
/// secrets.
#[derive(Clone)]
pub enum Reply {
    /// A deletion's answer.
    Deleted(Answer),
    /// A sweep's report.
    Swept(Report),
    /// The backend's answer to a call that teardown passed on.
    Passed(Response<Bytes>),
    /// The report about the new jobs that teardown ran for an event of the table's stream.
    Ran(Report),
    /// The answer to a webhook. A webhook's answer has no body.
    Received,
}

impl Reply {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Deleted(answer) => answer.response().0,
            Self::Passed(answer) => answer.status().as_u16(),
            Self::Swept(_) | Self::Ran(_) | Self::Received => 200,
        }
    }
}

/// Makes the response for a request's result (B5). `support_url` becomes `error.user.url`.
#[must_use]
pub fn respond(result: Result<Reply, Error>, support_url: Option<&str>) -> Response<Full<Bytes>> {
    match result {
        Ok(Reply::Deleted(answer)) => {
            let (status, body) = answer.response();
            json(status, body.map(|body| Bytes::from_static(body.as_bytes())))
        }
        Ok(Reply::Swept(report) | Reply::Ran(report)) => {
            json(200, serde_json::to_vec(&report).ok().map(Bytes::from))
        }
        Ok(Reply::Passed(answer)) => answer.map(Full::new),
        Ok(Reply::Received) => json(200, None),
        Err(error) => {
            let row = error.row();
            let user = row.user_message.map(|message| UserMessage { message, url: support_url });
            let body = ErrorBody {
                error: ErrorObject { code: row.code, message: error.to_string(), user },
            };
            let mut response = json(row.status, serde_json::to_vec(&body).ok().map(Bytes::from));
            let headers = response.headers_mut();
            if let Error::MethodNotAllowed { allowed } = &error
                && let Ok(allowed) = HeaderValue::from_str(&allowed.to_string())
            {
                headers.insert(ALLOW, allowed);
            }
            if let Some(seconds) = error.retry_after() {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

fn json(status: u16, body: Option<Bytes>) -> Response<Full<Bytes>> {
    let has_body = body.is_some();
    let mut response = Response::new(Full::new(body.unwrap_or_default()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if has_body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::time::Duration;

    use http::Method;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::auth::TokenError;
    use crate::error::{BadRequest, Methods, TABLE};
    use crate::ids::InvalidId;
    use crate::vercel::VercelError;

    /// One example of each error, of each kind of bad request, and of each kind of bad token.
    fn errors() -> Vec<Error> {
        let retry_after = Duration::from_millis(2_500);
        let bad_requests = [
            BadRequest::Id(InvalidId::Id),
            BadRequest::Id(InvalidId::IdempotencyKey),
            BadRequest::Body,
            BadRequest::FieldType { name: "reason", expected: "string" },
            BadRequest::FieldRepeated("reason"),
            BadRequest::QueryRepeated("teamId"),
            BadRequest::BodyIncomplete,
            BadRequest::Event,
        ];
        let tokens = [
            TokenError::Authorization,
            TokenError::TooLong,
            TokenError::Malformed,
            TokenError::Algorithm,
            TokenError::Critical,
            TokenError::KeyId,
            TokenError::UnknownKey,
            TokenError::Signature,
            TokenError::Claims,
            TokenError::Issuer,
            TokenError::Audience,
            TokenError::Expired,
            TokenError::NotYetValid,
            TokenError::Kind,
            TokenError::AuthStyle,
        ];
        let others = [
            Error::ReadOnlyRole,
            Error::OtherInstallation,
            Error::OtherTeam,
            Error::InvalidCronSecret,
            Error::InvalidSignature,
            Error::NotFound,
            Error::ConfigurationUnknown,
            Error::MethodNotAllowed { allowed: Methods(&[Method::DELETE]) },
            Error::InstallationDeleted,
            Error::ResourceBusy,
            Error::ResourcesRemain(2),
            Error::UninstallWithOpenInvoices,
            Error::IdempotencyKeyReused,
            Error::RequestInProgress { retry_after },
            Error::InvoicesOpen,
            Error::UpstreamRefused(VercelError::default()),
            Error::PayloadTooLarge { limit: 64 << 10 },
            Error::PayloadTooLarge { limit: 256 << 10 },
            Error::PayloadTooLarge { limit: 4 << 20 },
            Error::Internal("a secret".into()),
            Error::BackendUnavailable("a secret".into()),
            Error::KeysUnavailable { retry_after },
            Error::StoreUnavailable("a secret".into()),
            Error::UpstreamUnavailable { retry_after },
        ];
        let bad_requests = bad_requests.into_iter().map(Error::BadRequest);
        bad_requests.chain(tokens.into_iter().map(Error::InvalidToken)).chain(others).collect()
    }

    /// B5: the answer to each error has exactly the text in the snapshot. Providers and operators search for
    /// the texts of errors.
    #[tokio::test]
    async fn every_error_is_answered_in_these_words() {
        let errors = errors();
        let rows: Vec<_> = errors.iter().map(|error| *error.row()).collect();
        assert!(TABLE.iter().all(|row| rows.contains(row)), "an error is not in the list above");
        let mut answers = String::new();
        for error in errors {
            let (head, body) = respond(Err(error), None).into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header(CONTENT_TYPE), Some("application/json"));
            write!(answers, "{}", head.status.as_u16()).unwrap();
            for name in [ALLOW, RETRY_AFTER] {
                if let Some(value) = header(name.clone()) {
                    write!(answers, " {name}: {value}").unwrap();
                }
            }
            writeln!(answers, " {}", std::str::from_utf8(&body).unwrap()).unwrap();
        }
        insta::assert_snapshot!(answers, @r#"
        400 {"error":{"code":"bad_request","message":"an id is 1 to 255 of A-Z a-z 0-9 . _ : ~ - and not . or .."}}
        400 {"error":{"code":"bad_request","message":"Idempotency-Key is 1 to 255 visible ASCII characters, sent once"}}
        400 {"error":{"code":"bad_request","message":"the body is not a JSON object"}}
        400 {"error":{"code":"bad_request","message":"the body's field `reason` must be a string"}}
        400 {"error":{"code":"bad_request","message":"the body's field `reason` is repeated"}}
        400 {"error":{"code":"bad_request","message":"the query parameter `teamId` is repeated"}}
        400 {"error":{"code":"bad_request","message":"the body did not arrive in full"}}
        400 {"error":{"code":"bad_request","message":"the request did not come in an event of API Gateway that can be read"}}
        403 {"error":{"code":"invalid_token","message":"exactly one `Authorization: Bearer <token>` header is required"}}
        403 {"error":{"code":"invalid_token","message":"the token is over 8 KiB"}}
        403 {"error":{"code":"invalid_token","message":"the token is not a signed JWT"}}
        403 {"error":{"code":"invalid_token","message":"the token is not signed with RS256"}}
        403 {"error":{"code":"invalid_token","message":"the token has a crit header"}}
        403 {"error":{"code":"invalid_token","message":"the token has no kid"}}
        403 {"error":{"code":"invalid_token","message":"the token's key is not one of the issuer's"}}
        403 {"error":{"code":"invalid_token","message":"the token's signature is wrong"}}
        403 {"error":{"code":"invalid_token","message":"the token's claims are missing or of the wrong type"}}
        403 {"error":{"code":"invalid_token","message":"the token is from another issuer"}}
        403 {"error":{"code":"invalid_token","message":"the token is meant for another integration"}}
        403 {"error":{"code":"invalid_token","message":"the token has expired"}}
        403 {"error":{"code":"invalid_token","message":"the token is not valid yet"}}
        403 {"error":{"code":"invalid_token","message":"the token is neither a user's nor the system's"}}
        403 {"error":{"code":"invalid_token","message":"X-Vercel-Auth does not agree with the token"}}
        403 {"error":{"code":"forbidden","message":"the token's user_role may not delete: ADMIN may","user":{"message":"Your role is read-only. Ask a team member who may manage integrations to delete this."}}}
        403 {"error":{"code":"forbidden","message":"the token does not stand for this installation","user":{"message":"You do not have access to this installation."}}}
        403 {"error":{"code":"forbidden","message":"teamId and slug do not stand for this installation's team","user":{"message":"You do not have access to this team."}}}
        403 {"error":{"code":"invalid_token","message":"exactly one `Authorization: Bearer <CRON_SECRET>` header is required"}}
        403 {"error":{"code":"invalid_signature","message":"exactly one `x-vercel-signature` header is required, the body's HMAC-SHA1 in lower-case hex"}}
        404 {"error":{"code":"not_found","message":"there is nothing at this path"}}
        404 {"error":{"code":"not_found","message":"there is no such configuration"}}
        405 allow: DELETE {"error":{"code":"method_not_allowed","message":"this path answers DELETE only"}}
        409 {"error":{"code":"installation_deleted","message":"the installation was deleted","user":{"message":"This installation was removed. Install the integration again to create resources."}}}
        409 {"error":{"code":"resource_busy","message":"the resource is still being provisioned","user":{"message":"This resource is still being set up. Try again when it is ready."}}}
        409 {"error":{"code":"resources_remain","message":"the installation still has live resources: 2","user":{"message":"This installation still has resources. Delete them first."}}}
        409 {"error":{"code":"invoices_open","message":"the installation's invoices are not settled, and it is not uninstalled until they are","user":{"message":"This installation has open invoices. Uninstall it when they are settled."}}}
        409 {"error":{"code":"idempotency_key_reused","message":"this Idempotency-Key was used for another request","user":{"message":"This request could not be matched with an earlier one. Try again."}}}
        409 retry-after: 3 {"error":{"code":"request_in_progress","message":"the configuration is being deleted by another request","user":{"message":"This is being deleted already. Try again in a moment."}}}
        409 {"error":{"code":"invoices_open","message":"the installation's invoices are not settled","user":{"message":"Final invoices are still open. Try again when they are settled, or a day after the uninstall."}}}
        409 {"error":{"code":"upstream_refused","message":"Vercel refuses to delete the configuration: it gives no reason","user":{"message":"Vercel did not permit this deletion."}}}
        413 {"error":{"code":"payload_too_large","message":"the body is over 64 KiB"}}
        413 {"error":{"code":"payload_too_large","message":"the body is over 256 KiB"}}
        413 {"error":{"code":"payload_too_large","message":"the body is over 4 MiB"}}
        500 {"error":{"code":"internal_error","message":"internal error"}}
        502 {"error":{"code":"backend_unavailable","message":"the provider's backend did not answer"}}
        503 retry-after: 3 {"error":{"code":"keys_unavailable","message":"the keys that verify tokens are not available"}}
        503 retry-after: 2 {"error":{"code":"store_unavailable","message":"the store is not available"}}
        503 retry-after: 3 {"error":{"code":"upstream_unavailable","message":"Vercel's API is not available"}}
        "#);
    }
}

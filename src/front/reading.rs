//! Reads only what the table needs from the bodies that pass through (J3 to J5). A body that does not have
//! the documented form is not read, but is still passed on.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::backend::MAX_PASSING;
use crate::ids::ResourceId;
use crate::json;
use crate::secret::Secret;
use crate::store::registry::{ResourceRecord, StatusRecord};

/// The longest name and product id that are stored, in bytes.
const MAX_TEXT: usize = 1024;

/// What the backend's answer says about a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) name: Option<String>,
    pub(super) status: Option<StatusRecord>,
}

/// The fields that teardown reads of an answer. teardown skips the answer's other fields, which may be large.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fields {
    id: Option<Value>,
    name: Option<Value>,
    product_id: Option<Value>,
    status: Option<Value>,
    billing_plan: Option<Value>,
}

/// The access token in an Upsert Installation's body. `None` if the body has no token, or if a header cannot
/// carry the token.
pub(super) fn access_token(body: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Upsert {
        credentials: Option<Credentials>,
    }
    #[derive(Deserialize)]
    struct Credentials {
        access_token: Option<Value>,
    }
    let token = json::from_slice::<Upsert>(body).ok()?.credentials?.access_token?;
    let token = token.as_str().filter(|token| !token.is_empty())?;
    token.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Secret::new(token.to_owned()))
}

/// Whether an answer says that nothing is to be paid: `billingPlan.paymentMethodRequired` is `false`.
pub(super) fn is_free(answer: &Response<Bytes>) -> bool {
    let plan = fields(answer).and_then(|fields| fields.billing_plan);
    plan.is_some_and(|plan| plan["paymentMethodRequired"] == Value::Bool(false))
}

/// The resource that a Provision's answer names. `None` if the answer has no usable `id`.
pub(super) fn made(
    installation: &crate::ids::InstallationId,
    answer: &Response<Bytes>,
) -> Option<ResourceRecord> {
    let fields = fields(answer)?;
    let id = ResourceId::parse(fields.id.as_ref()?.as_str()?).ok()?;
    Some(ResourceRecord {
        installation_id: installation.clone(),
        id,
        name: text(fields.name.as_ref()),
        product_id: text(fields.product_id.as_ref()),
        status: status(fields.status.as_ref()),
    })
}

/// What an answer says about a resource that is already known.
pub(super) fn reported(answer: &Response<Bytes>) -> Reported {
    let Some(fields) = fields(answer) else { return Reported::default() };
    Reported { name: text(fields.name.as_ref()), status: status(fields.status.as_ref()) }
}

fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|text| text.len() <= MAX_TEXT).map(str::to_owned)
}

fn status(value: Option<&Value>) -> Option<StatusRecord> {
    StatusRecord::deserialize(value?).ok()
}

fn fields(answer: &Response<Bytes>) -> Option<Fields> {
    json::from_slice(&unpacked(answer.headers(), answer.body())?).ok()
}

/// Decodes a body from its `Content-Encoding`, which may be gzip, `identity` or absent. `None` for any
/// other encoding, for malformed gzip, and for more than 4 MiB after decoding.
fn unpacked(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encoding = match (encodings.next(), encodings.next()) {
        (None, _) => return Some(body.clone()),
        (Some(encoding), None) => encoding.to_str().ok()?.trim(),
        (Some(_), Some(_)) => return None,
    };
    if encoding.eq_ignore_ascii_case("identity") {
        return Some(body.clone());
    }
    if !["gzip", "x-gzip"].iter().any(|name| encoding.eq_ignore_ascii_case(name)) {
        return None;
    }
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(&body[..]).take(MAX_PASSING + 1).read_to_end(&mut unpacked);
    let whole = read.is_ok_and(|length| length as u64 <= MAX_PASSING);
    whole.then(|| Bytes::from(unpacked))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::ids::InstallationId;

    fn answer(body: impl Into<Bytes>) -> Response<Bytes> {
        Response::new(body.into())
    }

    fn encoded(encoding: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
        let mut answer = answer(body);
        answer.headers_mut().insert(CONTENT_ENCODING, encoding.parse().unwrap());
        answer
    }

    fn made_id(answer: &Response<Bytes>) -> Option<String> {
        let installation = InstallationId::parse("icfg_1").unwrap();
        made(&installation, answer).map(|resource| resource.id.to_string())
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// J4: the front reads a resource only if its id is usable, and skips a name, status or product id that
    /// is not usable.
    #[test]
    fn a_resource_is_read_where_it_has_a_usable_id() {
        let installation = InstallationId::parse("icfg_1").unwrap();
        let whole = r#"{"id":"db_1","productId":"p","name":"n \ud83d","status":"pending",
            "secrets":[{"name":"A","value":"b"}],"metadata":{"x":[1,{}]}}"#;
        let resource = made(&installation, &answer(whole)).unwrap();
        assert_eq!((resource.id.as_str(), resource.product_id.as_deref()), ("db_1", Some("p")));
        assert_eq!(resource.name.as_deref(), Some("n \u{fffd}"));
        assert_eq!(resource.status, Some(StatusRecord::Pending));
        let odd = format!(
            r#"{{"id":"db_1","name":"{}","status":"new","productId":1}}"#,
            "x".repeat(1025)
        );
        let resource = made(&installation, &answer(odd)).unwrap();
        assert_eq!((resource.name, resource.status, resource.product_id), (None, None, None));
        for body in [
            "",
            "[]",
            "null",
            "{",
            r#"{"id":1}"#,
            r#"{"id":""}"#,
            r#"{"id":"a/b"}"#,
            r#"{"ID":"a"}"#,
            r#"{"id":"a","id":"b"}"#,
        ] {
            assert_eq!(made_id(&answer(body)), None, "{body}");
        }
    }

    /// J6: the front reads an answer in gzip if the decoded answer has at most 4 MiB. The front does not read
    /// an answer in an encoding that it does not know.
    #[test]
    fn an_answer_is_unpacked_to_be_read() {
        let json = br#"{"id":"db_1"}"#;
        assert_eq!(made_id(&encoded("gzip", gzip(json))).as_deref(), Some("db_1"));
        assert_eq!(made_id(&encoded("GZIP", gzip(json))).as_deref(), Some("db_1"));
        assert_eq!(made_id(&encoded("identity", &json[..])).as_deref(), Some("db_1"));
        assert_eq!(made_id(&encoded("br", &json[..])), None);
        assert_eq!(made_id(&encoded("gzip", &json[..])), None, "it is no gzip");
        assert_eq!(made_id(&encoded("gzip", gzip(json)[..20].to_vec())), None, "it breaks off");
        let padded = |length: usize| {
            let mut body = json.to_vec();
            body.resize(length, b' ');
            made_id(&encoded("gzip", gzip(&body)))
        };
        let most = usize::try_from(MAX_PASSING).unwrap();
        assert_eq!(padded(most).as_deref(), Some("db_1"));
        assert_eq!(padded(most + 1), None);
    }

    /// J3: the token and the billing are read from the documented fields.
    #[test]
    fn an_upsert_is_read() {
        let token = |body: &str| access_token(body.as_bytes()).map(|it| it.expose().to_owned());
        assert_eq!(token(r#"{"credentials":{"access_token":"t0k"}}"#).as_deref(), Some("t0k"));
        for body in [
            "{}",
            "",
            r#"{"credentials":null}"#,
            r#"{"credentials":{"access_token":""}}"#,
            r#"{"credentials":{"access_token":"a b"}}"#,
            r#"{"credentials":{"access_token":1}}"#,
        ] {
            assert_eq!(token(body), None, "{body}");
        }
        assert!(is_free(&answer(r#"{"billingPlan":{"paymentMethodRequired":false}}"#)));
        for body in [
            "",
            "{}",
            r#"{"billingPlan":{}}"#,
            r#"{"billingPlan":null}"#,
            r#"{"billingPlan":{"paymentMethodRequired":true}}"#,
            r#"{"billingPlan":{"paymentMethodRequired":"false"}}"#,
        ] {
            assert!(!is_free(&answer(body)), "{body}");
        }
    }
}

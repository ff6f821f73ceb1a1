//! Decides, without I/O, whether Vercel sent a webhook, which event the webhook reports, and which uninstall
//! follows from the event (K).

use aws_lc_rs::hmac;
use http::HeaderMap;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::deletion::Deletion;
use crate::error::{BadRequest, Error};
use crate::ids::{InstallationId, hex};
use crate::reconcile::removal;
use crate::secret::Secret;

/// The longest body of a webhook, in bytes (K1).
pub const MAX_BODY: u64 = 256 * 1024;

/// The header with a webhook's signature.
const HEADER: &str = "x-vercel-signature";

/// The length of a signature, which is an HMAC-SHA1 in hexadecimal.
const LENGTH: usize = 40;

/// The signature of a webhook's body, before the signature is verified. No log shows the signature, because
/// somebody could use it to replay the webhook.
pub struct Signature<'a>(&'a [u8]);

impl<'a> Signature<'a> {
    /// Reads the signature from the header, before the body is read.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSignature`] if the header is absent, repeated, or not 40 hexadecimal digits in
    /// lower case.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, Error> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Error::InvalidSignature);
        };
        let value = value.as_bytes();
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if value.len() == LENGTH && value.iter().all(is_digit) {
            Ok(Self(value))
        } else {
            Err(Error::InvalidSignature)
        }
    }

    /// Compares the signature with the correct signature of `body`, in constant time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSignature`] if the signature is wrong, or if no secret is configured.
    pub fn verify(&self, body: &[u8], secret: Option<&Secret>) -> Result<(), Error> {
        let secret = secret.ok_or(Error::InvalidSignature)?;
        // Vercel signs with HMAC-SHA1. The known attacks on SHA-1 do not break HMAC-SHA1.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
        let expected = hex(hmac::sign(&key, body).as_ref());
        if expected.as_bytes().ct_eq(self.0).into() { Ok(()) } else { Err(Error::InvalidSignature) }
    }
}

/// A webhook that Vercel sent.
#[derive(Debug)]
pub struct Webhook {
    kind: String,
    body: Value,
}

/// The event that a webhook reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An installation has moved to another account (K2).
    Transferred(Transfer),
    /// A configuration was removed at Vercel (K3).
    Removed(Removal),
    /// An event that teardown does not act on.
    Other,
}

/// The move of an installation to another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The installation that has moved.
    pub installation: InstallationId,
    /// The account that the installation belongs to now.
    pub account: String,
    /// The team that the installation belongs to now, if the account is a team.
    pub team: Option<String>,
    /// When Vercel created the webhook, in milliseconds since the Unix epoch.
    pub as_of: i64,
}

/// The removal of a configuration at Vercel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The installation whose configuration was removed.
    pub installation: InstallationId,
    /// The team that the installation belonged to, if Vercel names a team.
    pub team: Option<String>,
}

impl Webhook {
    /// Reads a webhook from a body whose signature was verified.
    ///
    /// # Errors
    ///
    /// [`BadRequest`] if the body is not a JSON object with a `type`.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let body: Value = crate::json::from_slice(body).map_err(|_| BadRequest::Body)?;
        if !body.is_object() {
            return Err(BadRequest::Body);
        }
        let kind = text(&body, "type", "/type")?.to_owned();
        Ok(Self { kind, body })
    }

    /// The event's type, as Vercel sent it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The event that the webhook reports. The installation's id is read from `configuration.id`, because in
    /// Vercel's samples `installationId` is the integration's id.
    ///
    /// # Errors
    ///
    /// [`BadRequest`] if teardown acts on events of this type, but a field that teardown needs is missing or
    /// malformed.
    pub fn event(&self) -> Result<Event, BadRequest> {
        let body = &self.body;
        let installation = || {
            let id = "/payload/configuration/id";
            Ok::<_, BadRequest>(InstallationId::parse(text(body, "payload.configuration.id", id)?)?)
        };
        match self.kind.as_str() {
            "integration-configuration.transferred" => Ok(Event::Transferred(Transfer {
                installation: installation()?,
                account: text(body, "payload.newAccountId", "/payload/newAccountId")?.to_owned(),
                team: optional(body, "payload.newTeamId", "/payload/newTeamId")?,
                as_of: body["createdAt"].as_i64().ok_or(BadRequest::FieldType {
                    name: "createdAt",
                    expected: "number of milliseconds",
                })?,
            })),
            "integration-configuration.removed" => Ok(Event::Removed(Removal {
                installation: installation()?,
                team: optional(body, "payload.team.id", "/payload/team/id")?,
            })),
            _ => Ok(Event::Other),
        }
    }
}

impl Event {
    /// The installation that the event is about. `None` if teardown does not act on the event.
    #[must_use]
    pub fn installation(&self) -> Option<&InstallationId> {
        match self {
            Self::Transferred(transfer) => Some(&transfer.installation),
            Self::Removed(removal) => Some(&removal.installation),
            Self::Other => None,
        }
    }
}

impl Removal {
    /// The uninstall by the system that follows a removal at Vercel. An uninstall after a removal at Vercel
    /// is never refused, because Vercel would ignore a refusal. If the installation is stored, the
    /// uninstall's account is the stored account. If the installation is unknown, the uninstall's account is
    /// the team that Vercel names. If Vercel names no team, the account is the installation's id (K3).
    #[must_use]
    pub fn uninstall(&self, stored: Option<&str>, at: Timestamp) -> Deletion {
        let account = stored.or(self.team.as_deref()).unwrap_or(self.installation.as_str());
        removal(self.installation.clone(), account.to_owned(), at)
    }
}

/// The text of a required field.
fn text<'a>(body: &'a Value, name: &'static str, place: &str) -> Result<&'a str, BadRequest> {
    let text = body.pointer(place).and_then(Value::as_str);
    text.ok_or(BadRequest::FieldType { name, expected: "string" })
}

/// The text of an optional field. `None` if the field is absent or null.
fn optional(body: &Value, name: &'static str, place: &str) -> Result<Option<String>, BadRequest> {
    match body.pointer(place) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(body, name, place).map(|text| Some(text.to_owned())),
    }
}

//! A configuration, as Vercel's API returns it.

use serde_json::{Map, Value};

use super::calls::shown;
use crate::clock::Timestamp;
use crate::ids::AttachmentId;
use crate::json;

/// A configuration, as Vercel's API returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VercelConfiguration {
    /// `teamId`.
    pub team: Option<String>,
    /// Whether the configuration has a `deletedAt`.
    pub is_deleted: bool,
    /// `deleteRequestedAt`: when the uninstall of the configuration began at Vercel.
    pub delete_requested_at: Option<Timestamp>,
    /// `disabledAt` and `disabledReason`. `None` if the configuration is not disabled.
    pub disabled: Option<Disabled>,
}

/// When and why a configuration was disabled. A disabled configuration does not work, and Vercel removes it
/// after some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disabled {
    /// `disabledAt`, if it is a time.
    pub at: Option<Timestamp>,
    /// `disabledReason`.
    pub reason: Option<String>,
}

impl VercelConfiguration {
    /// Reads a configuration from the body of Vercel's answer. `None` if the body is not an object, or if the
    /// configuration's `teamId` is not an id.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let fields: Map<String, Value> = json::from_slice(body).ok()?;
        let given = |name| fields.get(name).filter(|value| !value.is_null());
        let team = match given("teamId") {
            None => None,
            Some(Value::String(id)) => Some(AttachmentId::parse(id).ok()?.to_string()),
            Some(_) => return None,
        };
        Some(Self {
            team,
            is_deleted: given("deletedAt").is_some(),
            delete_requested_at: given("deleteRequestedAt").and_then(time),
            disabled: given("disabledAt").map(|at| Disabled {
                at: time(at),
                reason: given("disabledReason").and_then(Value::as_str).map(shown),
            }),
        })
    }
}

/// Reads a time from Vercel, which is in milliseconds since the Unix epoch.
fn time(value: &Value) -> Option<Timestamp> {
    value.as_u64().map(|milliseconds| Timestamp::from_secs(milliseconds / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// E7: a configuration can be read from an answer that is an object, with or without a team's id.
    #[test]
    fn a_configuration_is_read() {
        let read = |body: &str| {
            let read = VercelConfiguration::parse(body.as_bytes());
            read.map(|it| (it.team, it.is_deleted))
        };
        let team = Some("team_2".to_owned());
        for body in [
            r#"{"id":"icfg_1","teamId":"team_2"}"#,
            r#"{"teamId":"team_2","deletedAt":null,"name":"\ud83d"}"#,
        ] {
            assert_eq!(read(body), Some((team.clone(), false)), "{body}");
        }
        let deleted = r#"{"teamId":"team_2","deletedAt":1763769600000}"#;
        assert_eq!(read(deleted), Some((team, true)));
        for body in ["{}", r#"{"teamId":null}"#] {
            assert_eq!(read(body), Some((None, false)), "{body}");
        }
        for body in [
            "",
            "[]",
            "null",
            "<html>",
            r#"{"teamId":1}"#,
            r#"{"teamId":""}"#,
            r#"{"teamId":"a b"}"#,
            r#"{"teamId":"team_2""#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    /// L1: the times of a requested uninstall and of a disabled configuration are read. A malformed time does
    /// not hide that the configuration is disabled.
    #[test]
    fn what_is_under_way_is_read() {
        let read = |body: &str| VercelConfiguration::parse(body.as_bytes()).unwrap();
        let at = Timestamp::from_secs(1_763_769_600);
        let requested = read(r#"{"deleteRequestedAt":1763769600999,"disabledAt":null}"#);
        assert_eq!(requested.delete_requested_at, Some(at));
        assert_eq!(requested.disabled, None);
        let disabled = read(r#"{"disabledAt":1763769600000,"disabledReason":"a\nreason"}"#);
        let reason = Some("a reason".to_owned());
        assert_eq!(disabled.disabled, Some(Disabled { at: Some(at), reason }));
        let odd =
            read(r#"{"deleteRequestedAt":"soon","disabledAt":"2025-11-22","disabledReason":1}"#);
        assert_eq!((odd.delete_requested_at, odd.disabled), (None, Some(Disabled::default())));
    }
}

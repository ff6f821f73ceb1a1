//! The body of Delete Installation (B3).

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::deletion::Cascade;
use crate::error::BadRequest;
use crate::json;

/// The body of Delete Installation, after parsing (B3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uninstall {
    /// `cascadeResourceDeletion`, which is true if it is absent or null (D2).
    pub cascade: Cascade,
    /// `reason`.
    pub reason: Option<String>,
}

/// All values that the caller sent for each field, so that teardown notices a repeated field.
#[derive(Default)]
struct UninstallFields {
    cascade: Vec<Box<RawValue>>,
    reason: Vec<Box<RawValue>>,
}

impl Uninstall {
    /// Reads the body of Delete Installation. An empty body counts as `{}`, and a null field counts as an
    /// absent field. Unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// [`BadRequest::Body`] if the body is not a JSON object. Another [`BadRequest`], which names the field,
    /// if a field is repeated or has a wrong type.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let fields = if body.is_empty() {
            UninstallFields::default()
        } else {
            json::from_slice(body).map_err(|_| BadRequest::Body)?
        };
        let cascade = match one("cascadeResourceDeletion", "boolean", &fields.cascade)? {
            None | Some(true) => Cascade::Yes,
            Some(false) => Cascade::No,
        };
        Ok(Self { cascade, reason: one("reason", "string", &fields.reason)? })
    }
}

/// The value of a field. `None` if the field is absent or null. An error if the caller sent the field twice.
fn one<T: DeserializeOwned>(
    name: &'static str,
    expected: &'static str,
    values: &[Box<RawValue>],
) -> Result<Option<T>, BadRequest> {
    match values {
        [] => Ok(None),
        [value] => {
            serde_json::from_str(value.get()).map_err(|_| BadRequest::FieldType { name, expected })
        }
        _ => Err(BadRequest::FieldRepeated(name)),
    }
}

impl<'de> Deserialize<'de> for UninstallFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = UninstallFields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = UninstallFields::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "cascadeResourceDeletion" => fields.cascade.push(map.next_value()?),
                        "reason" => fields.reason.push(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B3: which bodies of Delete Installation are accepted, and what they mean.
    #[test]
    fn bodies() {
        let expected = |cascade, reason: Option<&str>| {
            Ok(Uninstall { cascade, reason: reason.map(str::to_owned) })
        };
        for nothing in [
            "",
            "{}",
            r#" {"cascadeResourceDeletion":null,"reason":null} "#,
            r#"{"surprise":[{"reason":5}],"reasons":1}"#,
            r#"{"cascadeResourceDeletion":true}"#,
        ] {
            assert_eq!(
                Uninstall::parse(nothing.as_bytes()),
                expected(Cascade::Yes, None),
                "{nothing}"
            );
        }
        assert_eq!(
            Uninstall::parse(br#"{"reason":"too dear","cascadeResourceDeletion":false}"#),
            expected(Cascade::No, Some("too dear"))
        );
        for no_object in ["[]", "[true,\"x\"]", "null", "1", "\"x\"", "{", "{}x", " ", "\u{feff}{}"]
        {
            assert_eq!(
                Uninstall::parse(no_object.as_bytes()),
                Err(BadRequest::Body),
                "{no_object}"
            );
        }
        for no_utf8 in [&b"{\"reason\":\"\xff\"}"[..], b"{\"other\":\"\xff\"}"] {
            assert_eq!(Uninstall::parse(no_utf8), Err(BadRequest::Body));
        }
        assert_eq!(
            Uninstall::parse(br#"{"\ud83d":1,"reason":"we move \ud83d"}"#),
            expected(Cascade::Yes, Some("we move \u{fffd}"))
        );
        for (body, message) in [
            (
                r#"{"cascadeResourceDeletion":"false"}"#,
                "the body's field `cascadeResourceDeletion` must be a boolean",
            ),
            (r#"{"reason":["x"]}"#, "the body's field `reason` must be a string"),
            (r#"{"reason":1e999}"#, "the body's field `reason` must be a string"),
            (r#"{"reason":"a","reason":"a"}"#, "the body's field `reason` is repeated"),
            (
                r#"{"cascadeResourceDeletion":null,"cascadeResourceDeletion":false}"#,
                "the body's field `cascadeResourceDeletion` is repeated",
            ),
        ] {
            assert_eq!(Uninstall::parse(body.as_bytes()).unwrap_err().to_string(), message);
        }
    }
}

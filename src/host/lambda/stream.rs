//! Reads an event of the table's stream, which lists the new jobs (L2).

use serde::Deserialize;

use crate::ids::InstallationId;
use crate::job::Job;
use crate::store::job_at;

/// An event of the table's stream. Each record of the event describes a write to the table. IAM permits only
/// the stream's event source mapping to send events of the table's stream.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_source: String,
    event_name: String,
    dynamodb: Change,
}

#[derive(Deserialize)]
struct Change {
    #[serde(rename = "Keys")]
    keys: Keys,
}

/// The keys of an item of teardown's table. An event whose items have other keys is not from the stream of
/// teardown's table.
#[derive(Deserialize)]
struct Keys {
    pk: Text,
    sk: Text,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

/// The new jobs of a stream's event. `None` if the event comes from another service. A record is ignored if
/// its item is not new, or is not a job that this version of teardown knows.
pub(super) fn new_jobs(event: &[u8]) -> Option<Vec<(InstallationId, Job)>> {
    let Event { records } = crate::json::from_slice(event).ok()?;
    if records.is_empty() || records.iter().any(|it| it.event_source != "aws:dynamodb") {
        return None;
    }
    let new = records.into_iter().filter(|it| it.event_name == "INSERT");
    let job = |Keys { pk, sk }: Keys| job_at(&pk.text, &sk.text);
    Some(new.filter_map(|it| job(it.dynamodb.keys)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Puts `records` into a stream's event, and returns the new jobs of the event as text.
    fn jobs(records: &Value) -> Option<Vec<String>> {
        let event = json!({ "Records": records }).to_string();
        let named = |(id, job): (InstallationId, Job)| format!("{id} {job}");
        new_jobs(event.as_bytes()).map(|jobs| jobs.into_iter().map(named).collect())
    }

    fn record(name: &str, pk: &str, sk: &str) -> Value {
        json!({
            "eventID": "1", "eventSource": "aws:dynamodb", "eventName": name, "awsRegion": "x",
            "dynamodb": {
                "Keys": { "pk": { "S": pk }, "sk": { "S": sk } }, "StreamViewType": "KEYS_ONLY",
            },
        })
    }

    /// L2: a record of the stream names a job by the keys of the job's item. Records of changed and deleted
    /// items are ignored.
    #[test]
    fn a_record_names_a_new_job() {
        let pk = "installation#icfg_1";
        let records = json!([
            record("INSERT", pk, "work#purge"),
            record("INSERT", pk, "work#announce#resource#db_1"),
            record("MODIFY", pk, "work#announce#installation"),
            record("REMOVE", pk, "work#finalize"),
            record("INSERT", pk, "#installation"),
            record("INSERT", pk, "work#another"),
            record("INSERT", "key#icfg_1", "work#purge"),
            record("INSERT", "installation#a/b", "work#purge"),
        ]);
        let expected = ["icfg_1 purge", "icfg_1 announce#resource#db_1"].map(str::to_owned);
        assert_eq!(jobs(&records), Some(expected.to_vec()));
    }

    /// L2: teardown does not read an event as a stream's event if another service sent the event, or if it is
    /// malformed.
    #[test]
    fn another_event_is_none_of_a_streams() {
        let mut other = record("INSERT", "installation#icfg_1", "work#purge");
        other["eventSource"] = json!("aws:sqs");
        let good = record("INSERT", "installation#icfg_1", "work#purge");
        for records in [json!([]), json!([other]), json!([good, other]), json!({}), json!(null)] {
            assert_eq!(jobs(&records), None, "{records}");
        }
        for event in ["", "{}", "[]", r#"{"source":"aws.events"}"#] {
            assert_eq!(new_jobs(event.as_bytes()), None, "{event}");
        }
    }
}

//! The check of a token's signature, tested with test vectors from outside the project (A2, A7).

use serde_json::{Value, json};
use teardown::auth::jws::Jws;
use teardown::auth::keys::KeySet;

fn read(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether the check of signatures accepts this compact serialization with these keys.
fn accepts(keys: &Value, compact: &str) -> bool {
    let Ok(keys) = KeySet::parse(keys.to_string().as_bytes()) else { return false };
    let Ok(jws) = Jws::parse(compact) else { return false };
    let Some(key) = jws.key_id().ok().and_then(|kid| keys.get(kid)) else { return false };
    jws.verify(key).is_ok()
}

/// The groups of a Wycheproof file, each with its key or keys.
fn groups(file: &Value) -> impl Iterator<Item = (&Value, Value, &Vec<Value>)> {
    file["testGroups"].as_array().unwrap().iter().map(|group| {
        let key = group.get("public").unwrap_or(&group["private"]);
        let keys = if key.get("keys").is_some() { key.clone() } else { json!({ "keys": [key] }) };
        (group, keys, group["tests"].as_array().unwrap())
    })
}

/// A2, A7: every RS256 case of the three Wycheproof files has the result that its file states, and no case of
/// another algorithm is accepted.
#[test]
fn wycheproof() {
    let mut counts = [0, 0];
    for name in
        ["json_web_signature_test.json", "json_web_crypto_test.json", "json_web_key_test.json"]
    {
        let file = read(name);
        for (group, keys, tests) in groups(&file) {
            let is_rs256 = keys["keys"]
                .as_array()
                .unwrap()
                .iter()
                .all(|key| key["kty"] == "RSA" && key["alg"] == "RS256");
            for test in tests {
                let valid = is_rs256 && test["result"] == "valid";
                let compact = test["jws"].as_str().unwrap_or_default();
                counts[usize::from(valid)] += 1;
                assert_eq!(
                    accepts(&keys, compact),
                    valid,
                    "{name} {} {}: {}",
                    test["tcId"],
                    group["comment"],
                    test["comment"]
                );
            }
        }
    }
    assert_eq!(counts, [500, 10], "the files hold 10 valid RS256 cases");
}

/// A2: the RS256 example of RFC 7520 is accepted, and the other examples of RFC 7520 are not.
#[test]
fn rfc_7520() {
    let examples = read("rfc7520-jws.json");
    let accepted = examples.as_array().unwrap().iter().filter(|example| {
        accepts(&json!({ "keys": [example["jwk"]] }), example["compact"].as_str().unwrap())
    });
    assert_eq!(accepted.map(|example| &example["alg"]).collect::<Vec<_>>(), ["RS256"]);
}

//! Vercel's webhooks (K).

use serde_json::Value;

use crate::support::world::World;

/// K1: the signatures that OpenSSL computed are accepted, each for its own body alone.
#[tokio::test]
async fn a_signature_is_that_of_openssl() {
    let file: Value = serde_json::from_str(include_str!("webhook/signatures.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let text = |vector: &Value, name: &str| vector[name].as_str().unwrap().to_owned();
    let mut worlds = std::collections::BTreeMap::new();
    for vector in vectors {
        let secret = text(vector, "secret");
        if !worlds.contains_key(&secret) {
            worlds.insert(secret.clone(), World::with(&[("CLIENT_SECRET", &secret)]).await);
        }
        let send = async |signature: &str, body: String| {
            let call = worlds[&secret].request("POST", "/api/webhook").body(body);
            call.header("x-vercel-signature", signature).send().await.status
        };
        let (signature, body) = (text(vector, "signature"), text(vector, "body"));
        let about = &vector["about"];
        assert_eq!(send(&signature, body.clone()).await, 200, "{about}");
        assert_eq!(send(&signature, format!("{body} ")).await, 403, "{about}");
        for other in vectors.iter().filter(|other| *other != vector) {
            assert_eq!(send(&text(other, "signature"), body.clone()).await, 403, "{about}");
        }
    }
    assert_eq!((vectors.len(), worlds.len()), (7, 4));
}

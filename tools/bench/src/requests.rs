//! The requests to a function and its peer, which are made and signed before the first measurement.

use std::time::Duration;

use serde_json::json;
use teardown_cli::issuer::{Issuer, Subject, Token};

use crate::seed::{ACCOUNT, Resource, installation};

pub(crate) const INTEGRATION: &str = "oac_bench";
pub(crate) const ISSUER: &str = "https://issuer.example";

/// The number of installations that the resources are spread over.
pub(crate) const INSTALLATIONS: usize = 100;

/// The requests of each kind.
pub(crate) struct Requests {
    /// Deletes. Each request deletes a different live resource, with a different `Idempotency-Key`.
    pub(crate) deletes: Vec<String>,
    /// Requests that are refused. By turns, a request's token is signed with another key under the issuer's
    /// key id, or is the token of another installation.
    pub(crate) refused: Vec<String>,
    /// Requests with a token that is signed with another key under the issuer's key id.
    pub(crate) forged: Vec<String>,
    /// Requests with a valid token, for paths without an endpoint.
    pub(crate) not_found: Vec<String>,
}

impl Requests {
    /// Makes the requests that delete these resources.
    pub(crate) fn sign(issuer: &Issuer, resources: &[Resource]) -> anyhow::Result<Self> {
        let tokens: Vec<_> =
            (0..INSTALLATIONS).map(|id| issuer.sign(&token(id).claims())).collect();
        let stranger = Issuer::generate()?;
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": issuer.kid() });
        let forged = |id| stranger.sign_with_header(&header, &token(id).claims());
        let forged = (0..INSTALLATIONS).map(|id| request(id, "resources", id, &forged(id)));
        let forged: Vec<_> = forged.collect();
        let refused = (0..INSTALLATIONS).flat_map(|id| {
            let foreign = &tokens[(id + 1) % INSTALLATIONS];
            [forged[id].clone(), request(id, "resources", id, foreign)]
        });
        let not_found = (0..INSTALLATIONS).map(|id| request(id, "nothing", id, &tokens[id]));
        let deletes =
            resources.iter().map(|(id, owner)| request(*owner, "resources", *id, &tokens[*owner]));
        Ok(Self {
            deletes: deletes.collect(),
            refused: refused.collect(),
            forged,
            not_found: not_found.collect(),
        })
    }
}

fn request(owner: usize, what: &str, id: usize, token: &str) -> String {
    format!(
        "DELETE /v1/installations/{}/{what}/resource-{id} HTTP/1.1\r\n\
         Host: 127.0.0.1\r\n\
         Authorization: Bearer {token}\r\n\
         X-Vercel-Auth: user\r\n\
         Idempotency-Key: key-{id}\r\n\r\n",
        installation(owner),
    )
}

/// An administrator's token for an installation.
pub(crate) fn token(installation: usize) -> Token {
    Token {
        issuer: ISSUER.to_owned(),
        audience: INTEGRATION.to_owned(),
        account: ACCOUNT.to_owned(),
        installation: Some(self::installation(installation)),
        subject: Subject::User { role: "ADMIN".to_owned() },
        expires: Duration::from_hours(1),
    }
}

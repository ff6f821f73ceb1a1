//! Checks of who may delete a resource: requests without a token, and tokens that Vercel did not sign.

use serde_json::json;

use super::{DELETE_RESOURCE, PARTNER, forged, refused, steps};
use crate::check::entry::{Basis, Check, Needs};
use crate::check::finding::Finding;
use crate::check::signer::Bearer;

const VALIDATE: Basis = Basis::Vercel(
    "You must validate authentication on every request to ensure requests come from Vercel.",
    PARTNER,
);
const SIGNED: Basis = Basis::Vercel(
    "Tokens are signed with Vercel's private key and verifiable by the keys of its JWKS document.",
    DELETE_RESOURCE,
);
const ALGORITHMS: Basis = Basis::Standard(
    "The verifier, not the token, says which algorithms are good.",
    "https://www.rfc-editor.org/rfc/rfc8725#section-3.1",
);
const HEADER_KEYS: Basis = Basis::Standard(
    "Keys that a token's header names or brings are not to be trusted blindly.",
    "https://www.rfc-editor.org/rfc/rfc8725#section-3.10",
);

const MEND_VERIFY: &str = "Verify the token before anything else: jose's jwtVerify(token, \
    createRemoteJWKSet(…), { issuer, audience, algorithms: ['RS256'] }) or PyJWT's jwt.decode(token, key, \
    algorithms=['RS256'], audience=…, issuer=…) does it. Never decode without verifying.";
const MEND_ALGORITHM: &str = "Name the algorithm where you verify: algorithms: ['RS256'].";
const MEND_KEYS: &str = "Take keys from https://marketplace.vercel.com/.well-known/jwks alone, and ignore \
    what the token's header says of them.";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "tokens/none",
        title: "a request without a token is refused",
        basis: VALIDATE,
        mend: MEND_VERIFY,
        needs: Needs::REFUSAL,
        run: |scene| refused(scene, |_, _| Bearer::none()),
    },
    Check {
        id: "tokens/garbage",
        title: "a token that is not a JWT is refused",
        basis: VALIDATE,
        mend: MEND_VERIFY,
        needs: Needs::REFUSAL,
        run: |scene| refused(scene, |_, _| Bearer::literal("Bearer garbage")),
    },
    Check {
        id: "tokens/other-scheme",
        title: "a good token under another scheme than Bearer is refused",
        basis: Basis::GoodPractice("Two ways to say one thing are one too many to keep safe."),
        mend: "Take the token from `Authorization: Bearer` alone.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let mut bearer = scene.signer().sign(&scene.admin(&target.installation));
                bearer.value = bearer.value.map(|value| value.replace("Bearer ", "Basic "));
                bearer.shown = Some("Basic $TOKEN".to_owned());
                bearer
            })
        },
    },
    Check {
        id: "tokens/unknown-key",
        title: "a token that a stranger signed is refused",
        basis: SIGNED,
        mend: MEND_VERIFY,
        needs: Needs::REFUSAL,
        run: |scene| refused(scene, forged),
    },
    Check {
        id: "tokens/strange-signature",
        title: "a stranger's signature under the id of a trusted key is refused",
        basis: SIGNED,
        mend: MEND_VERIFY,
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims = scene.admin(&target.installation);
                let claims = claims.described("signed by a stranger under the trusted key's id");
                scene.signer().forge_under(&scene.signer().header("typ", &json!("JWT")), &claims)
            })
        },
    },
    Check {
        id: "tokens/altered-claims",
        title: "a token whose claims were changed after it was signed is refused",
        basis: SIGNED,
        mend: MEND_VERIFY,
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let signed = scene.user(&target.installation, "USER");
                scene.signer().altered(&signed, &scene.admin(&target.installation))
            })
        },
    },
    Check {
        id: "tokens/no-signature",
        title: "a token without its signature is refused",
        basis: SIGNED,
        mend: MEND_VERIFY,
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                scene.signer().unsigned(&scene.admin(&target.installation))
            })
        },
    },
    Check {
        id: "tokens/alg-none",
        title: "a token with `alg: none` is refused",
        basis: ALGORITHMS,
        mend: MEND_ALGORITHM,
        needs: Needs::REFUSAL,
        run: |scene| {
            refused(scene, |scene, target| {
                scene.signer().alg_none(&scene.admin(&target.installation))
            })
        },
    },
    Check {
        id: "tokens/alg-hs256",
        title: "a token signed by HS256, with the public key as its secret, is refused",
        basis: ALGORITHMS,
        mend: MEND_ALGORITHM,
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            steps(async move {
                let target = scene.target().await?;
                let claims = scene.admin(&target.installation);
                for bearer in scene.signer().hs256_by_the_public_key(&claims) {
                    scene.delete(&target).bearer(bearer).send().await?.is_refused()?;
                }
                Ok(())
            })
        },
    },
    Check {
        id: "tokens/client-secret",
        title: "a token signed by HS256, with the client secret, is refused",
        basis: SIGNED,
        mend: "Verify tokens with the keys of https://marketplace.vercel.com/.well-known/jwks and RS256. The client \
               secret signs webhooks alone: a backend that verifies tokens with it takes none of Vercel's.",
        needs: Needs { secret: true, ..Needs::REFUSAL },
        run: |scene| {
            steps(async move {
                let target = scene.target().await?;
                let secret = scene.session.options.client_secret.clone().unwrap_or_default();
                let claims = scene.admin(&target.installation);
                // A backend that accepts tokens signed with the client secret may also expect another issuer.
                for issuer in [&scene.session.options.issuer, "https://vercel.com"] {
                    let claims = claims.clone().with("iss", json!(issuer));
                    let bearer = scene.signer().hs256_by_the_client_secret(&claims, &secret);
                    scene.delete(&target).bearer(bearer).send().await?.is_refused()?;
                }
                Ok(())
            })
        },
    },
    Check {
        id: "tokens/key-in-header",
        title: "a token that brings its own key (`jwk`) is refused",
        basis: HEADER_KEYS,
        mend: MEND_KEYS,
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims = scene
                    .admin(&target.installation)
                    .described("with a stranger's key in its header");
                let key = scene.signer().strange_key();
                scene.signer().forge_under(&scene.signer().header("jwk", &key), &claims)
            })
        },
    },
    Check {
        id: "tokens/key-address-in-header",
        title: "a token that names an address for its key (`jku`) is refused",
        basis: HEADER_KEYS,
        mend: MEND_KEYS,
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            steps(async move {
                let Some(keys) = scene.session.options.keys.clone() else {
                    return Err(Finding::skipped("no keys are served"));
                };
                let target = scene.target().await?;
                let claims = scene.admin(&target.installation);
                let claims = claims.described("with a stranger's address of keys in its header");
                let header = scene.signer().header("jku", &json!(keys.strange));
                let bearer = scene.signer().forge_under(&header, &claims);
                scene.delete(&target).bearer(bearer).send().await?.is_refused()
            })
        },
    },
];

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
    "Tokens are signed with Vercel's private key. The keys of Vercel's JWKS document verify them.",
    DELETE_RESOURCE,
);
const ALGORITHMS: Basis = Basis::Standard(
    "The verifier, not the token, decides which algorithms are accepted.",
    "https://www.rfc-editor.org/rfc/rfc8725#section-3.1",
);
const HEADER_KEYS: Basis = Basis::Standard(
    "Do not trust a key only because a token's header names or contains the key.",
    "https://www.rfc-editor.org/rfc/rfc8725#section-3.10",
);

const MEND_VERIFY: &str = "Verify the token before anything else, by jose's jwtVerify(token, \
    createRemoteJWKSet(…), { issuer, audience, algorithms: ['RS256'] }) or PyJWT's jwt.decode(token, key, \
    algorithms=['RS256'], audience=…, issuer=…). Never decode a token without verifying it.";
const MEND_ALGORITHM: &str = "Name the algorithm when you verify a token: algorithms: ['RS256'].";
const MEND_KEYS: &str = "Take keys only from https://marketplace.vercel.com/.well-known/jwks, and ignore the \
    keys and addresses in a token's header.";

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
        title: "a good token with a scheme other than Bearer is refused",
        basis: Basis::GoodPractice(
            "Each way to send a token has to be kept safe, and one way is enough.",
        ),
        mend: "Read the token only from `Authorization: Bearer`.",
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
        title: "a token that was signed with an unknown key is refused",
        basis: SIGNED,
        mend: MEND_VERIFY,
        needs: Needs::REFUSAL,
        run: |scene| refused(scene, forged),
    },
    Check {
        id: "tokens/strange-signature",
        title: "a token that was signed with an unknown key, but names a trusted key's id, is refused",
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
        mend: "Verify tokens with RS256 and the keys of https://marketplace.vercel.com/.well-known/jwks. The \
               client secret signs only webhooks: a backend that verifies tokens with it refuses all of \
               Vercel's tokens.",
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
        title: "a token that contains its own key (`jwk`) is refused",
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

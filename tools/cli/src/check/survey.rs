//! Before the first check, finds out whether the backend answers, trusts this run's tokens, provisions
//! resources and shows them, and where the backend's webhook is.

use std::sync::atomic::Ordering;

use super::entry::Needs;
use super::finding::Finding;
use super::options::Supply;
use super::scene::Scene;
use super::session::Survey;
use super::signer::Bearer;
use super::stock::{refused, refused_with_body};
use super::wire::Exchange;

/// The paths where the run looks for the webhook if the options do not name one: teardown's own path, and the
/// path in Vercel's example.
pub const WEBHOOK_PATHS: [&str; 2] = ["/api/webhook", "/webhook"];

impl Scene {
    /// Finds out what checks with these needs have to know about the backend.
    ///
    /// # Errors
    ///
    /// If the backend cannot be checked at all. The error says why the backend cannot be checked.
    pub(super) async fn survey(&self, needs: Needs) -> Result<(), String> {
        // Every backend has to refuse this deletion, because the request has no token and the resource does
        // not exist.
        let unknown = self.unknown_resource(&self.unknown_installation());
        let refused = self.delete(&unknown).bearer(Bearer::none()).try_send().await;
        if let Err(reason) = &refused.answer {
            return Err(format!("{}: {reason}", self.session.options.base_url));
        }
        let (trust, unmade) = if needs.trust || needs.refusal {
            match self.trust().await {
                Ok(Trusted::Fully) => (Ok(()), None),
                Ok(Trusted::WithoutProvisioning(why)) => (Ok(()), Some(why)),
                Err(why) => (Err(why), None),
            }
        } else {
            (Err("no check needs it".to_owned()), None)
        };
        let webhook = if needs.webhook {
            self.find_webhook().await
        } else {
            Err("no check needs it".to_owned())
        };
        let idle = |why: &String| (Err(why.clone()), Err(why.clone()));
        let (resources, lookup) = match (&trust, &unmade) {
            (Err(why), _) | (Ok(()), Some(why)) => idle(why),
            (Ok(()), None) if needs.resources == 0 && !needs.refusal => {
                idle(&"no check needs it".to_owned())
            }
            (Ok(()), None) if self.session.options.read_only => {
                idle(&"--read-only makes nothing".to_owned())
            }
            (Ok(()), None) => {
                // This call also chooses the resource that forged requests will try to delete.
                self.look_for_a_resource().await
            }
        };
        self.session.set_survey(Survey { trust, resources, lookup, webhook });
        Ok(())
    }

    /// Whether the backend accepts a good token of this run.
    async fn trust(&self) -> Result<Trusted, String> {
        let options = &self.session.options;
        if options.integration.is_none() {
            return Err("the integration's id is not known: --integration-id oac_…".to_owned());
        }
        match (&options.supply, options.read_only) {
            (Supply::Made, false) => {
                let upserted = self.upsert().await;
                if upserted.is_success() {
                    let home = self
                        .session
                        .stock(|stock| stock.made.last().map(|it| it.installation.clone()));
                    self.session.stock(|stock| stock.home = home);
                    return Ok(Trusted::Fully);
                }
                self.accepts_the_token(&upserted).await
            }
            _ => self.accepts_a_lookup().await.map(|()| Trusted::Fully),
        }
    }

    /// Finds out whether the backend refused a good Upsert Installation because of its token. The token is
    /// not the reason if a request without a token gets a different refusal, and the good request did not get
    /// 401 or 403.
    async fn accepts_the_token(&self, upserted: &Exchange) -> Result<Trusted, String> {
        let seen = refused_with_body("a good Upsert Installation", upserted);
        if upserted.answer.is_err() {
            return Err(seen);
        }
        let unsigned = self.upsert_as(Some(Bearer::none())).await;
        let body_refused = refuses(&unsigned)
            && unsigned.status() != upserted.status()
            && !matches!(upserted.status(), 401 | 403 | 500..);
        if body_refused {
            Ok(Trusted::WithoutProvisioning(seen))
        } else {
            Err(self.how_to_be_trusted(&refused("a good Upsert Installation", upserted)))
        }
    }

    /// Finds out by Get Resource whether the backend accepts a good token. If Get Resource does not show that
    /// the token is accepted, a run that may delete sends a good Delete Resource of an unknown resource.
    async fn accepts_a_lookup(&self) -> Result<(), String> {
        let target = self.session.stock(|stock| stock.target.clone());
        let home = self.home().await.map_err(|_| "no installation was made".to_owned())?;
        let target = target.unwrap_or_else(|| self.unknown_resource(&home));
        let good = self.get(&target).try_send().await;
        let none = self.get(&target).bearer(Bearer::none()).try_send().await;
        if good.is_success() || (refuses(&none) && !refuses(&good) && good.status() < 500) {
            return Ok(());
        }
        if self.session.options.read_only {
            return Err(self.how_to_be_trusted(&refused("a good Get Resource", &good)));
        }
        let deleted = self.delete(&self.unknown_resource(&home)).try_send().await;
        if refuses(&deleted) || deleted.status() >= 500 {
            return Err(self.how_to_be_trusted(&refused("a good Delete Resource", &deleted)));
        }
        Ok(())
    }

    /// A text that says how to make the backend trust this run's tokens.
    fn how_to_be_trusted(&self, seen: &str) -> String {
        let options = &self.session.options;
        let Some(keys) = &options.keys else {
            return format!("{seen}: the backend does not trust this run's key: see --print-jwks");
        };
        let url = &keys.own;
        let fetches = match keys.fetches.load(Ordering::Relaxed) {
            0 => "It has not fetched them during this run.",
            _ => "It has fetched them, so look at iss, aud and its log, too.",
        };
        format!(
            "{seen}: the backend does not trust this run's key. Where it runs for the check alone, have \
             it read its keys from {url}. {fetches}
  jose      createRemoteJWKSet(new URL(process.env.VERCEL_JWKS_URL)) with VERCEL_JWKS_URL={url}
  PyJWT     PyJWKClient(os.environ[\"VERCEL_JWKS_URL\"])
  Go        keyfunc.NewDefault([]string{{os.Getenv(\"VERCEL_JWKS_URL\")}})
  teardown  OIDC_JWKS_URL={url}
  or give it the document that --print-jwks prints. iss is {}, aud is {}",
            options.issuer,
            options.integration.as_deref().unwrap_or_default(),
        )
    }

    /// Whether the run has a resource, and whether Get Resource shows this resource.
    async fn look_for_a_resource(&self) -> (Result<(), String>, Result<(), String>) {
        let known = self.session.stock(|stock| stock.target.clone());
        let target = match known {
            Some(target) => Ok(target),
            None => self.resource().await,
        };
        let target = match target {
            Ok(target) => target,
            Err(Finding::Skipped(why)) => {
                let why = format!("{why}: see --product, --plan and --metadata");
                return (Err(why.clone()), Err(why));
            }
            Err(Finding::Wrong { seen, .. }) => return (Err(seen.clone()), Err(seen)),
        };
        self.session.stock(|stock| stock.target = Some(target.clone()));
        let seen = self.get(&target).try_send().await;
        let lookup = if seen.status() == 200 {
            Ok(())
        } else {
            Err(format!("{}, although the resource is there", refused("Get Resource", &seen)))
        };
        (Ok(()), lookup)
    }

    /// The address of the webhook: the first address that answers an unsigned delivery, but not with 404 or
    /// 405.
    async fn find_webhook(&self) -> Result<String, String> {
        let options = &self.session.options;
        let address = |path: &str| match path {
            url if url.contains("://") => url.to_owned(),
            path => format!("{}/{}", options.base_url, path.trim_start_matches('/')),
        };
        let paths = match &options.webhook {
            Some(path) => vec![path.as_str()],
            None => WEBHOOK_PATHS.to_vec(),
        };
        for path in &paths {
            let url = address(path);
            let answered = self.webhook_at(&url, "{}").try_send().await;
            if answered.answer.is_ok() && !matches!(answered.status(), 404 | 405) {
                return Ok(url);
            }
        }
        Err(format!("there is no webhook at {}: see --webhook-path", paths.join(" or ")))
    }
}

/// What a backend does with a good token.
enum Trusted {
    /// The backend accepts the token.
    Fully,
    /// The backend accepts the token and refuses to make an installation, for this reason.
    WithoutProvisioning(String),
}

/// Whether an answer refuses a token.
fn refuses(exchange: &Exchange) -> bool {
    matches!(exchange.status(), 400 | 401 | 403)
}

//! Installations and resources: made for checks, handed out, and cleaned up.

use reqwest::Method;
use serde_json::json;

use super::finding::Finding;
use super::options::Supply;
use super::scene::{Call, Scene};
use super::session::{Fate, Installation, Made, MadeResource, Resource};
use super::wire::{Answer, Exchange};

impl Scene {
    /// An id of an installation that the backend has never heard of.
    pub(super) fn unknown_installation(&self) -> Installation {
        let (run, number) = (&self.session.options.run, self.session.number());
        Installation(format!("icfg_check{run}{number:09}"))
    }

    /// A resource that the backend has never heard of, of this installation.
    pub(super) fn unknown_resource(&self, installation: &Installation) -> Resource {
        let (run, number) = (&self.session.options.run, self.session.number());
        let id = format!("check-{run}-{number}");
        Resource { installation: installation.clone(), id }
    }

    /// Upsert Installation, as Vercel sends it. The answer may be anything.
    pub(super) async fn upsert(&self) -> Exchange {
        let installation = self.unknown_installation();
        let body = json!({
            "scopes": ["read-write:integration-resource"],
            "acceptedPolicies": {},
            "credentials": {
                "access_token": format!("teardown-check-{}", installation.0),
                "token_type": "Bearer",
            },
            "account": {
                "name": "teardown check",
                "url": "https://vercel.com/teardown-check",
                "contact": { "email": "teardown-check@example.com", "name": "teardown check" },
            },
        });
        let call = self.call(Method::PUT, &installation.path(), &installation);
        let upserted = call.key(&self.fresh_key()).json(&body).try_send().await;
        if upserted.is_success() {
            self.session.stock(|stock| stock.add(installation.clone(), true));
        }
        upserted
    }

    async fn upserted(&self) -> Result<Installation, Finding> {
        let upserted = self.upsert().await;
        if !upserted.is_success() {
            return Err(Finding::skipped(refused("Upsert Installation", &upserted)));
        }
        let made = self.session.stock(|stock| stock.made.last().map(|it| it.installation.clone()));
        made.ok_or_else(|| Finding::skipped("no installation was made"))
    }

    /// The installation that checks share, if they do not delete it.
    pub(super) async fn home(&self) -> Result<Installation, Finding> {
        let home = self.session.stock(|stock| {
            let home = stock.home.clone()?;
            stock.is_live(&home).then_some(home)
        });
        if let Some(home) = home {
            return Ok(home);
        }
        if !self.session.is_trusted() || self.session.options.read_only {
            return Ok(self.unknown_installation());
        }
        let home = self.made("the installation is gone").await?;
        self.session.stock(|stock| stock.home = Some(home.clone()));
        Ok(home)
    }

    /// An installation beside the shared one.
    pub(super) async fn other(&self) -> Result<Installation, Finding> {
        let options = &self.session.options;
        if matches!(options.supply, Supply::Given { .. }) || options.read_only {
            return Ok(self.unknown_installation());
        }
        let other = self.session.stock(|stock| {
            let other = stock.other.clone()?;
            stock.is_live(&other).then_some(other)
        });
        if let Some(other) = other {
            return Ok(other);
        }
        let other = self.upserted().await?;
        self.session.stock(|stock| stock.other = Some(other.clone()));
        Ok(other)
    }

    /// An installation that the check may delete.
    pub(super) async fn installation(&self) -> Result<Installation, Finding> {
        let given = self.session.stock(|stock| {
            let Supply::Given { installation, .. } = &self.session.options.supply else {
                return None;
            };
            let first = !std::mem::replace(&mut stock.given_is_used, true);
            first.then(|| Installation(installation.clone()))
        });
        match given {
            Some(given) => Ok(given),
            None => self.made("the installation that was given is used up").await,
        }
    }

    /// An installation that the run has made, which the check may delete.
    pub(super) async fn own_installation(&self) -> Result<Installation, Finding> {
        self.made("it needs an installation of its own").await
    }

    async fn made(&self, otherwise: &str) -> Result<Installation, Finding> {
        match self.session.options.supply {
            Supply::Made => self.upserted().await,
            Supply::Given { .. } => Err(Finding::skipped(otherwise)),
        }
    }

    /// A resource of the shared installation, which the check may delete.
    pub(super) async fn resource(&self) -> Result<Resource, Finding> {
        let home = self.home().await?;
        self.resource_of(&home).await
    }

    /// A resource of an installation, which the check may delete.
    pub(super) async fn resource_of(
        &self,
        installation: &Installation,
    ) -> Result<Resource, Finding> {
        if let Supply::Given { resources, .. } = &self.session.options.supply
            && !resources.is_empty()
        {
            // The first one is the target of forged requests: it is handed out last.
            let id = self.session.stock(|stock| stock.given.pop());
            let id = id.ok_or_else(|| Finding::skipped("it needs another --resource"))?;
            return Ok(Resource { installation: installation.clone(), id });
        }
        let provisioned = self.provision(installation).send().await?;
        let answer = provisioned.answer()?.json().unwrap_or_default();
        let (true, Some(id)) = (provisioned.is_success(), answer["id"].as_str()) else {
            return Err(Finding::skipped(refused("Provision Resource", &provisioned)));
        };
        let resource = Resource { installation: installation.clone(), id: id.to_owned() };
        self.session.stock(|stock| stock.add_resource(&resource, true));
        Ok(resource)
    }

    /// Notes a resource that a check itself provisioned, so that it is deleted in the end.
    pub(super) fn keep_in_mind(&self, installation: &Installation, provisioned: &Exchange) {
        let id = provisioned.answer.as_ref().ok().and_then(Answer::json).unwrap_or_default();
        if let (true, Some(id)) = (provisioned.is_success(), id["id"].as_str()) {
            let resource = Resource { installation: installation.clone(), id: id.to_owned() };
            self.session.stock(|stock| stock.add_resource(&resource, true));
        }
    }

    /// What forged requests are for: a resource that is there, as long as the backend refuses to delete
    /// it. Where nothing may be made, a made-up one.
    pub(super) async fn target(&self) -> Result<Resource, Finding> {
        let options = &self.session.options;
        let resources = self.session.standing().is_some_and(|standing| standing.resources.is_ok());
        if options.read_only || !self.session.is_trusted() || !resources {
            let home = self.home().await?;
            return Ok(self.unknown_resource(&home));
        }
        let target = self.session.stock(|stock| {
            let target = stock.target.clone()?;
            stock.has(&target).then_some(target)
        });
        if let Some(target) = target {
            return Ok(target);
        }
        let target = self.resource().await?;
        self.session.stock(|stock| stock.target = Some(target.clone()));
        Ok(target)
    }

    /// What forged requests are for, seen to be there right now: whatever an earlier check did to it, this one
    /// finds its own.
    pub(super) async fn seen_target(&self) -> Result<Resource, Finding> {
        let target = self.target().await?;
        if self.sees(&target).await? {
            return Ok(target);
        }
        self.session.doubt(&target.path());
        let target = self.target().await?;
        if self.sees(&target).await? {
            return Ok(target);
        }
        Err(Finding::skipped("Get Resource does not find a resource that was just provisioned"))
    }

    /// Deletes what the run made and did not delete yet, and says what is left.
    pub(super) async fn clean_up(&self) -> Vec<String> {
        let (mut left, mut answers) = (Vec::new(), true);
        let made = self.session.stock(|stock| std::mem::take(&mut stock.made));
        for Made { installation, ours, fate, resources } in made {
            let gone = fate == Fate::Gone;
            for MadeResource { id, fate, .. } in resources.into_iter().filter(|it| it.ours) {
                let name = format!("resource {id} of {}", installation.0);
                let resource = Resource { installation: installation.clone(), id };
                let cleaned = answers.then_some(self.clean(&resource, gone || fate == Fate::Gone));
                note(name, cleaned, &mut left, &mut answers).await;
            }
            if ours && !gone {
                let deleted = answers.then_some(self.deletes(self.uninstall(&installation)));
                let name = format!("installation {}", installation.0);
                note(name, deleted, &mut left, &mut answers).await;
            }
        }
        left
    }

    /// Deletes a resource, unless it is said to be gone; and looks whether it is. `None`: no answer.
    async fn clean(&self, resource: &Resource, gone: bool) -> Option<bool> {
        let deleted = gone || self.deletes(self.delete(resource)).await?;
        if self.session.standing().is_none_or(|standing| standing.sight.is_err()) {
            return Some(deleted);
        }
        let mut seen = self.sees(resource).await.ok()?;
        if seen && gone {
            self.deletes(self.delete(resource)).await?;
            seen = self.sees(resource).await.ok()?;
        }
        Some(!seen)
    }

    /// Whether a deletion did it, or found nothing to be done. `None`: no answer.
    async fn deletes(&self, call: Call) -> Option<bool> {
        let deleted = call.try_send().await;
        let answer = deleted.answer.as_ref().ok()?;
        Some(deleted.is_success() || matches!(answer.status, 404 | 410))
    }
}

/// Notes what could not be cleaned up. After one request without an answer no other is sent.
async fn note(
    name: String,
    cleaned: Option<impl Future<Output = Option<bool>>>,
    left: &mut Vec<String>,
    answers: &mut bool,
) {
    let cleaned = match cleaned {
        Some(cleaned) => cleaned.await,
        None => None,
    };
    *answers &= cleaned.is_some();
    if cleaned != Some(true) {
        left.push(name);
    }
}

/// Why something was not made.
pub(super) fn refused(what: &str, by: &Exchange) -> String {
    format!("{what} was answered {}", by.seen())
}

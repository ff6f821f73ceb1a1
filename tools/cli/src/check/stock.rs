//! Makes installations and resources, hands them out to the checks, and deletes them at the run's end.

use reqwest::Method;
use serde_json::json;

use super::finding::Finding;
use super::options::{EMAIL, Supply};
use super::scene::{Call, Scene};
use super::session::{Fate, Installation, Made, Resource};
use super::signer::Bearer;
use super::wire::{Answer, Exchange};

impl Scene {
    /// An installation that the backend does not know, with a new id.
    pub(super) fn unknown_installation(&self) -> Installation {
        let (run, number) = (&self.session.options.run, self.session.number());
        Installation(format!("icfg_check{run}{number:09}"))
    }

    /// A resource of this installation that the backend does not know, with a new id.
    pub(super) fn unknown_resource(&self, installation: &Installation) -> Resource {
        let (run, number) = (&self.session.options.run, self.session.number());
        let id = format!("check-{run}-{number}");
        Resource { installation: installation.clone(), id }
    }

    /// Sends Upsert Installation as Vercel sends it. The backend may accept or refuse the request.
    pub(super) async fn upsert(&self) -> Exchange {
        self.upsert_as(None).await
    }

    /// Sends Upsert Installation with this `Authorization`. If `bearer` is `None`, sends an `ADMIN`'s token.
    pub(super) async fn upsert_as(&self, bearer: Option<Bearer>) -> Exchange {
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
                "contact": { "email": EMAIL, "name": "teardown check" },
            },
        });
        let call = self.call(Method::PUT, &installation.path(), &installation);
        let call = match bearer {
            Some(bearer) => call.bearer(bearer),
            None => call,
        };
        let upserted = call.key(&self.fresh_key()).json(&body).try_send().await;
        if upserted.is_success() {
            self.session.stock(|stock| stock.add(installation.clone(), true));
        }
        upserted
    }

    async fn upserted(&self) -> Result<Installation, Finding> {
        let upserted = self.upsert().await;
        if !upserted.is_success() {
            return Err(Finding::skipped(refused_with_body("Upsert Installation", &upserted)));
        }
        let made = self.session.stock(|stock| stock.made.last().map(|it| it.installation.clone()));
        made.ok_or_else(|| Finding::skipped("no installation was made"))
    }

    /// The installation that checks share if they do not delete an installation.
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

    /// A second installation, in addition to the shared one. If the run may not make installations, this is
    /// an installation with an id that the backend does not know.
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

    /// An installation that this run made and that the check may delete.
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
            // The first resource is the target of forged requests, so no check gets this resource before the
            // others are used.
            let id = self.session.stock(|stock| stock.given.pop());
            let id = id.ok_or_else(|| Finding::skipped("it needs another --resource"))?;
            return Ok(Resource { installation: installation.clone(), id });
        }
        let provisioned = self.provision(installation).send().await?;
        let answer = provisioned.answer()?.json().unwrap_or_default();
        let (true, Some(id)) = (provisioned.is_success(), answer["id"].as_str()) else {
            return Err(Finding::skipped(refused_with_body("Provision Resource", &provisioned)));
        };
        let resource = Resource { installation: installation.clone(), id: id.to_owned() };
        self.session.stock(|stock| stock.add_resource(&resource, true));
        Ok(resource)
    }

    /// Notes a resource that a check provisioned, so that the run deletes it at the run's end.
    pub(super) fn remember(&self, installation: &Installation, provisioned: &Exchange) {
        let id = provisioned.answer.as_ref().ok().and_then(Answer::json).unwrap_or_default();
        if let (true, Some(id)) = (provisioned.is_success(), id["id"].as_str()) {
            let resource = Resource { installation: installation.clone(), id: id.to_owned() };
            self.session.stock(|stock| stock.add_resource(&resource, true));
        }
    }

    /// The resource that forged requests try to delete. If the backend has deleted this resource, the
    /// function makes another resource. If the run may not make resources, the backend does not know the
    /// resource's id.
    pub(super) async fn target(&self) -> Result<Resource, Finding> {
        let options = &self.session.options;
        let resources = self.session.survey().is_some_and(|survey| survey.resources.is_ok());
        if options.read_only || !self.session.is_trusted() || !resources {
            // If the run cannot make an installation, forged requests use an id that the backend does not
            // know.
            let home = self.home().await.unwrap_or_else(|_| self.unknown_installation());
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

    /// Hands out the target of forged requests, after Get Resource has shown that this resource exists. The
    /// lookup is needed because an earlier check may have deleted the resource.
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

    /// Deletes the installations and resources that the run made and has not deleted yet. Returns those that
    /// it could not delete. After one request without an answer, it sends no other request.
    pub(super) async fn clean_up(&self) -> Vec<String> {
        let made = self.session.stock(|stock| std::mem::take(&mut stock.made));
        let (mut left, mut answers) = (Vec::new(), true);
        for Made { installation, ours, fate, resources } in &made {
            for resource in resources.iter().filter(|it| it.ours) {
                let named =
                    Resource { installation: installation.clone(), id: resource.id.clone() };
                let gone = *fate == Fate::Gone || resource.fate == Fate::Gone;
                let deleted = if answers && !gone {
                    self.deletes(self.delete(&named)).await
                } else {
                    answers.then_some(true)
                };
                answers &= deleted.is_some();
                if deleted != Some(true) {
                    left.push(name(&named));
                }
            }
            if *ours && *fate != Fate::Gone {
                let deleted =
                    if answers { self.deletes(self.uninstall(installation)).await } else { None };
                answers &= deleted.is_some();
                if deleted != Some(true) {
                    let doubt = match fate {
                        Fate::Doubtful => {
                            " (maybe: one deletion succeeded, and the next was refused)"
                        }
                        Fate::Live | Fate::Gone => "",
                    };
                    left.push(format!("installation {}{doubt}", installation.0));
                }
            }
        }
        if answers && self.session.survey().is_some_and(|survey| survey.lookup.is_ok()) {
            // Get Resource shows more reliably than the answers to the deletions which resources are left.
            if let Ok(seen) = self.still_seen(&made).await {
                left.retain(|left| !left.starts_with("resource "));
                left.extend(seen);
            }
        }
        left.sort_unstable();
        left.dedup();
        left
    }

    /// Waits for the backend, then deletes again the run's resources that can still be seen. Returns the
    /// resources that Get Resource still shows.
    async fn still_seen(&self, made: &[Made]) -> Result<Vec<String>, Finding> {
        let mut seen = Vec::new();
        for Made { installation, resources, .. } in made {
            for resource in resources.iter().filter(|it| it.ours) {
                let named =
                    Resource { installation: installation.clone(), id: resource.id.clone() };
                if self.sees(&named).await? {
                    seen.push(named);
                }
            }
        }
        // The backend may delete a resource's data after its answer. So the run waits once, until the first
        // resource is gone or the run's patience ends.
        if let Some(first) = seen.first() {
            self.lasts(first).await?;
        }
        let mut left = Vec::new();
        for resource in seen {
            if self.sees(&resource).await? {
                self.delete(&resource).send().await?;
                if self.sees(&resource).await? {
                    left.push(name(&resource));
                }
            }
        }
        Ok(left)
    }

    /// Whether a deletion succeeded, or found nothing to delete. `None` if the deletion got no answer.
    async fn deletes(&self, call: Call) -> Option<bool> {
        let deleted = call.try_send().await;
        let answer = deleted.answer.as_ref().ok()?;
        Some(deleted.is_success() || matches!(answer.status, 404 | 410))
    }
}

fn name(resource: &Resource) -> String {
    format!("resource {} of {}", resource.id, resource.installation.0)
}

/// A text that says how a request was answered, and what the request's body was.
pub(super) fn refused_with_body(what: &str, by: &Exchange) -> String {
    let body = by.request.body.as_deref().unwrap_or_default();
    format!("{}; its body was {body}", refused(what, by))
}

/// A text that says how a request was answered.
pub(super) fn refused(what: &str, by: &Exchange) -> String {
    format!("{what} was answered {}", by.seen())
}

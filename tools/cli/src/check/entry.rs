//! The type of a check, which is one entry of the list.

use std::fmt;
use std::pin::Pin;

use super::finding::Verdict;
use super::scene::Scene;

/// The future that sends a check's requests in order, and returns the check's verdict.
pub(super) type Run = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A check of one behaviour of the backend.
pub struct Check {
    /// The check's name, such as `tokens/expired`. A check's name never changes.
    pub id: &'static str,
    /// What the backend does if the check passes.
    pub title: &'static str,
    /// Why the backend should do what the check's title says.
    pub basis: Basis,
    /// How to mend a backend that does not pass the check.
    pub mend: &'static str,
    pub(super) needs: Needs,
    pub(super) run: fn(Scene) -> Run,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

impl Check {
    /// The group that the check belongs to.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// What the check needs from the backend and from the options.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.needs
    }
}

/// Why a backend should pass a check.
#[derive(Clone, Copy, Debug)]
pub enum Basis {
    /// The behaviour that Vercel documents, and the address of the document. A backend that behaves
    /// differently fails the check.
    Vercel(&'static str, &'static str),
    /// The behaviour that a standard for Vercel's tokens demands, and the address of the standard. A backend
    /// that behaves differently fails the check.
    Standard(&'static str, &'static str),
    /// Why the behaviour is good practice. A backend that behaves differently gets a warning.
    GoodPractice(&'static str),
}

impl Basis {
    /// `true` if a backend that behaves differently fails the check, `false` if the backend only gets a
    /// warning.
    #[must_use]
    pub fn is_binding(&self) -> bool {
        !matches!(self, Self::GoodPractice(_))
    }

    /// The behaviour that is documented, or why the behaviour is good practice.
    #[must_use]
    pub fn statement(&self) -> &'static str {
        match self {
            Self::Vercel(text, _) | Self::Standard(text, _) | Self::GoodPractice(text) => text,
        }
    }

    /// The address of the documentation. `None` for good practice.
    #[must_use]
    pub fn url(&self) -> Option<&'static str> {
        match self {
            Self::Vercel(_, url) | Self::Standard(_, url) => Some(url),
            Self::GoodPractice(_) => None,
        }
    }
}

/// What a check needs from the backend and from the options.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
pub struct Needs {
    /// The backend has to accept the run's tokens.
    pub trust: bool,
    /// Get Resource has to show a resource that exists.
    pub lookup: bool,
    /// The check sends only requests that the backend has to refuse, and Get Resource.
    pub refusal: bool,
    /// The address of the backend's webhook has to be known.
    pub webhook: bool,
    /// The integration's client secret has to be known.
    pub secret: bool,
    /// How many installations the check uses up, at most.
    pub installations: u8,
    /// How many resources the check uses up, at most.
    pub resources: u8,
}

impl Needs {
    /// The needs of a check that needs nothing.
    pub(super) const NOTHING: Self = Self {
        trust: false,
        lookup: false,
        refusal: false,
        webhook: false,
        secret: false,
        installations: 0,
        resources: 0,
    };

    /// The needs of a check whose requests the backend has to refuse. The backend need not trust the run's
    /// key.
    pub(super) const REFUSAL: Self = Self { refusal: true, ..Self::NOTHING };

    /// The needs of a check that sends good tokens.
    pub(super) const TRUST: Self = Self { trust: true, ..Self::NOTHING };

    /// The needs of a check that sends webhooks without a good signature.
    pub(super) const WEBHOOK: Self = Self { webhook: true, refusal: true, ..Self::NOTHING };

    /// The needs of a check that sends webhooks with a good signature.
    pub(super) const SIGNED: Self = Self { webhook: true, secret: true, ..Self::NOTHING };

    pub(super) const fn trusted(self) -> Self {
        Self { trust: true, ..self }
    }

    pub(super) const fn seen(self) -> Self {
        Self { lookup: true, trust: true, ..self }
    }

    pub(super) const fn resources(self, resources: u8) -> Self {
        Self { resources, trust: true, ..self }
    }

    pub(super) const fn installations(self, installations: u8) -> Self {
        Self { installations, trust: true, ..self }
    }

    /// The needs of two checks, joined.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            trust: self.trust || other.trust,
            lookup: self.lookup || other.lookup,
            refusal: self.refusal || other.refusal,
            webhook: self.webhook || other.webhook,
            secret: self.secret || other.secret,
            installations: self.installations + other.installations,
            resources: self.resources + other.resources,
        }
    }
}

//! What a check is: one entry of the list.

use std::fmt;
use std::pin::Pin;

use super::finding::Verdict;
use super::scene::Scene;

/// How a check is made: its steps, in the order in which they are sent.
pub(super) type Run = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A check.
pub struct Check {
    /// Its name, which stays: `tokens/expired`.
    pub id: &'static str,
    /// What the backend does if the check passes.
    pub title: &'static str,
    /// Why it should.
    pub basis: Basis,
    /// How a backend that does not is mended.
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
    /// The group that it belongs to.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// What it needs of the backend and of the caller.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.needs
    }
}

/// Why a backend should pass.
#[derive(Clone, Copy, Debug)]
pub enum Basis {
    /// Vercel documents it: what, and where. A backend that does not do it fails.
    Vercel(&'static str, &'static str),
    /// A standard that Vercel's tokens are made by demands it: what, and where. A backend that does not do
    /// it fails.
    Standard(&'static str, &'static str),
    /// It is good practice, for this reason. A backend that does not do it is warned.
    GoodPractice(&'static str),
}

impl Basis {
    /// Whether a backend that does not do it fails, and is not warned.
    #[must_use]
    pub fn is_binding(&self) -> bool {
        !matches!(self, Self::GoodPractice(_))
    }

    /// What is documented, or why it is good practice.
    #[must_use]
    pub fn says(&self) -> &'static str {
        match self {
            Self::Vercel(says, _) | Self::Standard(says, _) | Self::GoodPractice(says) => says,
        }
    }

    /// Where it is documented.
    #[must_use]
    pub fn url(&self) -> Option<&'static str> {
        match self {
            Self::Vercel(_, url) | Self::Standard(_, url) => Some(url),
            Self::GoodPractice(_) => None,
        }
    }
}

/// What a check needs.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
pub struct Needs {
    /// The backend takes the run's tokens.
    pub trust: bool,
    /// A resource that is there can be seen.
    pub sight: bool,
    /// It sends what has to be refused, and nothing else.
    pub refusal: bool,
    /// The backend's webhook is known.
    pub webhook: bool,
    /// The client's secret is known.
    pub secret: bool,
    /// How many installations it uses up at most.
    pub installations: u8,
    /// How many resources it uses up at most.
    pub resources: u8,
}

impl Needs {
    /// Nothing.
    pub(super) const NOTHING: Self = Self {
        trust: false,
        sight: false,
        refusal: false,
        webhook: false,
        secret: false,
        installations: 0,
        resources: 0,
    };

    /// It sends what has to be refused, whether the backend trusts the run or not.
    pub(super) const REFUSAL: Self = Self { refusal: true, ..Self::NOTHING };

    /// It sends good tokens.
    pub(super) const TRUST: Self = Self { trust: true, ..Self::NOTHING };

    /// The webhook, without a good signature.
    pub(super) const WEBHOOK: Self = Self { webhook: true, refusal: true, ..Self::NOTHING };

    /// The webhook, with a good signature.
    pub(super) const SIGNED: Self = Self { webhook: true, secret: true, ..Self::NOTHING };

    pub(super) const fn trusted(self) -> Self {
        Self { trust: true, ..self }
    }

    pub(super) const fn seen(self) -> Self {
        Self { sight: true, trust: true, ..self }
    }

    pub(super) const fn resources(self, resources: u8) -> Self {
        Self { resources, trust: true, ..self }
    }

    pub(super) const fn installations(self, installations: u8) -> Self {
        Self { installations, trust: true, ..self }
    }

    /// The needs of two checks together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            trust: self.trust || other.trust,
            sight: self.sight || other.sight,
            refusal: self.refusal || other.refusal,
            webhook: self.webhook || other.webhook,
            secret: self.secret || other.secret,
            installations: self.installations + other.installations,
            resources: self.resources + other.resources,
        }
    }
}

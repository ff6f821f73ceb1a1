//! The result of comparing an installation with Vercel: the problems that are left, and the problems that
//! were fixed.

use teardown::ids::InstallationId;
use teardown::reconcile::{Problem, Stored};

/// The result of comparing an installation with Vercel.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) installation: InstallationId,
    /// The installation as it is stored. `None` if the table could not be read.
    pub(super) stored: Option<Stored>,
    /// The problems that are left.
    pub(super) left: Vec<Problem>,
    /// The problems that were fixed.
    pub(super) fixed: Vec<Problem>,
    /// Messages that say why a problem was not fixed.
    pub(super) remarks: Vec<String>,
}

impl Finding {
    pub(super) fn of(id: &InstallationId, stored: Option<Stored>, problems: Vec<Problem>) -> Self {
        let (fixed, remarks) = (Vec::new(), Vec::new());
        Self { installation: id.clone(), stored, left: problems, fixed, remarks }
    }

    /// Whether Vercel removed the installation. The finding of a removed installation has no other problem.
    pub(super) fn is_removed(&self) -> bool {
        self.left == [Problem::Removed]
    }

    /// Whether the installation is active, and Vercel has its configuration.
    pub(super) fn is_at_vercel(&self) -> bool {
        let is_active = self.stored.as_ref().is_some_and(|it| it.installation.deletion.is_none());
        let says_nothing = |problem: &Problem| {
            matches!(problem, Problem::NoToken | Problem::DeadToken | Problem::Unreachable(_))
        };
        let is_removed = self.left.iter().chain(&self.fixed).any(|it| *it == Problem::Removed);
        is_active && !is_removed && !self.left.iter().any(says_nothing)
    }

    /// This finding without the stored resources, so that the finding needs little memory until the end of
    /// the run.
    pub(super) fn light(mut self) -> Self {
        if let Some(stored) = &mut self.stored {
            stored.resources.clear();
            stored.deleted.clear();
        }
        self
    }
}

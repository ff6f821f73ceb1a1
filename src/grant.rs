//! Grants: what a caller may delete according to its token, and which actor is recorded. Memberships: what a
//! token vouches for on a call that is passed on to the backend. This module does no I/O (A5, A6, J2).

use crate::auth::{Caller, Role};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::InstallationId;

/// The permission to delete in one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The installation.
    pub installation: InstallationId,
    /// The actor that has the permission.
    pub by: Actor,
    /// Whether the token names the installation, or the account must still be compared with the stored
    /// account.
    pub scope: Scope,
}

/// Whether the token names the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The token names the installation.
    Installation,
    /// The token names only the account: the installation's stored account must be that account (A6).
    Account,
}

/// The actor of a deletion, as receipts and announcements name it (G1, G5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An `ADMIN` in Vercel's dashboard.
    User {
        /// The token's `account_id`.
        account: String,
        /// The token's `user_id`.
        user: String,
    },
    /// Vercel itself.
    System {
        /// The token's `account_id`.
        account: String,
    },
}

impl Actor {
    /// The token's `account_id`.
    #[must_use]
    pub fn account(&self) -> &str {
        match self {
            Self::User { account, .. } | Self::System { account } => account,
        }
    }

    /// The actor's kind: `user` or `system`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::System { .. } => "system",
        }
    }
}

/// Who deleted something, when and why, as receipts and announcements record it (G1, G5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Who did the deletion.
    pub by: Actor,
    /// When the deletion was done.
    pub at: Timestamp,
    /// The reason of the deletion, as the caller wrote it. `None` if no reason was given.
    pub reason: Option<String>,
}

/// What a verified token vouches for on a call that deletes nothing: the installation, and its account (J2).
/// The token's role does not matter for a call that deletes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The installation.
    pub installation: InstallationId,
    /// The token's `account_id`.
    pub account: String,
    /// Whether the token names the installation, or the account must still be compared with the stored
    /// account.
    pub scope: Scope,
}

impl Membership {
    /// What a token proves about this installation. `None` if the token names another installation.
    #[must_use]
    pub fn of(caller: Caller, installation: InstallationId) -> Option<Self> {
        let (named, account) = match caller {
            Caller::User { installation, account, .. } => (Some(installation), account),
            Caller::System { installation, account } => (installation, account),
        };
        let scope = match named {
            None => Scope::Account,
            Some(named) if named == installation.as_str() => Scope::Installation,
            Some(_) => return None,
        };
        Some(Self { installation, account, scope })
    }
}

impl Grant {
    /// Says whether a caller may delete in an installation, according to its token (A5, A6).
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnlyRole`] and [`Error::OtherInstallation`].
    pub fn authorize(caller: Caller, installation: InstallationId) -> Result<Self, Error> {
        let (named, by) = match caller {
            Caller::User { role: Role::ReadOnly, .. } => return Err(Error::ReadOnlyRole),
            Caller::User { installation, account, user, role: Role::Admin } => {
                (Some(installation), Actor::User { account, user })
            }
            Caller::System { installation, account } => (installation, Actor::System { account }),
        };
        let scope = match named {
            None => Scope::Account,
            Some(named) if named == installation.as_str() => Scope::Installation,
            Some(_) => return Err(Error::OtherInstallation),
        };
        Ok(Self { installation, by, scope })
    }

    /// The account that the store must have for the installation. `None` if the token names the installation:
    /// no account is then compared.
    #[must_use]
    pub fn required_account(&self) -> Option<&str> {
        match self.scope {
            Scope::Installation => None,
            Scope::Account => Some(self.by.account()),
        }
    }
}

//! What Vercel's answers say about the state of an installation at Vercel.

use crate::vercel::{ListResult, LookupResult, ResourceList, VercelAnswer, VercelConfiguration};

/// What is known of the state of an installation at Vercel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VercelSide {
    /// No access token is stored to call Vercel with.
    NoToken,
    /// The configuration exists at Vercel.
    There(VercelConfiguration, Listing),
    /// The configuration is gone at Vercel.
    Removed,
    /// Vercel does not accept the token.
    DeadToken,
    /// The state at Vercel is not known, for this reason.
    Unreachable(String),
}

/// What is known of the resources that Vercel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Vercel has these resources.
    Known(ResourceList),
    /// Vercel was not called to list its resources, so the resources are not compared.
    NotAsked,
    /// Vercel does not accept the token.
    DeadToken,
    /// The resources are not known, for this reason.
    Unreachable(String),
}

impl VercelSide {
    /// Reads Vercel's answer to Get Configuration. 401 and 403 mean that the token is dead, but not that the
    /// configuration was removed, because a token dies for other reasons, too.
    #[must_use]
    pub fn of(reply: LookupResult) -> Self {
        let VercelAnswer::Answer { status, .. } = reply.answer else {
            return Self::Unreachable(reply.answer.to_string());
        };
        match (status, reply.configuration) {
            (200, Some(configuration)) if configuration.is_deleted => Self::Removed,
            (200, Some(configuration)) => Self::There(configuration, Listing::NotAsked),
            (200, None) => Self::Unreachable("Vercel's answer cannot be read".to_owned()),
            (404 | 410, _) => Self::Removed,
            (401 | 403, _) => Self::DeadToken,
            _ => Self::Unreachable(reply.answer.to_string()),
        }
    }
}

impl Listing {
    /// Reads Vercel's answer to the request for its list of resources.
    #[must_use]
    pub fn of(reply: ListResult) -> Self {
        match (reply.resources, &reply.answer) {
            (Some(resources), _) => Self::Known(resources),
            (None, VercelAnswer::Answer { status: 401 | 403, .. }) => Self::DeadToken,
            (None, VercelAnswer::Answer { status: 200, .. }) => {
                Self::Unreachable("Vercel's list of resources cannot be read".to_owned())
            }
            (None, answer) => Self::Unreachable(answer.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L1: 401 and 403 mean a dead token, whatever the body says. 404, 410 and `deletedAt` mean a removal.
    /// After any other answer, except a 200 that can be read, the state at Vercel is not known.
    #[test]
    fn an_answer_is_read_by_its_status() {
        let answer = |status| VercelAnswer::Answer { status, error: None, retry_after: None };
        let side = |status, is_deleted| {
            let configuration =
                Some(VercelConfiguration { is_deleted, ..VercelConfiguration::default() });
            VercelSide::of(LookupResult { answer: answer(status), configuration })
        };
        for is_deleted in [false, true] {
            assert_eq!(
                [401, 403].map(|it| side(it, is_deleted)),
                [const { VercelSide::DeadToken }; 2]
            );
            assert_eq!(
                [404, 410].map(|it| side(it, is_deleted)),
                [const { VercelSide::Removed }; 2]
            );
            for status in [201, 204, 302, 400, 409, 429, 500, 503] {
                assert!(matches!(side(status, is_deleted), VercelSide::Unreachable(_)), "{status}");
            }
        }
        assert_eq!(side(200, true), VercelSide::Removed);
        assert_eq!(
            side(200, false),
            VercelSide::There(VercelConfiguration::default(), Listing::NotAsked)
        );
        let unread = LookupResult { answer: answer(200), configuration: None };
        assert!(matches!(VercelSide::of(unread), VercelSide::Unreachable(_)));

        let listing = |status| Listing::of(ListResult { answer: answer(status), resources: None });
        assert_eq!([401, 403].map(listing), [const { Listing::DeadToken }; 2]);
        for status in [200, 429, 500] {
            assert!(matches!(listing(status), Listing::Unreachable(_)), "{status}");
        }
    }
}

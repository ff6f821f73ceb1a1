//! Vercel's answers to the processes, and what a process does with them.

use teardown::deletion::configuration::{Place, Verdict, Whereabouts, verdict, whereabouts};
use teardown::vercel::{CallResult, LookupResult, VercelAnswer, VercelConfiguration};

use super::process::{At, Ended};
use super::state::State;
use super::table::{Seen, TEAMS};
use super::{Flaw, Sagas};

/// Vercel's answer to a call, or the lack of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 204: the configuration is deleted.
    Done,
    /// 404: there is no such configuration, or it is not in the team that the call names.
    Gone,
    /// 200 to a lookup: the configuration exists, and the answer names its team.
    Found,
    /// 403: the token is dead, or Vercel refuses. The model lets Vercel refuse only if no attempt that was
    /// sent is in doubt.
    Forbidden,
    /// 409: Vercel refuses.
    Conflict,
    /// 429: too many calls.
    TooMany,
    /// 503: Vercel is unavailable.
    Unavailable,
    /// Vercel gives no answer. The call takes effect now, later or never. The process may send the call
    /// again.
    Silence,
    /// No connection to Vercel was made, so nothing was sent.
    Unreached,
}

impl Answer {
    /// Vercel's possible answers to the lookup of a configuration. 503 represents every answer that is not
    /// definite.
    pub(super) const TO_A_LOOK: [Self; 4] =
        [Self::Gone, Self::Forbidden, Self::Found, Self::Unavailable];

    /// Vercel's possible answers to a `DELETE`. The model skips an answer that does not fit the state.
    pub(super) const ALL: [Self; 8] = [
        Self::Done,
        Self::Gone,
        Self::Forbidden,
        Self::Conflict,
        Self::TooMany,
        Self::Unavailable,
        Self::Silence,
        Self::Unreached,
    ];
}

impl Sagas {
    /// Vercel answers a process, or the process cannot reach Vercel.
    pub(super) fn answered(&self, state: &mut State, index: usize, answer: Answer) -> Option<()> {
        let (seen, fence, lost, named) = match state.processes[index].at {
            At::Calling { seen, fence, lost } => (seen, fence, lost, None),
            At::CallingThere { seen, fence, lost, own } => (seen, fence, lost, Some(own)),
            At::Confirming { seen, fence, own } => {
                return found(state, index, answer, (seen, fence, own));
            }
            // The connection to Vercel failed before the mark was written.
            At::Marking(seen, fence) if answer == Answer::Unreached => (seen, fence, false, None),
            _ => return None,
        };
        // A call in the team that Vercel named finds the configuration if it exists.
        let there = if named.is_some() { state.exists } else { state.is_in(seen.team) };
        let status = match answer {
            Answer::Done if there => {
                state.exists = false;
                Some(204)
            }
            Answer::Gone if !there => Some(404),
            Answer::Forbidden
                if !(state.exists && (lost || (seen.is_in_doubt() && state.sent))) =>
            {
                Some(403)
            }
            Answer::Conflict if there => Some(409),
            Answer::TooMany => Some(429),
            Answer::Unavailable => Some(503),
            Answer::Silence => {
                if !lost {
                    state.in_flight |= there;
                    state.sent = true;
                    state.processes[index].at = match named {
                        None => At::Calling { seen, fence, lost: true },
                        Some(own) => At::CallingThere { seen, fence, lost: true, own },
                    };
                    return Some(());
                }
                None
            }
            Answer::Unreached => None,
            _ => return None,
        };
        state.sent |= answer != Answer::Unreached;
        let result = match status {
            Some(status) => VercelAnswer::Answer { status, error: None, retry_after: None },
            None if answer == Answer::Unreached => VercelAnswer::Unreached(String::new()),
            None => VercelAnswer::Nothing(String::new()),
        };
        let is_indefinite = match answer {
            Answer::Unavailable | Answer::Silence => true,
            Answer::Unreached => self.has(Flaw::UnreachedInDoubt),
            _ => false,
        };
        let doubt = lost || is_indefinite;
        let own = doubt || named == Some(true);
        let in_doubt = doubt && !(named.is_some() && self.has(Flaw::NamedDoubtIgnored));
        let place = if named.is_some() { Place::Named } else { Place::Stored };
        let verdict =
            match verdict(&CallResult { answer: result, in_doubt }, seen.is_in_doubt(), place) {
                Verdict::NotThere if self.has(Flaw::BelievedAtOnce) => Verdict::Gone,
                verdict => verdict,
            };
        let process = &mut state.processes[index];
        process.at = match verdict {
            Verdict::Gone => {
                process.knows_it_is_gone = true;
                At::Committing(seen, Some(fence))
            }
            Verdict::NotThere => {
                let mut seen = seen;
                seen.installation.in_doubt |= doubt;
                At::Confirming { seen, fence, own }
            }
            Verdict::Refused => {
                // If an earlier call takes effect after Vercel refused a later call, nobody can learn this
                // effect.
                state.may_stay_unknown |= state.in_flight;
                let in_doubt = seen.is_in_doubt() || in_doubt;
                At::Withdrawing { seen, fence, in_doubt, ended: Ended::Refused }
            }
            Verdict::Open { in_doubt: stored } => {
                At::Rescheduling { fence, stored_doubt: Some(stored), own_doubt: own }
            }
        };
        Some(())
    }
}

/// Vercel answers the lookup of the configuration.
fn found(
    state: &mut State,
    index: usize,
    answer: Answer,
    (seen, fence, own): (Seen, u8, bool),
) -> Option<()> {
    let team = TEAMS[usize::from(state.team_at_vercel)];
    let team = Some(team.to_owned());
    let lives = VercelConfiguration { team, ..VercelConfiguration::default() };
    let (status, configuration) = match answer {
        Answer::Gone if !state.exists => (404, None),
        Answer::Forbidden if !state.exists => (403, None),
        Answer::Found if state.exists => (200, Some(lives)),
        Answer::Unavailable => (503, None),
        _ => return None,
    };
    let result = VercelAnswer::Answer { status, error: None, retry_after: None };
    let process = &mut state.processes[index];
    process.at = match whereabouts(&LookupResult { answer: result, configuration }) {
        Whereabouts::Gone => {
            process.knows_it_is_gone = true;
            At::Committing(seen, Some(fence))
        }
        Whereabouts::LivesIn(_) => At::Moving { seen, fence, own },
        Whereabouts::Unknown => {
            At::Rescheduling { fence, stored_doubt: Some(seen.is_in_doubt()), own_doubt: own }
        }
    };
    Some(())
}

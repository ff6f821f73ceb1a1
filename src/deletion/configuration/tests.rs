use super::*;
use crate::vercel::VercelConfiguration;

fn answer(status: u16) -> VercelAnswer {
    VercelAnswer::Answer { status, error: None, retry_after: None }
}

fn reply(status: u16, in_doubt: bool) -> CallResult {
    CallResult { answer: answer(status), in_doubt }
}

/// E2, E3, E7: 204 and 200 mean that the configuration is gone. 404 and 410 must be confirmed. 401 and 403
/// mean that the configuration is gone only after an attempt that got no definite answer. After any other
/// answer that is not a refusal, it is not known whether the configuration is gone.
#[test]
fn what_vercel_says() {
    let verdict = |reply: &CallResult, before| verdict(reply, before, Place::Stored);
    for in_doubt in [false, true] {
        for status in [200, 204] {
            assert_eq!(verdict(&reply(status, in_doubt), false), Verdict::Gone, "{status}");
        }
        for status in [404, 410] {
            assert_eq!(verdict(&reply(status, in_doubt), false), Verdict::NotThere, "{status}");
            assert_eq!(verdict(&reply(status, false), in_doubt), Verdict::NotThere, "{status}");
        }
    }
    for status in [400, 401, 403, 409] {
        assert_eq!(verdict(&reply(status, false), false), Verdict::Refused, "{status}");
    }
    for (status, verdict_after) in
        [(401, Verdict::Gone), (403, Verdict::Gone), (400, Verdict::Refused)]
    {
        assert_eq!(verdict(&reply(status, true), false), verdict_after, "{status}");
        assert_eq!(verdict(&reply(status, false), true), verdict_after, "{status}");
    }
    for status in [302, 402, 422, 429] {
        let open = Verdict::Open { in_doubt: false };
        assert_eq!(verdict(&reply(status, false), false), open, "{status}");
    }
    let silence =
        CallResult { answer: VercelAnswer::Nothing("timed out".to_owned()), in_doubt: true };
    assert_eq!(verdict(&silence, false), Verdict::Open { in_doubt: true });
    for status in [202, 206, 503] {
        assert_eq!(verdict(&reply(status, true), false), Verdict::Open { in_doubt: true });
    }
    let unreached =
        CallResult { answer: VercelAnswer::Unreached("refused".to_owned()), in_doubt: false };
    for in_doubt in [false, true] {
        assert_eq!(verdict(&unreached, in_doubt), Verdict::Open { in_doubt });
    }
}

/// E7: in the team that Vercel has just named, 401, 403, 404 and 410 are refusals, even if an earlier attempt
/// is in doubt. If this same `DELETE` is in doubt, then after 401, 403, 404 and 410 it is not known whether
/// the configuration is gone.
#[test]
fn what_vercel_says_in_the_team_that_it_named() {
    let verdict = |reply: &CallResult, before| verdict(reply, before, Place::Named);
    for before in [false, true] {
        for status in [200, 204] {
            assert_eq!(verdict(&reply(status, true), before), Verdict::Gone, "{status}");
        }
        for status in [400, 401, 403, 404, 409, 410] {
            assert_eq!(verdict(&reply(status, false), before), Verdict::Refused, "{status}");
        }
        for status in [401, 403, 404, 410] {
            let open = Verdict::Open { in_doubt: true };
            assert_eq!(verdict(&reply(status, true), before), open, "{status}");
        }
        for status in [400, 409] {
            assert_eq!(verdict(&reply(status, true), before), Verdict::Refused, "{status}");
        }
        for status in [302, 422, 429] {
            let open = Verdict::Open { in_doubt: before };
            assert_eq!(verdict(&reply(status, false), before), open, "{status}");
        }
    }
}

/// E7: if Vercel's answer to a lookup does not say where the configuration is, the place stays unknown.
#[test]
fn where_a_configuration_is() {
    let at = |team: Option<&str>, is_deleted| {
        let team = team.map(str::to_owned);
        Some(VercelConfiguration { team, is_deleted, ..VercelConfiguration::default() })
    };
    let lookup = |status, configuration| {
        whereabouts(&LookupResult { answer: answer(status), configuration })
    };
    for status in [401, 403, 404, 410] {
        assert_eq!(lookup(status, None), Whereabouts::Gone, "{status}");
        assert_eq!(lookup(status, at(None, false)), Whereabouts::Gone, "{status}");
    }
    assert_eq!(lookup(200, at(Some("team_2"), true)), Whereabouts::Gone);
    let team = Some("team_2".to_owned());
    assert_eq!(lookup(200, at(Some("team_2"), false)), Whereabouts::LivesIn(team));
    assert_eq!(lookup(200, at(None, false)), Whereabouts::LivesIn(None));
    assert_eq!(lookup(200, None), Whereabouts::Unknown, "without JSON");
    for status in [202, 204, 302, 400, 409, 429, 500, 503] {
        assert_eq!(lookup(status, at(None, true)), Whereabouts::Unknown, "{status}");
    }
    for answer in [VercelAnswer::Nothing(String::new()), VercelAnswer::Unreached(String::new())] {
        let lookup = LookupResult { answer, configuration: None };
        assert_eq!(whereabouts(&lookup), Whereabouts::Unknown);
    }
}

/// E7: the stored slug is kept only if Vercel names the stored team.
#[test]
fn a_named_team_keeps_its_own_slug_alone() {
    let team = |id: Option<&str>, slug: Option<&str>| Team {
        id: id.map(str::to_owned),
        slug: slug.map(str::to_owned),
    };
    let named = |stored: Team, id: Option<&str>| stored.named(id.map(str::to_owned));
    let stored = || team(Some("team_1"), Some("my-team"));
    assert_eq!(named(stored(), Some("team_1")), stored());
    assert_eq!(named(stored(), Some("team_2")), team(Some("team_2"), None));
    assert_eq!(named(stored(), None), team(None, None));
    assert_eq!(named(team(None, None), Some("team_2")), team(Some("team_2"), None));
}

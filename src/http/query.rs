//! The query of Delete Configuration (B4, E1).

use crate::deletion::configuration::Team;
use crate::error::BadRequest;

/// The team that a query names by `teamId` and `slug`. The caller may send `teamId` once, and `slug` once.
/// Parameters with other names are ignored, because hosts append parameters to the query.
///
/// # Errors
///
/// [`BadRequest::QueryRepeated`] if `teamId` or `slug` is sent twice.
pub fn team(query: Option<&str>) -> Result<Team, BadRequest> {
    let mut team = Team::default();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let (name, place) = match &*name {
            "teamId" => ("teamId", &mut team.id),
            "slug" => ("slug", &mut team.slug),
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(BadRequest::QueryRepeated(name));
        }
    }
    Ok(team)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B4, E1: `teamId` and `slug` of a query are decoded once. A query that has `teamId` or `slug` twice is
    /// refused.
    #[test]
    fn a_query_names_a_team() {
        let expected = |id: Option<&str>, slug: Option<&str>| {
            Ok(Team { id: id.map(str::to_owned), slug: slug.map(str::to_owned) })
        };
        assert_eq!(team(None), expected(None, None));
        assert_eq!(team(Some("id=x&id=y&TeamId=z")), expected(None, None));
        assert_eq!(
            team(Some("teamId=team_1&slug=my%2Dteam&id=x")),
            expected(Some("team_1"), Some("my-team"))
        );
        assert_eq!(team(Some("teamId=&slug")), expected(Some(""), Some("")));
        assert_eq!(team(Some("teamId=%2541")), expected(Some("%41"), None));
        assert_eq!(team(Some("teamId=a&team%49d=a")), Err(BadRequest::QueryRepeated("teamId")));
        assert_eq!(team(Some("slug=a&slug=b")), Err(BadRequest::QueryRepeated("slug")));
    }
}

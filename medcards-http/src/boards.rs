use std::sync::Arc;

use medcards_core::leaderboard::Leaderboards;
use medcards_core::{Error, ErrorKind, Result};

use crate::alias::Aliases;
use crate::config::HttpConfig;
use crate::problem::{Problem, ProblemCode};

/// Leaderboards, if the server keeps any, and how users are named on them.
pub(crate) struct Boards(Option<Kept>);

pub(crate) struct Kept {
    pub(crate) leaderboards: Arc<dyn Leaderboards>,
    pub(crate) aliases: Aliases,
}

impl Boards {
    pub(crate) fn new(config: &HttpConfig) -> Result<Self> {
        let secrets = [
            &config.alias_secret,
            &config.guest_secret,
            &config.jwt_secret,
        ];
        let secret = secrets.into_iter().find_map(Option::as_ref);
        let leaderboards = match (&config.leaderboards, &config.learning) {
            (Some(leaderboards), _) => Arc::clone(leaderboards),
            (None, Some(learning)) if secret.is_some() => Arc::clone(learning.leaderboards()),
            (None, _) => return Ok(Self(None)),
        };
        let secret = secret.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "configure leaderboards",
                "set an alias secret, the same for all servers, so that users can be named to others",
            )
        })?;
        Ok(Self(Some(Kept {
            leaderboards,
            aliases: Aliases::new(secret),
        })))
    }

    pub(crate) fn kept(&self) -> std::result::Result<&Kept, Problem> {
        self.0.as_ref().ok_or_else(|| {
            Problem::new(ProblemCode::LeaderboardsDisabled)
                .with_detail("ask whoever runs the server to keep them")
        })
    }
}

use std::cmp::Reverse;

use medcards_core::event::LogPosition;
use medcards_core::leaderboard::{
    AsOf, Edition, EditionProgress, Neighbourhood, Progress, Standing, rank_from,
};
use medcards_core::{Error, ErrorKind, Result, UserId};
use redis::{FromRedisValue, Value};

/// What a read gave.
pub(super) struct Read {
    pub(super) as_of: AsOf,
    pub(super) members: u64,
    /// Without ranks yet.
    pub(super) standings: Vec<Standing>,
    /// The place of the first of them, from 0; of a cohort its number.
    pub(super) number: u64,
    /// How many stand better than the first of them.
    better: u64,
}

/// Which edition answered.
pub(super) enum Answer {
    Another(Edition),
    Nobody,
    This(Read),
}

impl Read {
    /// Reads the reply to a read of `edition`.
    pub(super) fn from_reply(
        operation: &'static str,
        reply: Vec<Value>,
        edition: Edition,
    ) -> Result<Answer> {
        let mut reply = reply.into_iter();
        let mut next = || reply.next().ok_or_else(|| damaged(operation));
        let answering: String = parsed(operation, next()?)?;
        if answering.is_empty() {
            return Ok(Answer::Nobody);
        }
        let answering = edition_of(operation, &answering)?;
        if answering != edition {
            return Ok(Answer::Another(answering));
        }
        let at: String = parsed(operation, next()?)?;
        let is_complete: u8 = parsed(operation, next()?)?;
        let members: u64 = parsed(operation, next()?)?;
        let standings = match reply.next() {
            Some(standings) => standings_of(operation, parsed(operation, standings)?)?,
            None => Vec::new(),
        };
        let mut number = || reply.next().map_or(Ok(0), |value| parsed(operation, value));
        Ok(Answer::This(Self {
            as_of: AsOf {
                position: position(operation, &at)?,
                is_complete: is_complete == 1,
            },
            members,
            standings,
            number: number()?,
            better: number()?,
        }))
    }

    /// The user among those that were read around them.
    pub(super) fn around(mut self, user_id: UserId) -> Neighbourhood {
        rank_from(self.number + 1, self.better + 1, &mut self.standings);
        let mut found = Neighbourhood {
            user: None,
            above: Vec::new(),
            below: Vec::new(),
            members: self.members,
            as_of: self.as_of,
        };
        for standing in self.standings {
            if standing.user_id == user_id {
                found.user = Some(standing);
            } else if found.user.is_none() {
                found.above.push(standing);
            } else {
                found.below.push(standing);
            }
        }
        found
    }
}

/// Sorts users, best first, and ranks them as if there were no others.
pub(super) fn ranked_among_themselves(mut standings: Vec<Standing>) -> Vec<Standing> {
    standings.sort_unstable_by_key(|standing| (Reverse(standing.points), standing.user_id));
    rank_from(1, 1, &mut standings);
    standings
}

/// Reads of the current and of the next edition its number, where it stands, whether it lost
/// something, and of how many corrections it knows: of none if it was begun before that was kept.
pub(super) fn progress_of(
    operation: &'static str,
    fields: [Option<String>; 8],
) -> Result<Progress> {
    let of = |[edition, at, lost, corrections]: [Option<String>; 4]| {
        let Some(edition) = edition else {
            return Ok(None);
        };
        let corrections = corrections.map_or(Ok(0), |text| text.parse::<u64>());
        let is_whole = at.is_some() && lost.is_none();
        let at = at.map(|at| position(operation, &at)).transpose()?;
        Ok(Some(EditionProgress {
            edition: edition_of(operation, &edition)?,
            corrections: corrections.map_err(|source| damaged(operation).with_source(source))?,
            position: at.unwrap_or_default(),
            is_whole,
        }))
    };
    let [a, b, c, d, e, f, g, h] = fields;
    Ok(Progress {
        current: of([a, b, c, d])?,
        next: of([e, f, g, h])?,
    })
}

/// Reads a place in the log.
pub(super) fn position(operation: &'static str, text: &str) -> Result<LogPosition> {
    let read = || {
        let (transaction, sequence) = text.split_once(':')?;
        Some(LogPosition {
            transaction: transaction.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    };
    read().ok_or_else(|| damaged(operation))
}

fn edition_of(operation: &'static str, text: &str) -> Result<Edition> {
    u64::from_str_radix(text, 16)
        .map(Edition::new)
        .map_err(|source| damaged(operation).with_source(source))
}

/// Reads users, each followed by its points, negated.
fn standings_of(operation: &'static str, reply: Vec<Vec<u8>>) -> Result<Vec<Standing>> {
    let standing = |pair: &[Vec<u8>]| {
        let [user_id, score] = pair else { return None };
        let score: f64 = std::str::from_utf8(score).ok()?.parse().ok()?;
        Some(Standing {
            user_id: UserId::from_bytes(user_id.as_slice().try_into().ok()?),
            rank: 0,
            // Whole, and far below 2^53, up to which a float holds whole numbers.
            points: -score as u64,
        })
    };
    let standings: Option<Vec<_>> = reply.chunks(2).map(standing).collect();
    standings.ok_or_else(|| damaged(operation))
}

fn parsed<T: FromRedisValue>(operation: &'static str, value: Value) -> Result<T> {
    T::from_redis_value(value).map_err(|source| damaged(operation).with_source(source))
}

fn damaged(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        operation,
        "Redis has something else under the names of leaderboards: delete it, or set another namespace",
    )
}

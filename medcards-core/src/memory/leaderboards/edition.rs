use std::collections::HashMap;

use jiff::Timestamp;

use super::ranking::Ranking;
use crate::event::LogPosition;
use crate::id::UserId;
use crate::leaderboard::{
    AsOf, Board, COHORT_SIZE, Cohort, Edition, EditionProgress, Gain, Neighbourhood, Period,
    STANDINGS_MAX, Standing, Top, Week, rank_from,
};

/// All boards, filled in one go.
#[derive(Clone, Debug)]
pub(super) struct Boards {
    pub(super) edition: Edition,
    pub(super) corrections: u64,
    pub(super) position: LogPosition,
    rankings: HashMap<Board, Ranking>,
    cohorts: HashMap<Week, Places>,
    /// Whether somebody had no room.
    is_full: bool,
}

/// The users of a week in the order in which they gained their first point.
#[derive(Clone, Debug, Default)]
struct Places {
    order: Vec<UserId>,
    place_of: HashMap<UserId, usize>,
}

impl Boards {
    pub(super) fn new(edition: Edition, corrections: u64) -> Self {
        Self {
            edition,
            corrections,
            position: LogPosition::START,
            rankings: HashMap::new(),
            cohorts: HashMap::new(),
            is_full: false,
        }
    }

    pub(super) fn progress(&self) -> EditionProgress {
        EditionProgress {
            edition: self.edition,
            corrections: self.corrections,
            position: self.position,
            is_whole: true,
        }
    }

    /// How many places on boards and in cohorts are taken.
    pub(super) fn places(&self) -> usize {
        let on_boards: usize = self.rankings.values().map(Ranking::len).sum();
        let in_cohorts: usize = self.cohorts.values().map(|week| week.order.len()).sum();
        on_boards + in_cohorts
    }

    /// Counts gains. Takes a place from `free` for each user who is new somewhere.
    pub(super) fn count(&mut self, gains: &[Gain], mut free: usize, now: Timestamp) {
        let is_kept = |week: &Week| now < week.kept_until();
        self.cohorts.retain(|week, _| is_kept(week));
        self.rankings.retain(|board, _| match board.period {
            Period::AllTime => true,
            Period::Week(week) => is_kept(&week),
        });
        for gain in gains {
            let is_kept = is_kept(&gain.week);
            for board in gain.boards() {
                if is_kept || board.period == Period::AllTime {
                    let ranking = self.rankings.entry(board).or_default();
                    if ranking.has(gain.user_id) || take(&mut free) {
                        ranking.add_point(gain.user_id);
                    } else {
                        self.is_full = true;
                    }
                }
            }
            if is_kept {
                let places = self.cohorts.entry(gain.week).or_default();
                if !places.place_of.contains_key(&gain.user_id) {
                    if take(&mut free) {
                        places.place_of.insert(gain.user_id, places.order.len());
                        places.order.push(gain.user_id);
                    } else {
                        self.is_full = true;
                    }
                }
            }
        }
    }

    fn as_of(&self, is_current: bool) -> AsOf {
        AsOf {
            position: self.position,
            is_complete: is_current && !self.is_full,
        }
    }

    /// The ranking of a board, if it is kept.
    fn ranking(&self, board: &Board, now: Timestamp) -> Option<&Ranking> {
        match board.period {
            Period::Week(week) if now >= week.kept_until() => None,
            _ => self.rankings.get(board),
        }
    }

    pub(super) fn top(&self, board: &Board, limit: usize, is_current: bool, now: Timestamp) -> Top {
        let ranking = self.ranking(board, now);
        Top {
            standings: ranking
                .map(|ranking| ranking.top(limit.min(STANDINGS_MAX)))
                .unwrap_or_default(),
            members: ranking.map_or(0, |ranking| ranking.len() as u64),
            as_of: self.as_of(is_current),
        }
    }

    pub(super) fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
        is_current: bool,
        now: Timestamp,
    ) -> Neighbourhood {
        let ranking = self.ranking(board, now);
        let user = ranking.and_then(|ranking| ranking.standing(user_id));
        let (above, below) = match (ranking, &user) {
            (Some(ranking), Some(user)) => ranking.neighbours(user, neighbours.min(STANDINGS_MAX)),
            _ => Default::default(),
        };
        Neighbourhood {
            user,
            above,
            below,
            members: ranking.map_or(0, |ranking| ranking.len() as u64),
            as_of: self.as_of(is_current),
        }
    }

    pub(super) fn cohort(
        &self,
        week: Week,
        user_id: UserId,
        is_current: bool,
        now: Timestamp,
    ) -> Option<Cohort> {
        if now >= week.kept_until() {
            return None;
        }
        let places = self.cohorts.get(&week)?;
        let size = usize::try_from(COHORT_SIZE).ok()?;
        let number = places.place_of.get(&user_id)? / size;
        let members = places.order.chunks(size).nth(number)?;
        let ranking = self.rankings.get(&Board::overall(Period::Week(week)))?;
        let standings = members.iter().filter_map(|id| ranking.standing(*id));
        Some(Cohort {
            number: number as u64,
            standings: ranked_among_themselves(standings.collect()),
            as_of: self.as_of(is_current),
        })
    }
}

fn take(free: &mut usize) -> bool {
    let is_free = *free > 0;
    *free = free.saturating_sub(1);
    is_free
}

/// Sorts users, best first, and ranks them as if there were no others.
fn ranked_among_themselves(mut standings: Vec<Standing>) -> Vec<Standing> {
    standings
        .sort_unstable_by_key(|standing| (std::cmp::Reverse(standing.points), standing.user_id));
    rank_from(1, 1, &mut standings);
    standings
}

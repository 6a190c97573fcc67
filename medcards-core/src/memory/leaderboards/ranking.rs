use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use crate::id::UserId;
use crate::leaderboard::Standing;

/// The users of one board in their order. Every question costs the logarithm of what is kept, and
/// what it returns.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranking {
    points: HashMap<UserId, u64>,
    order: BTreeSet<(Reverse<u64>, UserId)>,
    by_points: PointCounts,
}

impl Ranking {
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn has(&self, user_id: UserId) -> bool {
        self.points.contains_key(&user_id)
    }

    pub(super) fn add_point(&mut self, user_id: UserId) {
        let points = self.points.entry(user_id).or_default();
        if *points > 0 {
            self.order.remove(&(Reverse(*points), user_id));
            self.by_points.remove(*points);
        }
        *points += 1;
        self.order.insert((Reverse(*points), user_id));
        self.by_points.add(*points);
    }

    pub(super) fn top(&self, limit: usize) -> Vec<Standing> {
        self.order
            .iter()
            .take(limit)
            .map(|key| self.standing_of(key))
            .collect()
    }

    pub(super) fn standing(&self, user_id: UserId) -> Option<Standing> {
        let points = *self.points.get(&user_id)?;
        Some(self.standing_of(&(Reverse(points), user_id)))
    }

    /// Those right above and right below, best first.
    pub(super) fn neighbours(&self, of: &Standing, limit: usize) -> (Vec<Standing>, Vec<Standing>) {
        let key = (Reverse(of.points), of.user_id);
        let above = self.order.range(..key).rev().take(limit);
        let mut above: Vec<_> = above.map(|key| self.standing_of(key)).collect();
        above.reverse();
        let below = self
            .order
            .range((Bound::Excluded(key), Bound::Unbounded))
            .take(limit);
        (above, below.map(|key| self.standing_of(key)).collect())
    }

    fn standing_of(&self, key: &(Reverse<u64>, UserId)) -> Standing {
        let (Reverse(points), user_id) = *key;
        Standing {
            user_id,
            rank: self.by_points.above(points) + 1,
            points,
        }
    }
}

/// How many users have how many points: a Fenwick tree, whose length is a power of two.
#[derive(Clone, Debug, Default)]
struct PointCounts {
    /// Stands at index `points - 1` for the counts of some points up to `points`.
    sums: Vec<u32>,
    users: u64,
}

impl PointCounts {
    fn add(&mut self, points: u64) {
        while (self.sums.len() as u64) < points {
            // The last sum of a tree whose length is a power of two is that of all.
            let all = self.sums.last().copied().unwrap_or_default();
            let len = (self.sums.len() * 2).max(1);
            self.sums.resize(len, 0);
            if let Some(last) = self.sums.last_mut() {
                *last = all;
            }
        }
        self.users += 1;
        self.change(points, |sum| sum.saturating_add(1));
    }

    fn remove(&mut self, points: u64) {
        self.users -= 1;
        self.change(points, |sum| sum.saturating_sub(1));
    }

    fn change(&mut self, points: u64, change: impl Fn(u32) -> u32) {
        let mut at = points;
        while let Some(sum) = sum_at(at).and_then(|index| self.sums.get_mut(index)) {
            *sum = change(*sum);
            at += lowest_bit(at);
        }
    }

    /// How many users have more points.
    fn above(&self, points: u64) -> u64 {
        let mut up_to = 0;
        let mut at = points;
        while let Some(index) = sum_at(at) {
            up_to += u64::from(self.sums.get(index).copied().unwrap_or_default());
            at -= lowest_bit(at);
        }
        self.users - up_to
    }
}

fn sum_at(points: u64) -> Option<usize> {
    usize::try_from(points.checked_sub(1)?).ok()
}

fn lowest_bit(number: u64) -> u64 {
    number & number.wrapping_neg()
}

//! Checks of [`FedLeaderboards`].
//!
//! They go by the machine's clock, which a remote backend does too. Boards in memory need some ten
//! thousand places.

use std::collections::HashMap;
use std::sync::Arc;

use super::steps::{WORKS, all_at_once};
use crate::event::LogPosition;
use crate::id::UserId;
use crate::leaderboard::{
    Applied, Batch, Board, COHORT_SIZE, Edition, FedLeaderboards, GAINS_PER_BATCH_MAX, Gain,
    Neighbourhood, Period, Progress, STANDINGS_MAX, SpecialtyName, Standing, Week,
};
use crate::testing::sample_user_id;
use crate::time::{Clock, SystemClock};
use crate::{ErrorKind, Timestamp};

/// A week of seconds.
const WEEK_S: i64 = 7 * 24 * 3_600;

/// The week that lies so many before this one.
fn weeks_ago(weeks: i64) -> Week {
    let now = SystemClock::new().now();
    let then = Timestamp::from_second(now.as_second() - weeks * WEEK_S);
    Week::of(then.expect("the machine's clock is not thousands of years off"))
}

/// The place of the `n`th event. Larger than a float holds exactly, as transactions may be.
fn place(n: u64) -> LogPosition {
    match n {
        0 => LogPosition::START,
        n => LogPosition {
            transaction: (1 << 60) + n / 7,
            sequence: n,
        },
    }
}

/// A gain of the `n`th sample user, which the `position`th event brings.
fn gain(position: u64, n: u32, week: Week, specialty: Option<&str>) -> Gain {
    Gain {
        position: place(position),
        user_id: sample_user_id(n),
        week,
        specialty: specialty.map(SpecialtyName::new),
    }
}

/// Gains of users in this order, this week, in no specialty.
fn gains_in_order(users: impl IntoIterator<Item = u32>) -> Vec<Gain> {
    let week = weeks_ago(0);
    let gain = |(position, user)| gain(position, user, week, None);
    (1..).zip(users).map(gain).collect()
}

/// Applies gains to an edition that stands at `from`.
async fn apply(
    boards: &dyn FedLeaderboards,
    edition: Edition,
    mut from: LogPosition,
    gains: &[Gain],
) {
    for gains in gains.chunks(GAINS_PER_BATCH_MAX) {
        let to = gains.last().map_or(from, |last| last.position);
        let batch = Batch { from, to, gains };
        let applied = boards.apply(edition, &batch).await.expect(WORKS);
        assert_eq!(applied, Applied::Done, "from {from} to {to}");
        from = to;
    }
}

fn end_of(gains: &[Gain]) -> LogPosition {
    gains
        .last()
        .map_or(LogPosition::START, |last| last.position)
}

async fn begin(boards: &dyn FedLeaderboards) -> Edition {
    let progress = boards.begin_rebuild(0).await.expect(WORKS);
    let next = progress.next.expect("a rebuild was begun");
    assert!(next.is_whole, "{progress:?}");
    next.edition
}

/// Builds an edition of these gains, and makes it the current one.
async fn build(boards: &dyn FedLeaderboards, gains: &[Gain]) -> Edition {
    let edition = begin(boards).await;
    apply(boards, edition, LogPosition::START, gains).await;
    let switched = boards.switch(edition, end_of(gains)).await.expect(WORKS);
    assert!(switched, "an edition that stands there is switched in");
    edition
}

fn all_time() -> Board {
    Board::overall(Period::AllTime)
}

/// User, rank and points of each.
fn plain(standings: &[Standing]) -> Vec<(UserId, u64, u64)> {
    let plain = |standing: &Standing| (standing.user_id, standing.rank, standing.points);
    standings.iter().map(plain).collect()
}

/// The same of sample users.
fn expected<const N: usize>(standings: [(u32, u64, u64); N]) -> Vec<(UserId, u64, u64)> {
    let expected = |(n, rank, points)| (sample_user_id(n), rank, points);
    standings.into_iter().map(expected).collect()
}

async fn top(boards: &dyn FedLeaderboards, board: &Board) -> Vec<(UserId, u64, u64)> {
    plain(
        &boards
            .top(board, STANDINGS_MAX)
            .await
            .expect(WORKS)
            .standings,
    )
}

async fn standing(boards: &dyn FedLeaderboards, n: u32, neighbours: usize) -> Neighbourhood {
    let (board, user_id) = (all_time(), sample_user_id(n));
    let standing = boards.standing(&board, user_id, neighbours).await;
    standing.expect(WORKS)
}

/// Points count on the boards that they belong to, and on no other.
pub async fn points_count_on_the_boards_they_belong_to(boards: Arc<dyn FedLeaderboards>) {
    let (this, last) = (weeks_ago(0), weeks_ago(1));
    let gains = [
        gain(1, 1, this, Some("Cardiology")),
        gain(2, 1, this, Some("cardiologY")),
        gain(3, 1, last, Some("Neurology")),
        gain(4, 2, last, Some("Cardiology")),
        gain(5, 2, this, None),
        gain(6, 1, this, Some("Neurology")),
    ];
    build(&*boards, &gains).await;
    let of = |period, name: &str| Board::of_specialty(period, SpecialtyName::new(name));
    let (this, last) = (Period::Week(this), Period::Week(last));
    let all = Period::AllTime;
    for (board, first, second) in [
        (Board::overall(all), Some((1, 4)), Some((2, 2))),
        (of(all, "cardiology"), Some((1, 2)), Some((2, 1))),
        (of(all, "NEUROLOGY"), Some((1, 2)), None),
        (Board::overall(this), Some((1, 3)), Some((2, 1))),
        (of(this, "Cardiology"), Some((1, 2)), None),
        (of(this, "Neurology"), Some((1, 1)), None),
        (of(last, "Cardiology"), Some((2, 1)), None),
        (of(last, "Neurology"), Some((1, 1)), None),
    ] {
        let both = [first, second].into_iter().flatten();
        let both: Vec<_> = (1..)
            .zip(both)
            .map(|(rank, (n, points))| (sample_user_id(n), rank, points))
            .collect();
        assert_eq!(top(&*boards, &board).await, both, "{board}");
    }
}

/// What nobody gained a point on is empty, and so is everything before the first edition.
pub async fn what_nobody_is_on_is_empty(boards: Arc<dyn FedLeaderboards>) {
    let nobody = async |board: &Board, n| {
        let top = boards.top(board, 10).await.expect(WORKS);
        assert_eq!((top.standings, top.members), (vec![], 0), "{board}");
        let user_id = sample_user_id(n);
        let found = boards.standing(board, user_id, 2).await.expect(WORKS);
        assert_eq!((found.user, found.members), (None, 0), "{board}");
        assert_eq!((found.above, found.below), (vec![], vec![]), "{board}");
    };
    let week = weeks_ago(0);
    let cohort = async |n| boards.cohort(week, sample_user_id(n)).await.expect(WORKS);
    assert_eq!(boards.progress().await.expect(WORKS), Progress::default());
    nobody(&all_time(), 1).await;
    assert_eq!(cohort(1).await, None);

    build(&*boards, &[gain(1, 1, week, None)]).await;
    let specialty = SpecialtyName::new("Cardiology");
    nobody(&Board::of_specialty(Period::AllTime, specialty), 1).await;
    nobody(&Board::overall(Period::Week(weeks_ago(1))), 1).await;
    assert_eq!(cohort(2).await, None);
    let other = standing(&*boards, 2, 2).await;
    assert_eq!((other.user, other.members), (None, 1));
    assert_eq!((other.above, other.below), (vec![], vec![]));
}

/// Equal points share a rank, are shown in order of id, and leave out the ranks they share.
pub async fn equal_points_share_a_rank(boards: Arc<dyn FedLeaderboards>) {
    // In an order that is neither that of the ids nor its reverse.
    build(&*boards, &gains_in_order([4, 2, 5, 3, 1, 5, 4, 2, 5])).await;
    let ranks = expected([(5, 1, 3), (2, 2, 2), (4, 2, 2), (1, 4, 1), (3, 4, 1)]);
    assert_eq!(top(&*boards, &all_time()).await, ranks);
    for (n, rank) in [(5, 1), (2, 2), (4, 2), (1, 4), (3, 4)] {
        let user = standing(&*boards, n, 0).await.user.expect("it has a point");
        assert_eq!(user.rank, rank, "user {n}");
    }
}

/// A top has as many as were asked for, and says how many there are.
pub async fn a_top_has_as_many_as_were_asked_for(boards: Arc<dyn FedLeaderboards>) {
    let users = 2 * STANDINGS_MAX as u32;
    build(&*boards, &gains_in_order(0..users)).await;
    for limit in [0, 1, 7, STANDINGS_MAX, STANDINGS_MAX + 1, usize::MAX] {
        let top = boards.top(&all_time(), limit).await.expect(WORKS);
        let count = limit.min(STANDINGS_MAX);
        let first: Vec<_> = (0..)
            .take(count)
            .map(|n| (sample_user_id(n), 1, 1))
            .collect();
        assert_eq!(plain(&top.standings), first, "limit {limit}");
        assert_eq!(top.members, u64::from(users));
    }
}

/// Neighbours are those right above and below, with their own ranks, also at both ends.
pub async fn neighbours_are_those_next_to_me(boards: Arc<dyn FedLeaderboards>) {
    // User n has so many points: 1: 4, 2: 2, 3: 3, 4: 2, 5: 2, 6: 1.
    let gains = gains_in_order([1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 1, 3, 1]);
    build(&*boards, &gains).await;
    let all = expected([
        (1, 1, 4),
        (3, 2, 3),
        (2, 3, 2),
        (4, 3, 2),
        (5, 3, 2),
        (6, 6, 1),
    ]);
    for (index, (user_id, rank, points)) in all.iter().enumerate() {
        for neighbours in [0, 1, 2, 3, 100, usize::MAX] {
            let found = boards.standing(&all_time(), *user_id, neighbours).await;
            let found = found.expect(WORKS);
            let user = found.user.expect("everybody has a point");
            assert_eq!((user.rank, user.points), (*rank, *points));
            let first = index.saturating_sub(neighbours);
            let end = (index + 1).saturating_add(neighbours).min(all.len());
            assert_eq!(plain(&found.above), all[first..index], "above {index}");
            assert_eq!(plain(&found.below), all[index + 1..end], "below {index}");
            assert_eq!(found.members, 6);
        }
    }
}

/// A batch that is applied again, or does not begin where the boards stand, changes nothing.
pub async fn a_batch_counts_once(boards: Arc<dyn FedLeaderboards>) {
    let gains = gains_in_order([1, 2, 1]);
    let edition = build(&*boards, &gains[..2]).await;
    let stands = place(2);
    for (from, to) in [(0, 2), (1, 3), (3, 4), (0, 0)] {
        let batch = Batch {
            from: place(from),
            to: place(to),
            gains: &gains,
        };
        let applied = boards.apply(edition, &batch).await.expect(WORKS);
        assert_eq!(applied, Applied::Elsewhere(stands), "from {from} to {to}");
    }
    let ranks = expected([(1, 1, 1), (2, 1, 1)]);
    assert_eq!(top(&*boards, &all_time()).await, ranks);
    apply(&*boards, edition, stands, &gains[2..]).await;
    let ranks = expected([(1, 1, 2), (2, 2, 1)]);
    assert_eq!(top(&*boards, &all_time()).await, ranks);
}

/// Many that apply the same part of the log at once count it once, and learn who was faster.
pub async fn a_batch_applied_by_many_at_once_counts_once(boards: Arc<dyn FedLeaderboards>) {
    let edition = begin(&*boards).await;
    let gains = Arc::new(gains_in_order((0..60).map(|n| n % 6)));
    let feed = |_| {
        let (boards, gains) = (Arc::clone(&boards), Arc::clone(&gains));
        async move {
            let mut done = 0;
            for (index, gains) in gains.chunks(3).enumerate() {
                let batch = Batch {
                    from: place(3 * index as u64),
                    to: place(3 * index as u64 + 3),
                    gains,
                };
                match boards.apply(edition, &batch).await.expect(WORKS) {
                    Applied::Done => done += 1,
                    Applied::Elsewhere(at) => assert!(at >= batch.to, "{at} is behind"),
                    Applied::Gone => panic!("nobody dropped {edition}"),
                }
            }
            done
        }
    };
    let done = all_at_once((0..4).map(feed)).await;
    assert_eq!(done.iter().sum::<u32>(), 20);
    assert!(boards.switch(edition, place(60)).await.expect(WORKS));
    let ten_each: Vec<_> = (0..6).map(|n| (sample_user_id(n), 1, 10)).collect();
    assert_eq!(top(&*boards, &all_time()).await, ten_each);
}

/// A part of the log without a gain moves the place all the same.
pub async fn a_part_without_gains_moves_the_place(boards: Arc<dyn FedLeaderboards>) {
    let edition = build(&*boards, &[]).await;
    let batch = Batch {
        from: LogPosition::START,
        to: place(9),
        gains: &[],
    };
    let applied = boards.apply(edition, &batch).await.expect(WORKS);
    assert_eq!(applied, Applied::Done);
    for progress in [boards.progress().await, boards.verify().await] {
        let current = progress.expect(WORKS).current.expect("it was switched in");
        let seen = (current.edition, current.position, current.is_whole);
        assert_eq!(seen, (edition, place(9), true));
    }
}

/// More gains than a batch may have, and a way back, are refused and change nothing.
pub async fn batches_that_nobody_may_apply_are_refused(boards: Arc<dyn FedLeaderboards>) {
    let most = GAINS_PER_BATCH_MAX as u32;
    let gains = gains_in_order(0..=most);
    let edition = build(&*boards, &gains[..1]).await;
    let batches = [
        Batch {
            from: place(1),
            to: end_of(&gains),
            gains: &gains,
        },
        Batch {
            from: place(1),
            to: LogPosition::START,
            gains: &[],
        },
    ];
    for batch in batches {
        match boards.apply(edition, &batch).await {
            Ok(applied) => panic!("it was taken: {applied:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
        }
    }
    let full = &gains[1..];
    assert_eq!(full.len(), GAINS_PER_BATCH_MAX);
    apply(&*boards, edition, place(1), full).await;
    let members = standing(&*boards, 0, 0).await.members;
    assert_eq!(members, u64::from(most) + 1);
}

/// Cohorts fill in the order in which users gain their first point of a week.
pub async fn cohorts_fill_in_the_order_of_the_log(boards: Arc<dyn FedLeaderboards>) {
    let size = COHORT_SIZE as u32;
    let (this, last) = (weeks_ago(0), weeks_ago(1));
    // Those of last week come in the reverse order. User 0 answers often, and is one member.
    let mut users: Vec<_> = (0..size + 5).map(|n| (n, this)).collect();
    users.extend((0..size + 5).rev().map(|n| (n, last)));
    users.extend([(0, this); 5]);
    users.extend([(size, this); 2]);
    let gains: Vec<_> = (1..)
        .zip(users)
        .map(|(position, (n, week))| gain(position, n, week, None))
        .collect();
    build(&*boards, &gains).await;
    let cohort = async |week, n| {
        let cohort = boards.cohort(week, sample_user_id(n)).await.expect(WORKS);
        let cohort = cohort.expect("a user with a point is in a cohort");
        (cohort.number, plain(&cohort.standings))
    };
    let others = |range: std::ops::Range<u32>| range.map(|n| (sample_user_id(n), 2, 1));
    let first: Vec<_> = [(sample_user_id(0), 1, 6)]
        .into_iter()
        .chain(others(1..size))
        .collect();
    let second: Vec<_> = [(sample_user_id(size), 1, 3)]
        .into_iter()
        .chain(others(size + 1..size + 5))
        .collect();
    assert_eq!(cohort(this, 0).await, (0, first.clone()));
    assert_eq!(cohort(this, size - 1).await, (0, first));
    assert_eq!(cohort(this, size).await, (1, second));
    let ones = |range: std::ops::Range<u32>| range.map(|n| (sample_user_id(n), 1, 1)).collect();
    assert_eq!(cohort(last, size + 4).await, (0, ones(5..size + 5)));
    assert_eq!(cohort(last, 0).await, (1, ones(0..5)));
}

/// A rebuild is not seen before it is switched in, and then the old boards are gone.
pub async fn a_rebuild_is_not_seen_before_it_is_switched_in(boards: Arc<dyn FedLeaderboards>) {
    let (old, new) = (gains_in_order([1, 1, 2]), gains_in_order([3, 1]));
    let first = build(&*boards, &old).await;
    let before = expected([(1, 1, 2), (2, 2, 1)]);
    let second = begin(&*boards).await;
    assert_ne!(first, second);
    assert_eq!(top(&*boards, &all_time()).await, before);
    apply(&*boards, second, LogPosition::START, &new).await;
    assert_eq!(top(&*boards, &all_time()).await, before);
    let cohort = async |n| boards.cohort(weeks_ago(0), sample_user_id(n)).await;
    assert_eq!(cohort(3).await.expect(WORKS), None);

    for (edition, position) in [(second, place(1)), (first, place(2)), (first, place(3))] {
        let switched = boards.switch(edition, position).await.expect(WORKS);
        assert!(!switched, "{edition} at {position}");
    }
    assert_eq!(top(&*boards, &all_time()).await, before);
    assert!(boards.switch(second, place(2)).await.expect(WORKS));
    let after = expected([(1, 1, 1), (3, 1, 1)]);
    assert_eq!(top(&*boards, &all_time()).await, after);
    assert!(cohort(3).await.expect(WORKS).is_some());
    let progress = boards.progress().await.expect(WORKS);
    let editions = (progress.current.map(|it| it.edition), progress.next);
    assert_eq!(editions, (Some(second), None));
}

/// The current boards take gains while others are built, and an edition that was dropped takes
/// none.
pub async fn what_was_switched_out_takes_no_more(boards: Arc<dyn FedLeaderboards>) {
    let gains = gains_in_order([1, 1, 1]);
    let first = build(&*boards, &gains[..1]).await;
    let second = begin(&*boards).await;
    apply(&*boards, first, place(1), &gains[1..2]).await;
    assert_eq!(top(&*boards, &all_time()).await, expected([(1, 1, 2)]));
    apply(&*boards, second, LogPosition::START, &gains[..2]).await;
    assert!(boards.switch(second, place(2)).await.expect(WORKS));
    let batch = Batch {
        from: place(2),
        to: place(3),
        gains: &gains[2..],
    };
    let applied = boards.apply(first, &batch).await.expect(WORKS);
    assert_eq!(applied, Applied::Gone);
    assert_eq!(top(&*boards, &all_time()).await, expected([(1, 1, 2)]));
    apply(&*boards, second, place(2), &gains[2..]).await;
    assert_eq!(top(&*boards, &all_time()).await, expected([(1, 1, 3)]));
}

/// A rebuild that many begin at once, or that is under way, is one.
pub async fn a_rebuild_begun_by_many_is_one(boards: Arc<dyn FedLeaderboards>) {
    for round in 0..5 {
        let begin_one = |_| {
            let boards = Arc::clone(&boards);
            async move { begin(&*boards).await }
        };
        let begun = all_at_once((0..8).map(begin_one)).await;
        assert!(
            begun.iter().all(|edition| *edition == begun[0]),
            "{begun:?}"
        );
        let gains = gains_in_order([1]);
        apply(&*boards, begun[0], LogPosition::START, &gains).await;
        assert_eq!(begin(&*boards).await, begun[0], "in round {round}");
        let switched = boards.switch(begun[0], place(1)).await.expect(WORKS);
        assert!(switched, "beginning again did not begin anew");
    }
}

/// A rebuild knows of as many corrections of keys as were asked for, or more; one of fewer is given up.
pub async fn a_rebuild_knows_of_the_corrections_asked_for(boards: Arc<dyn FedLeaderboards>) {
    let begin = async |corrections| {
        let progress = boards.begin_rebuild(corrections).await.expect(WORKS);
        progress.next.expect("a rebuild was begun")
    };
    let (none, two) = (begin(0).await, begin(2).await);
    assert_eq!((none.corrections, two.corrections), (0, 2));
    assert_ne!(none.edition, two.edition);
    let gains = gains_in_order([1]);
    let batch = Batch {
        from: LogPosition::START,
        to: place(1),
        gains: &gains,
    };
    let applied = boards.apply(none.edition, &batch).await.expect(WORKS);
    assert_eq!(applied, Applied::Gone);
    apply(&*boards, two.edition, LogPosition::START, &gains).await;
    for fewer in [0, 1, 2] {
        let again = begin(fewer).await;
        let seen = (again.edition, again.position, again.corrections);
        assert_eq!(seen, (two.edition, place(1), 2));
    }
    assert!(boards.switch(two.edition, place(1)).await.expect(WORKS));
    let current = boards.progress().await.expect(WORKS).current;
    assert_eq!(current.expect("it was switched in").corrections, 2);
    // Whoever asks without a store to ask loses none of them.
    boards.rebuild().await.expect(WORKS);
    let next = boards.progress().await.expect(WORKS).next;
    assert_eq!(next.expect("it was begun").corrections, 2);
    assert_eq!(begin(3).await.corrections, 3);
}

/// A week that is over counts what comes late, until it is not kept any more.
pub async fn a_week_long_over_counts_for_all_time_alone(boards: Arc<dyn FedLeaderboards>) {
    let (over, long_over) = (weeks_ago(1), weeks_ago(9));
    let gains = [
        gain(1, 1, weeks_ago(0), None),
        gain(2, 1, over, Some("Cardiology")),
        gain(3, 1, long_over, Some("Cardiology")),
        gain(4, 1, over, Some("Cardiology")),
    ];
    build(&*boards, &gains).await;
    let overall = |week| Board::overall(Period::Week(week));
    assert_eq!(top(&*boards, &all_time()).await, expected([(1, 1, 4)]));
    assert_eq!(top(&*boards, &overall(over)).await, expected([(1, 1, 2)]));
    assert_eq!(top(&*boards, &overall(long_over)).await, expected([]));
    let cohort = async |week| boards.cohort(week, sample_user_id(1)).await.expect(WORKS);
    assert!(cohort(over).await.is_some());
    assert_eq!(cohort(long_over).await, None);
}

/// Answers say up to where they count, and are complete once the first build is switched in.
pub async fn answers_say_what_they_take_into_account(boards: Arc<dyn FedLeaderboards>) {
    let gains = gains_in_order([1, 2, 3]);
    let check = async |position, is_complete| {
        let top = boards.top(&all_time(), 1).await.expect(WORKS);
        let user = standing(&*boards, 1, 1).await;
        let cohort = boards.cohort(weeks_ago(0), sample_user_id(1)).await;
        let cohort = cohort.expect(WORKS).expect("the first user is in one");
        for as_of in [top.as_of, user.as_of, cohort.as_of] {
            let seen = (as_of.position, as_of.is_complete);
            assert_eq!(seen, (position, is_complete));
        }
    };
    let first = begin(&*boards).await;
    apply(&*boards, first, LogPosition::START, &gains[..2]).await;
    check(place(2), false).await;
    assert!(boards.switch(first, place(2)).await.expect(WORKS));
    check(place(2), true).await;
    apply(&*boards, first, place(2), &gains[2..]).await;
    check(place(3), true).await;
    let second = begin(&*boards).await;
    apply(&*boards, second, LogPosition::START, &gains[..1]).await;
    check(place(3), true).await;
}

/// Boards of many users agree with counting by hand.
pub async fn boards_agree_with_counting_by_hand(boards: Arc<dyn FedLeaderboards>) {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |below: u64| {
        // An LCG, of whose bits the upper ones are good: the same numbers each time.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let weeks = [weeks_ago(0), weeks_ago(1)];
    let specialties = [
        None,
        Some("Cardiology"),
        Some("Chirurgie Générale"),
        Some("a/b"),
    ];
    let gains: Vec<_> = (1..=3_000)
        .map(|position| {
            let (user, other) = (random(150), random(150));
            let n = user.min(other) as u32;
            let week = weeks[random(2) as usize];
            gain(position, n, week, specialties[random(4) as usize])
        })
        .collect();
    build(&*boards, &gains).await;
    let mut counts: HashMap<Board, HashMap<UserId, u64>> = HashMap::new();
    for gain in &gains {
        for board in gain.boards() {
            *counts
                .entry(board)
                .or_default()
                .entry(gain.user_id)
                .or_default() += 1;
        }
    }
    assert_eq!(counts.len(), 12);
    for (board, points) in &counts {
        let mut all: Vec<_> = points
            .iter()
            .map(|(user_id, own)| {
                let better = points.values().filter(|other| *other > own).count();
                (*user_id, better as u64 + 1, *own)
            })
            .collect();
        all.sort_unstable_by_key(|(user_id, rank, _)| (*rank, *user_id));
        let shown = all.len().min(STANDINGS_MAX);
        assert_eq!(top(&*boards, board).await, all[..shown], "{board}");
        for index in (0..all.len()).step_by(17) {
            let found = boards.standing(board, all[index].0, 3).await.expect(WORKS);
            let mut around = found.above;
            around.extend(found.user);
            around.extend(found.below);
            let end = all.len().min(index + 4);
            let expected = &all[index.saturating_sub(3)..end];
            assert_eq!(plain(&around), expected, "{board} at {index}");
            assert_eq!(found.members, all.len() as u64);
        }
    }
}

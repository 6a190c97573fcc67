use std::time::Duration;

use criterion::Criterion;
use medcards_benches::answers::at_once;
use medcards_benches::compare::{Comparison, compare, is_quick};
use medcards_benches::report::{Report, Target};
use medcards_cache::RedisLeaderboards;
use medcards_core::UserId;
use medcards_core::event::LogPosition;
use medcards_core::leaderboard::{
    Applied, Batch, Board, FedLeaderboards, GAINS_PER_BATCH_MAX, Gain, Leaderboards, Period, Week,
};
use medcards_core::testing::SAMPLE_START;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use crate::{CLIENTS, Place};

/// How many are on the board.
const MEMBERS: u64 = 1_000_000;

/// How many have each number of points: most have few.
const POINTS_MAX: u64 = 3;

/// How many neighbours are shown on each side.
const NEIGHBOURS: usize = 2;

/// The board of the other way.
const BY_HAND: &str = "hand:board";

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    let members = if is_quick() { MEMBERS / 20 } else { MEMBERS };
    let work = |clients: u64| format!("redis_rank_of_{members}/{clients} clients");
    let Some(place) = Place::start(CLIENTS.into_iter().map(work)) else {
        return;
    };
    let boards = RedisLeaderboards::new(place.redis.clone());
    place.runtime.block_on(async {
        fill(&boards, members).await;
        fill_by_hand(&mut place.raw.clone(), members).await;
    });
    for clients in CLIENTS {
        compare(
            criterion,
            report,
            &Comparison {
                work: &work(clients),
                ours: "RedisLeaderboards",
                baseline: "pipeline by hand",
                pieces: clients,
                target: Target::None,
            },
            |rounds| {
                let asked = ask_by_hand(&place.raw, rounds, clients, members);
                place.runtime.block_on(asked)
            },
            |rounds| {
                let asked = ask(&boards, rounds, clients, members);
                place.runtime.block_on(asked)
            },
        );
    }
}

/// The `n`th member: ids in an order that has nothing to do with points.
fn member(n: u64) -> UserId {
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    UserId::from_uuid(Uuid::from_u64_pair(spread, n))
}

fn points(n: u64) -> u64 {
    1 + n % POINTS_MAX
}

async fn fill(boards: &RedisLeaderboards, members: u64) {
    let progress = boards.begin_rebuild(0).await.expect("the server answers");
    let edition = progress.next.expect("it was begun").edition;
    let week = Week::of(SAMPLE_START);
    let each_point = (0..members).flat_map(|n| (0..points(n)).map(move |_| n));
    let gains = (1..).zip(each_point).map(|(sequence, n)| Gain {
        position: place(sequence),
        user_id: member(n),
        week,
        specialty: None,
    });
    let gains: Vec<_> = gains.collect();
    let mut from = LogPosition::START;
    for gains in gains.chunks(GAINS_PER_BATCH_MAX) {
        let to = gains.last().map_or(from, |last| last.position);
        let applied = boards.apply(edition, &Batch { from, to, gains }).await;
        assert_eq!(applied.expect("the server answers"), Applied::Done);
        from = to;
    }
    let switched = boards.switch(edition, from).await;
    assert!(switched.expect("the server answers"));
}

fn place(sequence: u64) -> LogPosition {
    LogPosition {
        transaction: 0,
        sequence,
    }
}

async fn fill_by_hand(raw: &mut MultiplexedConnection, members: u64) {
    for first in (0..members).step_by(10_000) {
        let mut pipeline = redis::pipe();
        for n in first..members.min(first + 10_000) {
            let user = *member(n).as_bytes();
            pipeline
                .zadd(BY_HAND, user.as_slice(), -(points(n) as i64))
                .ignore();
        }
        let () = pipeline.query_async(raw).await.expect("the server answers");
    }
}

async fn ask(boards: &RedisLeaderboards, rounds: u64, clients: u64, members: u64) -> Duration {
    at_once(clients, |client| {
        let boards = boards.clone();
        async move {
            for round in 0..rounds {
                let user = member((client * 7_919 + round * 104_729) % members);
                let board = Board::overall(Period::AllTime);
                let found = boards.standing(&board, user, NEIGHBOURS).await;
                let found = found.expect("the server answers");
                assert!(found.user.is_some_and(|user| user.rank <= members));
            }
        }
    })
    .await
}

/// The rank, the points, the members and the neighbours, in two trips.
async fn ask_by_hand(
    raw: &MultiplexedConnection,
    rounds: u64,
    clients: u64,
    members: u64,
) -> Duration {
    at_once(clients, |client| {
        let mut raw = raw.clone();
        async move {
            for round in 0..rounds {
                let user = *member((client * 7_919 + round * 104_729) % members).as_bytes();
                let (place, points, count): (isize, i64, u64) = redis::pipe()
                    .zrank(BY_HAND, user.as_slice())
                    .zscore(BY_HAND, user.as_slice())
                    .zcard(BY_HAND)
                    .query_async(&mut raw)
                    .await
                    .expect("the server answers");
                let around = NEIGHBOURS as isize;
                let (better, near): (u64, Vec<(Vec<u8>, i64)>) = redis::pipe()
                    .zcount(BY_HAND, "-inf", format!("({points}"))
                    .zrange_withscores(BY_HAND, (place - around).max(0), place + around)
                    .query_async(&mut raw)
                    .await
                    .expect("the server answers");
                assert!(better < count && !near.is_empty());
            }
        }
    })
    .await
}

//! Checks of [`NoticeStore`](crate::notice::NoticeStore), whose notices are written as effects of jobs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::chats::WORDS;
use super::steps::{WORKS, all_at_once, at, hinted, joined};
use super::whole::WholeStore;
use crate::case::CaseVersion;
use crate::event::LogPosition;
use crate::id::UserId;
use crate::job::{Effects, JobKind, JobOutcome, JobQueue, NewJob, Settled, Settlement};
use crate::notice::{NOTICES_PER_READ_MAX, NewNotice, Notice, NoticeBody};
use crate::testing::{sample_case, sample_user_id};

/// How many write at once while notices are read.
const WRITERS: u32 = 8;

/// How many notices each of them writes, one after the other.
const NOTICES_PER_WRITER: u32 = 20;

/// The number of the sample user who is told last.
const LAST_STUDENT: u32 = u32::MAX;

/// How long notices may take to show: another transaction may hold them back.
const NOTICES_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long to wait before notices are looked for again.
const NOTICES_POLL: Duration = Duration::from_millis(5);

/// Tells a user of a badge of this name.
pub(super) fn notice(user_id: UserId, badge: &str) -> NewNotice {
    let badge = badge.to_owned();
    NewNotice {
        user_id,
        at: at(0),
        body: NoticeBody::Badge { badge },
    }
}

/// The `n`th notice of the `user`th sample user.
fn numbered(user: u32, n: u32) -> NewNotice {
    notice(sample_user_id(user), &n.to_string())
}

/// Writes notices in one transaction, in this order.
pub(super) async fn tell(queue: &dyn JobQueue, notices: Vec<NewNotice>) {
    let id = NewJob::new(kind("tell"), "", at(0)).id;
    // Of a kind of its own, so that this claim is of this job.
    let own = kind(&format!("tell-{id}"));
    let job = NewJob::new(own.clone(), "", at(0));
    queue.enqueue(vec![job], at(0)).await.expect(WORKS);
    let lease = Duration::from_secs(60);
    let claimed = queue.claim(&[own], 1, at(0), lease).await.expect(WORKS);
    let end = Settlement {
        claim: claimed[0].claim(),
        outcome: JobOutcome::Done,
        effects: Effects {
            notices,
            ..Effects::default()
        },
    };
    let settled = queue.settle(vec![end], at(0)).await.expect(WORKS);
    assert_eq!(settled, [Settled::Done]);
}

fn kind(name: &str) -> JobKind {
    JobKind::new(name).expect("a check uses names that exist")
}

/// Reads on after a place, in parts of `limit`, until there were `count` notices or more.
async fn notices_after(
    store: &Arc<dyn WholeStore>,
    of: Option<UserId>,
    mut after: LogPosition,
    count: usize,
    limit: usize,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut waited = Duration::ZERO;
    while notices.len() < count {
        let more = match of {
            Some(user_id) => store.list_notices(user_id, after, limit).await,
            None => store.read_notices(after, limit).await,
        };
        let more = more.expect(WORKS);
        assert!(
            more.len() <= limit,
            "a read returns no more than was asked for"
        );
        match more.last() {
            Some(last) => after = last.position,
            None => {
                let shown = notices.len();
                assert!(
                    waited < NOTICES_WAIT_MAX,
                    "there are {shown} notices of {count}"
                );
                tokio::time::sleep(NOTICES_POLL).await;
                waited += NOTICES_POLL;
            }
        }
        notices.extend(more);
    }
    notices
}

/// All notices from the first, up to one that is written now.
pub(super) async fn all_notices(store: &Arc<dyn WholeStore>) -> Vec<Notice> {
    tell(&**store, vec![numbered(LAST_STUDENT, 0)]).await;
    notices_until_last(store, 100).await
}

/// Reads from the first notice, in parts of `limit`, until the last student is told.
async fn notices_until_last(store: &Arc<dyn WholeStore>, limit: usize) -> Vec<Notice> {
    let last = sample_user_id(LAST_STUDENT);
    let mut notices: Vec<Notice> = Vec::new();
    while !notices.iter().any(|notice| notice.user_id == last) {
        let after = notices.last().map_or(LogPosition::START, |it| it.position);
        notices.extend(notices_after(store, None, after, 1, limit).await);
    }
    notices.retain(|notice| notice.user_id != last);
    notices
}

fn assert_in_order(notices: &[Notice]) {
    let grows = notices
        .windows(2)
        .all(|pair| pair[0].position < pair[1].position);
    assert!(grows, "later notices stand at greater places");
}

/// Without their places.
fn told(notices: &[Notice]) -> Vec<NewNotice> {
    let told = notices.iter().map(|it| NewNotice {
        user_id: it.user_id,
        at: it.at,
        body: it.body.clone(),
    });
    told.collect()
}

/// A notice of every kind is read as it was written, among all and by its user.
pub async fn a_notice_is_read_as_it_was_written(store: Arc<dyn WholeStore>) {
    let badges = WORDS.map(|badge| NoticeBody::Badge {
        badge: badge.to_owned(),
    });
    let others = [
        NoticeBody::Rank {
            week: "2026-W48".to_owned(),
            rank: 3,
            points: 1 << 40,
        },
        NoticeBody::Regraded {
            case_id: sample_case(1).id,
            version: CaseVersion::FIRST,
            is_correct: true,
        },
        NoticeBody::Streak { days: 7 },
    ];
    let bodies = badges.into_iter().chain(others);
    let written: Vec<_> = (0..)
        .zip(bodies)
        .map(|(n, body)| NewNotice {
            user_id: sample_user_id(1),
            at: at(-n),
            body,
        })
        .collect();
    tell(&*store, written.clone()).await;
    let all = all_notices(&store).await;
    assert_in_order(&all);
    assert_eq!(told(&all), written);
    let own = store.list_notices(sample_user_id(1), LogPosition::START, 100);
    assert_eq!(own.await.expect(WORKS), all);
}

/// Notices of all users stand in the order of their commits, and within one in the order given.
pub async fn notices_stand_in_the_order_of_commits(store: Arc<dyn WholeStore>) {
    let mut written = Vec::new();
    for n in 0..5 {
        let some = vec![numbered(n % 3, n), numbered(2, n), numbered(1, n)];
        tell(&*store, some.clone()).await;
        written.extend(some);
    }
    let all = all_notices(&store).await;
    assert_in_order(&all);
    assert_eq!(told(&all), written);
}

/// Reading on from the last notice's place, in parts of any size, gives every notice once, among all
/// and of one user.
pub async fn reading_on_gives_every_notice_once(store: Arc<dyn WholeStore>) {
    for n in 0..12 {
        tell(&*store, vec![numbered(1, n), numbered(2, n)]).await;
    }
    let all = all_notices(&store).await;
    assert_eq!(all.len(), 24);
    let user_id = sample_user_id(2);
    let own: Vec<_> = all.iter().filter(|it| it.user_id == user_id).collect();
    for limit in [1, 2, 7, 12, 1_000] {
        let mut parts = notices_after(&store, None, LogPosition::START, 24, limit).await;
        parts.retain(|it| it.user_id != sample_user_id(LAST_STUDENT));
        assert_eq!(parts, all, "parts of {limit}");
        let parts = notices_after(&store, Some(user_id), LogPosition::START, 12, limit).await;
        assert_eq!(parts.iter().collect::<Vec<_>>(), own, "parts of {limit}");
    }
    let (last, nobody) = (own[11].position, sample_user_id(9));
    let none = store.list_notices(user_id, last, 10).await.expect(WORKS);
    assert_eq!(none, []);
    let none = store.list_notices(nobody, LogPosition::START, 10).await;
    assert_eq!(none.expect(WORKS), []);
    let none = store.read_notices(LogPosition::START, 0).await;
    assert_eq!(none.expect(WORKS), []);
    let none = store.list_notices(user_id, LogPosition::START, 0).await;
    assert_eq!(none.expect(WORKS), []);
}

/// One read returns no more than the most that is allowed.
pub async fn a_read_of_notices_is_bounded(store: Arc<dyn WholeStore>) {
    let count = NOTICES_PER_READ_MAX + 5;
    let many = (0..count as u32).map(|n| numbered(1, n)).collect();
    tell(&*store, many).await;
    let all = all_notices(&store).await;
    assert_eq!(all.len(), count);
    let read = store.read_notices(LogPosition::START, usize::MAX).await;
    assert_eq!(read.expect(WORKS), all[..NOTICES_PER_READ_MAX]);
    let read = store.list_notices(sample_user_id(1), LogPosition::START, usize::MAX);
    assert_eq!(read.await.expect(WORKS), all[..NOTICES_PER_READ_MAX]);
}

/// The notices of a user are those of that user alone.
pub async fn a_user_reads_no_notice_of_another(store: Arc<dyn WholeStore>) {
    for n in 0..4 {
        tell(&*store, vec![numbered(1, n), numbered(2, n)]).await;
    }
    let all = all_notices(&store).await;
    for user in [1, 2] {
        let user_id = sample_user_id(user);
        let own = store.list_notices(user_id, all[1].position, 100).await;
        let wanted: Vec<_> = (1..4).map(|n| numbered(user, n)).collect();
        assert_eq!(told(&own.expect(WORKS)), wanted);
    }
}

/// Reading while many write misses nothing, repeats nothing, and agrees with a later reading.
pub async fn reading_while_many_write_misses_and_repeats_nothing(store: Arc<dyn WholeStore>) {
    let total = (WRITERS * NOTICES_PER_WRITER) as usize;
    let reading = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { notices_until_last(&store, 7).await })
    };
    let writing = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        async move {
            for n in 0..NOTICES_PER_WRITER {
                tell(&*store, vec![numbered(writer, n)]).await;
            }
        }
    });
    all_at_once(writing).await;
    tell(&*store, vec![numbered(LAST_STUDENT, 0)]).await;
    let notices = joined(reading).await;
    assert_in_order(&notices);
    let distinct: HashSet<_> = notices.iter().map(|it| it.position).collect();
    assert_eq!(distinct.len(), total, "no notice is missing");
    assert_eq!(notices.len(), total, "no notice is repeated");
    for writer in 0..WRITERS {
        let user_id = sample_user_id(writer);
        let own = notices.iter().filter(|it| it.user_id == user_id).cloned();
        let wanted: Vec<_> = (0..NOTICES_PER_WRITER)
            .map(|n| numbered(writer, n))
            .collect();
        assert_eq!(told(&own.collect::<Vec<_>>()), wanted);
    }
    assert_eq!(notices_until_last(&store, 1_000).await, notices);
}

/// No notice that can be read is behind the last place, and what is written then is.
pub async fn what_comes_is_behind_the_last_place(store: Arc<dyn WholeStore>) {
    for n in 0..3 {
        let last = store.last_notice().await.expect(WORKS);
        let behind = store.read_notices(last, 10).await.expect(WORKS);
        assert_eq!(behind, []);
        tell(&*store, vec![numbered(1, n)]).await;
        let behind = notices_after(&store, None, last, 1, 10).await;
        assert_eq!(told(&behind), [numbered(1, n)]);
    }
}

/// Sweeping forgets notices of before an instant, at most as many as asked for; the others stay in
/// their places.
pub async fn old_notices_are_swept(store: Arc<dyn WholeStore>) {
    let written = [5, 1, 9, 3, 7, 4].map(|seconds| NewNotice {
        at: at(seconds),
        ..notice(sample_user_id(1), &seconds.to_string())
    });
    tell(&*store, written.to_vec()).await;
    let last = NewNotice {
        at: at(100),
        ..numbered(LAST_STUDENT, 0)
    };
    tell(&*store, vec![last]).await;
    let all = notices_until_last(&store, 100).await;
    let sweep = async |seconds, limit| {
        let swept = store.sweep_notices(at(seconds), limit).await;
        swept.expect(WORKS)
    };
    assert_eq!(sweep(5, 0).await, 0);
    assert_eq!(sweep(5, 2).await, 2);
    assert_eq!(sweep(5, 10).await, 1);
    assert_eq!(sweep(5, 10).await, 0);
    let left: Vec<_> = all.iter().filter(|it| it.at >= at(5)).cloned().collect();
    assert_eq!(left.len(), 3);
    assert_eq!(notices_until_last(&store, 100).await, left);
    let own = store.list_notices(sample_user_id(1), all[0].position, 10);
    assert_eq!(own.await.expect(WORKS), left[1..]);
    assert_eq!(sweep(1_000, 100).await, 4);
    let newest = store.last_notice().await.expect(WORKS);
    tell(&*store, vec![numbered(1, 7)]).await;
    let behind = notices_after(&store, None, newest, 1, 10).await;
    assert_eq!(told(&behind), [numbered(1, 7)]);
    assert!(
        behind[0].position > all[5].position,
        "places are not reused"
    );
}

/// Who waits for notices hears of those that this store wrote since it began to listen.
pub async fn who_waits_for_notices_hears_of_them(store: Arc<dyn WholeStore>) {
    let mut hint = store.noticed();
    for n in 0..2 {
        tell(&*store, vec![numbered(1, n)]).await;
        hinted(&mut hint).await;
    }
}

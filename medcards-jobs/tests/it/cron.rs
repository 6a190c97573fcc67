use std::sync::Arc;
use std::time::Duration;

use medcards_core::job::{JobKind, JobQueue};
use medcards_core::testing::Operation;
use medcards_core::time::Clock;
use medcards_core::{ErrorKind, Timestamp};
use medcards_jobs::cron::{Cron, CronEntry, Missed};

use crate::world::{Process, World, until};

fn kind() -> JobKind {
    JobKind::named("nightly")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("it is an instant")
}

#[test]
fn times_follow_the_clock_of_their_zone() {
    // An expression, a zone, an instant, and the times after it.
    let table: [(&str, &str, &str, &[&str]); 9] = [
        (
            "0 3 * * *",
            "UTC",
            "2026-03-28T03:00:00Z",
            &["2026-03-29T03:00:00Z", "2026-03-30T03:00:00Z"],
        ),
        // 2:30 does not exist on the 29th of March: it is done when the clock says 3:00.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T02:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        // 2:30 comes twice on the 25th of October: it is done once, the first time.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        // Each hour is done, also the one that comes twice.
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:30:00Z",
            &[
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
            ],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:30:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"],
        ),
        // Half an hour, in a zone that is put back by half an hour.
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        ),
        // A zone that left out a whole day.
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T22:00:00Z",
            &["2011-12-30T22:00:00Z"],
        ),
        (
            "0 0 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
        ),
        (
            "0 9 * * MON",
            "America/New_York",
            "2026-03-06T00:00:00Z",
            &["2026-03-09T13:00:00Z", "2026-03-16T13:00:00Z"],
        ),
    ];
    for (expression, zone, after, times) in table {
        let entry = CronEntry::new(kind(), expression, zone).unwrap();
        let mut after = at(after);
        for expected in times {
            let next = entry
                .next(after)
                .unwrap_or_else(|| panic!("{expression} {zone} {after}"));
            assert_eq!(next, at(expected), "{expression} {zone}");
            // Seen from behind it is the latest one, until the next.
            for later in [Duration::ZERO, Duration::from_secs(59)] {
                let latest = entry.latest(next + later);
                assert_eq!(latest, Some(next), "{expression} {zone} {later:?}");
            }
            after = next;
        }
    }
}

#[test]
fn what_is_due_depends_on_what_was_missed() {
    let hourly = CronEntry::new(kind(), "0 * * * *", "UTC").unwrap();
    let skipping = hourly.clone().missed(Missed::Skip);
    let started_at = at("2026-01-01T10:30:00Z");
    // What was enqueued, the time now, and what is due by either policy.
    let table = [
        (
            None,
            "2026-01-01T10:30:00Z",
            Some("2026-01-01T10:00:00Z"),
            None,
        ),
        (
            Some("2026-01-01T10:00:00Z"),
            "2026-01-01T10:59:59Z",
            None,
            None,
        ),
        (
            Some("2026-01-01T10:00:00Z"),
            "2026-01-01T11:00:00Z",
            Some("2026-01-01T11:00:00Z"),
            Some("2026-01-01T11:00:00Z"),
        ),
        // Of many that were missed, the latest.
        (
            Some("2026-01-01T10:00:00Z"),
            "2026-01-02T15:20:00Z",
            Some("2026-01-02T15:00:00Z"),
            Some("2026-01-02T15:00:00Z"),
        ),
        // A clock that was put back.
        (
            Some("2026-01-01T11:00:00Z"),
            "2026-01-01T10:59:00Z",
            None,
            None,
        ),
    ];
    for (enqueued, now, latest, skip) in table {
        let due = |entry: &CronEntry| entry.due(started_at, enqueued.map(at), at(now));
        assert_eq!(due(&hourly), latest.map(at), "{enqueued:?} {now}");
        assert_eq!(due(&skipping), skip.map(at), "{enqueued:?} {now}");
    }
    for (expression, zone) in [
        ("every day", "UTC"),
        ("0 3 * * *", "Mars/Olympus"),
        ("", "UTC"),
    ] {
        let refused = CronEntry::new(kind(), expression, zone).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{expression} {zone}");
    }
}

fn start(process: &Process) -> Cron {
    let entry = CronEntry::new(kind(), "0 3 * * *", "UTC").expect("it is an expression");
    let queue = Arc::clone(&process.stores.learning) as Arc<dyn JobQueue>;
    Cron::start(queue, Arc::clone(&process.stores.clock), vec![entry])
}

#[tokio::test(start_paused = true)]
async fn of_many_processes_one_enqueues_a_time() {
    let world = World::new().await;
    let processes: Vec<_> = (0..3).map(|_| world.process()).collect();
    let lost = &processes[0].plan;
    lost.lose_next_reply(Operation::EnqueueJobs, 2, ErrorKind::Timeout);
    let crons: Vec<_> = processes.iter().map(start).collect();
    let enqueued = async || {
        let counts = world.store.job_counts(world.clock.now()).await.unwrap();
        counts.first().map_or(0, |it| it.due)
    };
    // The night before was missed, which is made up for.
    until("the missed one", async || enqueued().await == 1).await;
    for day in 1..=5 {
        for _ in 0..24 {
            world.clock.advance(Duration::from_secs(60 * 60));
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(enqueued().await, 1 + day);
    }
    for cron in &crons {
        cron.stop().await;
    }
    // One that is started again finds that all is enqueued, even when the jobs are done.
    let lease = Duration::from_secs(60);
    let claimed = world
        .store
        .claim(&[kind()], 10, world.clock.now(), lease)
        .await
        .unwrap();
    for job in claimed {
        let settlement = medcards_core::job::Settlement {
            claim: job.claim(),
            outcome: medcards_core::job::JobOutcome::Done,
            effects: Default::default(),
        };
        let now = world.clock.now();
        world.store.settle(vec![settlement], now).await.unwrap();
    }
    let process = world.process();
    let cron = start(&process);
    process.plan.called(Operation::EnqueueJobs, 1).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!((enqueued().await, cron.enqueued()), (0, 0));
    cron.stop().await;
}

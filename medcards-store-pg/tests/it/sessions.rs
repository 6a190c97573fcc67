use std::time::Duration;

use medcards_core::session::{EXPIRED_BATCH_MAX, Session, SessionKey, SessionStore};
use medcards_core::testing::SAMPLE_START;
use medcards_core::user::UserKind;
use medcards_store_pg::PgStore;

use crate::place::{config, fresh, user};

const DAY: Duration = Duration::from_hours(24);

fn session(of: u32, n: u8, after: Duration) -> Session {
    let mut digest = [n; 32];
    digest[..4].copy_from_slice(&of.to_be_bytes());
    let key = SessionKey::from_bytes(digest);
    Session::new(key, user(of), UserKind::Guest, SAMPLE_START + after)
}

/// Nobody else removes them, so each that is begun must remove more than one.
#[tokio::test]
async fn beginning_a_session_removes_some_that_expired_long_ago() {
    let (store, database) = fresh().await;
    let batch = u32::try_from(EXPIRED_BATCH_MAX).unwrap();
    for of in 0..batch + 50 {
        let begun = session(of, 1, Duration::from_secs(u64::from(of)));
        store.create_session(&begun).await.unwrap();
    }
    let begin = async |n, after| {
        let begun = session(1_000, n, after);
        store.create_session(&begun).await.unwrap();
        let kept = database.psql("SELECT count(*) FROM sessions");
        kept.trim().parse::<u32>().unwrap()
    };
    // Another process whose clock is a day behind may still serve them.
    assert_eq!(begin(1, 2 * DAY).await, batch + 51);
    assert_eq!(
        begin(2, 3 * DAY).await,
        51,
        "a batch went, and the user's own"
    );
    assert_eq!(begin(3, 3 * DAY).await, 2, "the rest went");
    store.close().await;
}

#[tokio::test]
async fn what_one_process_revokes_no_other_finds() {
    let (store, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    for n in 1..=2 {
        let begun = session(1, n, Duration::ZERO);
        store.create_session(&begun).await.unwrap();
        let noon = SAMPLE_START + DAY / 2;
        let used = store.touch_session(&begun.key, noon).await.unwrap();
        assert!(used.is_some());
        let found = other.touch_session(&begun.key, noon).await.unwrap();
        assert_eq!(found, used);
        match n {
            1 => assert!(store.revoke_session(user(1), &begun.key).await.unwrap()),
            _ => assert_eq!(store.revoke_sessions(user(1)).await.unwrap(), [begun.key]),
        }
        assert_eq!(other.touch_session(&begun.key, noon).await.unwrap(), None);
    }
    store.close().await;
    other.close().await;
}

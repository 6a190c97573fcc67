use std::path::Path;
use std::time::Duration;

use medcards_core::session::{EXPIRED_BATCH_MAX, Session, SessionKey, SessionStore};
use medcards_core::testing::{SAMPLE_START, sample_user_id};
use medcards_core::user::UserKind;
use medcards_store_sqlite::SqliteStore;
use sqlx::{Connection, Row};

use crate::fresh::{self, config, path};

const DAY: Duration = Duration::from_hours(24);

fn session(user: u32, n: u8, after: Duration) -> Session {
    let mut digest = [n; 32];
    digest[..4].copy_from_slice(&user.to_be_bytes());
    let key = SessionKey::from_bytes(digest);
    Session::new(
        key,
        sample_user_id(user),
        UserKind::Guest,
        SAMPLE_START + after,
    )
}

async fn kept(folder: &Path) -> i64 {
    let mut connection = fresh::raw(&path(folder)).await;
    let row = sqlx::query("SELECT count(*) FROM sessions")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    row.get(0)
}

/// Nobody else removes them, so each that is begun must remove more than one.
#[tokio::test]
async fn beginning_a_session_removes_some_that_expired_long_ago() {
    let (store, folder) = fresh::store().await;
    let batch = u32::try_from(EXPIRED_BATCH_MAX).unwrap();
    for user in 0..batch + 50 {
        let begun = session(user, 1, Duration::from_secs(u64::from(user)));
        store.create_session(&begun).await.unwrap();
    }
    let begin = async |n, after| {
        let begun = session(1_000, n, after);
        store.create_session(&begun).await.unwrap();
        kept(folder.path()).await
    };
    // Another process whose clock is a day behind may still serve them.
    assert_eq!(begin(1, 2 * DAY).await, i64::from(batch) + 51);
    assert_eq!(
        begin(2, 3 * DAY).await,
        51,
        "a batch went, and the user's own"
    );
    assert_eq!(begin(3, 3 * DAY).await, 2, "the rest went");
    store.close().await;
}

#[tokio::test]
async fn sessions_outlive_the_process() {
    let (store, folder) = fresh::store().await;
    let begun = session(1, 1, Duration::ZERO);
    store.create_session(&begun).await.unwrap();
    let noon = SAMPLE_START + DAY / 2;
    let used = store.touch_session(&begun.key, noon).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    let found = store.touch_session(&begun.key, noon).await.unwrap();
    assert_eq!(found, used);
    assert!(found.is_some());
    store.close().await;
}

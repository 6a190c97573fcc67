use medcards_core::answer::AnswerStore;
use medcards_core::chat::{ChatStore, ChatTurn};
use medcards_core::shard::Bucket;
use medcards_core::user::{User, UserKind, UserSettings, UserStore};
use medcards_core::{ErrorKind, TurnId};

use crate::chats::{reply, summary, turn};
use crate::place::{answer, answers_of, at, events_by_answer, fresh, record, user};

#[tokio::test(flavor = "multi_thread")]
async fn no_write_lands_on_a_bucket_that_is_another_shards() {
    let (store, database) = fresh().await;
    let (ours, theirs) = (user(1), user(2));
    for user_id in [ours, theirs] {
        let known = User::new(user_id, UserKind::Guest, at(0));
        store.ensure_user(known).await.unwrap();
    }
    let before = answer(2, at(1));
    record(&store, &before).await;
    let bucket = Bucket::of(&theirs);
    assert_ne!(Bucket::of(&ours), bucket);
    database.psql(&format!(
        "DELETE FROM owned_buckets WHERE bucket = {bucket}"
    ));

    // Alone and in a batch with answers that may be written.
    let mut recording = tokio::task::JoinSet::new();
    for second in 2..40 {
        let answer = answer(1 + u32::try_from(second % 2).unwrap(), at(second));
        let store = store.clone();
        recording.spawn(async move { (answer.user_id, store.record_answer(answer).await) });
    }
    for (user_id, recorded) in recording.join_all().await {
        match recorded {
            Ok(_) => assert_eq!(user_id, ours),
            Err(error) => {
                assert_eq!(user_id, theirs);
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.is_retryable());
            }
        }
    }
    let settings = store
        .update_settings(theirs, UserSettings::default(), at(50))
        .await;
    assert_eq!(settings.unwrap_err().kind(), ErrorKind::Unavailable);
    let new = (3..).map(user).find(|new| Bucket::of(new) == bucket);
    let new = User::new(new.unwrap(), UserKind::Guest, at(0));
    let ensured = store.ensure_user(new).await;
    assert_eq!(ensured.unwrap_err().kind(), ErrorKind::Unavailable);

    // What was there stays, and can be read; nothing came after it.
    assert_eq!(answers_of(&store, theirs).await.unwrap(), [before]);
    let events = events_by_answer(&store).await;
    assert_eq!(events.keys().filter(|(user, _)| *user == theirs).count(), 1);
    let again = store.record_answer(answer(2, at(60))).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Unavailable);
    database.psql(&format!("INSERT INTO owned_buckets VALUES ({bucket})"));
    record(&store, &answer(2, at(61))).await;
}

#[tokio::test]
async fn no_chat_is_written_in_a_bucket_that_is_another_shards() {
    let (store, database) = fresh().await;
    let turn = turn(2);
    let (user_id, answer_id) = (turn.user_id, turn.answer_id);
    store.begin_turn(&turn, at(0)).await.unwrap();
    let bucket = Bucket::of(&user_id);
    database.psql(&format!(
        "DELETE FROM owned_buckets WHERE bucket = {bucket}"
    ));
    let new = ChatTurn {
        id: TurnId::new(at(2)),
        ..turn.clone()
    };
    let summary = summary(&turn);
    for refused in [
        store.begin_turn(&new, at(0)).await.map(drop),
        store.begin_turn(&turn, at(9)).await.map(drop),
        store
            .end_turn(user_id, turn.id, 1, &reply())
            .await
            .map(drop),
        store.put_summary(&summary).await,
        store.forget_chat(user_id, answer_id).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    // What was there stays, and can be read.
    let found = store.find_turn(user_id, turn.id).await.unwrap();
    assert_eq!(found, Some(turn.clone()));
    let found = store.find_summary(user_id, answer_id).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(store.find_turn(user_id, new.id).await.unwrap(), None);
    database.psql(&format!("INSERT INTO owned_buckets VALUES ({bucket})"));
    let counts = store.end_turn(user_id, turn.id, 1, &reply()).await;
    assert!(counts.unwrap());
}

#[tokio::test]
async fn rows_of_users_carry_their_bucket() {
    let (store, database) = fresh().await;
    let user_id = user(5);
    store
        .ensure_user(User::new(user_id, UserKind::Guest, at(0)))
        .await
        .unwrap();
    record(&store, &answer(5, at(1))).await;
    let turn = turn(5);
    store.begin_turn(&turn, at(0)).await.unwrap();
    store.put_summary(&summary(&turn)).await.unwrap();
    let bucket = Bucket::of(&user_id).to_string();
    for (table, column) in [
        ("users", "id"),
        ("interactions", "user_id"),
        ("events", "user_id"),
        ("chat_turns", "user_id"),
        ("chat_summaries", "user_id"),
    ] {
        let stored = format!("SELECT bucket FROM {table} WHERE {column} = '{user_id}'");
        assert_eq!(database.psql(&stored).trim(), bucket, "{table}");
    }
    let map = "SELECT count(*), min(shard), max(shard) FROM shard_map";
    assert_eq!(database.psql(map).trim(), "4096|0|0");
}

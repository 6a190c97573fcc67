/// What the sixth format added.
mod learning;

use std::fs;
use std::path::{Path, PathBuf};

use medcards_core::answer::{AnswerStore, UserStats};
use medcards_core::case::{CaseQuery, CaseStore, CaseVersion};
use medcards_core::chat::{
    ChatStore, ChatSummary, ChatTurn, SharedAnswer, SharedAnswers, TurnOrigin, TurnReply,
};
use medcards_core::event::{EventLog, LogPosition, ReaderName};
use medcards_core::feedback::{PrecomputedStore, Review, ReviewDecision, ReviewState};
use medcards_core::jiff::civil::date;
use medcards_core::session::{Session, SessionKey, SessionStore};
use medcards_core::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery,
    SpendRow, SpendScope, SpendSum, settled_row,
};
use medcards_core::store::{Consistency, PageLimit};
use medcards_core::testing::{
    SAMPLE_START, sample_answer, sample_case, sample_content, sample_feedback, sample_key,
    sample_record, sample_user_id,
};
use medcards_core::user::{Locale, User, UserKind, UserSettings, UserStore};
use medcards_core::{AnswerId, ReservationId, SharedAnswerId, Timestamp, TurnId};
use medcards_store_sqlite::SqliteStore;
use sqlx::{Connection, Row};

use crate::fresh::{self, config, folder, path};

/// Everything that makes up the schema, except what FTS5 and the migrations keep for themselves.
const SCHEMA: &str = "
SELECT sql FROM sqlite_schema
WHERE sql IS NOT NULL AND name NOT LIKE 'case\\_words\\_%' ESCAPE '\\'
  AND name NOT IN ('_sqlx_migrations', 'sqlite_sequence')
ORDER BY tbl_name, type DESC, name";

async fn schema(file: &Path) -> String {
    let mut connection = fresh::raw(file).await;
    let rows = sqlx::query(SCHEMA)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows.iter()
        .map(|row| format!("{};\n\n", row.get::<String, _>(0)))
        .collect()
}

#[tokio::test]
async fn the_migrations_make_the_committed_schema() {
    let (store, folder) = fresh::store().await;
    store.close().await;
    let made = schema(&path(folder.path())).await;
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.sql");
    if std::env::var_os("MEDCARDS_TEST_WRITE").is_some() {
        fs::write(&committed, &made).unwrap();
    }
    let committed = fs::read_to_string(committed).unwrap();
    assert!(
        made == committed,
        "the migrations make another schema than schema.sql has; if that is meant, run this test \
         with MEDCARDS_TEST_WRITE=1 and commit what it writes"
    );
}

#[tokio::test]
async fn opening_again_changes_nothing() {
    let (store, folder) = fresh::store().await;
    store.close().await;
    let before = fs::read(path(folder.path())).unwrap();
    SqliteStore::open(config(folder.path()))
        .await
        .unwrap()
        .close()
        .await;
    assert!(before == fs::read(path(folder.path())).unwrap());
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join("fixtures")
        .join(name)
}

const DAY: medcards_core::jiff::civil::Date = date(2026, 1, 15);

/// A user with two answers, a case with two versions, and one of everything else.
async fn write_fixture(store: &SqliteStore) {
    let now = SAMPLE_START;
    store
        .publish(vec![sample_content(1), sample_content(2)], now)
        .await
        .unwrap();
    let mut changed = sample_record(1);
    changed.stem = "Which finding fits best, now that it is known?".to_owned();
    store
        .publish(vec![changed.try_into().unwrap()], later(60))
        .await
        .unwrap();
    let user_id = sample_user_id(1);
    store
        .ensure_user(User::new(user_id, UserKind::Guest, now))
        .await
        .unwrap();
    let mut settings = UserSettings::default();
    settings.time_zone = "Europe/Paris".parse().unwrap();
    store
        .update_settings(user_id, settings, later(1))
        .await
        .unwrap();
    for n in 0..2 {
        let answer = sample_answer(user_id, &sample_case(n), later(i64::from(n)));
        store.record_answer(answer).await.unwrap();
    }
    let reader = ReaderName::new("user-stats").unwrap();
    store
        .move_cursor(&reader, LogPosition::START, position(2))
        .await
        .unwrap();
    store
        .put_feedback(&sample_key(1), &sample_feedback("Not yet read."))
        .await
        .unwrap();
    store
        .put_feedback(&sample_key(2), &sample_feedback("To be mended."))
        .await
        .unwrap();
    let decision = ReviewDecision::Mend("Mended.".to_owned());
    let review = Review {
        decision,
        reviewer: user_id,
        reviewed_at: later(5),
    };
    store.review_feedback(&sample_key(2), review).await.unwrap();
    write_spend(store).await;
}

async fn write_spend(store: &SqliteStore) {
    for n in 1..=2 {
        let id = ReservationId::from_bytes([n; 16]);
        let wish = Reservation {
            id,
            day: DAY,
            amount: MicroDollars::new(5_000),
            purpose: Purpose::Feedback,
            payer: None,
        };
        store.reserve(&wish, &SpendBudget::default()).await.unwrap();
    }
    let settled = ReservationId::from_bytes([1; 16]);
    store.settle(settled, &spent()).await.unwrap();
}

fn spent() -> SpendRow {
    settled_row(
        DAY,
        sample_key(1).model,
        sample_case(1).id,
        MicroDollars::new(1_234),
    )
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_second(SAMPLE_START.as_second() + seconds).unwrap()
}

fn position(sequence: u64) -> LogPosition {
    LogPosition {
        transaction: 0,
        sequence,
    }
}

const SESSION: SessionKey = SessionKey::from_bytes([7; 32]);

/// What the second format added.
async fn write_session(store: &SqliteStore) {
    let user_id = sample_user_id(1);
    let session = Session::new(SESSION, user_id, UserKind::Registered, SAMPLE_START);
    assert_eq!(store.create_session(&session).await.unwrap(), []);
}

async fn check_session(store: &SqliteStore) {
    let user_id = sample_user_id(1);
    let session = Session::new(SESSION, user_id, UserKind::Registered, SAMPLE_START);
    let found = store.touch_session(&SESSION, SAMPLE_START).await.unwrap();
    assert_eq!(found, Some(session));
}

fn chat_turn() -> ChatTurn {
    ChatTurn {
        id: TurnId::from_bytes([4; 16]),
        user_id: sample_user_id(1),
        answer_id: AnswerId::from_bytes([5; 16]),
        question: "Why not sodium?".to_owned(),
        started_at: later(6),
        attempt: 1,
        reply: Some(TurnReply {
            text: "Because of the T waves.".to_owned(),
            origin: TurnOrigin::Live,
            model: "sample-model-1".parse().ok(),
            cost: MicroDollars::new(987),
            replied_at: later(7),
        }),
    }
}

fn chat_summary() -> ChatSummary {
    let turn = chat_turn();
    ChatSummary {
        user_id: turn.user_id,
        answer_id: turn.answer_id,
        through: turn.id,
        text: "It was about T waves.".to_owned(),
    }
}

fn shared_answer() -> SharedAnswer {
    SharedAnswer {
        id: SharedAnswerId::from_bytes([6; 16]),
        case_id: sample_case(0).id,
        case_version: CaseVersion::FIRST,
        locale: Locale::ENGLISH,
        question: "Why potassium?".to_owned(),
        answer: "Because of the T waves.".to_owned(),
        reviewer: sample_user_id(2),
        reviewed_at: later(8),
    }
}

/// What the fourth format added.
async fn write_chats(store: &SqliteStore) {
    let turn = chat_turn();
    store.begin_turn(&turn, SAMPLE_START).await.unwrap();
    let reply = turn.reply.unwrap();
    let ended = store.end_turn(turn.user_id, turn.id, 1, &reply).await;
    assert!(ended.unwrap());
    store.put_summary(&chat_summary()).await.unwrap();
    store.put_shared_answer(&shared_answer()).await.unwrap();
}

async fn check_chats(store: &SqliteStore) {
    let turn = chat_turn();
    let found = store.find_turn(turn.user_id, turn.id).await.unwrap();
    assert_eq!(found, Some(turn));
    let summary = chat_summary();
    let found = store.find_summary(summary.user_id, summary.answer_id).await;
    assert_eq!(found.unwrap(), Some(summary));
    let list = store.list_shared_answers(shared_answer().case_id).await;
    assert_eq!(list.unwrap(), [shared_answer()]);
}

async fn check_fixture(store: &SqliteStore) {
    check_cases(store).await;
    check_user(store).await;
    check_feedback(store).await;
    check_spend(store).await;
}

async fn check_cases(store: &SqliteStore) {
    let cases = store.list_cases(&CaseQuery::default()).await.unwrap().items;
    assert_eq!(cases.len(), 2);
    let search = CaseQuery {
        search: Some("now known".to_owned()),
        ..CaseQuery::default()
    };
    let found = store.list_cases(&search).await.unwrap().items;
    let [changed] = found.as_slice() else {
        panic!("{} cases match", found.len())
    };
    assert_eq!(
        (changed.version.get(), changed.published_at),
        (2, later(60))
    );
    let first = store
        .find_case(changed.id, Some(CaseVersion::FIRST))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&first.content, first.published_at),
        (&sample_content(1), SAMPLE_START)
    );
}

async fn check_user(store: &SqliteStore) {
    let user_id = sample_user_id(1);
    let user = store.find_user(user_id).await.unwrap().unwrap();
    assert_eq!(user.settings.time_zone.as_str(), "Europe/Paris");
    assert_eq!(
        (user.kind, user.created_at),
        (UserKind::Guest, SAMPLE_START)
    );
    let stats = store
        .user_stats(user_id, &Consistency::Strong)
        .await
        .unwrap();
    assert_eq!(
        stats,
        UserStats {
            answered: 2,
            correct: 1,
            cases: 2
        }
    );
    let limit = PageLimit::default();
    let page = store
        .list_answers(user_id, None, limit, &Consistency::Strong)
        .await
        .unwrap();
    for (kept, n) in page.items.iter().zip([1, 0]) {
        let mut expected = sample_answer(user_id, &sample_case(n), later(i64::from(n)));
        expected.id = kept.id;
        assert_eq!(kept, &expected);
    }
    let events = store.read_events(LogPosition::START, 10).await.unwrap();
    let kinds: Vec<_> = events
        .iter()
        .map(|e| (e.position.sequence, e.body.kind()))
        .collect();
    assert_eq!(
        kinds,
        [
            (1, "settings_changed"),
            (2, "answer_recorded"),
            (3, "answer_recorded")
        ]
    );
    let reader = ReaderName::new("user-stats").unwrap();
    assert_eq!(store.find_cursor(&reader).await.unwrap(), position(2));
}

async fn check_feedback(store: &SqliteStore) {
    let unreviewed = store.find_feedback(&sample_key(1)).await.unwrap();
    assert_eq!(unreviewed, Some(sample_feedback("Not yet read.")));
    let mended = store.find_feedback(&sample_key(2)).await.unwrap().unwrap();
    assert_eq!(
        (mended.text.as_str(), mended.review),
        ("Mended.", ReviewState::Approved)
    );
    assert_eq!(mended.written_at, later(5));
}

async fn check_spend(store: &SqliteStore) {
    let query = SpendQuery {
        from: DAY,
        to: DAY,
        by_case: true,
    };
    assert_eq!(store.totals(&query).await.unwrap(), [spent()]);
    // 1,234 are spent and 5,000 still set aside, on the day and in its month, whatever the format.
    let sum = SpendSum {
        spent: MicroDollars::new(1_234),
        set_aside: MicroDollars::new(5_000),
    };
    let scopes = [SpendScope::Day(DAY), SpendScope::Month(date(2026, 1, 1))];
    assert_eq!(store.sums(&scopes).await.unwrap(), [sum, sum]);
    let id = ReservationId::from_bytes([3; 16]);
    let wish = Reservation {
        id,
        day: DAY,
        amount: MicroDollars::new(1),
        purpose: Purpose::Feedback,
        payer: None,
    };
    for (limit, granted) in [(6_234, false), (6_235, true)] {
        let budget = SpendBudget::of_day(MicroDollars::new(limit));
        let outcome = store.reserve(&wish, &budget).await.unwrap();
        assert_eq!(
            outcome == medcards_core::spend::ReserveOutcome::Granted,
            granted,
            "{limit}"
        );
    }
}

/// What the third format added: 5,000 micro-dollars set aside for the coach on behalf of a user.
async fn write_scopes(store: &SqliteStore) {
    let outcome = store.reserve(&chat(), &SpendBudget::default()).await;
    assert_eq!(outcome.unwrap(), ReserveOutcome::Granted);
}

/// In another month than what is written else.
fn chat() -> Reservation {
    Reservation {
        id: ReservationId::from_bytes([9; 16]),
        day: date(2026, 2, 1),
        amount: MicroDollars::new(5_000),
        purpose: Purpose::Chat,
        payer: Some(sample_user_id(1).into()),
    }
}

async fn check_scopes(store: &SqliteStore) {
    let scopes = chat().scopes();
    let sum = |spent, set_aside| SpendSum {
        spent: MicroDollars::new(spent),
        set_aside: MicroDollars::new(set_aside),
    };
    assert_eq!(store.sums(&scopes).await.unwrap(), [sum(0, 5_000); 4]);
    // Settled in all of them, although it was set aside by another process.
    store.settle(chat().id, &spent()).await.unwrap();
    assert_eq!(store.sums(&scopes).await.unwrap(), [sum(1_234, 0); 4]);
}

/// A reservation that an earlier format kept counts in its day and month.
async fn check_settling(store: &SqliteStore) {
    let open = ReservationId::from_bytes([2; 16]);
    store.settle(open, &spent()).await.unwrap();
    let sum = SpendSum {
        spent: MicroDollars::new(2 * 1_234),
        // What `check_spend` set aside.
        set_aside: MicroDollars::new(1),
    };
    let scopes = [SpendScope::Day(DAY), SpendScope::Month(date(2026, 1, 1))];
    assert_eq!(store.sums(&scopes).await.unwrap(), [sum, sum]);
}

#[tokio::test]
async fn a_store_of_the_first_format_opens_and_reads_right() {
    let folder = folder();
    fs::copy(fixture("format-1.sqlite"), path(folder.path())).unwrap();
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    check_fixture(&store).await;
    check_settling(&store).await;
    // What later formats added is there, and empty.
    write_session(&store).await;
    check_session(&store).await;
    write_scopes(&store).await;
    check_scopes(&store).await;
    write_chats(&store).await;
    check_chats(&store).await;
    learning::write(&store).await;
    learning::check(&store).await;
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

#[tokio::test]
async fn a_store_of_the_second_format_opens_and_reads_right() {
    let folder = folder();
    fs::copy(fixture("format-2.sqlite"), path(folder.path())).unwrap();
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    check_fixture(&store).await;
    check_settling(&store).await;
    check_session(&store).await;
    write_scopes(&store).await;
    check_scopes(&store).await;
    write_chats(&store).await;
    check_chats(&store).await;
    learning::write(&store).await;
    learning::check(&store).await;
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

#[tokio::test]
async fn a_store_of_the_third_format_opens_and_reads_right() {
    let folder = folder();
    fs::copy(fixture("format-3.sqlite"), path(folder.path())).unwrap();
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    check_fixture(&store).await;
    check_settling(&store).await;
    check_session(&store).await;
    check_scopes(&store).await;
    write_chats(&store).await;
    check_chats(&store).await;
    learning::write(&store).await;
    learning::check(&store).await;
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

#[tokio::test]
async fn a_store_of_the_sixth_format_opens_and_reads_right() {
    let folder = folder();
    fs::copy(fixture("format-6.sqlite"), path(folder.path())).unwrap();
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    learning::check(&store).await;
    check_feedback(&store).await;
    check_spend(&store).await;
    check_settling(&store).await;
    check_session(&store).await;
    check_scopes(&store).await;
    check_chats(&store).await;
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

#[tokio::test]
#[ignore = "makes the fixture of the newest format; an older one is never made again"]
async fn write_format_6() {
    let (store, folder) = fresh::store().await;
    write_fixture(&store).await;
    write_session(&store).await;
    write_scopes(&store).await;
    write_chats(&store).await;
    learning::write(&store).await;
    store.close().await;
    // Small pages make a small file of tables that are almost empty.
    let shrink = "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM;
        PRAGMA journal_mode = WAL;";
    fresh::run_raw(&path(folder.path()), shrink).await;
    fs::copy(path(folder.path()), fixture("format-6.sqlite")).unwrap();
}

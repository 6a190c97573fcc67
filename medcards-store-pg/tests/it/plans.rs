use std::collections::BTreeMap;
use std::fmt::Write as _;

use medcards_core::answer::AnswerStore;
use medcards_core::case::{CaseFilter, CaseQuery, CaseStore, CaseVersion};
use medcards_core::chat::{ChatStore, ChatTurn, SharedAnswer, SharedAnswers};
use medcards_core::event::{EventLog, LogPosition};
use medcards_core::feedback::{KeyPosition, PrecomputedStore};
use medcards_core::job::{ClaimedJob, Effects, JobKind, JobOutcome, JobQueue, NewJob, Settlement};
use medcards_core::notice::NoticeStore;
use medcards_core::session::{SLIDE_STEP, Session, SessionKey, SessionStore};
use medcards_core::store::{Consistency, PageLimit};
use medcards_core::testing::{SAMPLE_START, sample_content, sample_feedback, sample_key};
use medcards_core::user::{Locale, User, UserKind, UserStore};
use medcards_core::view::{
    Committed, EditionNumber, EditionOf, Item, NewAward, Placement, RowKey, RowWrite, Runner,
    ShelfQuery, StoredRow, ViewCommit, ViewName, ViewStore,
};
use medcards_core::{AnswerId, CaseId, SharedAnswerId, Timestamp, TurnId};
use medcards_store_pg::PgStore;
use medcards_tests::pg::{Cluster, Installed};
use regex::Regex;

use crate::chats::{reply, summary, turn};
use crate::place::{answer, at, config, instant, record, user};

/// The server whose plans are kept: others plan a little differently.
const MAJOR: u32 = 15;

/// How often each call is made: the server decides after five whether one plan serves all values.
const CALLS: usize = 8;

/// Fills the tables as a deployment of two years would have them, without their sizes.
const FILL: &str = r#"
INSERT INTO interactions (user_id, id, case_id, created_at, case_version, chosen, bucket, is_correct, shown)
SELECT md5('u' || n % 400)::uuid, md5('a' || n)::uuid, md5('c' || n % 300)::uuid,
       '2025-01-01 00:00:00+00'::timestamptz + n * interval '26 minutes', 1, 1, n % 4096, n % 3 = 0, '\x00010203'
FROM generate_series(0, 40000) AS n;
INSERT INTO cases (id, source, external_id, current_version, specialty_folded, lang, pick, published_at)
SELECT md5('c' || n)::uuid, 's', 'x' || n, 1, 'specialty ' || n % 40, 'en', hashint8extended(n, 1), now()
FROM generate_series(0, 5000) AS n;
INSERT INTO case_versions (case_id, version, specialty_folded, lang, published_at, publication, content, words, stems, config)
SELECT md5('c' || n)::uuid, 1, 'specialty ' || n % 40, 'en', now(), 1000 + n,
       (SELECT content FROM case_versions LIMIT 1),
       to_tsvector('simple', 'word' || n % 900), to_tsvector('english', 'word' || n % 900), 'english'
FROM generate_series(0, 5000) AS n;
INSERT INTO events (user_id, bucket, kind, body)
SELECT md5('u' || n % 400)::uuid, n % 4096, 'settings_changed',
       '{"kind": "settings_changed", "settings": {}, "changed_at": "2026-01-01T00:00:00Z"}' FROM generate_series(0, 20000) AS n;
INSERT INTO users (id, bucket, kind, settings, created_at)
SELECT md5('u' || n)::uuid, n, 'guest', '{}', now() FROM generate_series(0, 3000) AS n;
INSERT INTO precomputed_feedback (key, text, origin, review, cost, written_at)
SELECT 'fk1/' || md5('k' || n)::uuid || '/1/1/en/1/model', 't', 'live', CASE WHEN n % 50 = 0 THEN 'unreviewed' ELSE 'approved' END, 1, now()
FROM generate_series(0, 5000) AS n;
INSERT INTO sessions (key, user_id, kind, created_at, expires_at)
SELECT sha256(('t' || n)::bytea), md5('u' || n % 900)::uuid, 'guest', timestamptz '2026-01-14' + n * interval '1 minute',
       timestamptz '2026-01-15' + n * interval '1 minute' FROM generate_series(0, 5000) AS n;
INSERT INTO chat_turns (user_id, id, bucket, answer_id, question, started_at, attempt)
SELECT md5('u' || n % 900)::uuid, md5('q' || n)::uuid, n % 900, md5('a' || n % 4000)::uuid, 'q', now(), 1 FROM generate_series(0, 20000) AS n;
INSERT INTO chat_summaries (user_id, answer_id, bucket, through, text)
SELECT md5('u' || n % 900)::uuid, md5('a' || n)::uuid, n % 900, md5('q' || n)::uuid, 't' FROM generate_series(0, 4000) AS n;
INSERT INTO shared_answers (id, case_id, case_version, locale, question, answer, reviewer, reviewed_at)
SELECT md5('s' || n)::uuid, md5('c' || n % 500)::uuid, 1, 'en', 'q', 'a', md5('u1')::uuid, now() FROM generate_series(0, 5000) AS n;
INSERT INTO view_rows (edition, owner, place, item, bytes)
SELECT 1, md5('o' || n % 300)::uuid, CASE WHEN n % 3 > 0 THEN n END, decode(md5('i' || n), 'hex'), '\x01' FROM generate_series(0, 30000) AS n;
INSERT INTO jobs (id, run_at, enqueued_at, attempt, uncounted, user_id, bucket, is_ordered, is_claimed, kind, payload)
SELECT md5('j' || n)::uuid, timestamptz '2026-01-15' + n * interval '1 second', timestamptz '2026-01-15', 0, 0, md5('u' || n % 900)::uuid,
       n % 900, n % 4 = 0, false, 'kind-' || n % 20, '{}' FROM generate_series(0, 20000) AS n;
INSERT INTO dead_jobs (id, enqueued_at, died_at, attempts, is_ordered, kind, payload, reason)
SELECT md5('d' || n)::uuid, now(), now(), 1, false, 'kind-1', '{}', 'r' FROM generate_series(0, 5000) AS n;
INSERT INTO job_keys (job_id, kept_until, kind, key)
SELECT md5('d' || n)::uuid, timestamptz '2026-01-15' + n * interval '1 hour', 'kind-' || n % 20, 'key ' || n FROM generate_series(0, 10000) AS n;
INSERT INTO notices (user_id, at, bucket, body)
SELECT md5('u' || n % 900)::uuid, timestamptz '2026-01-15' + n * interval '1 second', n % 900, '{"kind": "streak", "days": 1}' FROM generate_series(0, 20000) AS n;
INSERT INTO awards (user_id, awarded_at, bucket, badge)
SELECT md5('u' || n % 900)::uuid, now(), n % 900, 'badge ' || n / 900 FROM generate_series(0, 9000) AS n;
VACUUM ANALYZE;"#;

/// The plans that the server has logged, by the statement they are of; of each the last.
fn plans(log: &str) -> BTreeMap<String, String> {
    let mut plans = BTreeMap::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.contains("  plan:") {
            continue;
        }
        let mut text = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            text.push_str(&line[1..]);
            text.push('\n');
        }
        // The statement ends where the first line with a cost begins.
        let start = text
            .find("(cost=")
            .and_then(|cost| text[..cost].rfind('\n'))
            .unwrap_or(0);
        let (statement, plan) = text.split_at(start);
        let statement: Vec<_> = statement.split_whitespace().skip(2).collect();
        plans.insert(
            statement.join(" "),
            plan.trim_start_matches('\n').to_owned(),
        );
    }
    plans
}

/// Without what changes from run to run: costs, rows, and which of the months it is.
fn steady(plan: &str) -> String {
    let costs = Regex::new(r" +\(cost=[^)]*\)").unwrap();
    let values = Regex::new(r"'[^']*'::(uuid|timestamp with time zone|bigint|text|xid8)").unwrap();
    values
        .replace_all(&costs.replace_all(plan, ""), "'…'::$1")
        .into_owned()
}

fn sample_session(n: u8, now: Timestamp) -> Session {
    Session::new(
        SessionKey::from_bytes([n; 32]),
        user(1),
        UserKind::Guest,
        now,
    )
}

/// Each call of a store of chats, and of shared answers.
async fn chat(store: &PgStore, call: usize) {
    let second = i64::try_from(call).unwrap();
    let older = ChatTurn {
        id: TurnId::new(at(second)),
        answer_id: AnswerId::from_bytes([7; 16]),
        ..turn(1)
    };
    let turn = ChatTurn {
        id: TurnId::new(at(second) + std::time::Duration::from_secs(1)),
        ..older.clone()
    };
    let (user_id, answer_id) = (turn.user_id, turn.answer_id);
    for turn in [&older, &turn] {
        store.begin_turn(turn, at(0)).await.unwrap();
    }
    store.begin_turn(&turn, at(1_000)).await.unwrap();
    let ended = store.end_turn(user_id, turn.id, 2, &reply()).await;
    assert!(ended.unwrap());
    store.find_turn(user_id, turn.id).await.unwrap();
    let one = PageLimit::new(1).unwrap();
    let page = store.list_turns(user_id, answer_id, None, one).await;
    let next = page.unwrap().next;
    let page = store.list_turns(user_id, answer_id, next.as_ref(), one);
    assert_eq!(page.await.unwrap().items, [older]);
    store.put_summary(&summary(&turn)).await.unwrap();
    store.find_summary(user_id, answer_id).await.unwrap();
    store.forget_chat(user_id, answer_id).await.unwrap();

    let shared = SharedAnswer {
        id: SharedAnswerId::new(at(second)),
        case_id: CaseId::from_bytes([7; 16]),
        case_version: CaseVersion::FIRST,
        locale: Locale::ENGLISH,
        question: "Why?".to_owned(),
        answer: "Because.".to_owned(),
        reviewer: user_id,
        reviewed_at: at(0),
    };
    store.put_shared_answer(&shared).await.unwrap();
    let list = store.list_shared_answers(shared.case_id).await;
    assert_eq!(list.unwrap().len(), 1);
    store.remove_shared_answer(shared.id).await.unwrap();
}

/// What is learnt from the log and done about it, of one edition.
async fn learn(store: &PgStore, edition: EditionNumber, call: usize) {
    let strong = Consistency::Strong;
    let owner = uuid::Uuid::from_u128(7);
    let row = |n: usize| StoredRow {
        key: RowKey::new(owner, Item::of(&uuid::Uuid::from_u128(n as u128))),
        place: Some(n as i64),
        bytes: vec![1],
    };
    let position = |sequence: usize| LogPosition {
        transaction: 0,
        sequence: sequence as u64,
    };
    let commit = ViewCommit {
        view: view(),
        edition,
        runner: runner(),
        from: position(call),
        to: position(call + 1),
        rows: vec![
            RowWrite::Put(row(call)),
            RowWrite::Remove(row(call + 100).key),
        ],
        announced: Vec::new(),
        awards: vec![NewAward {
            user_id: user(1),
            badge: format!("badge {call}"),
            at: SAMPLE_START,
            job: None,
        }],
        set_aside: Vec::new(),
    };
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Done);
    let of = EditionOf::Number(edition);
    let keys = [row(call).key, row(call + 100).key];
    let found = store.find_rows(&of, &keys, &strong).await;
    assert_eq!(found.unwrap(), [row(call)]);
    let after = Some(Item::NONE);
    store
        .list_rows(&of, owner, after, 10, &strong)
        .await
        .unwrap();
    for order in [Placement::Ascending, Placement::Descending] {
        let query = ShelfQuery {
            order,
            after: Some((call as i64, Item::NONE)),
            ..ShelfQuery::new(owner, 10)
        };
        store.list_shelf(&of, &query, &strong).await.unwrap();
    }
    store.list_awards(user(1), &strong).await.unwrap();
    store.count_events(LogPosition::START).await.unwrap();
    store.sweep_rows(10).await.unwrap();

    let kinds = [JobKind::named("kind-1"), JobKind::named("kind-2")];
    let now = at(100_000);
    let lease = std::time::Duration::from_secs(60);
    let plain = NewJob::new(kinds[0].clone(), "{}", now);
    let keyed = NewJob::new(kinds[0].clone(), "{}", now).once("key 1", lease);
    store.enqueue(vec![plain], now).await.unwrap();
    store.enqueue(vec![keyed], now).await.unwrap();
    let claimed = store.claim(&kinds, 3, now, lease).await.unwrap();
    assert_eq!(claimed.len(), 3);
    let claims: Vec<_> = claimed.iter().map(ClaimedJob::claim).collect();
    assert_eq!(store.heartbeat(&claims, now, lease).await.unwrap(), []);
    let ends = claimed
        .iter()
        .zip(outcomes(now))
        .map(|(job, outcome)| Settlement {
            claim: job.claim(),
            outcome,
            effects: Effects::default(),
        });
    store.settle(ends.collect(), now).await.unwrap();
    store.next_due(&kinds).await.unwrap();
    store.list_dead(None, 10).await.unwrap();
    store.requeue(&[claimed[1].id], now).await.unwrap();
    store.sweep_keys(at(1), 10).await.unwrap();
    store.read_notices(LogPosition::START, 10).await.unwrap();
    store
        .list_notices(user(1), LogPosition::START, 10)
        .await
        .unwrap();
    store.last_notice().await.unwrap();
    store.sweep_notices(at(1), 10).await.unwrap();
}

fn outcomes(now: Timestamp) -> [JobOutcome; 3] {
    let reason = "a test".to_owned();
    [
        JobOutcome::Done,
        JobOutcome::Dead {
            reason: reason.clone(),
        },
        JobOutcome::Retry { at: now, reason },
    ]
}

fn view() -> ViewName {
    ViewName::new("user-stats").expect("a name that exists")
}

fn runner() -> Runner {
    Runner::new(uuid::Uuid::from_u128(1))
}

#[tokio::test]
async fn hot_statements_are_answered_by_their_indexes() {
    let Some(installed) = Installed::find(MAJOR) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "PostgreSQL {MAJOR} is missing"
        );
        println!("NOT CHECKED: PostgreSQL {MAJOR} is not installed");
        return;
    };
    let cluster = Cluster::start(
        &installed,
        &[
            ("shared_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "0"),
            ("autovacuum", "off"),
        ],
    );
    let url = cluster.url("postgres");
    let store = PgStore::open(config(&url).with_connections_max(1).with_writers(1))
        .await
        .unwrap();
    // The same twenty-four months, whatever the day is.
    for month in 0..24 {
        let at = format!("{}-{:02}-15T12:00:00Z", 2025 + month / 12, month % 12 + 1);
        record(&store, &answer(1, instant(&at))).await;
    }
    let contents = (0..200).map(sample_content).collect();
    let published = store.publish(contents, SAMPLE_START).await.unwrap();
    store
        .put_feedback(&sample_key(1), &sample_feedback("Because."))
        .await
        .unwrap();
    let others = "SELECT inhrelid::regclass FROM pg_inherits
                  WHERE inhparent = 'interactions'::regclass
                    AND inhrelid::regclass::text !~ '_202[56]_'";
    for table in cluster.psql("postgres", others).lines() {
        cluster.psql("postgres", &format!("DROP TABLE {table}"));
    }
    let begun = store.begin_edition(&view(), 1, 0, SAMPLE_START).await;
    let edition = begun.unwrap().next.unwrap().number;
    let lease = std::time::Duration::from_secs(60);
    assert!(
        store
            .take_lead(&view(), runner(), SAMPLE_START, lease)
            .await
            .unwrap()
    );
    cluster.psql("postgres", FILL);
    let before = cluster.log().len();

    let strong = Consistency::Strong;
    let student = user(1);
    let limit = PageLimit::default();
    let first = answer(1, instant("2026-05-05T05:05:05Z"));
    record(&store, &first).await;
    for call in 0..CALLS {
        let second = i64::try_from(call).unwrap();
        let at = instant("2026-06-05T05:05:05Z") + std::time::Duration::from_secs(second as u64);
        record(&store, &answer(1, at)).await;
        store.find_answer(student, first.id, &strong).await.unwrap();
        let page = store.list_answers(student, None, PageLimit::new(2).unwrap(), &strong);
        let next = page.await.unwrap().next;
        store
            .list_answers(student, next.as_ref(), limit, &strong)
            .await
            .unwrap();
        store.user_stats(student, &strong).await.unwrap();
        let filter = CaseFilter::default();
        store.next_case(student, &filter, &strong).await.unwrap();
        store
            .ensure_user(User::new(student, UserKind::Guest, SAMPLE_START))
            .await
            .unwrap();
        let begun_at = SAMPLE_START + std::time::Duration::from_secs(call as u64);
        let begun = sample_session(u8::try_from(call).unwrap(), begun_at);
        store.create_session(&begun).await.unwrap();
        let used_at = begun_at + 2 * SLIDE_STEP;
        store.touch_session(&begun.key, used_at).await.unwrap();
        store.list_sessions(student, used_at).await.unwrap();
        store.revoke_session(student, &begun.key).await.unwrap();
        store.revoke_sessions(student).await.unwrap();
        chat(&store, call).await;
        learn(&store, edition, call).await;
        store.find_feedback(&sample_key(1)).await.unwrap();
        store.list_keys(KeyPosition(4_000), 100).await.unwrap();
        let state = medcards_core::feedback::ReviewState::Unreviewed;
        store.list_feedback(state, None, limit).await.unwrap();
        store.find_case(published[0].case_id, None).await.unwrap();
        store.list_cases(&CaseQuery::default()).await.unwrap();
        let of_specialty = CaseQuery {
            filter: CaseFilter {
                specialty: Some("Cardiology".to_owned()),
                locale: None,
            },
            ..CaseQuery::default()
        };
        store.list_cases(&of_specialty).await.unwrap();
        let search = CaseQuery {
            search: Some("sample".to_owned()),
            ..CaseQuery::default()
        };
        store.list_cases(&search).await.unwrap();
        // Half-way through the log.
        let events = store.read_events(LogPosition::START, 1).await.unwrap();
        store.read_events(events[0].position, 100).await.unwrap();
    }
    store.close().await;

    let log = cluster.log();
    let mut kept = String::new();
    for (statement, plan) in plans(&log[before..]) {
        if statement.starts_with("SELECT now()") || statement.starts_with("SELECT pg_advisory") {
            continue;
        }
        let _ = writeln!(kept, "{statement}\n{}", steady(&plan));
    }
    for table in [
        "interactions",
        "events",
        "cases",
        "case_versions",
        "sessions",
        "chat_turns",
        "chat_summaries",
        "shared_answers",
        "view_rows",
        "jobs",
        "dead_jobs",
        "job_keys",
        "notices",
        "awards",
    ] {
        let scan = format!("Seq Scan on {table}");
        assert!(!kept.contains(&scan), "{scan}: {kept}");
    }
    insta::assert_snapshot!(kept);
}

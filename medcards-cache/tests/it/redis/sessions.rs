use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use medcards_cache::RedisSessions;
use medcards_core::memory::MemoryStore;
use medcards_core::session::{Session, SessionKey, SessionStore};
use medcards_core::testing::{FaultPlan, Faulty, Operation, SAMPLE_START, sample_user_id};
use medcards_core::user::UserKind;
use medcards_core::{ErrorKind, Result, Timestamp, UserId};
use medcards_tests::redis::RedisServer;
use tokio::sync::Semaphore;

use super::places::{connected, patient, process_on, raw, until};

/// The longest that a copy may be believed, as the docs have it.
const RECHECK_MS: i64 = 5 * 60 * 1_000;

mod conformance {
    use medcards_cache::{Redis, RedisSessions};
    use medcards_core::memory::MemoryStore;

    use super::super::places::on_every_kind;

    type Made = (RedisSessions<MemoryStore>, ());

    async fn make(redis: Redis) -> Made {
        (RedisSessions::new(MemoryStore::new(), redis), ())
    }

    on_every_kind!(session_conformance);
}

mod conformance_without_redis {
    use medcards_cache::RedisSessions;
    use medcards_core::memory::MemoryStore;

    use super::super::places::process_on;

    /// Where nobody listens, because only root could.
    const NOWHERE: &str = "redis://127.0.0.1:1";

    async fn make() -> (RedisSessions<MemoryStore>, ()) {
        let redis = process_on(NOWHERE).await;
        assert!(redis.is_away());
        (RedisSessions::new(MemoryStore::new(), redis), ())
    }

    medcards_core::session_conformance!(make);
}

type Store = Faulty<MemoryStore>;

fn store() -> (Store, FaultPlan) {
    let plan = FaultPlan::new();
    (Faulty::new(MemoryStore::new(), plan.clone()), plan)
}

fn key(n: u8) -> SessionKey {
    SessionKey::from_bytes([n; 32])
}

fn user() -> UserId {
    sample_user_id(1)
}

async fn begin(sessions: &impl SessionStore, n: u8) {
    let session = Session::new(key(n), user(), UserKind::Guest, SAMPLE_START);
    sessions.create_session(&session).await.expect("it works");
}

async fn is_found(sessions: &impl SessionStore, n: u8) -> bool {
    is_found_at(sessions, n, SAMPLE_START).await
}

async fn is_found_at(sessions: &impl SessionStore, n: u8, now: Timestamp) -> bool {
    let found = sessions.touch_session(&key(n), now).await;
    found.expect("it works").is_some()
}

fn asked(plan: &FaultPlan) -> u64 {
    plan.calls(Operation::TouchSession)
}

/// The names of all keys, with the milliseconds after which each is gone.
async fn keys(server: &RedisServer) -> Vec<(String, i64)> {
    let mut raw = raw(server);
    let names: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query(&mut raw)
        .expect("the server runs");
    let mut keys = Vec::new();
    for name in names.into_iter().filter(|name| name.ends_with(":session")) {
        let left = redis::cmd("PTTL").arg(&name).query(&mut raw);
        keys.push((name, left.expect("the server runs")));
    }
    keys
}

/// A server of the test's own, and one session.
async fn with_one_session() -> (RedisServer, RedisSessions<Store>, FaultPlan) {
    let server = RedisServer::start();
    let (store, plan) = store();
    let sessions = RedisSessions::new(store, process_on(&server.url()).await);
    begin(&sessions, 1).await;
    (server, sessions, plan)
}

#[tokio::test]
async fn a_session_is_asked_of_the_store_once_for_all_handles() {
    let server = RedisServer::start();
    let (store, plan) = store();
    let handles = [
        RedisSessions::new(store.clone(), process_on(&server.url()).await),
        RedisSessions::new(store, process_on(&server.url()).await),
    ];
    begin(&handles[0], 1).await;
    for _ in 0..3 {
        for sessions in &handles {
            assert!(is_found(sessions, 1).await);
        }
    }
    assert_eq!(asked(&plan), 1);
}

#[tokio::test]
async fn a_use_that_moves_the_end_on_reaches_the_store() {
    let (_server, sessions, plan) = with_one_session().await;
    assert!(is_found(&sessions, 1).await);
    let later = SAMPLE_START + Duration::from_hours(2);
    for _ in 0..3 {
        assert!(is_found_at(&sessions, 1, later).await);
    }
    assert_eq!(asked(&plan), 2, "what was moved on is copied again");
    let kept = sessions.store().list_sessions(user(), later).await;
    let kept = kept.expect("it works");
    assert_eq!(kept[0].expires_at, later + Duration::from_hours(24));
}

#[tokio::test]
async fn no_key_is_kept_for_longer_than_it_is_believed() {
    let server = RedisServer::start();
    let sessions = RedisSessions::new(MemoryStore::new(), process_on(&server.url()).await);
    for n in 1..=3 {
        begin(&sessions, n).await;
        assert!(is_found(&sessions, n).await);
    }
    let later = SAMPLE_START + Duration::from_hours(2);
    assert!(is_found_at(&sessions, 1, later).await);
    let revoked = sessions.revoke_session(user(), &key(2)).await;
    assert!(revoked.expect("it works"));
    let keys = keys(&server).await;
    assert_eq!(keys.len(), 3);
    for (name, left_ms) in keys {
        assert!((1..=RECHECK_MS).contains(&left_ms), "{name}: {left_ms} ms");
        assert!(!name.contains(' '));
    }
}

#[tokio::test]
async fn what_redis_forgets_is_asked_of_the_store_and_copied_again() {
    let (server, sessions, plan) = with_one_session().await;
    assert!(is_found(&sessions, 1).await);
    server.command(&["FLUSHALL"]);
    for _ in 0..3 {
        assert!(is_found(&sessions, 1).await);
    }
    assert_eq!(asked(&plan), 2);
}

/// One of another version, or one that somebody else damaged.
#[tokio::test]
async fn a_copy_that_cannot_be_read_is_a_miss_and_is_replaced() {
    let (server, sessions, plan) = with_one_session().await;
    assert!(is_found(&sessions, 1).await);
    let (name, _) = keys(&server).await.remove(0);
    let mut raw = raw(&server);
    for damage in [&b"\x09whatever"[..], b"\x01\xff", b""] {
        let before = asked(&plan);
        let set = redis::cmd("SET")
            .arg(&name)
            .arg(damage)
            .arg("PX")
            .arg(10_000)
            .exec(&mut raw);
        set.expect("the server runs");
        for _ in 0..3 {
            assert!(is_found(&sessions, 1).await);
        }
        assert_eq!(asked(&plan), before + 1, "{damage:?}");
    }
}

#[tokio::test]
async fn a_store_that_fails_is_heard_of_and_a_copy_goes_on() {
    let (_server, sessions, plan) = with_one_session().await;
    begin(&sessions, 2).await;
    assert!(is_found(&sessions, 1).await);
    plan.fail_every(Operation::TouchSession, 1, ErrorKind::Unavailable);
    assert!(is_found(&sessions, 1).await);
    let failed = sessions.touch_session(&key(2), SAMPLE_START).await;
    let kind = failed.expect_err("nobody knows").kind();
    assert_eq!(kind, ErrorKind::Unavailable);
    plan.clear();
    plan.fail_next(Operation::RevokeSession, 1, ErrorKind::Unavailable);
    let failed = sessions.revoke_session(user(), &key(1)).await;
    let kind = failed.expect_err("the store failed").kind();
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(is_found(&sessions, 1).await, "it was not revoked");
}

#[tokio::test]
async fn what_one_handle_revokes_no_other_finds() {
    let server = RedisServer::start();
    let store = MemoryStore::new();
    let here = RedisSessions::new(store.clone(), process_on(&server.url()).await);
    let there = RedisSessions::new(store, process_on(&server.url()).await);
    for n in 1..=30 {
        begin(&here, n).await;
        // Copied, unless it ended one that was copied.
        assert!(is_found(&there, n).await);
    }
    for n in 1..=10 {
        assert!(!is_found(&there, n).await, "session {n} was one too many");
    }
    let revoked = here.revoke_session(user(), &key(11)).await;
    assert!(revoked.expect("it works"));
    assert!(!is_found(&there, 11).await);
    let revoked = here.revoke_sessions(user()).await.expect("it works");
    assert_eq!(revoked.len(), 19);
    for n in 1..=30 {
        assert!(!is_found(&there, n).await, "session {n}");
    }
    assert_eq!(here.untold(), 0);
}

/// A store that has an answer ready, and gives it when it is allowed to.
#[derive(Clone, Debug)]
struct Slow {
    store: MemoryStore,
    reads: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

#[async_trait]
impl SessionStore for Slow {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        self.store.create_session(session).await
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        let found = self.store.touch_session(key, now).await;
        self.reads.add_permits(1);
        let allowed = self.answers.acquire().await.expect("it stays open");
        allowed.forget();
        found
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        self.store.list_sessions(user_id, now).await
    }

    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        self.store.revoke_session(user_id, key).await
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        self.store.revoke_sessions(user_id).await
    }
}

#[tokio::test]
async fn a_slow_reader_does_not_bring_back_what_was_revoked_meanwhile() {
    let server = RedisServer::start();
    let slow = Slow {
        store: MemoryStore::new(),
        reads: Arc::new(Semaphore::new(0)),
        answers: Arc::new(Semaphore::new(0)),
    };
    let reader = RedisSessions::new(slow.clone(), process_on(&server.url()).await);
    begin(&reader, 1).await;
    let reading = {
        let reader = reader.clone();
        tokio::spawn(async move { is_found(&reader, 1).await })
    };
    drop(slow.reads.acquire().await.expect("it stays open"));
    let other = RedisSessions::new(slow.store.clone(), process_on(&server.url()).await);
    let revoked = other.revoke_session(user(), &key(1)).await;
    assert!(revoked.expect("it works"));
    slow.answers.add_permits(1);
    // It began before, and may find it.
    assert!(reading.await.expect("it ends"));
    assert!(!is_found(&other, 1).await);
}

#[tokio::test]
async fn sessions_go_on_while_redis_is_killed() {
    let server = RedisServer::start();
    let (store, plan) = store();
    let sessions = RedisSessions::new(store, process_on(&server.url()).await);
    for n in 1..=2 {
        begin(&sessions, n).await;
        assert!(is_found(&sessions, n).await);
    }
    server.kill();
    assert!(is_found(&sessions, 1).await);
    begin(&sessions, 3).await;
    assert!(is_found(&sessions, 3).await);
    let revoked = sessions.revoke_session(user(), &key(1)).await;
    assert!(revoked.expect("the store has heard of it"));
    assert!(!is_found(&sessions, 1).await);
    server.start_again();
    until("Redis has been told", async || sessions.untold() == 0).await;
    assert!(!is_found(&sessions, 1).await);
    until("sessions are copied again", async || {
        let before = asked(&plan);
        assert!(is_found(&sessions, 2).await);
        asked(&plan) == before
    })
    .await;
}

/// While Redis hangs, one process revokes a session of which Redis has a copy.
#[tokio::test]
async fn a_revocation_during_an_outage_holds_here_at_once_and_elsewhere_when_redis_is_back() {
    let server = RedisServer::start();
    let store = MemoryStore::new();
    let here = {
        // So that the outage is noticed.
        let config = patient(&server.url()).with_patience(Duration::from_millis(100));
        RedisSessions::new(store.clone(), connected(config).await)
    };
    let there = RedisSessions::new(store, process_on(&server.url()).await);
    for n in 1..=4 {
        begin(&here, n).await;
        assert!(is_found(&here, n).await);
        assert!(is_found(&there, n).await);
    }
    server.suspend();
    let revoked = here.revoke_session(user(), &key(1)).await;
    assert!(revoked.expect("the store has heard of it"));
    assert!(!is_found(&here, 1).await);
    assert!(is_found(&here, 2).await);
    {
        // Dropped while Redis is waited for.
        let revoke = here.revoke_sessions(user());
        let dropped = tokio::time::timeout(Duration::from_millis(20), revoke).await;
        assert!(dropped.is_err(), "Redis does not answer");
    }
    for n in 1..=4 {
        assert!(!is_found(&here, n).await, "session {n}");
    }
    assert!(here.untold() > 0);
    server.resume();
    until("Redis has been told", async || here.untold() == 0).await;
    for n in 1..=4 {
        assert!(!is_found(&there, n).await, "session {n}");
        assert!(!is_found(&here, n).await, "session {n}");
    }
}

/// A full Redis still gives what it has, which a process that knows better does not believe.
#[tokio::test]
async fn a_revocation_that_a_full_redis_refuses_holds_here_at_once_and_elsewhere_when_there_is_room()
 {
    let server = RedisServer::start();
    let limit = |bytes: &str| server.command(&["CONFIG", "SET", "maxmemory", bytes]);
    let store = MemoryStore::new();
    let here = RedisSessions::new(store.clone(), process_on(&server.url()).await);
    let there = RedisSessions::new(store, process_on(&server.url()).await);
    for n in 1..=2 {
        begin(&here, n).await;
        assert!(is_found(&there, n).await);
    }
    limit("1");
    let revoked = here.revoke_session(user(), &key(1)).await;
    assert!(revoked.expect("the store has heard of it"));
    assert_eq!(here.untold(), 1);
    assert!(!is_found(&here, 1).await);
    assert!(is_found(&here, 2).await);
    limit("0");
    until("Redis has been told", async || here.untold() == 0).await;
    assert!(!is_found(&there, 1).await);
    assert!(!is_found(&here, 1).await);
    assert!(is_found(&there, 2).await);
}

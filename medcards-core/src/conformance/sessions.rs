//! Checks of [`SessionStore`].
//!
//! They say themselves what time it is, hours apart within a moment: a store that also lets sessions
//! end by a clock of its own must not do so earlier.

use std::sync::Arc;
use std::time::Duration;

use super::steps::{WORKS, all_at_once, at};
use crate::ErrorKind;
use crate::id::UserId;
use crate::session::{
    SESSION_AGE_MAX, SESSION_TTL, SESSIONS_PER_USER_MAX, SLIDE_STEP, Session, SessionKey,
    SessionStore,
};
use crate::testing::{SAMPLE_START, sample_user_id};
use crate::user::UserKind;
use crate::{Error, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// The key of the `n`th sample session. Keys look random, as digests do.
fn key(n: u32) -> SessionKey {
    let mut bytes = [0; 32];
    let mut random = n;
    for byte in &mut bytes {
        // Numerical Recipes' generator, after a step of which neighbours look unlike.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (random >> 24) as u8;
    }
    SessionKey::from_bytes(bytes)
}

fn session(n: u32, user_id: UserId, now: Timestamp) -> Session {
    Session::new(key(n), user_id, UserKind::Registered, now)
}

/// Begins the `n`th sample session, and returns the keys of those that it ended.
async fn begin(
    store: &dyn SessionStore,
    n: u32,
    user_id: UserId,
    now: Timestamp,
) -> Vec<SessionKey> {
    let session = session(n, user_id, now);
    store.create_session(&session).await.expect(WORKS)
}

async fn touch(store: &dyn SessionStore, n: u32, now: Timestamp) -> Option<Session> {
    store.touch_session(&key(n), now).await.expect(WORKS)
}

async fn listed(store: &dyn SessionStore, user_id: UserId, now: Timestamp) -> Vec<SessionKey> {
    let sessions = store.list_sessions(user_id, now).await.expect(WORKS);
    for session in &sessions {
        assert_eq!(session.user_id, user_id);
        assert!(session.is_live(now), "{session:?} has ended");
    }
    sessions.iter().map(|session| session.key).collect()
}

fn sorted(mut keys: Vec<SessionKey>) -> Vec<SessionKey> {
    keys.sort_unstable();
    keys
}

/// A new session is found and listed as it was given, and no other is.
pub async fn a_new_session_is_found_as_it_was_given(store: Arc<dyn SessionStore>) {
    let kinds = [UserKind::Guest, UserKind::Registered];
    for (n, kind) in (1..).zip(kinds) {
        let user_id = sample_user_id(n);
        assert_eq!(touch(&*store, n, at(1)).await, None);
        assert_eq!(listed(&*store, user_id, at(1)).await, []);
        let given = Session::new(key(n), user_id, kind, at(1));
        let ended = store.create_session(&given).await.expect(WORKS);
        assert_eq!(ended, []);
        // Again, because what was found once may come from elsewhere the next time.
        for _ in 0..2 {
            assert_eq!(touch(&*store, n, at(1)).await, Some(given.clone()));
        }
        let list = store.list_sessions(user_id, at(1)).await.expect(WORKS);
        assert_eq!(list, [given]);
    }
    assert_eq!(touch(&*store, 9, at(1)).await, None);
}

/// A session that is begun again stays as it is, and its key cannot become another user's.
pub async fn a_session_begun_again_stays_as_it_is(store: Arc<dyn SessionStore>) {
    let (mine, other) = (sample_user_id(1), sample_user_id(2));
    begin(&*store, 1, mine, at(0)).await;
    begin(&*store, 1, mine, at(60)).await;
    let taken = store.create_session(&session(1, other, at(0))).await;
    let kind = taken.as_ref().map_err(Error::kind).err();
    assert_eq!(kind, Some(ErrorKind::Conflict), "{taken:?}");
    assert_eq!(
        touch(&*store, 1, at(60)).await,
        Some(session(1, mine, at(0)))
    );
    assert_eq!(listed(&*store, mine, at(60)).await, [key(1)]);
    assert_eq!(listed(&*store, other, at(60)).await, []);
}

/// A session that is used lives on, and one that is not used for a day ends.
pub async fn a_session_lives_a_day_after_its_last_use(store: Arc<dyn SessionStore>) {
    let least = SESSION_TTL - SLIDE_STEP;
    begin(&*store, 1, sample_user_id(1), at(0)).await;
    let mut now = at(0);
    for pause in [HOUR / 2, least - SECOND, 2 * HOUR, HOUR, least - SECOND] {
        now += pause;
        let found = touch(&*store, 1, now).await;
        let found = found.expect("it was used less than a day ago");
        assert!(
            (now + least..=now + SESSION_TTL).contains(&found.expires_at),
            "{found:?} at {now}"
        );
    }
    assert_eq!(touch(&*store, 1, now + SESSION_TTL).await, None);
}

/// What a use adds to the life of a session is kept, and all see it.
pub async fn a_use_moves_the_end_for_all(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    begin(&*store, 1, user_id, at(0)).await;
    let now = at(0) + 12 * HOUR;
    let used = touch(&*store, 1, now).await.expect("it lives for a day");
    assert_eq!(used.expires_at, now + SESSION_TTL);
    let list = store.list_sessions(user_id, now).await.expect(WORKS);
    assert_eq!(list, [used]);
}

/// A use by a clock that is behind shortens nothing.
pub async fn a_clock_set_back_ends_nothing_earlier(store: Arc<dyn SessionStore>) {
    begin(&*store, 1, sample_user_id(1), at(0)).await;
    let ahead = at(0) + 20 * HOUR;
    let used = touch(&*store, 1, ahead).await;
    for back in [at(0) + 2 * HOUR, SAMPLE_START, at(-3_600)] {
        assert_eq!(touch(&*store, 1, back).await, used, "at {back}");
    }
    assert_eq!(touch(&*store, 1, ahead).await, used);
}

/// However often it is used, a session ends thirty days after its beginning.
pub async fn a_session_ends_after_thirty_days(store: Arc<dyn SessionStore>) {
    begin(&*store, 1, sample_user_id(1), at(0)).await;
    let last = at(0) + SESSION_AGE_MAX;
    let mut now = at(0);
    while now + 12 * HOUR < last {
        now += 12 * HOUR;
        let found = touch(&*store, 1, now).await;
        let found = found.expect("it was used half a day ago");
        assert!(found.expires_at <= last, "{found:?}");
    }
    assert_eq!(touch(&*store, 1, last).await, None);
}

/// A session that has ended is neither found nor listed, nor does using it bring it back.
pub async fn an_expired_session_is_neither_found_nor_listed(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    begin(&*store, 1, user_id, at(0)).await;
    begin(&*store, 2, user_id, at(60)).await;
    let end = at(0) + SESSION_TTL;
    assert_eq!(listed(&*store, user_id, end - SECOND).await.len(), 2);
    assert_eq!(listed(&*store, user_id, end).await, [key(2)]);
    for _ in 0..2 {
        assert_eq!(touch(&*store, 1, end).await, None);
    }
    assert_eq!(listed(&*store, user_id, end).await, [key(2)]);
}

/// Sessions are listed with the newest first, whenever they were used.
pub async fn sessions_are_listed_newest_first(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    for (n, second) in [(1, 10), (2, 30), (3, 20), (4, 20), (5, 20)] {
        begin(&*store, n, user_id, at(second)).await;
    }
    begin(&*store, 6, sample_user_id(2), at(40)).await;
    touch(&*store, 1, at(0) + 5 * HOUR).await;
    let mut of_one_instant = sorted(vec![key(3), key(4), key(5)]);
    of_one_instant.reverse();
    let expected = [vec![key(2)], of_one_instant, vec![key(1)]].concat();
    let now = at(0) + 5 * HOUR;
    assert_eq!(listed(&*store, user_id, now).await, expected);
}

/// A session that was revoked is not found, and its user's others are.
pub async fn a_revoked_session_is_not_found(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    for n in 1..=2 {
        begin(&*store, n, user_id, at(0)).await;
        assert!(touch(&*store, n, at(1)).await.is_some());
    }
    let revoke = async || store.revoke_session(user_id, &key(1)).await.expect(WORKS);
    assert!(revoke().await, "there was one");
    for _ in 0..2 {
        assert_eq!(touch(&*store, 1, at(2)).await, None);
    }
    assert!(touch(&*store, 2, at(2)).await.is_some());
    assert_eq!(listed(&*store, user_id, at(2)).await, [key(2)]);
    assert!(!revoke().await, "there is none any more");
}

/// Nobody can end a session of another user.
pub async fn a_session_of_another_user_goes_on(store: Arc<dyn SessionStore>) {
    let (mine, other) = (sample_user_id(1), sample_user_id(2));
    begin(&*store, 1, mine, at(0)).await;
    touch(&*store, 1, at(0)).await;
    let revoked = store.revoke_session(other, &key(1)).await.expect(WORKS);
    assert!(!revoked);
    let revoked = store.revoke_sessions(other).await.expect(WORKS);
    assert_eq!(revoked, []);
    assert!(touch(&*store, 1, at(1)).await.is_some());
    assert_eq!(listed(&*store, mine, at(1)).await, [key(1)]);
}

/// All sessions of a user are revoked together, and nobody else's.
pub async fn all_sessions_of_a_user_are_revoked_together(store: Arc<dyn SessionStore>) {
    let (mine, other) = (sample_user_id(1), sample_user_id(2));
    for n in 1..=5 {
        begin(&*store, n, mine, at(i64::from(n))).await;
        touch(&*store, n, at(9)).await;
    }
    begin(&*store, 6, other, at(0)).await;
    let revoked = store.revoke_sessions(mine).await.expect(WORKS);
    assert_eq!(sorted(revoked), sorted((1..=5).map(key).collect()));
    for n in 1..=5 {
        assert_eq!(touch(&*store, n, at(10)).await, None);
    }
    assert_eq!(listed(&*store, mine, at(10)).await, []);
    assert!(touch(&*store, 6, at(10)).await.is_some());
    let again = store.revoke_sessions(mine).await.expect(WORKS);
    assert_eq!(again, []);
    begin(&*store, 7, mine, at(11)).await;
    assert!(
        touch(&*store, 7, at(11)).await.is_some(),
        "signed in anew after signing out"
    );
}

/// While many use a session, nobody finds it who begins after it was revoked.
pub async fn nobody_finds_what_was_revoked(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    for n in 0..20 {
        begin(&*store, n, user_id, at(0)).await;
        let users = (0..8).map(|_| {
            let store = Arc::clone(&store);
            Box::pin(async move {
                for _ in 0..3 {
                    touch(&*store, n, at(0) + 2 * HOUR).await;
                }
            }) as futures_util::future::BoxFuture<'static, ()>
        });
        let revoking = Arc::clone(&store);
        let revoke: futures_util::future::BoxFuture<'static, ()> = Box::pin(async move {
            let revoked = match n % 2 {
                0 => revoking
                    .revoke_session(user_id, &key(n))
                    .await
                    .expect(WORKS),
                _ => !revoking
                    .revoke_sessions(user_id)
                    .await
                    .expect(WORKS)
                    .is_empty(),
            };
            assert!(revoked, "there was one");
            assert_eq!(touch(&*revoking, n, at(0) + 2 * HOUR).await, None);
        });
        all_at_once(users.chain([revoke])).await;
        // Also once those have ended who may have seen it before.
        assert_eq!(touch(&*store, n, at(0) + 2 * HOUR).await, None);
    }
}

/// Many who use a session at once all find it, whose end then is where each of them moved it.
pub async fn many_may_use_a_session_at_once(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    begin(&*store, 1, user_id, at(0)).await;
    let now = at(0) + 12 * HOUR;
    let uses = (0..32).map(|_| {
        let store = Arc::clone(&store);
        async move { touch(&*store, 1, now).await }
    });
    for found in all_at_once(uses).await {
        let found = found.expect("it lives for a day");
        assert_eq!(found.expires_at, now + SESSION_TTL);
    }
    assert_eq!(listed(&*store, user_id, now).await, [key(1)]);
}

/// Beginning one session too many ends the oldest of the user's others, whenever it was used.
pub async fn one_session_too_many_ends_the_oldest(store: Arc<dyn SessionStore>) {
    let (user_id, other) = (sample_user_id(1), sample_user_id(2));
    let most = u32::try_from(SESSIONS_PER_USER_MAX).expect("it is small");
    begin(&*store, 1_000, other, at(0)).await;
    for n in 0..most {
        let ended = begin(&*store, n, user_id, at(i64::from(n))).await;
        assert_eq!(ended, [], "session {n}");
    }
    let now = at(0) + 3 * HOUR;
    for n in 0..most {
        assert!(touch(&*store, n, now).await.is_some(), "session {n}");
    }
    for n in 0..3 {
        assert_eq!(begin(&*store, most + n, user_id, now).await, [key(n)]);
        assert_eq!(touch(&*store, n, now).await, None, "session {n}");
    }
    // One that is begun by a clock that is behind is not itself the oldest.
    assert_eq!(begin(&*store, most + 3, user_id, at(0)).await, [key(3)]);
    let list = listed(&*store, user_id, now).await;
    let expected = sorted((4..most + 4).map(key).collect());
    assert_eq!(sorted(list), expected);
    assert!(touch(&*store, 1_000, now).await.is_some());
}

/// Sessions that have expired take nobody's place.
pub async fn an_expired_session_takes_no_place(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    let most = u32::try_from(SESSIONS_PER_USER_MAX).expect("it is small");
    for n in 0..most {
        begin(&*store, n, user_id, at(i64::from(n))).await;
    }
    // The oldest is used, the others end.
    let midday = at(0) + 12 * HOUR;
    assert!(touch(&*store, 0, midday).await.is_some());
    let now = at(0) + 30 * HOUR;
    for n in most..2 * most - 1 {
        let ended = begin(&*store, n, user_id, now).await;
        assert_eq!(ended, [], "session {n}");
    }
    assert!(touch(&*store, 0, now).await.is_some());
    assert_eq!(
        listed(&*store, user_id, now).await.len(),
        SESSIONS_PER_USER_MAX
    );
}

/// However many sessions a user begins at once, no more are left than are allowed, and each that is
/// gone was named once.
pub async fn sessions_begun_at_once_are_no_more_than_allowed(store: Arc<dyn SessionStore>) {
    let user_id = sample_user_id(1);
    let begun = u32::try_from(2 * SESSIONS_PER_USER_MAX).expect("it is small");
    let begins = (0..begun).map(|n| {
        let store = Arc::clone(&store);
        async move { begin(&*store, n, user_id, at(0)).await }
    });
    let ended = all_at_once(begins).await.concat();
    let list = listed(&*store, user_id, at(1)).await;
    assert_eq!(list.len(), SESSIONS_PER_USER_MAX);
    let all = sorted([ended, list].concat());
    assert_eq!(all, sorted((0..begun).map(key).collect()));
}

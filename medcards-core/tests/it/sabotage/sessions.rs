use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::memory::MemoryStore;
use medcards_core::session::{
    SESSION_TTL, SESSIONS_PER_USER_MAX, Session, SessionKey, SessionStore,
};
use medcards_core::user::UserKind;
use medcards_core::{Result, Timestamp, UserId};

use super::Crowd;

const HOUR: Duration = Duration::from_hours(1);

/// A store of sessions that breaks the promise it is given.
#[derive(Debug)]
pub(super) struct SessionSaboteur {
    inner: MemoryStore,
    promise: &'static str,
    crowd: Crowd,
    /// What was found lately, as a cache would keep it.
    found: Mutex<HashMap<SessionKey, Session>>,
}

impl SessionSaboteur {
    pub(super) fn new(inner: MemoryStore, promise: &'static str) -> Self {
        Self {
            inner,
            promise,
            crowd: Crowd::default(),
            found: Mutex::default(),
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    fn found(&self) -> MutexGuard<'_, HashMap<SessionKey, Session>> {
        self.found.lock().expect("nobody panics with the lock")
    }

    /// Ends a session in favour of another, as the store would not have done.
    async fn end(&self, session: &Session, ended: &mut Vec<SessionKey>) -> Result<()> {
        self.inner
            .revoke_session(session.user_id, &session.key)
            .await?;
        ended.push(session.key);
        Ok(())
    }
}

impl fmt::Display for SessionSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSaboteur({})", self.promise)
    }
}

#[async_trait]
impl SessionStore for SessionSaboteur {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        let (mut session, user_id, now) = (session.clone(), session.user_id, session.created_at);
        let before = self.inner.list_sessions(user_id, now).await?;
        match self.promise {
            "a_new_session_is_found_as_it_was_given" => session.kind = UserKind::Registered,
            "a_session_begun_again_stays_as_it_is" => {
                // The last one wins, as with a plain put.
                self.inner.revoke_session(user_id, &session.key).await?;
            }
            "sessions_begun_at_once_are_no_more_than_allowed" => {
                self.crowd.wait_for_another().await;
                let after = self.inner.list_sessions(user_id, now).await?;
                if after.len() > before.len() && after.len() < SESSIONS_PER_USER_MAX {
                    // As one that counted before others were there, and then named too many.
                    self.inner.create_session(&session).await?;
                    return Ok(vec![session.key]);
                }
            }
            _ => {}
        }
        let mut ended = self.inner.create_session(&session).await?;
        match self.promise {
            "one_session_too_many_ends_the_oldest" if !ended.is_empty() => ended.clear(),
            "an_expired_session_takes_no_place" if before.len() == 1 && ended.is_empty() => {
                self.end(&before[0], &mut ended).await?;
            }
            _ => {}
        }
        Ok(ended)
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        match self.promise {
            "a_session_lives_a_day_after_its_last_use" => {
                // Uses are not noticed.
                let first = now.checked_sub(23 * HOUR).unwrap_or(now);
                let found = self.inner.touch_session(key, first).await?;
                return Ok(found.filter(|session| {
                    now < session.created_at.checked_add(SESSION_TTL).unwrap_or(now)
                }));
            }
            "a_use_moves_the_end_for_all" => {
                // Only who uses it knows of the new end.
                let found = self.inner.touch_session(key, Timestamp::MIN).await?;
                return Ok(found.map(|mut session| {
                    session.expires_at = session.slides_to(now).unwrap_or(session.expires_at);
                    session
                }));
            }
            "a_clock_set_back_ends_nothing_earlier" => {
                let found = self.inner.touch_session(key, now).await?;
                return Ok(found.map(|mut session| {
                    session.expires_at = now + SESSION_TTL;
                    session
                }));
            }
            "an_expired_session_is_neither_found_nor_listed" => {
                let found = self.inner.touch_session(key, Timestamp::MIN).await?;
                return Ok(found);
            }
            "nobody_finds_what_was_revoked" => {
                // A cache that keeps what it was given, without looking again.
                if let Some(session) = self.found().get(key).cloned() {
                    return Ok(Some(session));
                }
                let found = self.inner.touch_session(key, now).await?;
                self.crowd.wait_for_another().await;
                if let Some(session) = &found {
                    self.found().insert(*key, session.clone());
                }
                return Ok(found);
            }
            "many_may_use_a_session_at_once" => {
                // Refused where another has moved the end meanwhile.
                let found = self.inner.touch_session(key, Timestamp::MIN).await?;
                self.crowd.wait_for_another().await;
                if self.inner.touch_session(key, Timestamp::MIN).await? != found {
                    return Ok(None);
                }
            }
            _ => {}
        }
        let found = self.inner.touch_session(key, now).await?;
        let Some(mut session) = found else {
            if self.breaks("a_session_ends_after_thirty_days") {
                return Ok(self.found().get(key).cloned());
            }
            return Ok(None);
        };
        if self.breaks("a_session_ends_after_thirty_days") {
            session.expires_at = session.expires_at.max(now + 23 * HOUR);
        }
        self.found().insert(*key, session.clone());
        Ok(Some(session))
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        let mut sessions = self.inner.list_sessions(user_id, now).await?;
        if self.breaks("sessions_are_listed_newest_first") {
            // By what most lists go by.
            sessions.sort_by_key(|session| std::cmp::Reverse(session.expires_at));
        }
        Ok(sessions)
    }

    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        match self.promise {
            "a_revoked_session_is_not_found" => {
                let known = self.inner.touch_session(key, Timestamp::MIN).await?;
                Ok(known.is_some())
            }
            "a_session_of_another_user_goes_on" => {
                let found = self.found().get(key).cloned();
                let owner = found.map_or(user_id, |session| session.user_id);
                self.inner.revoke_session(owner, key).await
            }
            _ => self.inner.revoke_session(user_id, key).await,
        }
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        if self.breaks("all_sessions_of_a_user_are_revoked_together") {
            // Named, but one of them is forgotten.
            let sessions = self.inner.list_sessions(user_id, Timestamp::MIN).await?;
            for session in sessions.iter().skip(1) {
                self.inner.revoke_session(user_id, &session.key).await?;
            }
            return Ok(sessions.iter().map(|session| session.key).collect());
        }
        self.inner.revoke_sessions(user_id).await
    }
}

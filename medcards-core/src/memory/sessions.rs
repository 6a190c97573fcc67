use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use crate::id::UserId;
use crate::session::{
    EXPIRED_BATCH_MAX, EXPIRED_KEPT_FOR, SESSIONS_PER_USER_MAX, Session, SessionKey, SessionStore,
};
use crate::{Error, ErrorKind, Result};

/// All sessions.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    by_key: HashMap<SessionKey, Session>,
    /// The sessions of each user who has some, the oldest first.
    by_user: HashMap<UserId, BTreeSet<(Timestamp, SessionKey)>>,
    by_end: BTreeSet<(Timestamp, SessionKey)>,
}

impl Sessions {
    fn insert(&mut self, session: Session) {
        self.by_user
            .entry(session.user_id)
            .or_default()
            .insert((session.created_at, session.key));
        self.by_end.insert((session.expires_at, session.key));
        self.by_key.insert(session.key, session);
    }

    fn remove(&mut self, key: &SessionKey) -> Option<Session> {
        let session = self.by_key.remove(key)?;
        self.by_end.remove(&(session.expires_at, session.key));
        if let Some(of_user) = self.by_user.get_mut(&session.user_id) {
            of_user.remove(&(session.created_at, session.key));
            if of_user.is_empty() {
                self.by_user.remove(&session.user_id);
            }
        }
        Some(session)
    }

    /// The sessions of a user, the oldest first.
    fn of_user(&self, user_id: UserId) -> Vec<Session> {
        let keys = self.by_user.get(&user_id).into_iter().flatten();
        keys.filter_map(|(_, key)| self.by_key.get(key).cloned())
            .collect()
    }

    fn remove_long_expired(&mut self, now: Timestamp) {
        let before = now.checked_sub(EXPIRED_KEPT_FOR).unwrap_or(Timestamp::MIN);
        for _ in 0..EXPIRED_BATCH_MAX {
            match self.by_end.first().copied() {
                Some((end, key)) if end < before => self.remove(&key),
                _ => return,
            };
        }
    }

    fn create(&mut self, session: &Session) -> Result<Vec<SessionKey>> {
        match self.by_key.get(&session.key) {
            Some(known) if known.user_id == session.user_id => return Ok(Vec::new()),
            Some(_) => {
                let context = "another user has a session with this key: make another token";
                return Err(Error::new(ErrorKind::Conflict, "create session", context));
            }
            None => {}
        }
        let now = session.created_at;
        self.remove_long_expired(now);
        let (live, expired): (Vec<_>, Vec<_>) = self
            .of_user(session.user_id)
            .into_iter()
            .partition(|other| other.is_live(now));
        let surplus = (live.len() + 1).saturating_sub(SESSIONS_PER_USER_MAX);
        let ended: Vec<_> = live.iter().take(surplus).map(|other| other.key).collect();
        for key in expired.iter().map(|other| &other.key).chain(&ended) {
            self.remove(key);
        }
        self.insert(session.clone());
        Ok(ended)
    }

    fn touch(&mut self, key: &SessionKey, now: Timestamp) -> Option<Session> {
        let mut session = self.by_key.get(key)?.clone();
        if !session.is_live(now) {
            return None;
        }
        if let Some(to) = session.slides_to(now) {
            self.remove(key);
            session.expires_at = to;
            self.insert(session.clone());
        }
        Some(session)
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        self.state().sessions.create(session)
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        Ok(self.state().sessions.touch(key, now))
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        let mut sessions = self.state().sessions.of_user(user_id);
        sessions.retain(|session| session.is_live(now));
        sessions.reverse();
        Ok(sessions)
    }

    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        let mut state = self.state();
        let known = state.sessions.by_key.get(key);
        let is_theirs = known.is_some_and(|session| session.user_id == user_id);
        Ok(is_theirs && state.sessions.remove(key).is_some())
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        let mut state = self.state();
        let sessions = state.sessions.of_user(user_id);
        let ended = sessions.into_iter().filter_map(|session| {
            let removed = state.sessions.remove(&session.key);
            removed.map(|session| session.key)
        });
        Ok(ended.collect())
    }
}

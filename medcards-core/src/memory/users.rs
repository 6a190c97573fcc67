use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use crate::event::EventBody;
use crate::id::UserId;
use crate::user::{User, UserSettings, UserStore};
use crate::{Error, ErrorKind, Result};

/// All users.
#[derive(Clone, Default)]
pub(super) struct Users {
    by_id: HashMap<UserId, User>,
}

#[async_trait]
impl UserStore for MemoryStore {
    async fn ensure_user(&self, user: User) -> Result<User> {
        Ok(self
            .state()
            .users
            .by_id
            .entry(user.id)
            .or_insert(user)
            .clone())
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>> {
        Ok(self.state().users.by_id.get(&user_id).cloned())
    }

    async fn update_settings(
        &self,
        user_id: UserId,
        settings: UserSettings,
        now: Timestamp,
    ) -> Result<User> {
        let mut state = self.state();
        let Some(user) = state.users.by_id.get_mut(&user_id) else {
            let context = "no user has this id: make sure of the user first";
            return Err(Error::new(ErrorKind::NotFound, "update settings", context));
        };
        user.settings = settings.clone();
        let user = user.clone();
        state.log.append(
            user_id,
            EventBody::SettingsChanged {
                settings,
                changed_at: now,
            },
        );
        Ok(user)
    }
}

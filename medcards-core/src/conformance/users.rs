//! Checks of [`UserStore`](crate::user::UserStore).

use std::sync::Arc;

use super::steps::{WORKS, all_at_once, all_events, at, student};
use crate::ErrorKind;
use crate::event::EventBody;
use crate::store::Store;
use crate::testing::sample_user_id;
use crate::user::{Level, User, UserKind, UserSettings};

fn settings(time_zone: &str, locale: Option<&str>) -> UserSettings {
    UserSettings {
        level: Level::Resident,
        time_zone: time_zone.parse().expect("it is a name"),
        locale: locale.map(|tag| tag.parse().expect("it is a tag")),
    }
}

/// A new user is stored and found as given, and nobody else is.
pub async fn a_new_user_is_found_as_it_was_given(store: Arc<dyn Store>) {
    let mut full = User::new(sample_user_id(1), UserKind::Registered, at(1));
    full.settings = settings("America/Argentina/Buenos_Aires", Some("es-419"));
    let bare = User::new(sample_user_id(2), UserKind::Guest, at(2));
    for user in [full, bare] {
        assert_eq!(store.find_user(user.id).await.expect(WORKS), None);
        assert_eq!(store.ensure_user(user.clone()).await.expect(WORKS), user);
        assert_eq!(store.find_user(user.id).await.expect(WORKS), Some(user));
    }
}

/// A user who is known keeps kind, settings and instant.
pub async fn a_known_user_stays_as_it_is(store: Arc<dyn Store>) {
    let mut known = User::new(sample_user_id(1), UserKind::Registered, at(1));
    known.settings = settings("Europe/Paris", Some("fr"));
    store.ensure_user(known.clone()).await.expect(WORKS);
    let again = User::new(known.id, UserKind::Guest, at(2));
    assert_eq!(store.ensure_user(again).await.expect(WORKS), known);
    assert_eq!(store.find_user(known.id).await.expect(WORKS), Some(known));
}

/// A user whom many make sure of at once is stored once, and all get the same back.
pub async fn a_user_ensured_by_many_at_once_is_stored_once(store: Arc<dyn Store>) {
    let calls = (0..32).map(|caller| {
        let store = Arc::clone(&store);
        let user = User::new(sample_user_id(1), UserKind::Guest, at(caller));
        async move { store.ensure_user(user).await.expect(WORKS) }
    });
    let users = all_at_once(calls).await;
    let stored = store.find_user(sample_user_id(1)).await.expect(WORKS);
    for user in users {
        assert_eq!(Some(user), stored);
    }
}

/// New settings replace the old ones, and nothing else of the user.
pub async fn new_settings_replace_the_old(store: Arc<dyn Store>) {
    let user = User::new(sample_user_id(1), UserKind::Registered, at(1));
    store.ensure_user(user.clone()).await.expect(WORKS);
    student(&*store, 2).await;
    for new in [
        settings("Asia/Tokyo", Some("ja")),
        settings("Europe/Paris", None),
    ] {
        let expected = User {
            settings: new.clone(),
            ..user.clone()
        };
        let updated = store
            .update_settings(user.id, new, at(5))
            .await
            .expect(WORKS);
        assert_eq!(updated, expected);
        assert_eq!(store.find_user(user.id).await.expect(WORKS), Some(expected));
    }
    let neighbour = store.find_user(sample_user_id(2)).await.expect(WORKS);
    assert_eq!(
        neighbour.map(|user| user.settings),
        Some(UserSettings::default())
    );
}

/// New settings are recorded as an event, with the instant of the change.
pub async fn new_settings_are_recorded_as_an_event(store: Arc<dyn Store>) {
    let user_id = student(&*store, 1).await;
    let new = settings("Asia/Tokyo", Some("ja"));
    store
        .update_settings(user_id, new.clone(), at(7))
        .await
        .expect(WORKS);
    let events = all_events(&*store).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].user_id, user_id);
    let body = EventBody::SettingsChanged {
        settings: new,
        changed_at: at(7),
    };
    assert_eq!(events[0].body, body);
}

/// Settings of a user who is not known are refused, and leave no event and no user.
pub async fn settings_of_an_unknown_user_are_refused(store: Arc<dyn Store>) {
    let unknown = sample_user_id(1);
    let refused = store
        .update_settings(unknown, settings("Asia/Tokyo", None), at(1))
        .await;
    let error = refused.expect_err("nobody has this id");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(store.find_user(unknown).await.expect(WORKS), None);
    assert!(all_events(&*store).await.is_empty());
}

//! What the platform promises beyond its parts.

use std::sync::Arc;
use std::time::Duration;

use medcards_core::answer::{ANSWER_AGE_MAX, NextCaseReason};
use medcards_core::app::{AnswerForm, Medcards};
use medcards_core::case::CaseFilter;
use medcards_core::memory::MemoryStore;
use medcards_core::store::{Consistency, Store};
use medcards_core::testing::{
    ManualClock, ReplicatedStore, sample_content, sample_record, sample_user_id,
};
use medcards_core::user::{UserKind, UserSettings};
use medcards_core::{AnswerId, CaseId, ErrorKind};

async fn platform() -> (Medcards, Arc<ManualClock>, CaseId) {
    platform_on(Arc::new(MemoryStore::new())).await
}

async fn platform_on(store: Arc<dyn Store>) -> (Medcards, Arc<ManualClock>, CaseId) {
    let clock = Arc::new(ManualClock::default());
    let medcards = Medcards::builder(store)
        .clock(Arc::clone(&clock) as _)
        .build()
        .await
        .expect("the configuration is sound");
    let published = medcards
        .store()
        .publish(vec![sample_content(1)], medcards.now())
        .await;
    let case_id = published.expect("the store works")[0].case_id;
    (medcards, clock, case_id)
}

fn form(id: AnswerId, option: &str) -> AnswerForm {
    AnswerForm {
        id: Some(id),
        options: vec![option.to_owned()],
        ..AnswerForm::default()
    }
}

/// Whatever has become of the case since, and however late it is sent again.
#[tokio::test]
async fn an_answer_sent_again_gets_the_first_result() {
    let (medcards, clock, case_id) = platform().await;
    let user = sample_user_id(1);
    let id = AnswerId::new(medcards.now());
    let first = medcards
        .submit_answer(user, case_id, form(id, "D"))
        .await
        .unwrap();
    assert!(!first.is_repeated);

    // The next version has no such option any more.
    let mut record = sample_record(1);
    record.options.truncate(3);
    let content = record.try_into().unwrap();
    medcards
        .store()
        .publish(vec![content], medcards.now())
        .await
        .unwrap();
    for wait in [Duration::ZERO, ANSWER_AGE_MAX + Duration::from_secs(1)] {
        clock.advance(wait);
        let again = medcards
            .submit_answer(user, case_id, form(id, "D"))
            .await
            .unwrap();
        assert!(again.is_repeated);
        assert_eq!((&again.answer, &again.case), (&first.answer, &first.case));
    }
    let other = AnswerId::new(medcards.now());
    let refused = medcards
        .submit_answer(user, case_id, form(other, "D"))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "a new one is checked");
}

#[tokio::test]
async fn an_id_used_for_another_case_is_refused() {
    let (medcards, _, case_id) = platform().await;
    let user = sample_user_id(1);
    let other = medcards
        .store()
        .publish(vec![sample_content(2)], medcards.now())
        .await
        .unwrap();
    let id = AnswerId::new(medcards.now());
    medcards
        .submit_answer(user, case_id, form(id, "A"))
        .await
        .unwrap();
    for option in ["A", "no such option"] {
        let refused = medcards
            .submit_answer(user, other[0].case_id, form(id, option))
            .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict, "{option}");
    }
    let stranger = medcards
        .submit_answer(sample_user_id(2), case_id, form(id, "A"))
        .await;
    assert!(!stranger.unwrap().is_repeated, "another student may use it");
}

#[tokio::test]
async fn feedback_follows_a_changed_language() {
    let (medcards, _, case_id) = platform().await;
    let user = medcards
        .ensure_user(sample_user_id(1), UserKind::Guest)
        .await
        .unwrap();
    let id = AnswerId::new(medcards.now());
    medcards
        .submit_answer(user.id, case_id, form(id, "A"))
        .await
        .unwrap();
    let english = medcards
        .feedback(user.id, id, &Consistency::Strong)
        .await
        .unwrap();
    assert!(english.text().contains("You chose"), "{}", english.text());
    let mut settings = UserSettings::default();
    settings.locale = Some("fr".parse().unwrap());
    medcards.update_settings(user.id, settings).await.unwrap();
    let french = medcards
        .feedback(user.id, id, &Consistency::Strong)
        .await
        .unwrap();
    assert!(
        french.text().contains("Vous avez choisi"),
        "{}",
        french.text()
    );
}

#[tokio::test]
async fn feedback_on_another_students_answer_is_not_found() {
    let (medcards, _, case_id) = platform().await;
    let id = AnswerId::new(medcards.now());
    medcards
        .submit_answer(sample_user_id(1), case_id, form(id, "A"))
        .await
        .unwrap();
    let theirs = medcards
        .feedback(sample_user_id(2), id, &Consistency::Strong)
        .await
        .unwrap_err();
    let absent = medcards
        .feedback(
            sample_user_id(2),
            AnswerId::new(medcards.now()),
            &Consistency::Strong,
        )
        .await;
    assert_eq!(theirs.kind(), ErrorKind::NotFound);
    assert_eq!(
        theirs.to_string(),
        absent.unwrap_err().to_string(),
        "nothing tells them apart"
    );
}

/// Of two processes on one store, the one that did not take the answers is asked.
#[tokio::test]
async fn an_answer_that_a_copy_does_not_have_yet_is_found_nevertheless() {
    let store = ReplicatedStore::new();
    let (writer, _, case_id) = platform_on(Arc::new(store.clone())).await;
    let user = sample_user_id(1);
    let submit = async || {
        let id = AnswerId::new(writer.now());
        let submitted = writer.submit_answer(user, case_id, form(id, "A")).await;
        let submitted = submitted.unwrap();
        (id, Consistency::after(submitted.token))
    };
    let (first, at_first) = submit().await;
    store.catch_up();
    let (second, at_second) = submit().await;
    let any = Consistency::Bounded(Duration::MAX);

    for (id, consistency, replica_reads) in [
        (first, &at_first, 1),
        (first, &any, 1),
        (first, &Consistency::Strong, 0),
        (second, &at_second, 0),
        // The replica is asked, and has not heard of it.
        (second, &at_first, 1),
        (second, &any, 1),
    ] {
        let (reader, ..) = platform_on(Arc::new(store.clone())).await;
        let before = store.replica_reads();
        let found = reader.feedback(user, id, consistency).await;
        found.unwrap_or_else(|error| panic!("{consistency:?}: {error}"));
        assert_eq!(store.replica_reads() - before, replica_reads);
    }
    let (reader, ..) = platform_on(Arc::new(store)).await;
    let streamed = reader.feedback_stream(user, second, &at_first).await;
    drop(streamed.unwrap());
    let absent = AnswerId::new(reader.now());
    let refused = reader.feedback(user, absent, &at_first).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_next_case_is_chosen_from_a_copy_as_fresh_as_asked() {
    let store = ReplicatedStore::new();
    let (medcards, _, case_id) = platform_on(Arc::new(store.clone())).await;
    let (user, all) = (sample_user_id(1), CaseFilter::default());
    let any = Consistency::Bounded(Duration::MAX);
    let next = medcards.next_case(user, &all, &any).await.unwrap();
    assert!(next.is_some(), "a copy without a case is not believed");
    store.catch_up();
    let submitted = medcards
        .submit_answer(user, case_id, form(AnswerId::new(medcards.now()), "A"))
        .await
        .unwrap();
    for (consistency, expected) in [
        (
            Consistency::after(submitted.token),
            NextCaseReason::LongestAgo,
        ),
        (Consistency::Strong, NextCaseReason::LongestAgo),
        (any, NextCaseReason::Unseen),
    ] {
        let next = medcards.next_case(user, &all, &consistency).await;
        let (_, reason) = next.unwrap().expect("there is a case");
        assert_eq!(reason, expected, "{consistency:?}");
    }
}

//! Checks of [`SharedAnswers`].

use std::sync::Arc;
use std::time::Duration;

use super::chats::{WORDS, longest_and_longer};
use super::steps::{WORKS, all_at_once, at};
use crate::case::CaseVersion;
use crate::chat::{
    QUESTION_LEN_MAX, REPLY_LEN_MAX, SHARED_ANSWERS_PER_CASE_MAX, SharedAnswer, SharedAnswers,
};
use crate::id::{CaseId, SharedAnswerId};
use crate::testing::sample_user_id;
use crate::user::Locale;
use crate::{ErrorKind, Result};

/// The id of the `n`th sample case, which need not be there.
fn case(n: u128) -> CaseId {
    CaseId::from_bytes((0xc_0000 + n).to_be_bytes())
}

fn id(n: u128) -> SharedAnswerId {
    SharedAnswerId::from_bytes(((0x019b_c000_0000_7000_8000 << 48) + n).to_be_bytes())
}

/// The `n`th shared answer, about this case.
fn answer(n: u128, case_id: CaseId) -> SharedAnswer {
    SharedAnswer {
        id: id(n),
        case_id,
        case_version: CaseVersion::FIRST,
        locale: Locale::ENGLISH,
        question: format!("Question {n}?"),
        answer: format!("Answer {n}."),
        reviewer: sample_user_id(1),
        reviewed_at: at(60),
    }
}

async fn put(store: &dyn SharedAnswers, answer: &SharedAnswer) {
    store.put_shared_answer(answer).await.expect(WORKS);
}

async fn listed(store: &dyn SharedAnswers, case_id: CaseId) -> Vec<SharedAnswer> {
    store.list_shared_answers(case_id).await.expect(WORKS)
}

async fn remove(store: &dyn SharedAnswers, n: u128) -> bool {
    store.remove_shared_answer(id(n)).await.expect(WORKS)
}

fn assert_fails(done: Result<()>, kind: ErrorKind, what: &str) {
    match done {
        Ok(()) => panic!("{what} went through"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}

/// A shared answer is found as it was given, with its case and no other.
pub async fn a_shared_answer_is_found_as_it_was_given(store: Arc<dyn SharedAnswers>) {
    assert_eq!(listed(&*store, case(1)).await, []);
    let given = SharedAnswer {
        case_version: CaseVersion::new(3).expect("there may be a third version"),
        locale: "fr-CA".parse().expect("the tag is well formed"),
        reviewer: sample_user_id(7),
        reviewed_at: at(60) + Duration::from_micros(123_456),
        ..answer(1, case(1))
    };
    put(&*store, &given).await;
    assert_eq!(listed(&*store, case(1)).await, [given]);
    assert_eq!(listed(&*store, case(2)).await, []);
}

/// An answer takes the place of the one with its id, in all that it says.
pub async fn a_shared_answer_takes_the_place_of_the_one_before(store: Arc<dyn SharedAnswers>) {
    for n in 1..=2 {
        put(&*store, &answer(n, case(1))).await;
    }
    let mended = SharedAnswer {
        case_version: CaseVersion::new(2).expect("there may be a second version"),
        locale: "de".parse().expect("the tag is well formed"),
        question: "Warum?".to_owned(),
        answer: "Darum.".to_owned(),
        reviewer: sample_user_id(2),
        reviewed_at: at(90),
        ..answer(1, case(1))
    };
    for _ in 0..2 {
        put(&*store, &mended).await;
        let expected = [mended.clone(), answer(2, case(1))];
        assert_eq!(listed(&*store, case(1)).await, expected);
    }
}

/// The answers of a case come in the order of their ids, of whatever version and language.
pub async fn shared_answers_are_listed_in_order_of_id(store: Arc<dyn SharedAnswers>) {
    for n in [5, 1, 9, 3, 7] {
        let version = u32::try_from(10 - n).ok().and_then(CaseVersion::new);
        let given = SharedAnswer {
            case_version: version.expect("there may be that many versions"),
            ..answer(n, case(1))
        };
        put(&*store, &given).await;
        put(&*store, &answer(n + 1, case(2))).await;
    }
    let list = listed(&*store, case(1)).await;
    let ids: Vec<_> = list.iter().map(|answer| answer.id).collect();
    assert_eq!(ids, [1, 3, 5, 7, 9].map(id));
}

/// An id of an answer about one case is refused for another case.
pub async fn an_id_names_an_answer_about_one_case(store: Arc<dyn SharedAnswers>) {
    put(&*store, &answer(1, case(1))).await;
    let done = store.put_shared_answer(&answer(1, case(2))).await;
    assert_fails(done, ErrorKind::Conflict, "an answer about another case");
    assert_eq!(listed(&*store, case(1)).await, [answer(1, case(1))]);
    assert_eq!(listed(&*store, case(2)).await, []);
    // Once the id is free, it may name another answer.
    assert!(remove(&*store, 1).await);
    put(&*store, &answer(1, case(2))).await;
    assert_eq!(listed(&*store, case(1)).await, []);
    assert_eq!(listed(&*store, case(2)).await, [answer(1, case(2))]);
}

/// An answer that was removed is gone, and no other is.
pub async fn a_removed_shared_answer_is_gone(store: Arc<dyn SharedAnswers>) {
    for n in 1..=3 {
        put(&*store, &answer(n, case(1))).await;
    }
    assert!(remove(&*store, 2).await, "there was one");
    let expected = [1, 3].map(|n| answer(n, case(1)));
    assert_eq!(listed(&*store, case(1)).await, expected);
    assert!(!remove(&*store, 2).await, "there is none any more");
    assert!(!remove(&*store, 4).await, "there never was one");
}

fn most() -> u128 {
    SHARED_ANSWERS_PER_CASE_MAX as u128
}

/// A case takes no more answers than allowed; those that it has may change, and so may other cases.
pub async fn a_case_has_no_more_shared_answers_than_allowed(store: Arc<dyn SharedAnswers>) {
    for n in 0..most() {
        put(&*store, &answer(n, case(1))).await;
    }
    let one_more = answer(most(), case(1));
    let done = store.put_shared_answer(&one_more).await;
    assert_fails(done, ErrorKind::Full, "one answer too many");
    let mended = SharedAnswer {
        answer: "Mended.".to_owned(),
        ..answer(0, case(1))
    };
    put(&*store, &mended).await;
    put(&*store, &answer(most() + 1, case(2))).await;
    let list = listed(&*store, case(1)).await;
    assert_eq!(list.len(), SHARED_ANSWERS_PER_CASE_MAX);
    assert_eq!(list.first(), Some(&mended));
    assert!(remove(&*store, 3).await);
    put(&*store, &one_more).await;
    assert_eq!(listed(&*store, case(1)).await.last(), Some(&one_more));
}

/// However many answers are put at once, a case has no more than allowed.
pub async fn shared_answers_put_at_once_are_no_more_than_allowed(store: Arc<dyn SharedAnswers>) {
    let before = most() - 4;
    for n in 0..before {
        put(&*store, &answer(n, case(1))).await;
    }
    let puts = (before..before + 16).map(|n| {
        let store = Arc::clone(&store);
        async move { store.put_shared_answer(&answer(n, case(1))).await }
    });
    let (kept, refused): (Vec<_>, Vec<_>) =
        all_at_once(puts).await.into_iter().partition(Result::is_ok);
    assert_eq!(kept.len(), 4, "there was room for four");
    for done in refused {
        assert_fails(done, ErrorKind::Full, "one answer too many");
    }
    let list = listed(&*store, case(1)).await;
    assert_eq!(list.len(), SHARED_ANSWERS_PER_CASE_MAX);
}

/// Words of any script, and what means something to a database, are kept to the byte.
pub async fn words_of_any_script_are_kept_whole(store: Arc<dyn SharedAnswers>) {
    for text in WORDS {
        let given = SharedAnswer {
            question: text.to_owned(),
            answer: text.to_owned(),
            ..answer(1, case(1))
        };
        put(&*store, &given).await;
        assert_eq!(listed(&*store, case(1)).await, [given]);
    }
}

/// Words that are as long as may be are kept; what is longer, or has U+0000 in it, is refused and
/// changes nothing.
pub async fn words_that_do_not_fit_are_refused(store: Arc<dyn SharedAnswers>) {
    let kept = SharedAnswer {
        question: longest_and_longer(QUESTION_LEN_MAX).0,
        answer: longest_and_longer(REPLY_LEN_MAX).0,
        ..answer(1, case(1))
    };
    put(&*store, &kept).await;
    for question in [
        "NUL \0 here".to_owned(),
        longest_and_longer(QUESTION_LEN_MAX).1,
    ] {
        let given = SharedAnswer {
            question,
            ..answer(1, case(1))
        };
        let done = store.put_shared_answer(&given).await;
        assert_fails(done, ErrorKind::Invalid, "a question that does not fit");
    }
    for text in [
        "NUL \0 here".to_owned(),
        longest_and_longer(REPLY_LEN_MAX).1,
    ] {
        let given = SharedAnswer {
            answer: text,
            ..answer(1, case(1))
        };
        let done = store.put_shared_answer(&given).await;
        assert_fails(done, ErrorKind::Invalid, "an answer that does not fit");
    }
    assert_eq!(listed(&*store, case(1)).await, [kept]);
}

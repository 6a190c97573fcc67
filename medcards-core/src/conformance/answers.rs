//! Checks of [`AnswerStore`](crate::answer::AnswerStore).

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;

use super::steps::{
    WORKS, all_at_once, all_events, answers_of, assert_refused, at, changed, foreign_cursors,
    limit, publish, publish_at, publish_samples, record, student,
};
use crate::answer::{Answer, Confidence, NextCase, NextCaseReason, RecordOutcome, UserStats};
use crate::case::{CaseFilter, CaseQuery};
use crate::event::EventBody;
use crate::id::{AnswerId, CaseId, UserId};
use crate::store::{Consistency, PageCursor, ReadToken, Store};
use crate::testing::{sample_answer, sample_content};

/// How many callers do the same at once: more than any pool of connections.
const CALLERS: usize = 64;

/// The same answer with everything else about it changed.
fn contradicting(answer: &Answer) -> Answer {
    Answer {
        chosen: [1, 2].into_iter().collect(),
        is_correct: !answer.is_correct,
        time_to_answer_ms: Some(1),
        confidence: None,
        ..answer.clone()
    }
}

async fn find(store: &dyn Store, user_id: UserId, id: AnswerId) -> Option<Answer> {
    store
        .find_answer(user_id, id, &Consistency::Strong)
        .await
        .expect(WORKS)
}

async fn stats(store: &dyn Store, user_id: UserId) -> UserStats {
    store
        .user_stats(user_id, &Consistency::Strong)
        .await
        .expect(WORKS)
}

async fn next_case(store: &dyn Store, user_id: UserId) -> Option<NextCase> {
    store
        .next_case(user_id, &CaseFilter::default(), &Consistency::Strong)
        .await
        .expect(WORKS)
}

/// A new answer is stored, and found as it was given, with every optional field or none.
pub async fn a_new_answer_is_found_as_it_was_given(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 3).await;
    let user_id = student(&*store, 1).await;
    let full = sample_answer(user_id, &cases[0], at(1));
    let bare = Answer {
        time_to_answer_ms: None,
        confidence: None,
        ..sample_answer(user_id, &cases[1], at(2))
    };
    let extreme = Answer {
        time_to_answer_ms: Some(u32::MAX),
        confidence: Confidence::try_from(0).ok(),
        chosen: (0..4).collect(),
        ..sample_answer(user_id, &cases[2], at(3))
    };
    for answer in [full, bare, extreme] {
        let recorded = record(&*store, &answer).await;
        assert_eq!(recorded.outcome, RecordOutcome::Created);
        assert_eq!(recorded.answer, answer);
        assert_eq!(find(&*store, user_id, answer.id).await, Some(answer));
    }
}

/// An answer that is sent again, whatever it says now, gives the first one back.
pub async fn a_repeated_answer_gives_the_first_one_back(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let first = sample_answer(user_id, &cases[0], at(1));
    record(&*store, &first).await;
    for again in [first.clone(), contradicting(&first)] {
        let recorded = record(&*store, &again).await;
        assert_eq!(recorded.outcome, RecordOutcome::Repeated);
        assert_eq!(recorded.answer, first);
    }
    assert_eq!(find(&*store, user_id, first.id).await, Some(first));
}

/// An answer that is sent again adds no event.
pub async fn a_repeated_answer_adds_no_event(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let first = sample_answer(user_id, &cases[0], at(1));
    record(&*store, &first).await;
    record(&*store, &first).await;
    record(&*store, &contradicting(&first)).await;
    assert_eq!(all_events(&*store).await.len(), 1);
}

/// An answer that many send at once is stored once, with one event, and all get the same back.
pub async fn an_answer_sent_by_many_at_once_is_stored_once(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let answer = sample_answer(user_id, &cases[0], at(1));
    let calls = (0..CALLERS).map(|caller| {
        let (store, mut answer) = (Arc::clone(&store), answer.clone());
        answer.time_to_answer_ms = u32::try_from(caller).ok();
        async move { store.record_answer(answer).await.expect(WORKS) }
    });
    let recorded = all_at_once(calls).await;
    let created = recorded
        .iter()
        .filter(|one| one.outcome == RecordOutcome::Created)
        .count();
    assert_eq!(created, 1, "one call stores the answer, the others find it");
    let stored = find(&*store, user_id, answer.id)
        .await
        .expect("the answer is stored");
    for one in recorded {
        assert_eq!(one.answer, stored);
    }
    assert_eq!(answers_of(&*store, user_id, limit(100)).await, [stored]);
    assert_eq!(all_events(&*store).await.len(), 1);
}

/// Two users may use the same id, and each finds their own answer.
pub async fn two_users_may_use_the_same_answer_id(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 2).await;
    let (one, other) = (student(&*store, 1).await, student(&*store, 2).await);
    let answer = sample_answer(one, &cases[0], at(1));
    let namesake = Answer {
        id: answer.id,
        ..sample_answer(other, &cases[1], at(1))
    };
    for answer in [&answer, &namesake] {
        assert_eq!(
            record(&*store, answer).await.outcome,
            RecordOutcome::Created
        );
    }
    assert_eq!(find(&*store, one, answer.id).await, Some(answer));
    assert_eq!(find(&*store, other, namesake.id).await, Some(namesake));
}

/// A user finds no answer that is unknown, or another user's.
pub async fn an_answer_of_another_user_is_not_found(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let (one, other) = (student(&*store, 1).await, student(&*store, 2).await);
    let answer = sample_answer(one, &cases[0], at(1));
    record(&*store, &answer).await;
    assert_eq!(find(&*store, other, answer.id).await, None);
    assert_eq!(find(&*store, one, AnswerId::new(at(1))).await, None);
    assert_eq!(answers_of(&*store, other, limit(100)).await, []);
}

/// The token of a write, if there is one, makes a read see that write.
pub async fn a_read_with_the_token_sees_the_write(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    for second in 0..20 {
        let answer = sample_answer(user_id, &cases[0], at(second));
        let token = record(&*store, &answer).await.token;
        let consistency = Consistency::after(token);
        let found = store
            .find_answer(user_id, answer.id, &consistency)
            .await
            .expect(WORKS);
        assert_eq!(found, Some(answer));
    }
}

/// A token that another store gave, or nobody, makes no read fail or miss what is stored.
pub async fn a_token_of_another_store_is_read_strong(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 9).await;
    let user_id = student(&*store, 1).await;
    let longest = "z".repeat(ReadToken::LEN_MAX);
    let tokens = ["zz-unknown-1", "0", "-1", "0/0", "1:2:3", "{}", &longest];
    for (second, token) in (0..).zip(tokens) {
        let foreign = ReadToken::parse(token).expect("a token may have these characters");
        let consistency = Consistency::AtLeast(foreign);
        let next = store
            .next_case(user_id, &CaseFilter::default(), &consistency)
            .await
            .expect(WORKS)
            .expect("there are cases");
        assert_eq!(next.reason, NextCaseReason::Unseen, "{token:?}");
        let unseen = cases.iter().find(|case| case.id == next.case_id);
        let answer = sample_answer(user_id, unseen.expect("it is a known case"), at(second));
        record(&*store, &answer).await;

        let found = store.find_answer(user_id, answer.id, &consistency).await;
        assert_eq!(found.expect(WORKS).as_ref(), Some(&answer), "{token:?}");
        let newest = store
            .list_answers(user_id, None, limit(1), &consistency)
            .await
            .expect(WORKS);
        assert_eq!(newest.items, [answer], "{token:?}");
        let totals = store.user_stats(user_id, &consistency).await.expect(WORKS);
        assert_eq!(totals, stats(&*store, user_id).await, "{token:?}");
        let next = store
            .next_case(user_id, &CaseFilter::default(), &consistency)
            .await
            .expect(WORKS);
        assert_eq!(next, next_case(&*store, user_id).await, "{token:?}");
    }
}

/// A dropped future leaves the answer and its event either both stored or neither.
pub async fn a_dropped_recording_leaves_both_answer_and_event_or_neither(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let answers: Vec<_> = (0..32)
        .map(|n| sample_answer(user_id, &cases[0], at(n)))
        .collect();
    for (index, answer) in answers.iter().enumerate() {
        let mut recording = pin!(store.record_answer(answer.clone()));
        // Dropped after more and more polls, in steps short and long, so half-way somewhere.
        for _ in 0..=index / 2 {
            if poll!(recording.as_mut()).is_ready() {
                break;
            }
            match index % 2 {
                0 => tokio::task::yield_now().await,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
    for answer in &answers {
        record(&*store, answer).await;
    }
    assert_eq!(
        answers_of(&*store, user_id, limit(100)).await.len(),
        answers.len()
    );
    assert_eq!(all_events(&*store).await.len(), answers.len());
}

/// Answers are listed newest first by instant, then by id.
pub async fn answers_are_listed_newest_first(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let seconds = [5, 1, 9, 1, 1, 7, 9, 3];
    let mut answers = seconds.map(|second| sample_answer(user_id, &cases[0], at(second)));
    for answer in &answers {
        record(&*store, answer).await;
    }
    answers.sort_by_key(|answer| std::cmp::Reverse((answer.created_at, answer.id)));
    assert_eq!(answers_of(&*store, user_id, limit(100)).await, answers);
}

/// Pages of any limit hold every answer once.
pub async fn pages_of_any_limit_hold_every_answer_once(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let neighbour = student(&*store, 2).await;
    for n in 0..24 {
        // Three to an instant, so that pages end between answers of one instant.
        record(&*store, &sample_answer(user_id, &cases[0], at(n / 3))).await;
        record(&*store, &sample_answer(neighbour, &cases[0], at(n / 3))).await;
    }
    let all = answers_of(&*store, user_id, limit(100)).await;
    assert_eq!(all.len(), 24);
    for items in [1, 2, 7, 8, 23, 24, 25] {
        assert_eq!(
            answers_of(&*store, user_id, limit(items)).await,
            all,
            "pages of {items}"
        );
    }
}

/// Walking answers while others are recorded repeats none and misses none of before.
pub async fn a_walk_through_answers_is_not_disturbed_by_new_ones(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    for n in 0..20 {
        record(&*store, &sample_answer(user_id, &cases[0], at(10 * n))).await;
    }
    let before = answers_of(&*store, user_id, limit(100)).await;
    let mut seen = Vec::new();
    let mut after: Option<PageCursor> = None;
    for second in 0.. {
        // A newer one and one from the middle, as a client that syncs late sends it.
        record(
            &*store,
            &sample_answer(user_id, &cases[0], at(1_000 + second)),
        )
        .await;
        record(&*store, &sample_answer(user_id, &cases[0], at(95 - second))).await;
        let page = store
            .list_answers(user_id, after.as_ref(), limit(3), &Consistency::Strong)
            .await
            .expect(WORKS);
        seen.extend(page.items.into_iter().map(|answer| answer.id));
        after = page.next;
        if after.is_none() {
            break;
        }
        assert!(seen.len() < 100, "the walk goes round in circles");
    }
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "no answer is shown twice");
    for answer in before {
        assert!(
            distinct.contains(&answer.id),
            "an answer of before the walk is missing"
        );
    }
}

/// A list of answers refuses made-up cursors, those of other lists and those of other users.
pub async fn a_list_of_answers_refuses_foreign_cursors(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 3).await;
    let (one, other) = (student(&*store, 1).await, student(&*store, 2).await);
    for n in 0..3 {
        record(&*store, &sample_answer(one, &cases[0], at(n))).await;
        record(&*store, &sample_answer(other, &cases[0], at(n))).await;
    }
    let of_cases = CaseQuery {
        limit: limit(1),
        ..CaseQuery::default()
    };
    let of_cases = store.list_cases(&of_cases).await.expect(WORKS).next;
    let of_other = store
        .list_answers(other, None, limit(1), &Consistency::Strong)
        .await;
    let of_other = of_other.expect(WORKS).next;
    let store = &store;
    assert_refused(
        foreign_cursors(vec![of_cases, of_other]),
        |cursor| async move {
            store
                .list_answers(one, Some(&cursor), limit(1), &Consistency::Strong)
                .await
        },
    )
    .await;
}

/// The totals of a user count each answer and each case once, and nobody else's.
pub async fn totals_count_a_users_answers_and_cases(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 2).await;
    let (one, other) = (student(&*store, 1).await, student(&*store, 2).await);
    assert_eq!(stats(&*store, one).await, UserStats::default());
    // The first option is right in the first case, and wrong in the second.
    let answers = [&cases[0], &cases[0], &cases[1]];
    for (second, case) in (0..).zip(answers) {
        let answer = sample_answer(one, case, at(second));
        record(&*store, &answer).await;
        record(&*store, &contradicting(&answer)).await;
    }
    record(&*store, &sample_answer(other, &cases[0], at(1))).await;
    assert_eq!(
        stats(&*store, one).await,
        UserStats {
            answered: 3,
            correct: 2,
            cases: 2
        }
    );
    assert_eq!(
        stats(&*store, other).await,
        UserStats {
            answered: 1,
            correct: 1,
            cases: 1
        }
    );
}

/// Totals are right after many answers at once.
pub async fn totals_are_right_after_many_answers_at_once(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 4).await;
    let user_id = student(&*store, 1).await;
    let calls = (0..CALLERS).map(|n| {
        let answer = sample_answer(user_id, &cases[n % 4], at(n as i64));
        let store = Arc::clone(&store);
        async move { store.record_answer(answer).await.expect(WORKS) }
    });
    all_at_once(calls).await;
    let answered = CALLERS as u64;
    let expected = UserStats {
        answered,
        correct: answered / 4,
        cases: 4,
    };
    assert_eq!(stats(&*store, user_id).await, expected);
}

/// A case that the user has not answered comes first.
pub async fn the_next_case_is_one_not_yet_seen(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 5).await;
    let user_id = student(&*store, 1).await;
    let mut seen: HashSet<CaseId> = HashSet::new();
    for second in 0..5 {
        let next = next_case(&*store, user_id).await.expect("there are cases");
        assert_eq!(next.reason, NextCaseReason::Unseen);
        assert!(
            seen.insert(next.case_id),
            "a case comes again while others are unseen"
        );
        let case = cases
            .iter()
            .find(|case| case.id == next.case_id)
            .expect("it is a known case");
        record(&*store, &sample_answer(user_id, case, at(second))).await;
    }
}

/// When all are answered, the one whose last answer is longest ago comes next.
pub async fn then_the_next_case_is_the_one_answered_longest_ago(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 3).await;
    let user_id = student(&*store, 1).await;
    // By last answer the second comes first; by first answer, or by arrival, another would.
    for (case, second) in [(0, 10), (1, 40), (2, 30), (0, 60), (2, 50)] {
        record(&*store, &sample_answer(user_id, &cases[case], at(second))).await;
    }
    let next = next_case(&*store, user_id).await;
    let reason = NextCaseReason::LongestAgo;
    assert_eq!(
        next,
        Some(NextCase {
            case_id: cases[1].id,
            reason
        })
    );
    record(&*store, &sample_answer(user_id, &cases[1], at(70))).await;
    // Synced late: older than what is known of that case, so it changes nothing.
    record(&*store, &sample_answer(user_id, &cases[0], at(5))).await;
    let next = next_case(&*store, user_id).await;
    assert_eq!(
        next,
        Some(NextCase {
            case_id: cases[2].id,
            reason
        })
    );
}

/// The next case passes the filter; if none does, there is none.
pub async fn the_next_case_passes_the_filter(store: Arc<dyn Store>) {
    let french = |n| {
        changed(n, |record| {
            record.lang = "fr".parse().expect("it is a tag");
            record.specialty = Some("Pédiatrie".to_owned());
        })
    };
    let cases = publish(
        &*store,
        vec![sample_content(1), french(2), sample_content(3)],
    )
    .await;
    let user_id = student(&*store, 1).await;
    let filter = |specialty: Option<&str>, locale: Option<&str>| CaseFilter {
        specialty: specialty.map(str::to_owned),
        locale: locale.map(|tag| tag.parse().expect("it is a tag")),
    };
    let filtered = async |filter: CaseFilter| {
        let next = store.next_case(user_id, &filter, &Consistency::Strong);
        next.await.expect(WORKS)
    };
    for second in 0..2 {
        for filter in [filter(Some("PÉDIATRIE"), None), filter(None, Some("fr"))] {
            let next = filtered(filter.clone()).await;
            assert_eq!(
                next.map(|next| next.case_id),
                Some(cases[1].id),
                "{filter:?}"
            );
        }
        record(&*store, &sample_answer(user_id, &cases[1], at(second))).await;
    }
    let none = filter(Some("Cardiology"), Some("fr"));
    assert_eq!(filtered(none).await, None);
}

/// The same user with the same answers gets the same case, whatever others do.
pub async fn the_next_case_is_the_same_for_the_same_answers(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 10).await;
    let (one, other) = (student(&*store, 1).await, student(&*store, 2).await);
    record(&*store, &sample_answer(one, &cases[0], at(1))).await;
    let next = next_case(&*store, one).await;
    for case in &cases {
        record(&*store, &sample_answer(other, case, at(2))).await;
        assert_eq!(next_case(&*store, one).await, next);
    }
}

/// The token of the last answer, if there is one, makes the next case know that answer.
pub async fn the_next_case_with_the_token_knows_the_answer(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 12).await;
    let user_id = student(&*store, 1).await;
    let mut consistency = Consistency::Strong;
    let mut seen: Vec<CaseId> = Vec::new();
    // Once round through unseen cases, and once more in the order in which they were answered.
    for second in 0..24 {
        let next = store
            .next_case(user_id, &CaseFilter::default(), &consistency)
            .await
            .expect(WORKS)
            .expect("there are cases");
        match seen.len().checked_sub(cases.len()) {
            None => assert!(
                !seen.contains(&next.case_id),
                "the case just answered comes again"
            ),
            Some(turn) => assert_eq!(next.case_id, seen[turn], "it was answered longest ago"),
        }
        seen.push(next.case_id);
        let answered = cases.iter().find(|case| case.id == next.case_id);
        let answered = answered.expect("it is a known case");
        let recorded = record(&*store, &sample_answer(user_id, answered, at(second))).await;
        consistency = Consistency::after(recorded.token);
    }
}

/// A new version of a case that was answered is no unseen case.
pub async fn a_new_version_of_a_seen_case_is_not_unseen(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 2).await;
    let user_id = student(&*store, 1).await;
    record(&*store, &sample_answer(user_id, &cases[0], at(1))).await;
    let changed = changed(0, |record| record.stem.push_str(" Think."));
    publish_at(&*store, vec![changed], at(2)).await;
    let next = next_case(&*store, user_id).await;
    let reason = NextCaseReason::Unseen;
    assert_eq!(
        next,
        Some(NextCase {
            case_id: cases[1].id,
            reason
        })
    );
}

/// An answer stays as it was given when its case gets a new version.
pub async fn an_answer_keeps_the_version_that_was_seen(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let answer = sample_answer(user_id, &cases[0], at(1));
    record(&*store, &answer).await;
    let changed = changed(0, |record| record.answer_keys = vec!["B".to_owned()]);
    publish_at(&*store, vec![changed], at(2)).await;
    assert_eq!(
        find(&*store, user_id, answer.id).await,
        Some(answer.clone())
    );
    let events = all_events(&*store).await;
    assert_eq!(events[0].body, EventBody::AnswerRecorded { answer });
}

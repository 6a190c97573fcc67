use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::MemoryStore;
use super::cases::Cases;
use super::page::page;
use crate::Result;
use crate::answer::{
    Answer, AnswerStore, NextCase, NextCaseReason, RecordOutcome, RecordedAnswer, UserStats,
};
use crate::case::CaseFilter;
use crate::event::EventBody;
use crate::id::{AnswerId, CaseId, UserId};
use crate::store::{Consistency, ListId, Page, PageCursor, PageLimit};

/// The answers of all users.
#[derive(Clone, Default)]
pub(super) struct Answers {
    by_user: HashMap<UserId, UserAnswers>,
}

#[derive(Clone, Default)]
struct UserAnswers {
    by_id: HashMap<AnswerId, Answer>,
    by_instant: BTreeSet<(Timestamp, AnswerId)>,
    last_by_case: HashMap<CaseId, Timestamp>,
    correct: u64,
}

impl UserAnswers {
    fn insert(&mut self, answer: Answer) {
        self.by_instant.insert((answer.created_at, answer.id));
        let last = self
            .last_by_case
            .entry(answer.case_id)
            .or_insert(answer.created_at);
        *last = answer.created_at.max(*last);
        self.correct += u64::from(answer.is_correct);
        self.by_id.insert(answer.id, answer);
    }
}

#[async_trait]
impl AnswerStore for MemoryStore {
    async fn record_answer(&self, answer: Answer) -> Result<RecordedAnswer> {
        let mut state = self.state();
        let user = state.answers.by_user.entry(answer.user_id).or_default();
        if let Some(first) = user.by_id.get(&answer.id) {
            let answer = first.clone();
            return Ok(RecordedAnswer {
                answer,
                outcome: RecordOutcome::Repeated,
                token: None,
            });
        }
        user.insert(answer.clone());
        state.log.append(
            answer.user_id,
            EventBody::AnswerRecorded {
                answer: answer.clone(),
            },
        );
        Ok(RecordedAnswer {
            answer,
            outcome: RecordOutcome::Created,
            token: None,
        })
    }

    async fn find_answer(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        _consistency: &Consistency,
    ) -> Result<Option<Answer>> {
        let state = self.state();
        let user = state.answers.by_user.get(&user_id);
        Ok(user.and_then(|user| user.by_id.get(&answer_id)).cloned())
    }

    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        _consistency: &Consistency,
    ) -> Result<Page<Answer>> {
        let list = ListId::new("m1", &format!("answers of {user_id}"));
        let after = after.map(|cursor| {
            let (instant, id) = list.pair::<i128, AnswerId>(cursor)?;
            let instant = Timestamp::from_nanosecond(instant).ok();
            Ok::<_, crate::Error>((instant.ok_or_else(PageCursor::unknown)?, id))
        });
        let state = self.state();
        let Some(user) = state.answers.by_user.get(&user_id) else {
            return after.transpose().map(|_| Page::empty());
        };
        let newest_first = match after.transpose()? {
            Some(place) => user.by_instant.range(..place).rev(),
            None => user.by_instant.range(..).rev(),
        };
        let answers = newest_first
            .filter_map(|(_, id)| user.by_id.get(id))
            .cloned();
        page(answers, limit, |last| {
            list.cursor(format_args!(
                "{}.{}",
                last.created_at.as_nanosecond(),
                last.id
            ))
        })
    }

    async fn user_stats(&self, user_id: UserId, _consistency: &Consistency) -> Result<UserStats> {
        let state = self.state();
        Ok(state
            .answers
            .by_user
            .get(&user_id)
            .map_or_else(UserStats::default, |user| UserStats {
                answered: user.by_id.len() as u64,
                correct: user.correct,
                cases: user.last_by_case.len() as u64,
            }))
    }

    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        _consistency: &Consistency,
    ) -> Result<Option<NextCase>> {
        let state = self.state();
        let user = state.answers.by_user.get(&user_id);
        let last_answer = |case_id: &CaseId| user?.last_by_case.get(case_id).copied();
        Ok(next_case(&state.cases, user_id, filter, last_answer))
    }
}

/// Unseen cases come in an order of the user's own, so that students do not all walk the same way.
fn next_case(
    cases: &Cases,
    user_id: UserId,
    filter: &CaseFilter,
    last_answer: impl Fn(&CaseId) -> Option<Timestamp>,
) -> Option<NextCase> {
    let turn = |case_id: &CaseId| match last_answer(case_id) {
        None => (None, order_for(user_id, case_id), *case_id),
        seen => (seen, 0, *case_id),
    };
    let (last_answer, _, case_id) = cases.passing(filter).map(|case| turn(&case.id)).min()?;
    let reason = match last_answer {
        None => NextCaseReason::Unseen,
        Some(_) => NextCaseReason::LongestAgo,
    };
    Some(NextCase { case_id, reason })
}

fn order_for(user_id: UserId, case_id: &CaseId) -> u64 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(user_id.as_bytes());
    bytes[16..].copy_from_slice(case_id.as_bytes());
    xxh3_64(&bytes)
}

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use super::page::page;
use crate::chat::{
    ChatStore, ChatSummary, ChatTurn, SHARED_ANSWERS_PER_CASE_MAX, SharedAnswer, SharedAnswers,
    TURNS_PER_CHAT_MAX, TurnReply, TurnStart,
};
use crate::id::{AnswerId, CaseId, SharedAnswerId, TurnId, UserId};
use crate::store::{ListId, Page, PageCursor, PageLimit};
use crate::{Error, ErrorKind, Result};

/// The chats of all users.
#[derive(Clone, Default)]
pub(super) struct Chats {
    by_user: HashMap<UserId, UserChats>,
}

#[derive(Clone, Default)]
struct UserChats {
    turns: BTreeMap<TurnId, ChatTurn>,
    summaries: HashMap<AnswerId, ChatSummary>,
}

impl UserChats {
    /// The turns of a chat, the oldest first.
    fn of(&self, answer_id: AnswerId) -> impl DoubleEndedIterator<Item = &ChatTurn> {
        self.turns
            .values()
            .filter(move |turn| turn.answer_id == answer_id)
    }

    fn begin(&mut self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart> {
        if let Some(known) = self.turns.get_mut(&turn.id) {
            if known.answer_id != turn.answer_id || known.question != turn.question {
                let context = "this id is taken by another question: ask with another id";
                return Err(Error::new(ErrorKind::Conflict, "begin turn", context));
            }
            if known.reply.is_some() {
                return Ok(TurnStart::Replied(known.clone()));
            }
            if known.started_at >= broken_before {
                return Ok(TurnStart::UnderWay(known.clone()));
            }
            known.attempt = known.attempt.saturating_add(1);
            known.started_at = turn.started_at;
            return Ok(TurnStart::Begun(known.clone()));
        }
        if self.of(turn.answer_id).count() >= TURNS_PER_CHAT_MAX {
            let context = format!("a chat has at most {TURNS_PER_CHAT_MAX} turns");
            return Err(Error::new(ErrorKind::Full, "begin turn", context));
        }
        let begun = ChatTurn {
            attempt: 1,
            reply: None,
            ..turn.clone()
        };
        self.turns.insert(begun.id, begun.clone());
        Ok(TurnStart::Begun(begun))
    }
}

#[async_trait]
impl ChatStore for MemoryStore {
    async fn begin_turn(&self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart> {
        turn.check_words()?;
        let mut state = self.state();
        let user = state.chats.by_user.entry(turn.user_id).or_default();
        user.begin(turn, broken_before)
    }

    async fn end_turn(
        &self,
        user_id: UserId,
        turn_id: TurnId,
        attempt: u32,
        reply: &TurnReply,
    ) -> Result<bool> {
        reply.check_words()?;
        let mut state = self.state();
        let user = state.chats.by_user.get_mut(&user_id);
        let Some(turn) = user.and_then(|user| user.turns.get_mut(&turn_id)) else {
            let context = "the user has no such turn: its chat was forgotten";
            return Err(Error::new(ErrorKind::NotFound, "end turn", context));
        };
        let counts = turn.reply.is_none() && turn.attempt == attempt;
        if counts {
            turn.reply = Some(reply.clone());
        }
        Ok(counts)
    }

    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>> {
        let state = self.state();
        let user = state.chats.by_user.get(&user_id);
        Ok(user.and_then(|user| user.turns.get(&turn_id)).cloned())
    }

    async fn list_turns(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<ChatTurn>> {
        let list = ListId::new("m1", &format!("turns of {user_id} on {answer_id}"));
        let after = after.map(|cursor| list.single::<TurnId>(cursor));
        let after = after.transpose()?;
        let state = self.state();
        let Some(user) = state.chats.by_user.get(&user_id) else {
            return Ok(Page::empty());
        };
        let newest_first = user.of(answer_id).rev();
        let rest = newest_first.filter(|turn| after.is_none_or(|place| turn.id < place));
        page(rest.cloned(), limit, |last| list.cursor(last.id))
    }

    async fn find_summary(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
    ) -> Result<Option<ChatSummary>> {
        let state = self.state();
        let user = state.chats.by_user.get(&user_id);
        Ok(user
            .and_then(|user| user.summaries.get(&answer_id))
            .cloned())
    }

    async fn put_summary(&self, summary: &ChatSummary) -> Result<()> {
        summary.check_words()?;
        let mut state = self.state();
        let user = state.chats.by_user.get_mut(&summary.user_id);
        let user = user.filter(|user| {
            let last = user.turns.get(&summary.through);
            last.is_some_and(|turn| turn.answer_id == summary.answer_id)
        });
        let Some(user) = user else {
            let context = "the chat has no such turn: it was forgotten";
            return Err(Error::new(ErrorKind::NotFound, "put summary", context));
        };
        let known = user.summaries.get(&summary.answer_id);
        if known.is_none_or(|known| known.through < summary.through) {
            user.summaries.insert(summary.answer_id, summary.clone());
        }
        Ok(())
    }

    async fn forget_chat(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64> {
        let mut state = self.state();
        let Some(user) = state.chats.by_user.get_mut(&user_id) else {
            return Ok(0);
        };
        let before = user.turns.len();
        user.turns.retain(|_, turn| turn.answer_id != answer_id);
        user.summaries.remove(&answer_id);
        let forgotten = before - user.turns.len();
        if user.turns.is_empty() && user.summaries.is_empty() {
            state.chats.by_user.remove(&user_id);
        }
        Ok(forgotten as u64)
    }
}

/// What anyone may see, by case.
#[derive(Clone, Default)]
pub(super) struct SharedByCase {
    by_case: HashMap<CaseId, BTreeMap<SharedAnswerId, SharedAnswer>>,
    case_by_id: HashMap<SharedAnswerId, CaseId>,
}

#[async_trait]
impl SharedAnswers for MemoryStore {
    async fn put_shared_answer(&self, answer: &SharedAnswer) -> Result<()> {
        answer.check_words()?;
        let mut state = self.state();
        let shared = &mut state.shared_answers;
        let known = shared.case_by_id.get(&answer.id);
        if known.is_some_and(|case_id| *case_id != answer.case_id) {
            let context = "this id is taken by an answer about another case: take another id";
            return Err(Error::new(
                ErrorKind::Conflict,
                "put shared answer",
                context,
            ));
        }
        let is_new = known.is_none();
        let of_case = shared.by_case.entry(answer.case_id).or_default();
        if is_new && of_case.len() >= SHARED_ANSWERS_PER_CASE_MAX {
            let context = format!(
                "a case has at most {SHARED_ANSWERS_PER_CASE_MAX} of them: remove one first"
            );
            return Err(Error::new(ErrorKind::Full, "put shared answer", context));
        }
        of_case.insert(answer.id, answer.clone());
        shared.case_by_id.insert(answer.id, answer.case_id);
        Ok(())
    }

    async fn list_shared_answers(&self, case_id: CaseId) -> Result<Vec<SharedAnswer>> {
        let state = self.state();
        let of_case = state.shared_answers.by_case.get(&case_id);
        Ok(of_case
            .into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect())
    }

    async fn remove_shared_answer(&self, id: SharedAnswerId) -> Result<bool> {
        let mut state = self.state();
        let shared = &mut state.shared_answers;
        let Some(case_id) = shared.case_by_id.remove(&id) else {
            return Ok(false);
        };
        if let Some(of_case) = shared.by_case.get_mut(&case_id) {
            of_case.remove(&id);
            if of_case.is_empty() {
                shared.by_case.remove(&case_id);
            }
        }
        Ok(true)
    }
}

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use medcards_core::chat::{
    ChatStore, ChatSummary, ChatTurn, TURNS_PER_CHAT_MAX, TurnOrigin, TurnReply, TurnStart,
};
use medcards_core::memory::MemoryStore;
use medcards_core::store::{Page, PageCursor, PageLimit};
use medcards_core::{AnswerId, Error, ErrorKind, Result, Timestamp, TurnId, UserId};

use super::Crowd;

/// A store of chats that breaks the promise it is given.
#[derive(Debug)]
pub(super) struct ChatSaboteur {
    inner: MemoryStore,
    promise: &'static str,
    crowd: Crowd,
    /// Turns that the store should not have forgotten, or not have given to this user.
    turns: Mutex<HashMap<(UserId, TurnId), ChatTurn>>,
    /// The same of summaries.
    summaries: Mutex<HashMap<(UserId, AnswerId), ChatSummary>>,
}

impl ChatSaboteur {
    pub(super) fn new(inner: MemoryStore, promise: &'static str) -> Self {
        Self {
            inner,
            promise,
            crowd: Crowd::default(),
            turns: Mutex::default(),
            summaries: Mutex::default(),
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<(UserId, TurnId), ChatTurn>> {
        self.turns.lock().expect("nobody panics with the lock")
    }

    fn summaries(&self) -> MutexGuard<'_, HashMap<(UserId, AnswerId), ChatSummary>> {
        self.summaries.lock().expect("nobody panics with the lock")
    }

    /// All turns of a chat, the newest first.
    async fn all(&self, user_id: UserId, answer_id: AnswerId) -> Result<Vec<ChatTurn>> {
        let page = self
            .inner
            .list_turns(user_id, answer_id, None, PageLimit::MAX)
            .await?;
        Ok(page.items)
    }

    /// Keeps a text that does not fit as if it did.
    fn fitting(&self, text: &str) -> String {
        let promise = "words_that_do_not_fit_are_refused";
        match self.breaks(promise) {
            true => text.replace('\0', ""),
            false => text.to_owned(),
        }
    }
}

impl fmt::Display for ChatSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatSaboteur({})", self.promise)
    }
}

/// A turn with the number of its first attempt, as one that overlooks others begins it.
fn begun(turn: &ChatTurn, attempt: u32) -> TurnStart {
    TurnStart::Begun(ChatTurn {
        attempt,
        reply: None,
        ..turn.clone()
    })
}

#[async_trait]
impl ChatStore for ChatSaboteur {
    async fn begin_turn(&self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart> {
        let mut turn = ChatTurn {
            question: self.fitting(&turn.question),
            ..turn.clone()
        };
        let known = self.inner.find_turn(turn.user_id, turn.id).await?;
        match self.promise {
            "a_new_turn_is_begun_and_found_as_it_was_given" => {
                // Seconds are enough for most.
                let second = turn.started_at.as_second();
                turn.started_at = Timestamp::from_second(second).unwrap_or(turn.started_at);
            }
            "a_turn_is_begun_once" if known.is_some() => {
                // An attempt that began at that instant counts as broken.
                let later = broken_before + std::time::Duration::from_micros(1);
                return self.inner.begin_turn(&turn, later).await;
            }
            "an_id_names_one_question" => {
                if let Some(known) = known {
                    (turn.question, turn.answer_id) = (known.question, known.answer_id);
                }
            }
            "two_users_may_use_the_same_turn_id" if known.is_none() => {
                let mut taken = self.turns();
                let others = taken.keys().any(|(_, id)| *id == turn.id);
                taken.insert((turn.user_id, turn.id), turn.clone());
                if others {
                    let context = "the id is taken";
                    return Err(Error::new(ErrorKind::Conflict, "begin turn", context));
                }
            }
            "a_broken_attempt_is_begun_again" => {
                let start = self.inner.begin_turn(&turn, broken_before).await?;
                // When it began is forgotten, so that it is soon broken again.
                return Ok(match (start, known) {
                    (TurnStart::Begun(turn), Some(known)) => TurnStart::Begun(ChatTurn {
                        started_at: known.started_at,
                        ..turn
                    }),
                    (start, _) => start,
                });
            }
            "a_turn_of_another_user_is_not_found" => {
                self.turns().insert((turn.user_id, turn.id), turn.clone());
            }
            "a_chat_has_no_more_turns_than_allowed" => {
                let start = self.inner.begin_turn(&turn, broken_before).await;
                return start.or_else(|error| match error.kind() {
                    ErrorKind::Full => Ok(begun(&turn, 1)),
                    _ => Err(error),
                });
            }
            "a_turn_begun_by_many_at_once_is_begun_once" if known.is_none() => {
                self.crowd.wait_for_another().await;
                self.inner.begin_turn(&turn, broken_before).await?;
                return Ok(begun(&turn, 1));
            }
            "turns_begun_at_once_are_no_more_than_allowed" if known.is_none() => {
                let count = self.all(turn.user_id, turn.answer_id).await?.len();
                self.crowd.wait_for_another().await;
                let start = self.inner.begin_turn(&turn, broken_before).await;
                return match start {
                    Err(error) if error.kind() == ErrorKind::Full && count < TURNS_PER_CHAT_MAX => {
                        Ok(begun(&turn, 1))
                    }
                    start => start,
                };
            }
            "a_broken_turn_begun_by_many_at_once_is_begun_once" => {
                if let Some(known) = known.filter(|known| known.started_at < broken_before) {
                    self.crowd.wait_for_another().await;
                    self.inner.begin_turn(&turn, broken_before).await?;
                    return Ok(begun(&turn, known.attempt + 1));
                }
            }
            "words_of_any_script_are_kept_whole" => {
                turn.question = turn.question.trim_end().to_owned();
            }
            _ => {}
        }
        self.inner.begin_turn(&turn, broken_before).await
    }

    async fn end_turn(
        &self,
        user_id: UserId,
        turn_id: TurnId,
        attempt: u32,
        reply: &TurnReply,
    ) -> Result<bool> {
        let mut reply = TurnReply {
            text: self.fitting(&reply.text),
            ..reply.clone()
        };
        let known = self.inner.find_turn(user_id, turn_id).await?;
        match self.promise {
            "the_reply_of_an_attempt_given_up_on_is_refused" => {
                let attempt = known.map_or(attempt, |turn| turn.attempt);
                return self.inner.end_turn(user_id, turn_id, attempt, &reply).await;
            }
            "a_reply_counts_once" => {
                self.inner
                    .end_turn(user_id, turn_id, attempt, &reply)
                    .await?;
                // The same reply is as good as the first time.
                let known = known.and_then(|turn| turn.reply);
                return Ok(known.is_none_or(|known| known.text == reply.text));
            }
            "a_reply_is_found_as_it_was_given" => reply.origin = TurnOrigin::Live,
            "a_reply_to_no_turn_is_refused" if known.is_none() => return Ok(false),
            "one_of_many_replies_at_once_counts" => {
                let is_open = known.is_some_and(|turn| turn.reply.is_none());
                self.crowd.wait_for_another().await;
                self.inner
                    .end_turn(user_id, turn_id, attempt, &reply)
                    .await?;
                return Ok(is_open);
            }
            "what_comes_late_to_a_forgotten_chat_is_refused" if known.is_none() => {
                return Ok(true);
            }
            "a_chat_forgotten_meanwhile_stays_forgotten" => {
                self.crowd.wait_for_another().await;
                // As a write of the whole row.
                if let Some(turn) = known {
                    self.inner.begin_turn(&turn, Timestamp::MIN).await?;
                }
            }
            _ => {}
        }
        self.inner.end_turn(user_id, turn_id, attempt, &reply).await
    }

    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>> {
        let found = self.inner.find_turn(user_id, turn_id).await?;
        if self.breaks("a_turn_of_another_user_is_not_found") {
            let turns = self.turns();
            let of_anyone = turns.values().find(|turn| turn.id == turn_id);
            return Ok(of_anyone.cloned());
        }
        Ok(found)
    }

    async fn list_turns(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<ChatTurn>> {
        match self.promise {
            "turns_are_listed_newest_first" => {
                let mut items = self.all(user_id, answer_id).await?;
                items.sort_by_key(|turn| std::cmp::Reverse(turn.id.as_bytes()[15] % 5));
                return Ok(Page { items, next: None });
            }
            "a_walk_through_turns_is_not_disturbed_by_new_ones" => {
                // The cursor is how many were read.
                let read = after.map_or(0, |cursor| cursor.as_str().parse().unwrap_or(0));
                let items = self.all(user_id, answer_id).await?;
                let count = items.len();
                let to = read + limit.get();
                let items = items.into_iter().skip(read).take(limit.get()).collect();
                let next = (to < count).then(|| PageCursor::parse(&to.to_string()));
                let next = next.transpose()?;
                return Ok(Page { items, next });
            }
            _ => {}
        }
        let page = self
            .inner
            .list_turns(user_id, answer_id, after, limit)
            .await;
        match self.promise {
            "pages_of_any_limit_hold_every_turn_once" => page.map(|mut page| {
                // A full page is taken for the last.
                page.next = None;
                page
            }),
            "a_list_of_turns_refuses_foreign_cursors" => page.or_else(|_| Ok(Page::empty())),
            _ => page,
        }
    }

    async fn find_summary(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
    ) -> Result<Option<ChatSummary>> {
        let found = self.inner.find_summary(user_id, answer_id).await?;
        let kept = self.summaries().get(&(user_id, answer_id)).cloned();
        match self.promise {
            "a_summary_is_found_as_it_was_given" => Ok(kept),
            _ => Ok(kept.or(found)),
        }
    }

    async fn put_summary(&self, summary: &ChatSummary) -> Result<()> {
        let summary = ChatSummary {
            text: self.fitting(&summary.text),
            ..summary.clone()
        };
        let key = (summary.user_id, summary.answer_id);
        match self.promise {
            "a_summary_is_found_as_it_was_given" => {
                // One for each user.
                self.inner.put_summary(&summary).await?;
                let mut summaries = self.summaries();
                summaries.retain(|(user_id, _), _| *user_id != summary.user_id);
                summaries.insert(key, summary);
                return Ok(());
            }
            "a_summary_only_moves_forward" => {
                self.inner.put_summary(&summary).await?;
                let mut summaries = self.summaries();
                let known = summaries.get(&key);
                if known.is_none_or(|known| known.through <= summary.through) {
                    summaries.insert(key, summary);
                }
                return Ok(());
            }
            "of_summaries_put_at_once_the_longest_reaching_is_left" => {
                let known = self.summaries().get(&key).cloned();
                self.crowd.wait_for_another().await;
                if known.is_none_or(|known| known.through < summary.through) {
                    self.summaries().insert(key, summary);
                }
                return Ok(());
            }
            "a_summary_through_no_turn_is_refused" => {
                let put = self.inner.put_summary(&summary).await;
                return put.or(Ok(()));
            }
            _ => {}
        }
        self.inner.put_summary(&summary).await
    }

    async fn forget_chat(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64> {
        if self.breaks("a_forgotten_chat_is_gone") {
            let summary = self.inner.find_summary(user_id, answer_id).await?;
            if let Some(summary) = summary {
                self.summaries().insert((user_id, answer_id), summary);
            }
        }
        self.inner.forget_chat(user_id, answer_id).await
    }
}

use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{ChatSummary, ChatTurn, TurnReply};
use crate::Result;
use crate::id::{AnswerId, TurnId, UserId};
use crate::store::{Page, PageCursor, PageLimit};

/// Keeps chats.
///
/// An ability of its own: a backend that has it need not be a [`Store`](crate::store::Store).
///
/// All of it belongs to a user and moves with that user. Nobody sees, takes or learns of another
/// user's turns. Reads are as fresh as can be. Instants are kept to the microsecond. It asks nobody
/// whether there is such a user or such an answer.
///
/// Words may have every character but U+0000, which not every database keeps, and are at most as
/// long as [`QUESTION_LEN_MAX`](super::QUESTION_LEN_MAX), [`REPLY_LEN_MAX`](super::REPLY_LEN_MAX) and
/// [`CHAT_SUMMARY_LEN_MAX`](super::CHAT_SUMMARY_LEN_MAX) say. What does not fit is refused before
/// anything else is looked at.
#[async_trait]
pub trait ChatStore: Debug + Display + Send + Sync + 'static {
    /// Begins a turn, once per id, and says who writes its reply.
    ///
    /// A turn that is known and has no reply is begun again if its last attempt began before
    /// `broken_before`: whoever made that attempt is given up on, and its reply is refused. The first
    /// attempt has the number 1, and [`ChatTurn::started_at`] is when the last one began. Of many who
    /// begin a turn at once, one is to write its reply. [`ChatTurn::attempt`] and
    /// [`ChatTurn::reply`] of the argument mean nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a question that cannot be kept;
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if this user has the id for another
    /// answer or another question; [`ErrorKind::Full`](crate::ErrorKind::Full) if the turn is new
    /// and the chat has [`TURNS_PER_CHAT_MAX`](super::TURNS_PER_CHAT_MAX) others; those of the
    /// storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the turn begun or not; beginning it again finds out.
    async fn begin_turn(&self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart>;

    /// Writes the reply of a turn down, and says whether it counts.
    ///
    /// It does if the turn has no reply and its attempt is still this one. The same reply may be
    /// written again after a failure: the first stands, and it does not count twice.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a reply that cannot be kept;
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if this user has no such turn; those of
    /// the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the reply written or not.
    async fn end_turn(
        &self,
        user_id: UserId,
        turn_id: TurnId,
        attempt: u32,
        reply: &TurnReply,
    ) -> Result<bool>;

    /// A turn of a user.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>>;

    /// The turns of a chat, newest first by id.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give;
    /// those of the storage.
    async fn list_turns(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<ChatTurn>>;

    /// The summary of a chat.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_summary(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
    ) -> Result<Option<ChatSummary>>;

    /// Keeps the summary of a chat, unless there is one that tells of as much or more: as much by
    /// the order of turns, which is that of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a summary that cannot be kept;
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the chat does not have the turn that
    /// it goes through: a chat that was forgotten meanwhile stays forgotten; those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the one or the other.
    async fn put_summary(&self, summary: &ChatSummary) -> Result<()>;

    /// Removes a chat, turns and summary, and says how many turns it had.
    ///
    /// A reply or a summary that is being written meanwhile is refused. The ids of its turns are
    /// free again, and a turn that is begun with one starts at attempt 1: whoever asks again after
    /// this takes another id, so that no late reply finds a turn.
    ///
    /// # Errors
    /// Those of the storage; then all of it is there, or all of it is gone if whether the storage
    /// did it is unknown.
    ///
    /// # Cancel safety
    /// A dropped future leaves all of it or nothing.
    async fn forget_chat(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64>;
}

/// What became of the beginning of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "all a caller can meet")]
pub enum TurnStart {
    /// The caller writes the reply, as this attempt.
    Begun(ChatTurn),
    /// Another writes it.
    UnderWay(ChatTurn),
    /// It has a reply.
    Replied(ChatTurn),
}

impl TurnStart {
    /// The turn as it is kept.
    #[must_use]
    pub fn turn(&self) -> &ChatTurn {
        match self {
            Self::Begun(turn) | Self::UnderWay(turn) | Self::Replied(turn) => turn,
        }
    }
}

#[async_trait]
impl<T: ChatStore + ?Sized> ChatStore for Arc<T> {
    async fn begin_turn(&self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart> {
        (**self).begin_turn(turn, broken_before).await
    }

    async fn end_turn(
        &self,
        user_id: UserId,
        turn_id: TurnId,
        attempt: u32,
        reply: &TurnReply,
    ) -> Result<bool> {
        (**self).end_turn(user_id, turn_id, attempt, reply).await
    }

    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>> {
        (**self).find_turn(user_id, turn_id).await
    }

    async fn list_turns(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<ChatTurn>> {
        (**self).list_turns(user_id, answer_id, after, limit).await
    }

    async fn find_summary(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
    ) -> Result<Option<ChatSummary>> {
        (**self).find_summary(user_id, answer_id).await
    }

    async fn put_summary(&self, summary: &ChatSummary) -> Result<()> {
        (**self).put_summary(summary).await
    }

    async fn forget_chat(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64> {
        (**self).forget_chat(user_id, answer_id).await
    }
}

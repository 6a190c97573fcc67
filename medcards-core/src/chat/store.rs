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
/// All of it belongs to a user and moves with that user. Nobody sees, takes or learns of another
/// user's turns. Reads are as fresh as can be.
#[async_trait]
pub trait ChatStore: Debug + Display + Send + Sync + 'static {
    /// Begins a turn, once per id, and says who writes its reply.
    ///
    /// A turn that is known and has no reply is begun again if its last attempt began before
    /// `broken_before`: whoever made that attempt is given up on, and its reply is refused.
    /// [`ChatTurn::attempt`] and [`ChatTurn::reply`] of the argument mean nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if this user has the id for another
    /// answer or another question; [`ErrorKind::Full`](crate::ErrorKind::Full) if the chat has
    /// [`TURNS_PER_CHAT_MAX`](super::TURNS_PER_CHAT_MAX) turns; those of the storage.
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
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give.
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

    /// Keeps the summary of a chat, unless there is one that tells of as much or more.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the one or the other.
    async fn put_summary(&self, summary: &ChatSummary) -> Result<()>;

    /// Removes a chat, turns and summary, and says how many turns it had.
    ///
    /// A reply that is being written meanwhile is refused.
    ///
    /// # Errors
    /// Those of the storage; then all of it is there.
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

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ai::ModelId;
use crate::id::{AnswerId, TurnId, UserId};
use crate::spend::MicroDollars;

/// The longest question, in bytes: a page. It is also what each turn can cost to read.
pub const QUESTION_LEN_MAX: usize = 4 * 1024;

/// The longest reply that is kept, in bytes: several pages.
pub const REPLY_LEN_MAX: usize = 16 * 1024;

/// The longest summary of a chat, in bytes.
pub const CHAT_SUMMARY_LEN_MAX: usize = 4 * 1024;

/// The most turns of one chat: what is not understood after a hundred is for a human teacher.
pub const TURNS_PER_CHAT_MAX: usize = 100;

/// A question of a student and what the coach replied.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct ChatTurn {
    /// The client's idempotency key; unique per user. The instant inside is when it was asked.
    pub id: TurnId,
    /// Who asks.
    pub user_id: UserId,
    /// The answer that the chat is about.
    pub answer_id: AnswerId,
    /// What is asked, as the student wrote it.
    pub question: String,
    /// When the attempt to reply began that is under way, or the last one.
    pub started_at: Timestamp,
    /// How many attempts to reply have begun: the fence of whoever writes the reply.
    pub attempt: u32,
    /// What the coach replied; `None` while a reply is being written, or if it broke off.
    pub reply: Option<TurnReply>,
}

impl fmt::Debug for ChatTurn {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTurn")
            .field("id", &self.id)
            .field("answer_id", &self.answer_id)
            .field("attempt", &self.attempt)
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}

/// A reply of the coach.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct TurnReply {
    /// The words.
    pub text: String,
    /// Where they come from.
    pub origin: TurnOrigin,
    /// The model that wrote them.
    pub model: Option<ModelId>,
    /// What the reply cost.
    pub cost: MicroDollars,
    /// When it was complete.
    pub replied_at: Timestamp,
}

impl fmt::Debug for TurnReply {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnReply")
            .field("bytes", &self.text.len())
            .field("origin", &self.origin)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// Where the words of a reply come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TurnOrigin {
    /// A model, for this student alone.
    Live,
    /// A [`SharedAnswer`](super::SharedAnswer) to the same question.
    Reused,
    /// Fixed words: the coach gives no advice on anyone's health.
    Declined,
    /// Fixed words: no model could be asked, or its reply could not be shown.
    Unavailable,
}

impl TurnOrigin {
    /// The stable name, as stored and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Reused => "reused",
            Self::Declined => "declined",
            Self::Unavailable => "unavailable",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Live, Self::Reused, Self::Declined, Self::Unavailable]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

/// What was said in a chat before the turns that are still sent in full.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct ChatSummary {
    /// Whose chat.
    pub user_id: UserId,
    /// The answer that the chat is about.
    pub answer_id: AnswerId,
    /// The last turn that it tells of.
    pub through: TurnId,
    /// What was said.
    pub text: String,
}

impl fmt::Debug for ChatSummary {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatSummary")
            .field("answer_id", &self.answer_id)
            .field("through", &self.through)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

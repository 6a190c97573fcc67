//! Chat with the coach about one answered case: turns, where they are kept, and what may be shared.
//!
//! A chat belongs to one user and one answer. Its audience is always personal: nothing of it enters
//! a cache or a shared tier. What anyone may see are [`SharedAnswer`]s, which a reviewer wrote or
//! approved for everyone and which are kept apart from all users.

mod coach;
mod prompt;
mod reuse;
mod shared;
mod similar;
mod store;
mod turn;
mod words;

pub use coach::{
    ChatEvent, ChatPlace, ChatQuestion, ChatStream, Coach, CoachBuilder, CoachConfig, CoachTally,
    TURN_AGE_MAX, TURN_SKEW_MAX, collect_turn,
};
pub use prompt::{ChatHistory, ChatPrompt, ChatSubject, Exchange};
pub use reuse::{Reusable, ReuseWish, SemanticReuse};
pub use shared::{SHARED_ANSWERS_PER_CASE_MAX, SharedAnswer, SharedAnswers};
pub use similar::{SIMILARITY_MIN_DEFAULT, SimilarQuestions};
pub use store::{ChatStore, TurnStart};
pub use turn::{
    CHAT_SUMMARY_LEN_MAX, ChatSummary, ChatTurn, QUESTION_LEN_MAX, REPLY_LEN_MAX,
    TURNS_PER_CHAT_MAX, TurnOrigin, TurnReply,
};

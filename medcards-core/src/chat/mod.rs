//! Chat with the coach about one answered case: turns, where they are kept, and what may be shared.
//!
//! A chat belongs to one user and one answer. Its audience is always personal: nothing of it enters
//! a cache or a shared tier. What anyone may see are [`SharedAnswer`]s, which a reviewer wrote or
//! approved for everyone and which are kept apart from all users.

mod shared;
mod store;
mod turn;
mod words;

pub use shared::{SHARED_ANSWERS_PER_CASE_MAX, SharedAnswer, SharedAnswers};
pub use store::{ChatStore, TurnStart};
pub use turn::{
    CHAT_SUMMARY_LEN_MAX, ChatSummary, ChatTurn, QUESTION_LEN_MAX, REPLY_LEN_MAX,
    TURNS_PER_CHAT_MAX, TurnOrigin, TurnReply,
};

//! Doubles for tests: a clock that is set by hand, a provider that follows a script, a store
//! whose replica is behind, faults around any backend, and views that are built at once.

mod batches;
mod chat;
mod clock;
mod fault;
mod next_case;
mod prompt;
mod provider;
mod replica;
mod sample;
mod view;

pub use batches::ScriptedBatches;
pub use chat::PlainChat;
pub use clock::ManualClock;
pub use fault::{FaultPlan, Faulty, Operation};
pub use next_case::{NextCaseLoad, NextCaseSpeed, measure_next_case};
pub use prompt::PlainPrompt;
pub use provider::{Gate, Script, ScriptedProvider};
pub use replica::ReplicatedStore;
pub use sample::{
    SAMPLE_START, sample_answer, sample_case, sample_content, sample_feedback, sample_key,
    sample_record, sample_user_id,
};
pub use view::build_view;

//! Everything but the money: handed on as it is to the store in memory.
//!
//! The lint makes the compiler say when a trait grows a method with a default: a wrapper must hand
//! that on too.

use async_trait::async_trait;
use medcards::answer::{Answer, AnswerStore, NextCase, RecordedAnswer, UserStats};
use medcards::case::{
    Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseStore, CaseVersion,
    KeyCorrection, Publication,
};
use medcards::event::{Event, EventBody, EventLog, LogPosition, ReaderName};
use medcards::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, PrecomputedStore, Review, ReviewState, Shared,
};
use medcards::store::{Consistency, Hint, Page, PageCursor, PageLimit};
use medcards::user::{User, UserSettings, UserStore};
use medcards::{AnswerId, CaseId, Result, Timestamp, UserId};
use std::sync::Arc;

use crate::JournaledStore;

/// Writes one impl whose methods call the same method of `self.others`.
macro_rules! hand_on {
    ($trait:ident {
        $(fn $method:ident($($name:ident: $type:ty),*) -> $output:ty;)*
        $(hint $hint:ident;)?
    }) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl $trait for JournaledStore {
            $(async fn $method(&self, $($name: $type),*) -> Result<$output> {
                self.others.$method($($name),*).await
            })*
            $(fn $hint(&self) -> Hint {
                self.others.$hint()
            })?
        }
    };
}

hand_on!(AnswerStore {
    fn record_answer(answer: Answer) -> RecordedAnswer;
    fn find_answer(user: UserId, id: AnswerId, consistency: &Consistency) -> Option<Answer>;
    fn list_answers(
        user: UserId, after: Option<&PageCursor>, limit: PageLimit, consistency: &Consistency
    ) -> Page<Answer>;
    fn user_stats(user: UserId, consistency: &Consistency) -> UserStats;
    fn next_case(user: UserId, filter: &CaseFilter, consistency: &Consistency) -> Option<NextCase>;
});

hand_on!(CaseStore {
    fn publish(contents: Vec<CaseContent>, now: Timestamp) -> Vec<Publication>;
    fn correct_case(correction: CaseCorrection) -> Vec<KeyCorrection>;
    fn list_corrections(after: u64, limit: usize) -> Vec<KeyCorrection>;
    fn find_case(id: CaseId, version: Option<CaseVersion>) -> Option<Arc<Case>>;
    fn list_cases(query: &CaseQuery) -> Page<Arc<Case>>;
});

hand_on!(EventLog {
    fn read_events(after: LogPosition, limit: usize) -> Vec<Event>;
    fn append_events(bodies: Vec<EventBody>) -> ();
    fn count_events(after: LogPosition) -> u64;
    fn find_cursor(reader: &ReaderName) -> LogPosition;
    fn move_cursor(reader: &ReaderName, from: LogPosition, to: LogPosition) -> ();
    hint appended;
});

hand_on!(PrecomputedStore {
    fn find_feedback(key: &FeedbackKey) -> Option<Feedback<Shared>>;
    fn put_feedback(key: &FeedbackKey, feedback: &Feedback<Shared>) -> bool;
    fn review_feedback(key: &FeedbackKey, review: Review) -> Feedback<Shared>;
    fn list_feedback(
        state: ReviewState, after: Option<&PageCursor>, limit: PageLimit
    ) -> Page<(FeedbackKey, Feedback<Shared>)>;
    fn list_keys(after: KeyPosition, limit: usize) -> KeyPage;
    fn list_reviewed(since: Timestamp, limit: usize) -> Vec<(Timestamp, FeedbackKey)>;
});

hand_on!(UserStore {
    fn ensure_user(user: User) -> User;
    fn find_user(id: UserId) -> Option<User>;
    fn update_settings(id: UserId, settings: UserSettings, now: Timestamp) -> User;
});

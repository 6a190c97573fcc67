//! The backend of a medical-education platform, for Rust developers to embed: students answer
//! clinical cases and read feedback on the option they chose.
//!
//! This crate has the contracts and the decisions; the sibling crates have the databases, caches and
//! providers.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use medcards_core::app::{AnswerForm, Medcards};
//! use medcards_core::case::{CaseRecord, OptionRecord};
//! use medcards_core::memory::MemoryStore;
//! use medcards_core::store::Consistency;
//! use medcards_core::{UserId, user::UserKind};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> medcards_core::Result<()> {
//! let option = |key: &str, text: &str| OptionRecord {
//!     key: key.into(),
//!     text: text.into(),
//!     ..OptionRecord::default()
//! };
//! let record = CaseRecord {
//!     id: "potassium-1".into(),
//!     stem: "Peaked T waves: which electrolyte do you check first?".into(),
//!     options: vec![option("A", "Potassium"), option("B", "Sodium")],
//!     answer_keys: vec!["A".into()],
//!     ..CaseRecord::default()
//! };
//! let (content, _notices) = record.into_content()?;
//!
//! let medcards = Medcards::builder(Arc::new(MemoryStore::new())).build().await?;
//! let published = medcards.store().publish(vec![content], medcards.now()).await?;
//! let student = medcards.ensure_user(UserId::new(medcards.now()), UserKind::Guest).await?;
//! let choice = AnswerForm { options: vec!["B".into()], ..AnswerForm::default() };
//! let submitted = medcards.submit_answer(student.id, published[0].case_id, choice).await?;
//! let fresh = Consistency::after(submitted.token);
//! let feedback = medcards.feedback(student.id, submitted.answer.id, &fresh).await?;
//! assert_eq!(feedback.tier().as_str(), "authored");
//! assert!(feedback.text().contains("“Potassium”"));
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! You want to use it: [`app::Medcards`] is the platform in one value,
//! [`feedback::FeedbackResolver`] the resolver alone.
//!
//! You want to plug something in: [`case::CaseStore`], [`answer::AnswerStore`],
//! [`user::UserStore`], [`event::EventLog`], [`feedback::PrecomputedStore`],
//! [`spend::SpendLedger`] (a backend with all six is a [`store::Store`]), [`job::JobQueue`],
//! [`notice::NoticeStore`], [`view::ViewStore`] (with these three it is a [`store::LearningStore`] too),
//! [`view::Projection`] for a view of your own, [`cache::Cache`],
//! [`ai::AiProvider`], [`ai::FeedbackPrompt`], [`leaderboard::Leaderboards`],
//! [`lease::FeedbackLeases`], [`limit::RateLimiter`], [`session::SessionStore`], [`chat::ChatStore`],
//! [`chat::SharedAnswers`], [`time::Clock`].
//!
//! You want to change the store of a deployment: [`transfer`] carries everything and compares.
//!
//! You want to try it or test with it: [`memory`] implements every one of them; the features
//! `test-util` and `conformance` add doubles and the checks that every backend runs.
//!
//! # How a feedback is found
//!
//! 1. The memory of this process: without waiting, without allocating.
//! 2. The cache beyond the process, if there is one.
//! 3. The store of precomputed feedback, if its key is known to be there.
//! 4. A model, if the spend budget and the limits allow: one call for all who ask at once.
//! 5. What the author of the case wrote, which is always there.
//!
//! A tier that breaks is a miss, recorded in the [`Resolution`](feedback::Resolution).
//!
//! # Writing a backend
//!
//! Implement the trait, then let the suite prove it, in your crate's tests:
//!
//! ```ignore
//! async fn fresh_store() -> (MyStore, tempfile::TempDir) { /* empty, with what it lives in */ }
//! medcards_core::store_conformance!(fresh_store);
//! ```
//!
//! # Promises
//!
//! - An answer that was acknowledged is stored once, however often it is sent.
//! - Dropping a future loses nothing that was acknowledged and cancels nothing that others wait for;
//!   each method says what it leaves behind.
//! - Nothing here retries a request on its own, except the booking of money already spent.
//! - The clock is a trait; nothing else reads the time of day. Deadlines run on tokio's timer.
//! - Everything public is `Send + Sync`.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `test-util` | [`testing`](https://docs.rs/medcards-core): manual clock, scripted provider, fault injection |
//! | `conformance` | the conformance suite and its macros |

mod error;
mod flight;

pub mod ai;
pub mod answer;
pub mod app;
pub mod cache;
pub mod case;
pub mod chat;
pub mod event;
pub mod feedback;
pub mod id;
pub mod job;
pub mod leaderboard;
pub mod learning;
pub mod lease;
pub mod limit;
pub mod memory;
pub mod metric;
pub mod notice;
pub mod precompute;
pub mod session;
pub mod shard;
pub mod spend;
pub mod store;
pub mod time;
pub mod transfer;
pub mod user;
pub mod view;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "test-util")]
pub mod testing;

pub use error::{Error, ErrorKind, Result};
pub use id::{AnswerId, BatchId, CaseId, JobId, ReservationId, SharedAnswerId, TurnId, UserId};
pub use jiff::{self, Timestamp};

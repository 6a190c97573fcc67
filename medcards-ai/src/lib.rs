//! AI providers and the versioned feedback prompt of MEDCARDS: plug a model into the resolver.
//!
//! ```
//! use medcards_ai::AnthropicProvider;
//! use medcards_core::ai::AiProvider;
//! use secrecy::SecretString;
//!
//! let provider = AnthropicProvider::builder("claude-haiku-4-5")
//!     .with_key(SecretString::from("the key"))
//!     .build()?;
//! assert_eq!(provider.model().as_str(), "claude-haiku-4-5");
//! # Ok::<(), medcards_core::Error>(())
//! ```
//!
//! | type | is | speaks | needs |
//! | --- | --- | --- | --- |
//! | [`AnthropicProvider`] | [`AiProvider`] | Anthropic Messages, streamed or whole | a key |
//! | [`OpenAiProvider`] | [`AiProvider`] | chat completions of OpenAI and of servers like it, streamed or whole | a key or a base url, and a price |
//! | [`AuthoredProvider`] | [`AiProvider`] | nothing: repeats what the author wrote | [`FeedbackTemplate`] |
//! | [`AiStack`] | [`AiProvider`] | what the providers within it speak: the [`layer`]s around them | providers, a ledger, a clock |
//! | [`FeedbackTemplate`] | [`FeedbackPrompt`] | | |
//!
//! # What every provider promises
//!
//! - A reply is complete only if the server said so: a stream that is cut anywhere is a failure.
//! - Fields and events nobody knows are ignored; a stream without sense is a failure, not a panic.
//! - Every wait and every size has a limit: see [`Timeouts`] and the constants of this crate.
//! - Keys, prompts and replies are in no error, log or `Debug` output.
//! - No provider tries anything twice: a repeat may be billed twice, so it belongs to the [`layer`]s,
//!   which know the budgets.
//!
//! # What a failure is billed at
//!
//! | what happened | billed |
//! | --- | --- |
//! | not reached, or answered with an error status | nothing |
//! | answered 408, 504 or 524: a gateway gave up, perhaps not the model | unknown |
//! | no answer in time, or the connection broke | unknown |
//! | an error within the reply, after the server told tokens | at least those tokens |
//! | the reply was cut after the server told the final tokens | those tokens |
//! | the reply was cut before | unknown |
//!
//! A server's `x-should-retry` is taken at its word: an error that it says is final is not
//! retryable, whatever its status.
//!
//! A server that never tells tokens is billed at the most that the bytes can be: one token for each
//! byte of the prompt and of the reply.
//!
//! # Batches
//!
//! Through [`batches`](medcards_core::ai::AiProvider::batches) an [`AnthropicProvider`] hands in
//! Message Batches, and an [`OpenAiProvider`] a file and a batch of it, at half the price. A batch is
//! checked before it is sent, against [`ANTHROPIC_BATCH_LEN_MAX`] and [`ANTHROPIC_BATCH_BYTES_MAX`]
//! or [`OPENAI_BATCH_LEN_MAX`] and [`OPENAI_BATCH_BYTES_MAX`]; it is built in memory, so a smaller
//! one is kinder. What an item ended with but a reply is billed at nothing.
//!
//! # Certificates
//!
//! Servers are checked against the certificates of the system. Where it has none, or the server has
//! a private authority, set `SSL_CERT_FILE` or `SSL_CERT_DIR`. A system proxy is used as
//! `HTTPS_PROXY` and `NO_PROXY` say.
//!
//! [`AiProvider`]: medcards_core::ai::AiProvider
//! [`FeedbackPrompt`]: medcards_core::ai::FeedbackPrompt

mod anthropic;
mod authored;
mod openai;

mod batch;
mod chat;
mod price;
mod prompt;
mod turn;

pub mod layer;

mod http;

pub use anthropic::{
    ANTHROPIC_BATCH_BYTES_MAX, ANTHROPIC_BATCH_LEN_MAX, AnthropicAuth, AnthropicBuilder,
    AnthropicProvider, PromptCache,
};
pub use authored::AuthoredProvider;
pub use batch::BATCH_RESULT_BYTES_MAX;
pub use chat::{
    CHAT_OUTPUT_TOKENS_MAX, CHAT_REPLY_CHARS_MAX, CHAT_SUMMARY_TOKENS_MAX, ChatTemplate,
};
pub use http::{EVENT_BYTES_MAX, REPLY_BYTES_MAX, RETRY_AFTER_MAX, Timeouts};
pub use layer::AiStack;
pub use openai::{
    OPENAI_BATCH_BYTES_MAX, OPENAI_BATCH_LEN_MAX, OpenAiBuilder, OpenAiProvider, TokenLimitField,
};
pub use price::{ModelPrice, PriceTable, price_of};
pub use prompt::{
    FeedbackTemplate, OUTPUT_TOKENS_MAX, REPLY_CHARS_MAX, REPLY_CHARS_MIN, STUDENT_BYTES_MAX,
    redacted, redacted_with,
};

//! The JSON of chat completions: what is sent, and what is understood.

use std::borrow::Cow;
use std::iter;

use medcards_core::ai::{ModelId, Prompt, StopReason};
use medcards_core::spend::TokenUsage;
use medcards_core::{Error, ErrorKind, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::TokenLimitField;
use crate::http::{ASK, ApiError};
use crate::turn::{Turn, turns};

/// What is asked of a model: a body, or the body of an item of a batch.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    model: &'a ModelId,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

impl Message<'_> {
    fn of(turn: Turn) -> Self {
        let texts: Vec<_> = turn.blocks.into_iter().map(|block| block.text).collect();
        Self {
            role: turn.role,
            content: Cow::Owned(texts.join("\n\n")),
        }
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> Request<'a> {
    /// An item of a batch is no stream, nor is it none.
    pub(super) fn new(
        model: &'a ModelId,
        prompt: &'a Prompt,
        field: TokenLimitField,
        stream: Option<bool>,
    ) -> Result<Self> {
        let system = Message {
            role: "system",
            content: Cow::Borrowed(&prompt.instructions),
        };
        let turns = turns(&prompt.parts)?;
        let messages = iter::once(system).chain(turns.into_iter().map(Message::of));
        let limit = Some(prompt.output_tokens_max);
        let (max_completion_tokens, max_tokens) = match field {
            TokenLimitField::MaxCompletionTokens => (limit, None),
            TokenLimitField::MaxTokens => (None, limit),
        };
        Ok(Self {
            model,
            messages: messages.collect(),
            max_completion_tokens,
            max_tokens,
            stream,
            stream_options: (stream == Some(true)).then_some(StreamOptions {
                include_usage: true,
            }),
        })
    }
}

/// The body that asks for a reply.
pub(super) fn request_body(
    model: &ModelId,
    prompt: &Prompt,
    field: TokenLimitField,
    stream: bool,
) -> Result<Vec<u8>> {
    let request = Request::new(model, prompt, field, Some(stream))?;
    serde_json::to_vec(&request).map_err(|source| {
        Error::new(
            ErrorKind::Unexpected,
            ASK,
            "the prompt cannot be written as JSON",
        )
        .with_source(source)
    })
}

/// A piece of a stream, a reply in one piece, or an error in the place of either.
#[derive(Debug, Deserialize)]
pub(super) struct Completion {
    #[serde(default)]
    pub(super) error: Option<ApiError>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

impl Completion {
    /// The choice that counts: we ask for one.
    pub(super) fn into_choice(self) -> Option<Choice> {
        self.choices
            .into_iter()
            .flatten()
            .find(|choice| choice.index.unwrap_or(0) == 0)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    index: Option<u64>,
    /// The text in a stream.
    #[serde(default)]
    delta: Option<Delta>,
    /// The text of a reply in one piece.
    #[serde(default)]
    message: Option<Delta>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

impl Choice {
    pub(super) fn into_delta(self) -> Delta {
        self.delta.or(self.message).unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    content: Option<Text>,
    /// What some servers send of the model's thinking, under either name: billed but not shown.
    #[serde(default)]
    reasoning_content: Option<Text>,
    #[serde(default)]
    reasoning: Option<Text>,
    #[serde(default)]
    refusal: Option<Text>,
}

impl Delta {
    pub(super) fn thinking_bytes(&self) -> usize {
        let bytes = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.as_str().len());
        bytes(&self.reasoning_content).max(bytes(&self.reasoning))
    }

    pub(super) fn refuses(&self) -> bool {
        self.refusal
            .as_ref()
            .is_some_and(|text| !text.as_str().is_empty())
    }

    pub(super) fn into_text(self) -> String {
        match self.content {
            Some(Text::Plain(text)) => text,
            Some(Text::Other(_)) | None => String::new(),
        }
    }
}

/// A text, or something else that a server puts in its place, which is ignored.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Other(IgnoredAny),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Other(_) => "",
        }
    }
}

/// Counts of tokens. A server may leave some out.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct PromptDetails {
    /// A part of the prompt's tokens, not in addition to them.
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Usage {
    /// The tokens told, and the bound where the server told none.
    pub(super) fn or_bound(self, bound: TokenUsage) -> TokenUsage {
        let prompt = self.prompt_tokens.unwrap_or(bound.input);
        let cached = self
            .prompt_tokens_details
            .and_then(|details| details.cached_tokens);
        let cache_read = cached.unwrap_or(0).min(prompt);
        TokenUsage {
            input: prompt - cache_read,
            cache_read,
            cache_write: 0,
            output: self.completion_tokens.unwrap_or(bound.output),
        }
    }
}

pub(super) fn stop_reason(name: Option<&str>) -> StopReason {
    match name {
        Some("stop") => StopReason::Complete,
        Some("length" | "model_length") => StopReason::MaxTokens,
        Some("content_filter") => StopReason::Refusal,
        _ => StopReason::Unknown,
    }
}

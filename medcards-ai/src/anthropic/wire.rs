//! The JSON of the Messages interface: what is sent, and what is understood.

use std::borrow::Cow;

use medcards_core::ai::{ModelId, Prompt, StopReason};
use medcards_core::spend::TokenUsage;
use medcards_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::cache::{CacheControl, PromptCache, prefix_ends};
use crate::http::{ASK, ApiError};
use crate::turn::{Block as PromptBlock, Turn, turns};

/// What is asked of a model: a body, or an item of a batch.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    model: &'a ModelId,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<System<'a>>,
    messages: Vec<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Vec<TextBlock<'static>>,
}

/// The instructions: a text, unless a block has to carry a mark.
#[derive(Serialize)]
#[serde(untagged)]
enum System<'a> {
    Plain(&'a str),
    Blocks([TextBlock<'a>; 1]),
}

#[derive(Serialize)]
struct TextBlock<'a> {
    r#type: &'static str,
    text: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

impl<'a> TextBlock<'a> {
    fn new(text: impl Into<Cow<'a, str>>, cache_control: Option<CacheControl>) -> Self {
        Self {
            r#type: "text",
            text: text.into(),
            cache_control,
        }
    }
}

impl Message {
    /// A turn, with a mark on each of its blocks that `mark` gives one, by its number of parts.
    fn of(turn: Turn, mark: impl Fn(usize) -> Option<CacheControl>) -> Self {
        let block = |block: PromptBlock| TextBlock::new(block.text, mark(block.parts));
        Self {
            role: turn.role,
            content: turn.blocks.into_iter().map(block).collect(),
        }
    }
}

impl<'a> Request<'a> {
    /// Each part of the prompt is a block of its own. An item of a batch is no stream, nor is it
    /// none.
    pub(super) fn new(
        model: &'a ModelId,
        prompt: &'a Prompt,
        cache: PromptCache,
        stream: Option<bool>,
    ) -> Result<Self> {
        let turns = turns(&prompt.parts)?;
        let ends = prefix_ends(prompt, &turns);
        let mark = |parts: usize| cache.control().filter(|_| ends.contains(&parts));
        let instructions = prompt.instructions.as_str();
        let system = match mark(0) {
            _ if instructions.is_empty() => None,
            None => Some(System::Plain(instructions)),
            marked => Some(System::Blocks([TextBlock::new(instructions, marked)])),
        };
        let messages = turns.into_iter().map(|turn| Message::of(turn, mark));
        Ok(Self {
            model,
            max_tokens: prompt.output_tokens_max,
            system,
            messages: messages.collect(),
            stream,
        })
    }
}

/// The body that asks for a reply.
pub(super) fn request_body(
    model: &ModelId,
    prompt: &Prompt,
    cache: PromptCache,
    stream: bool,
) -> Result<Vec<u8>> {
    let request = Request::new(model, prompt, cache, Some(stream))?;
    serde_json::to_vec(&request).map_err(|source| {
        Error::new(
            ErrorKind::Unexpected,
            ASK,
            "the prompt cannot be written as JSON",
        )
        .with_source(source)
    })
}

/// An event of a stream, by the `type` of its data.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Event {
    ContentBlockDelta {
        delta: Block,
    },
    ContentBlockStart {
        content_block: Block,
    },
    Error {
        #[serde(default)]
        error: ApiError,
    },
    MessageDelta {
        delta: MessageChange,
        #[serde(default)]
        usage: Option<Usage>,
    },
    MessageStart {
        message: StartedMessage,
    },
    MessageStop,
    #[serde(other)]
    Unknown,
}

/// A block of content, or a piece of one. Text is shown; thinking is billed but not shown.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    #[serde(alias = "text_delta")]
    Text { text: String },
    #[serde(alias = "thinking_delta")]
    Thinking {
        #[serde(default)]
        thinking: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct StartedMessage {
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MessageChange {
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
}

/// A reply in one piece, or an error in its place.
#[derive(Debug, Deserialize)]
pub(super) struct WholeMessage {
    #[serde(default)]
    pub(super) error: Option<ApiError>,
    #[serde(default)]
    pub(super) content: Option<Vec<Block>>,
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

/// Counts of tokens. Each report may leave some out.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
}

impl Usage {
    /// Takes over what a later report says: its counts are totals, not additions.
    pub(super) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = later
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later
            .cache_read_input_tokens
            .or(self.cache_read_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }

    /// The tokens told, and the bound where the server told none.
    pub(super) fn or_bound(self, bound: TokenUsage) -> TokenUsage {
        TokenUsage {
            input: self.input_tokens.unwrap_or(bound.input),
            cache_read: self.cache_read_input_tokens.unwrap_or(0),
            cache_write: self.cache_creation_input_tokens.unwrap_or(0),
            output: self.output_tokens.unwrap_or(bound.output),
        }
    }

    /// The tokens told, if any were.
    pub(super) fn told(self) -> Option<TokenUsage> {
        self.input_tokens.or(self.output_tokens)?;
        Some(self.or_bound(TokenUsage::default()))
    }
}

pub(super) fn stop_reason(name: Option<&str>) -> StopReason {
    match name {
        // We ask for no stop sequence, so one that stops the model is the end of its turn.
        Some("end_turn" | "stop_sequence") => StopReason::Complete,
        Some("max_tokens" | "model_context_window_exceeded") => StopReason::MaxTokens,
        Some("refusal") => StopReason::Refusal,
        _ => StopReason::Unknown,
    }
}

//! What the events of a Messages stream add up to.

use medcards_core::ai::{AiFailure, Billed};
use medcards_core::spend::TokenUsage;
use medcards_core::{Error, ErrorKind};

use super::wire::{Block, Event, Usage, WholeMessage, stop_reason};
use crate::http::{ASK, Decode, Step, WholeReply, failure_within_reply, usage_bound};

/// The events that mean something here; others are not even read.
const EVENTS: [&str; 6] = [
    "content_block_delta",
    "content_block_start",
    "error",
    "message_delta",
    "message_start",
    "message_stop",
];

/// Reads one reply.
#[derive(Debug)]
pub(super) struct MessageDecoder {
    prompt_bytes: usize,
    reply_bytes: usize,
    usage: Usage,
    /// Told by `message_delta`, together with the final counts.
    stop_reason: Option<String>,
}

impl MessageDecoder {
    pub(super) fn new(prompt_bytes: usize) -> Self {
        Self {
            prompt_bytes,
            reply_bytes: 0,
            usage: Usage::default(),
            stop_reason: None,
        }
    }

    fn delta(&mut self, block: Block) -> Step {
        match block {
            Block::Text { text } => {
                self.reply_bytes += text.len();
                Step::Delta(text)
            }
            Block::Thinking { thinking } => {
                self.reply_bytes += thinking.len();
                Step::Nothing
            }
            Block::Unknown => Step::Nothing,
        }
    }

    /// Takes a whole message.
    pub(super) fn message(&mut self, message: WholeMessage) -> Result<WholeReply, AiFailure> {
        self.usage.update(message.usage.unwrap_or_default());
        if let Some(error) = message.error {
            return Err(failure_within_reply(&error, self.billed_as_told()));
        }
        let mut text = String::new();
        for block in message.content.unwrap_or_default() {
            if let Step::Delta(piece) = self.delta(block) {
                text.push_str(&piece);
            }
        }
        let stop = stop_reason(message.stop_reason.as_deref());
        Ok(WholeReply {
            text,
            stop,
            usage: self.usage(),
        })
    }

    fn usage(&self) -> TokenUsage {
        self.usage
            .or_bound(usage_bound(self.prompt_bytes, self.reply_bytes))
    }

    /// What is billed if the server itself ends the reply early: no more than it told is certain.
    fn billed_as_told(&self) -> Billed {
        self.usage.told().map_or(Billed::Unknown, Billed::Tokens)
    }

    fn unreadable(&self, source: serde_json::Error) -> AiFailure {
        // The message of the JSON error may quote the data.
        let what = format!(
            "the reply has {:?} JSON that does not fit",
            source.classify()
        );
        AiFailure {
            error: Error::new(ErrorKind::Corrupt, ASK, what),
            billed: self.billed(),
            refusal: None,
        }
    }
}

impl Decode for MessageDecoder {
    fn event(&mut self, name: Option<&str>, data: &str) -> Result<Step, AiFailure> {
        if name.is_some_and(|name| !EVENTS.contains(&name)) {
            return Ok(Step::Nothing);
        }
        match serde_json::from_str(data).map_err(|source| self.unreadable(source))? {
            Event::ContentBlockDelta { delta } => Ok(self.delta(delta)),
            Event::ContentBlockStart { content_block } => Ok(self.delta(content_block)),
            Event::Error { error } => Err(failure_within_reply(&error, self.billed_as_told())),
            Event::MessageDelta { delta, usage } => {
                self.usage.update(usage.unwrap_or_default());
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                Ok(Step::Nothing)
            }
            Event::MessageStart { message } => {
                self.usage.update(message.usage.unwrap_or_default());
                Ok(Step::Nothing)
            }
            Event::MessageStop => {
                let stop = stop_reason(self.stop_reason.as_deref());
                Ok(Step::End {
                    stop,
                    usage: self.usage(),
                })
            }
            Event::Unknown => Ok(Step::Nothing),
        }
    }

    fn whole(&mut self, body: &[u8]) -> Result<WholeReply, AiFailure> {
        let message = serde_json::from_slice(body).map_err(|source| self.unreadable(source))?;
        self.message(message)
    }

    fn billed(&self) -> Billed {
        match self.stop_reason {
            Some(_) => self.billed_as_told(),
            None => Billed::Unknown,
        }
    }
}

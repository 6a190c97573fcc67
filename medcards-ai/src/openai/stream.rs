//! What the events of a chat completion stream add up to.

use medcards_core::ai::{AiFailure, Billed, StopReason};
use medcards_core::spend::TokenUsage;
use medcards_core::{Error, ErrorKind};

use super::wire::{Completion, Usage, stop_reason};
use crate::http::{ASK, Decode, Step, WholeReply, failure_within_reply, usage_bound};

/// The data that ends every stream.
const DONE: &str = "[DONE]";

/// Reads one reply.
#[derive(Debug)]
pub(super) struct CompletionDecoder {
    prompt_bytes: usize,
    reply_bytes: usize,
    usage: Option<Usage>,
    finish_reason: Option<String>,
    refused: bool,
}

impl CompletionDecoder {
    pub(super) fn new(prompt_bytes: usize) -> Self {
        Self {
            prompt_bytes,
            reply_bytes: 0,
            usage: None,
            finish_reason: None,
            refused: false,
        }
    }

    /// Takes a piece of a stream, or a whole reply, and returns the text in it.
    fn take(&mut self, completion: Completion) -> Result<String, AiFailure> {
        self.usage = completion.usage.or(self.usage);
        if let Some(error) = &completion.error {
            return Err(failure_within_reply(error, self.billed_as_told()));
        }
        let Some(choice) = completion.into_choice() else {
            return Ok(String::new());
        };
        self.finish_reason = choice.finish_reason.clone().or(self.finish_reason.take());
        let delta = choice.into_delta();
        self.refused |= delta.refuses();
        self.reply_bytes += delta.thinking_bytes();
        let text = delta.into_text();
        self.reply_bytes += text.len();
        Ok(text)
    }

    /// Takes a whole reply.
    pub(super) fn completion(&mut self, completion: Completion) -> Result<WholeReply, AiFailure> {
        let text = self.take(completion)?;
        Ok(WholeReply {
            text,
            stop: self.stop(),
            usage: self.usage(),
        })
    }

    fn stop(&self) -> StopReason {
        match stop_reason(self.finish_reason.as_deref()) {
            StopReason::Complete if self.refused => StopReason::Refusal,
            stop => stop,
        }
    }

    fn usage(&self) -> TokenUsage {
        let bound = usage_bound(self.prompt_bytes, self.reply_bytes);
        self.usage.unwrap_or_default().or_bound(bound)
    }

    /// What is billed if the server itself ends the reply early: no more than it told is certain.
    fn billed_as_told(&self) -> Billed {
        match self.usage {
            Some(_) => Billed::Tokens(self.usage()),
            None => Billed::Unknown,
        }
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

impl Decode for CompletionDecoder {
    fn event(&mut self, name: Option<&str>, data: &str) -> Result<Step, AiFailure> {
        if data.trim() == DONE {
            return Ok(Step::End {
                stop: self.stop(),
                usage: self.usage(),
            });
        }
        match serde_json::from_str::<Completion>(data) {
            Ok(completion) => self.take(completion).map(Step::Delta),
            // The events of this interface have no name: one with a name is some server's own.
            Err(_) if name.is_some_and(|name| name != "message") => Ok(Step::Nothing),
            Err(source) => Err(self.unreadable(source)),
        }
    }

    fn whole(&mut self, body: &[u8]) -> Result<WholeReply, AiFailure> {
        let completion = serde_json::from_slice(body).map_err(|source| self.unreadable(source))?;
        self.completion(completion)
    }

    fn closed(&self) -> Option<(StopReason, TokenUsage)> {
        // Some servers leave the last event out. The text is whole all the same.
        self.finish_reason.as_ref()?;
        Some((self.stop(), self.usage()))
    }

    fn billed(&self) -> Billed {
        match self.finish_reason {
            Some(_) => self.billed_as_told(),
            None => Billed::Unknown,
        }
    }
}

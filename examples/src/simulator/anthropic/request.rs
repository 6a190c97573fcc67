//! What a request for a message must look like, and what it asks for.

use axum::http::HeaderMap;
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::simulator::cache::Prefix;
use crate::simulator::problem::Problem;
use crate::simulator::prompt::{fingerprint, matter_of, tokens_of};
use crate::simulator::reply::Ask;

/// The version from which on sampling parameters are refused.
const VERSION_WITHOUT_SAMPLING: &str = "2026-10-21";

/// The most marks of what to cache.
const CACHE_MARKS_MAX: usize = 4;

const FIVE_MINUTES_US: u64 = 5 * 60 * 1_000_000;
pub(super) const HOUR_US: u64 = 60 * 60 * 1_000_000;

pub(super) fn version_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("anthropic-version")?.to_str().ok()
}

/// Reads a request for a message.
pub(super) fn ask_of(body: &Value, version: Option<&str>) -> Result<Ask, Problem> {
    let model = model_in(body)?;
    let output_tokens_max = match &body["max_tokens"] {
        Value::Null => return Err(Problem::invalid("max_tokens: Field required")),
        value => value
            .as_u64()
            .filter(|tokens| *tokens > 0)
            .ok_or_else(|| Problem::invalid("max_tokens: must be a whole number of at least 1"))?,
    };
    let stream = match &body["stream"] {
        Value::Null => false,
        Value::Bool(stream) => *stream,
        _ => return Err(Problem::invalid("stream: Input should be a valid boolean")),
    };
    if version == Some(VERSION_WITHOUT_SAMPLING) {
        for name in ["temperature", "top_p", "top_k"] {
            if !body[name].is_null() {
                let message =
                    format!("{name}: not supported in version {VERSION_WITHOUT_SAMPLING}");
                return Err(Problem::invalid(message));
            }
        }
    }
    let reader = Reader::read(model, body)?;
    Ok(Ask {
        model: model.to_owned(),
        output_tokens_max,
        stream,
        tell_usage: true,
        tell_cache_writes: true,
        input_tokens: reader.tokens,
        prefixes: reader.prefixes,
        matter: matter_of(&reader.instructions, &reader.texts),
        fingerprint: fingerprint(&reader.instructions, &reader.texts),
    })
}

/// How many tokens a request has, which needs no `max_tokens`.
pub(super) fn tokens_in(body: &Value) -> Result<u64, Problem> {
    Ok(Reader::read(model_in(body)?, body)?.tokens)
}

fn model_in(body: &Value) -> Result<&str, Problem> {
    if !body.is_object() {
        return Err(Problem::invalid("the request must be a JSON object"));
    }
    let model = body["model"].as_str().filter(|model| !model.is_empty());
    model.ok_or_else(|| Problem::invalid("model: Field required"))
}

/// Goes through a prompt in the order in which the provider caches it.
struct Reader {
    instructions: String,
    texts: String,
    hasher: Xxh3,
    tokens: u64,
    marks: usize,
    prefixes: Vec<Prefix>,
}

impl Reader {
    fn read(model: &str, body: &Value) -> Result<Self, Problem> {
        let mut reader = Self {
            instructions: String::new(),
            texts: String::new(),
            hasher: Xxh3::new(),
            tokens: 0,
            marks: 0,
            prefixes: Vec::new(),
        };
        reader.hasher.update(model.as_bytes());
        for tool in body["tools"].as_array().into_iter().flatten() {
            reader.pass(&tool.to_string(), &tool["cache_control"])?;
        }
        reader.system(&body["system"])?;
        reader.messages(&body["messages"])?;
        if !body["cache_control"].is_null() {
            reader.mark(&body["cache_control"])?;
        }
        if reader.marks > CACHE_MARKS_MAX {
            return Err(Problem::invalid(format!(
                "A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided. Found {}.",
                reader.marks
            )));
        }
        Ok(reader)
    }

    fn system(&mut self, system: &Value) -> Result<(), Problem> {
        match system {
            Value::Null => Ok(()),
            Value::String(text) => {
                self.instructions.push_str(text);
                self.pass(text, &Value::Null)
            }
            Value::Array(blocks) => {
                for (place, block) in blocks.iter().enumerate() {
                    let text = text_in(block, || format!("system.{place}"))?;
                    self.instructions.push_str(text);
                    self.instructions.push('\n');
                    self.pass(text, &block["cache_control"])?;
                }
                Ok(())
            }
            _ => Err(Problem::invalid(
                "system: must be a text or a list of blocks",
            )),
        }
    }

    fn messages(&mut self, messages: &Value) -> Result<(), Problem> {
        let Some(messages) = messages.as_array() else {
            return Err(Problem::invalid("messages: Field required"));
        };
        if messages.is_empty() {
            return Err(Problem::invalid(
                "messages: at least one message is required",
            ));
        }
        for (place, message) in messages.iter().enumerate() {
            let role = message["role"].as_str().unwrap_or_default();
            if !matches!(role, "user" | "assistant") {
                let message =
                    format!("messages.{place}.role: Input should be 'user' or 'assistant'");
                return Err(Problem::invalid(message));
            }
            if place == 0 && role != "user" {
                return Err(Problem::invalid(
                    "messages: first message must use the \"user\" role",
                ));
            }
            self.hasher.update(role.as_bytes());
            self.content(&message["content"], place)?;
        }
        Ok(())
    }

    fn content(&mut self, content: &Value, place: usize) -> Result<(), Problem> {
        match content {
            Value::String(text) if !text.is_empty() => self.say(text, &Value::Null),
            Value::Array(blocks) if !blocks.is_empty() => {
                for (number, block) in blocks.iter().enumerate() {
                    if block["type"] == "text" {
                        let text = text_in(block, || format!("messages.{place}.content.{number}"))?;
                        self.say(text, &block["cache_control"])?;
                    } else {
                        // Pictures and tools count as what they weigh, and say nothing.
                        self.pass(&block.to_string(), &block["cache_control"])?;
                    }
                }
                Ok(())
            }
            Value::String(_) | Value::Array(_) => Err(Problem::invalid(format!(
                "messages.{place}: all messages must have non-empty content"
            ))),
            _ => Err(Problem::invalid(format!(
                "messages.{place}.content: Field required"
            ))),
        }
    }

    fn say(&mut self, text: &str, mark: &Value) -> Result<(), Problem> {
        self.texts.push_str(text);
        self.texts.push_str("\n\n");
        self.pass(text, mark)
    }

    fn pass(&mut self, text: &str, mark: &Value) -> Result<(), Problem> {
        self.hasher.update(text.as_bytes());
        // So that two blocks are not the same as one.
        self.hasher.update(&[0xff]);
        self.tokens += tokens_of(text);
        match mark {
            Value::Null => Ok(()),
            mark => self.mark(mark),
        }
    }

    fn mark(&mut self, mark: &Value) -> Result<(), Problem> {
        if mark["type"] != "ephemeral" {
            return Err(Problem::invalid(
                "cache_control.type: Input should be 'ephemeral'",
            ));
        }
        let lives_us = match &mark["ttl"] {
            Value::Null => FIVE_MINUTES_US,
            ttl if ttl == "5m" => FIVE_MINUTES_US,
            ttl if ttl == "1h" => HOUR_US,
            _ => {
                return Err(Problem::invalid(
                    "cache_control.ttl: Input should be '5m' or '1h'",
                ));
            }
        };
        self.marks += 1;
        self.prefixes.push(Prefix {
            hash: self.hasher.digest(),
            tokens: self.tokens,
            lives_us,
        });
        Ok(())
    }
}

fn text_in(block: &Value, path: impl Fn() -> String) -> Result<&str, Problem> {
    match block["text"].as_str() {
        Some("") => Err(Problem::invalid(format!(
            "{}: text content blocks must be non-empty",
            path()
        ))),
        Some(text) => Ok(text),
        None => Err(Problem::invalid(format!("{}.text: Field required", path()))),
    }
}

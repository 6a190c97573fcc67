//! What a request for a completion must look like, and what it asks for.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::simulator::cache::Prefix;
use crate::simulator::problem::Problem;
use crate::simulator::prompt::{fingerprint, matter_of, tokens_of};
use crate::simulator::reply::Ask;

/// The most tokens of a reply if the request does not say.
const OUTPUT_TOKENS_DEFAULT: u64 = 4_096;

/// How long the beginning of a prompt stays cached.
const CACHED_US: u64 = 5 * 60 * 1_000_000;

/// Cached tokens are told in steps of so many.
const CACHE_STEP_TOKENS: u64 = 128;

/// Reads a request for a completion.
pub(super) fn ask_of(body: &Value) -> Result<Ask, Problem> {
    let model = body["model"].as_str().filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Problem::invalid("you must provide a model parameter"))?;
    let stream = match &body["stream"] {
        Value::Null => false,
        Value::Bool(stream) => *stream,
        _ => return Err(Problem::invalid("'stream' must be a boolean")),
    };
    let Some(messages) = body["messages"].as_array().filter(|list| !list.is_empty()) else {
        return Err(Problem::invalid(
            "'messages' must be a list of at least one",
        ));
    };
    let mut instructions = String::new();
    let mut texts = String::new();
    let mut input_tokens = 0;
    for (place, message) in messages.iter().enumerate() {
        let text = text_of(&message["content"], place)?;
        input_tokens += tokens_of(&text);
        match message["role"].as_str() {
            Some("system" | "developer") => push(&mut instructions, &text),
            Some("user" | "assistant" | "tool") => push(&mut texts, &text),
            _ => {
                let message = format!(
                    "'messages[{place}].role' must be one of system, developer, user, assistant, \
                     tool"
                );
                return Err(Problem::invalid(message));
            }
        }
    }
    Ok(Ask {
        model: model.to_owned(),
        output_tokens_max: output_tokens_max(body)?,
        stream,
        tell_usage: body["stream_options"]["include_usage"] == true,
        tell_cache_writes: false,
        input_tokens,
        prefixes: vec![prefix_of(model, &instructions)],
        matter: matter_of(&instructions, &texts),
        fingerprint: fingerprint(&instructions, &texts),
    })
}

fn output_tokens_max(body: &Value) -> Result<u64, Problem> {
    let [new, old] = ["max_completion_tokens", "max_tokens"].map(|name| (name, &body[name]));
    if !new.1.is_null() && !old.1.is_null() {
        return Err(Problem::invalid(
            "'max_tokens' and 'max_completion_tokens' cannot be given together",
        ));
    }
    let (name, value) = if new.1.is_null() { old } else { new };
    match value {
        Value::Null => Ok(OUTPUT_TOKENS_DEFAULT),
        value => value
            .as_u64()
            .filter(|tokens| *tokens > 0)
            .ok_or_else(|| Problem::invalid(format!("'{name}' must be at least 1"))),
    }
}

/// This provider caches by itself: the instructions, which are what calls have in common.
fn prefix_of(model: &str, instructions: &str) -> Prefix {
    let seed = xxh3_64_with_seed(model.as_bytes(), 1);
    Prefix {
        hash: xxh3_64_with_seed(instructions.as_bytes(), seed),
        tokens: tokens_of(instructions) / CACHE_STEP_TOKENS * CACHE_STEP_TOKENS,
        lives_us: CACHED_US,
    }
}

fn text_of(content: &Value, place: usize) -> Result<String, Problem> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            Ok(texts.collect::<Vec<_>>().join("\n\n"))
        }
        _ => Err(Problem::invalid(format!(
            "'messages[{place}].content' must be a text or a list of parts"
        ))),
    }
}

fn push(all: &mut String, text: &str) {
    all.push_str(text);
    all.push_str("\n\n");
}

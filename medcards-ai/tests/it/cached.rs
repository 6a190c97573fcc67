//! The prompt cache: marked is what is repeated and long enough, and it is priced as it is billed.

use medcards_ai::{AnthropicProvider, PriceTable, PromptCache};
use medcards_core::ai::{AiProvider, Prompt, PromptPart};
use medcards_core::spend::TokenUsage;
use serde_json::Value;

use crate::sample::{ask, openai, prompt};
use crate::server::{Answer, Server};
use crate::streams::ANTHROPIC;

const LONG: usize = 600;

/// A chat: a case, a question, an answer and another question, after instructions of this length.
fn chat(instructions: usize, cache_through: Option<usize>) -> Prompt {
    Prompt {
        instructions: "i".repeat(instructions),
        parts: vec![
            PromptPart::Case("c".repeat(LONG)),
            PromptPart::Case("d".repeat(LONG)),
            PromptPart::Student("Why?".to_owned()),
            PromptPart::Coach("Because.".to_owned()),
            PromptPart::Coach(" ".to_owned()),
            PromptPart::Student("And?".to_owned()),
        ],
        cache_through,
        ..prompt()
    }
}

async fn sent(provider: &dyn AiProvider, server: &Server, prompt: Prompt) -> Value {
    ask(provider, prompt).await.failure();
    serde_json::from_slice(&server.requests().last().unwrap().body).unwrap()
}

fn anthropic(url: &str, cache: PromptCache) -> AnthropicProvider {
    let provider = AnthropicProvider::builder("claude-haiku-5-5").with_base_url(url);
    provider.with_prompt_cache(cache).build().unwrap()
}

/// The first letters of the blocks that are marked, and how each is.
fn marks(body: &Value) -> Vec<(String, Value)> {
    let messages = body["messages"].as_array().unwrap();
    let blocks = messages
        .iter()
        .flat_map(|m| m["content"].as_array().unwrap());
    let system = body["system"].as_array().into_iter().flatten();
    system
        .chain(blocks)
        .filter(|block| block.get("cache_control").is_some())
        .map(|block| {
            let text = block["text"].as_str().unwrap();
            let text = text.split('\n').nth(1).unwrap_or(text);
            (
                text.chars().take(3).collect(),
                block["cache_control"].clone(),
            )
        })
        .collect()
}

#[tokio::test]
async fn what_is_repeated_is_marked_where_it_can_be_long_enough() {
    let server = Server::start(Answer::json(500, "{}")).await;
    let provider = anthropic(&server.url, PromptCache::FiveMinutes);
    for (instructions, cache_through, marked) in [
        (LONG, None, vec![]),
        (LONG, Some(0), vec!["iii"]),
        (511, Some(0), vec![]),
        (512, Some(0), vec!["iii"]),
        (0, Some(0), vec![]),
        (LONG, Some(1), vec!["iii", "ccc"]),
        (10, Some(2), vec!["ddd"]),
        (LONG, Some(3), vec!["iii", "ddd", "Why"]),
        (LONG, Some(4), vec!["iii", "ddd", "Bec"]),
        // What is not sent ends where the part before it does.
        (LONG, Some(5), vec!["iii", "ddd", "Bec"]),
        (LONG, Some(6), vec!["iii", "ddd", "And"]),
        (0, Some(999), vec!["ddd", "And"]),
    ] {
        let prompt = chat(instructions, cache_through);
        let body = sent(&provider, &server, prompt.clone()).await;
        let marks = marks(&body);
        let texts: Vec<_> = marks.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, marked, "{instructions} {cache_through:?}");
        for (_, mark) in &marks {
            assert_eq!(*mark, serde_json::json!({ "type": "ephemeral" }));
        }
        if instructions == 0 {
            assert!(body.get("system").is_none(), "no empty block is sent");
        }
        // A mark changes nothing of the words.
        let unmarked = Prompt {
            cache_through: None,
            ..prompt
        };
        let plain = sent(&provider, &server, unmarked).await;
        assert_eq!(words(&body), words(&plain));
    }
}

fn words(body: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(|b| b["text"].as_str().unwrap()).collect(),
        _ => String::new(),
    };
    let messages = body["messages"].as_array().unwrap();
    let messages: String = messages
        .iter()
        .map(|message| text(&message["content"]))
        .collect();
    format!("{}|{messages}", text(&body["system"]))
}

#[tokio::test]
async fn the_time_to_keep_it_is_as_configured() {
    let server = Server::start(Answer::json(500, "{}")).await;
    let hour = anthropic(&server.url, PromptCache::OneHour);
    let body = sent(&hour, &server, chat(LONG, Some(0))).await;
    let mark = serde_json::json!({ "type": "ephemeral", "ttl": "1h" });
    assert_eq!(marks(&body), [("iii".to_owned(), mark)]);
    let off = anthropic(&server.url, PromptCache::Off);
    let body = sent(&off, &server, chat(LONG, Some(6))).await;
    assert!(!body.to_string().contains("cache_control"));
    assert!(body["system"].is_string());
    // Servers of the other interface remember by themselves.
    let body = sent(&openai(&server.url), &server, chat(LONG, Some(6))).await;
    assert!(!body.to_string().contains("cache"));
}

#[tokio::test]
async fn what_is_written_to_the_cache_costs_what_its_time_costs() {
    let body = ANTHROPIC.replace(
        "\"cache_creation_input_tokens\":0",
        "\"cache_creation_input_tokens\":1000000",
    );
    assert_ne!(body, ANTHROPIC, "the fixture tells what was written");
    let server = Server::start(Answer::events(body)).await;
    let listed = PriceTable::built_in().find("claude-haiku-5-5").unwrap();
    for (cache, write) in [
        (PromptCache::FiveMinutes, 125_000),
        (PromptCache::OneHour, 200_000),
    ] {
        let provider = anthropic(&server.url, cache);
        let (_, usage) = ask(&provider, prompt()).await.end.unwrap();
        assert_eq!(usage.cache_write, 1_000_000);
        let written = TokenUsage {
            cache_write: usage.cache_write,
            ..TokenUsage::default()
        };
        assert_eq!(provider.price().cost(written).get(), write, "{cache:?}");
        // The reservation covers a prompt that is written as a whole.
        let worst = provider.price().worst_case(1_000_000, 0).get();
        assert!(worst >= write, "{cache:?}");
        assert_eq!(provider.price().input, listed.live.input);
        assert_eq!(provider.batches().unwrap().price(), listed.batch);
    }
}

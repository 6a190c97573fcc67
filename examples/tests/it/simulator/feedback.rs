use std::collections::BTreeSet;

use medcards::ai::{FeedbackPrompt, Prompt, PromptPart, Rejection, Reply, StopReason};
use medcards::case::{Case, CaseVersion};
use medcards::feedback::FeedbackKey;
use medcards::providers::FeedbackTemplate;
use medcards::spend::{MicroDollars, TokenUsage};
use medcards::user::Level;
use medcards::{CaseId, Timestamp};
use medcards_examples::deck::deck;
use medcards_examples::simulator::{Behaviour, Script};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Server, json_of, message};

fn cases() -> Vec<Case> {
    let id: CaseId = "0190b7a8-1c5e-7000-8000-000000000001".parse().unwrap();
    let content = deck().unwrap().into_iter();
    content
        .map(|content| Case {
            id,
            version: CaseVersion::FIRST,
            published_at: Timestamp::UNIX_EPOCH,
            content,
        })
        .collect()
}

fn key(case: &Case, chosen: impl IntoIterator<Item = usize>) -> FeedbackKey {
    FeedbackKey {
        case_id: case.id,
        case_version: case.version,
        chosen: chosen.into_iter().collect(),
        locale: "en".parse().unwrap(),
        prompt_version: FeedbackTemplate::new().version(Level::default()),
        model: "claude-haiku-4-5".parse().unwrap(),
    }
}

fn request(prompt: &Prompt) -> Value {
    let texts: Vec<_> = prompt
        .parts
        .iter()
        .map(|part| {
            let tag = match part {
                PromptPart::Student(_) => "student",
                _ => "case",
            };
            json!({ "type": "text", "text": format!("<{tag}>\n{}\n</{tag}>", part.text()) })
        })
        .collect();
    let mut request = message(false);
    request["system"] = json!(prompt.instructions);
    request["messages"][0]["content"] = json!(texts);
    request
}

async fn reply(server: &Server, request: &Value) -> String {
    let reply = json_of(server.message(request).await, StatusCode::OK).await;
    reply["content"][0]["text"].as_str().unwrap().to_owned()
}

fn check(case: &Case, key: &FeedbackKey, text: &str) -> Result<String, Rejection> {
    let reply = Reply {
        text: text.to_owned(),
        stop: StopReason::Complete,
        usage: TokenUsage::default(),
        model: key.model.clone(),
        cost: MicroDollars::ZERO,
    };
    FeedbackTemplate::new().check(case, key, &reply)
}

fn numbers(text: &str) -> BTreeSet<&str> {
    let numbers = text.split(|char: char| !char.is_numeric());
    numbers.filter(|number| !number.is_empty()).collect()
}

#[tokio::test]
async fn feedback_on_every_case_of_the_deck_keeps_to_the_rules_of_the_prompt() {
    let server = Server::start(Script::default()).await;
    for case in cases() {
        let options = case.content.options();
        let single = (0..options.len()).map(|position| vec![position]);
        for chosen in single.chain([vec![], vec![0, 1]]) {
            let key = key(&case, chosen.iter().copied());
            let prompt = FeedbackTemplate::new().shared(&case, &key);
            let request = request(&prompt);
            let text = reply(&server, &request).await;
            check(&case, &key, &text).unwrap_or_else(|why| panic!("{why:?}: {text}"));

            let paragraphs: Vec<_> = text.split("\n\n").collect();
            assert_eq!(paragraphs.len(), 4, "{text}");
            let words = text.split_whitespace().count();
            assert!((120..=180).contains(&words), "{words} words: {text}");
            for position in &chosen {
                assert!(paragraphs[0].contains(&options[*position].text), "{text}");
            }
            for position in case.content.right_options().positions() {
                assert!(paragraphs[2].contains(&options[position].text), "{text}");
            }
            let prompt: String = prompt.parts.iter().map(PromptPart::text).collect();
            let invented: Vec<_> = numbers(&text)
                .difference(&numbers(&prompt))
                .copied()
                .collect();
            assert!(invented.is_empty(), "{invented:?}: {text}");
        }
    }
}

#[tokio::test]
async fn replies_to_one_prompt_vary() {
    let server = Server::start(Script::default()).await;
    let case = &cases()[0];
    let request = request(&FeedbackTemplate::new().shared(case, &key(case, [0])));
    let mut texts = BTreeSet::new();
    for _ in 0..10 {
        texts.insert(reply(&server, &request).await);
    }
    assert!(texts.len() > 5, "{}", texts.len());
}

#[tokio::test]
async fn unfit_replies_break_the_rules() {
    let case = &cases()[0];
    let key = key(case, [0]);
    let prompt = FeedbackTemplate::new().shared(case, &key);
    let given: String = prompt.parts.iter().map(PromptPart::text).collect();
    let behaviours = [
        Behaviour::UnfitShort,
        Behaviour::UnfitLetter,
        Behaviour::UnfitNumber,
    ];
    let server = Server::start(Script {
        next: behaviours.to_vec(),
        ..Script::default()
    })
    .await;
    let short = reply(&server, &request(&prompt)).await;
    assert_eq!(check(case, &key, &short), Err(Rejection::TooShort));
    let letter = reply(&server, &request(&prompt)).await;
    assert!(matches!(
        check(case, &key, &letter),
        Err(Rejection::Unfit(_))
    ));
    let number = reply(&server, &request(&prompt)).await;
    assert!(!numbers(&number).is_subset(&numbers(&given)), "{number}");
}

#[tokio::test]
async fn a_share_of_replies_is_unfit() {
    let case = &cases()[0];
    let key = key(case, [0]);
    let request = request(&FeedbackTemplate::new().shared(case, &key));
    let server = Server::start(Script {
        shares: [(Behaviour::Unfit, 1.0)].into(),
        ..Script::default()
    })
    .await;
    let mut kinds = BTreeSet::new();
    for _ in 0..20 {
        let text = reply(&server, &request).await;
        kinds.insert(format!("{:?}", check(case, &key, &text).err()));
    }
    assert!(kinds.len() >= 3, "{kinds:?}");
    assert_eq!(server.calls("unfit"), 20);
}

#[tokio::test]
async fn a_chat_gets_a_few_sentences_without_a_number() {
    let server = Server::start(Script::default()).await;
    let mut request = message(false);
    request["system"] = json!("You are a coach.");
    for _ in 0..10 {
        let text = reply(&server, &request).await;
        let words = text.split_whitespace().count();
        assert!((30..120).contains(&words), "{text}");
        assert!(numbers(&text).is_empty(), "{text}");
    }
}

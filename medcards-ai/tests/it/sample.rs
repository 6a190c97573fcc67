//! A case, a key, a prompt and providers to test with.

use futures_util::StreamExt;
use medcards_ai::{AnthropicProvider, FeedbackTemplate, OpenAiProvider};
use medcards_core::CaseId;
use medcards_core::ai::{
    AiEvent, AiFailure, AiProvider, AiRequest, FeedbackPrompt, ModelId, Prompt, StopReason,
};
use medcards_core::case::{
    Case, CaseRecord, CaseVersion, OptionOrdering, OptionRecord, VignetteRecord,
};
use medcards_core::feedback::FeedbackKey;
use medcards_core::spend::{Price, Purpose, TokenUsage};
use medcards_core::user::Level;
use secrecy::SecretString;

pub(crate) const KEY: &str = "sk-a-very-secret-key";

pub(crate) fn case() -> Case {
    case_with(OptionOrdering::Shuffled)
}

pub(crate) fn case_with(ordering: OptionOrdering) -> Case {
    let option = |key: &str, text: &str, explanation: &str| OptionRecord {
        key: key.to_owned(),
        text: text.to_owned(),
        explanation: Some(explanation.to_owned()),
    };
    let record = CaseRecord {
        id: "hyperkalaemia-1".to_owned(),
        stem: "Which drug should be stopped first?".to_owned(),
        vignette: vec![
            VignetteRecord {
                label: "History".to_owned(),
                text: "A 71-year-old woman with heart failure feels weak.".to_owned(),
            },
            VignetteRecord {
                label: "Laboratory".to_owned(),
                text: "Potassium 6.8 mmol/L, creatinine 160 µmol/L.".to_owned(),
            },
        ],
        options: vec![
            option("A", "Bisoprolol", "Beta blockers raise potassium little."),
            option(
                "B",
                "Spironolactone",
                "It keeps potassium back, and here the kidneys fail.",
            ),
            option("C", "Furosemide", "It lowers potassium."),
        ],
        answer_keys: vec!["B".to_owned()],
        option_ordering: Some(ordering),
        explanation: Some("Hyperkalaemia above 6.5 mmol/L is an emergency.".to_owned()),
        specialty: Some("Cardiology".to_owned()),
        ..CaseRecord::default()
    };
    Case {
        id: "0190b7a8-1c5e-7000-8000-000000000001"
            .parse::<CaseId>()
            .unwrap(),
        version: CaseVersion::FIRST,
        published_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        content: record.into_content().unwrap().0,
    }
}

/// A case with two right options of five.
pub(crate) fn case_of_several() -> Case {
    let option = |key: &str, text: &str| OptionRecord {
        key: key.to_owned(),
        text: text.to_owned(),
        explanation: None,
    };
    let record = CaseRecord {
        id: "anaphylaxis-1".to_owned(),
        stem: "Which two steps come first?".to_owned(),
        vignette: vec![VignetteRecord {
            label: "Presentation".to_owned(),
            text:
                "Ten minutes after a wasp sting a 34-year-old man has hives, a hoarse voice and a \
                   blood pressure of 78/40 mmHg."
                    .to_owned(),
        }],
        options: vec![
            option("A", "Adrenaline 0.5 mg into the thigh muscle"),
            option("B", "Lying flat with raised legs"),
            option("C", "Hydrocortisone by vein"),
            option("D", "Cetirizine by mouth"),
            option("E", "Sitting upright"),
        ],
        answer_keys: vec!["A".to_owned(), "B".to_owned()],
        explanation: Some("Adrenaline is the only drug that stops anaphylaxis.".to_owned()),
        ..CaseRecord::default()
    };
    Case {
        content: record.into_content().unwrap().0,
        ..case()
    }
}

/// The key of choosing the option at a position, in a language.
pub(crate) fn key(position: usize, locale: &str) -> FeedbackKey {
    key_of(&[position], locale, Level::default())
}

/// The key of choosing the options at these positions, in a language and for a level.
pub(crate) fn key_of(positions: &[usize], locale: &str, level: Level) -> FeedbackKey {
    let case = case();
    FeedbackKey {
        case_id: case.id,
        case_version: case.version,
        chosen: positions.iter().copied().collect(),
        locale: locale.parse().unwrap(),
        prompt_version: FeedbackTemplate::new().version(level),
        model: "claude-haiku-4-5".parse::<ModelId>().unwrap(),
    }
}

pub(crate) fn prompt() -> Prompt {
    FeedbackTemplate::new().shared(&case(), &key(2, "en"))
}

pub(crate) fn anthropic(url: &str) -> AnthropicProvider {
    AnthropicProvider::builder("claude-haiku-4-5")
        .with_base_url(url)
        .with_key(SecretString::from(KEY))
        .build()
        .unwrap()
}

pub(crate) fn openai(url: &str) -> OpenAiProvider {
    OpenAiProvider::builder("gpt-test")
        .with_base_url(url)
        .with_key(SecretString::from(KEY))
        .with_price(Price::default())
        .build()
        .unwrap()
}

/// Both providers of models, asking one server.
pub(crate) fn providers(url: &str) -> [Box<dyn AiProvider>; 2] {
    [Box::new(anthropic(url)), Box::new(openai(url))]
}

/// All that a call gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) deltas: Vec<String>,
    pub(crate) end: Result<(StopReason, TokenUsage), AiFailure>,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        self.deltas.concat()
    }

    pub(crate) fn failure(self) -> AiFailure {
        self.end.unwrap_err()
    }
}

/// Asks, and checks what holds for every call: no empty delta, one end, nothing after it.
pub(crate) async fn ask(provider: &dyn AiProvider, prompt: Prompt) -> Outcome {
    let mut deltas = Vec::new();
    let mut events = match provider.stream(request(prompt)).await {
        Ok(events) => events,
        Err(failure) => {
            return Outcome {
                deltas,
                end: Err(failure),
            };
        }
    };
    let end = loop {
        match events.next().await {
            Some(Ok(AiEvent::Delta(delta))) => {
                assert!(!delta.is_empty(), "no delta is empty");
                deltas.push(delta);
            }
            Some(Ok(AiEvent::End(end))) => break Ok((end.stop, end.usage)),
            Some(Ok(other)) => panic!("unexpected event {other:?}"),
            Some(Err(failure)) => break Err(failure),
            None => panic!("the stream ended without an end or a failure"),
        }
    };
    assert!(events.next().await.is_none(), "nothing comes after the end");
    Outcome { deltas, end }
}

/// A request for feedback on nobody's behalf.
pub(crate) fn request(prompt: Prompt) -> AiRequest {
    AiRequest::new(Purpose::Feedback, prompt)
}

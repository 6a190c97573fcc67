//! The cases that are imported before the students come.

use serde_json::{Value, json};

use super::step::{JSON, Step};

/// Cases besides the deck, made to be found or not, and to be refused.
pub(super) fn imports() -> Vec<Step> {
    let mut lines: Vec<String> = prepared().iter().map(Value::to_string).collect();
    let mut explained = case("letters", "Which letter?");
    explained["options"][0]["explanation"] = json!("Option B is wrong, unlike A.");
    explained["surprise"] = json!({"deep": [1]});
    lines.insert(2, explained.to_string());
    let broken = [
        "not json".to_owned(),
        "{\"id\":".to_owned(),
        "null".to_owned(),
        json!({"id": "empty"}).to_string(),
        with(case("no-answer", "Which?"), "answer_keys", json!([])),
        with(
            case("strange-answer", "Which?"),
            "answer_keys",
            json!(["Z"]),
        ),
        with(case("nul", "Which\u{0}?"), "topic", json!("a")),
        with(case("long", "Which?"), "topic", json!("a".repeat(201))),
        with(
            case("long-stem", "Which?"),
            "stem",
            json!("a".repeat(33_000)),
        ),
        with(case("language", "Which?"), "lang", json!("not a language")),
        with(case("letters", "Which other letter?"), "topic", json!("b")),
        json!({"id": "station", "OSCE_Examination": {}}).to_string(),
        String::new(),
        "{\"id\": \"half a pair \\ud800\"}".to_owned(),
    ];
    lines.extend(broken);
    vec![
        Step::import(&lines),
        Step::import(&lines),
        // As one JSON value.
        Step {
            headers: vec![("content-type", JSON.to_owned())],
            ..Step::import(&[serde_json::to_string_pretty(&prepared()[0]).unwrap()])
        },
    ]
}

pub(super) fn with(mut case: Value, name: &str, value: Value) -> String {
    case[name] = value;
    case.to_string()
}

pub(super) fn case(id: &str, stem: &str) -> Value {
    json!({
        "id": id, "source": "trace", "stem": stem, "answer_keys": ["B"],
        "options": [
            {"key": "A", "text": "This", "explanation": "Not this."},
            {"key": "B", "text": "That", "explanation": "Just that."},
            {"key": "C", "text": "Neither"},
        ],
    })
}

/// Cases in several languages, and those between which a search has to decide.
fn prepared() -> Vec<Value> {
    let cases = json!([
        {"id": "leading", "stem": "Which vaccine does a quokka need?", "specialty": "Zoology"},
        {"id": "passing", "stem": "Which of these?", "specialty": "Zoology", "vignette": [
            {"label": "Story", "text": "A man who came from far away, where he had lived with his family \
             for years and kept a quokka among other animals, has had a cough for three weeks."},
        ]},
        {"id": "neither", "stem": "Which of those?", "specialty": "Zoology"},
        {"id": "french", "lang": "fr", "stem": "Quelle est la cause de l'œdème aigu du poumon ?",
         "specialty": "ÉPIDÉMIOLOGIE", "topic": "Cœur"},
        {"id": "french-two", "lang": "fr", "stem": "Méningite à l’hôpital : que faire ?",
         "specialty": "Épidémiologie"},
        {"id": "german", "lang": "de", "stem": "Welche Maßnahme hilft gegen Übelkeit?",
         "specialty": "Straße"},
        {"id": "russian", "lang": "ru", "stem": "Инфаркт миокарда: что делать?"},
        {"id": "greek", "lang": "el", "stem": "Ποια είναι η αιτία του πυρετού; Σήψις και άνθραξ"},
        {"id": "japanese", "lang": "ja", "stem": "心筋梗塞の最初の治療はどれか。"},
        {"id": "hindi", "lang": "hi", "stem": "हृदय रोग का कारण क्या है?"},
        {"id": "arabic", "lang": "ar", "stem": "ما هو سَبَبُ الحُمَّى؟"},
        {"id": "signs", "stem": "Is 12.5 µg/L of β-hCG or 10⁹/L — I²C, ﬁbrin, ½ x_y — normal?",
         "topic": "İstanbul ﬆ Ⅷ 🫀 a\u{301}b; Nguyễn, Řezníček, Žižka, Łódź, Çelik"},
        {"id": "several", "stem": "Which two?", "answer_keys": ["A", "C"], "lang": "pt-BR",
         "difficulty": "hard", "tags": ["two"], "licence": "CC0", "media": [
            {"url": "https://example.org/a.png", "media_type": "image/png", "alt": "An A"},
        ], "references": ["A book"], "explanation": "Both."},
    ]);
    let merged = cases.as_array().unwrap().iter().map(|given| {
        let mut merged = case("", "");
        for (name, value) in given.as_object().unwrap() {
            merged[name] = value.clone();
        }
        merged
    });
    merged.collect()
}

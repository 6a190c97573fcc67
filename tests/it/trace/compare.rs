//! What must be the same, and what may not be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use regex::{Captures, Regex};
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

use super::play::Seen;

/// The headers that differ from reply to reply: when it was sent, how long it is with the cursors and
/// times in it, and where the store stood.
const HEADERS_ASIDE: [&str; 3] = ["content-length", "date", "medcards-consistency"];

static ID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap()
});

static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z").unwrap()
});

/// Puts aside what one server makes for itself.
///
/// An id that is not shared becomes the number of its first sight, so that the same id must come back
/// at the same places. An instant that is not shared becomes a word, a cursor whether there is one.
#[derive(Debug, Default)]
pub(super) struct Aside {
    shared: BTreeSet<String>,
    ids: HashMap<String, usize>,
}

impl Aside {
    pub(super) fn share(&mut self, texts: &BTreeSet<String>) {
        self.shared.extend(texts.iter().cloned());
    }

    pub(super) fn headers(&mut self, headers: &HeaderMap) -> Value {
        let mut kept: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            if !HEADERS_ASIDE.contains(&name.as_str()) {
                let value = self.text(value.to_str().unwrap());
                kept.entry(name.as_str()).or_default().push(value);
            }
        }
        json!(kept)
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        let text = INSTANT.replace_all(text, |found: &Captures<'_>| {
            match self.shared.contains(&found[0]) {
                true => found[0].to_owned(),
                false => "(an instant)".to_owned(),
            }
        });
        let Self { shared, ids } = self;
        let text = ID.replace_all(&text, |found: &Captures<'_>| {
            if shared.contains(&found[0]) {
                return found[0].to_owned();
            }
            let next = ids.len() + 1;
            let number = ids.entry(found[0].to_owned()).or_insert(next);
            format!("(id {number})")
        });
        text.into_owned()
    }

    fn number(&mut self, id: &str) -> String {
        let next = self.ids.len() + 1;
        let number = self.ids.entry(id.to_owned()).or_insert(next);
        format!("(id {number})")
    }

    pub(super) fn json(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) if is_session_id(&text) => self.number(&text).into(),
            Value::String(text) => self.text(&text).into(),
            Value::Array(items) => {
                let items = items.into_iter().filter(|item| !is_slow_cache(item));
                items.map(|item| self.json(item)).collect()
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| {
                    let value = match (name.as_str(), value) {
                        ("next_cursor" | "token", Value::String(_)) => json!("(opaque)"),
                        ("latency_us", Value::Number(_)) => json!("(a time)"),
                        (_, value) => self.json(value),
                    };
                    (name, value)
                });
                fields.collect::<Map<_, _>>().into()
            }
            other => other,
        }
    }
}

/// Whether a tier says that the cache in Redis took longer than it may: on a busy machine one reply
/// is without it, and the same.
fn is_slow_cache(item: &Value) -> bool {
    item["tier"] == "remote" && item["outcome"] == "failed"
}

/// Whether a text is what names a session to its user.
fn is_session_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Puts options and what is said of each in the order of their keys, where the order comes from an id
/// that a server made.
pub(super) fn unshuffled(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(unshuffled).collect();
            if items.iter().all(|item| item["key"].is_string()) {
                items.sort_by_key(|item| item["key"].as_str().map(str::to_owned));
            }
            items.into()
        }
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, unshuffled(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Where the second saw something else than the first.
pub(super) fn differences(first: &Seen, second: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &first.0, &second.0, &mut found);
    found
}

fn compare(place: &str, first: &Value, second: &Value, found: &mut Vec<String>) {
    match (first, second) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for name in names {
                let at = |fields: &Map<String, Value>| fields.get(name).cloned();
                let place = format!("{place}/{name}");
                match (at(one), at(other)) {
                    (Some(one), Some(other)) => compare(&place, &one, &other, found),
                    (one, other) => found.push(format!("{place}: {one:?}, but {other:?}")),
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{place}/{index}"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{place}: {one}, but {other}")),
    }
}

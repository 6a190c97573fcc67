use medcards::Error;
use medcards::case::CaseRecord;
use medcards::http::import::{ImportedCase, RecordLines, SeenCases};
use serde_json::Value;

use super::source::Line;

/// What became of one record of a file.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a place and a result")]
pub struct Entry {
    /// The line in the file on which it begins, from 1.
    pub line: u64,
    /// The case, or why there is none.
    pub record: Result<ImportedCase, Refused>,
}

impl Entry {
    /// The same, unless an earlier record was the same case with another content.
    pub(super) fn admitted(self, seen: &mut SeenCases) -> Self {
        let line = self.line;
        let record = self.record.and_then(|case| {
            let record = CaseRecord::from(case.content.clone());
            seen.admit(line, case).map_err(|error| Refused {
                reason: reason(&error),
                record: serde_json::to_value(record).unwrap_or_default(),
            })
        });
        Self { line, record }
    }
}

/// A record that is not a case.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a reason and a record")]
pub struct Refused {
    /// Why not.
    pub reason: String,
    /// The record: as JSON if it is, else as text; null if it is too long to hold.
    pub record: Value,
}

/// Turns a record into a case, or says why it is none.
pub(super) fn decode(line: Line) -> Entry {
    let Line { number, json } = line;
    let record = match json {
        Err(reason) => Err(Refused {
            reason,
            record: Value::Null,
        }),
        Ok(json) => accept(&json).map_err(|reason| Refused {
            reason,
            record: value_of(&json),
        }),
    };
    Entry {
        line: number,
        record,
    }
}

fn accept(json: &[u8]) -> Result<ImportedCase, String> {
    let mut lines = RecordLines::new();
    lines.push(json);
    match lines.finish() {
        Some(line) => line.record.map_err(|error| reason(&error)),
        None => Err("the record is empty".to_owned()),
    }
}

/// What is wrong, without saying that it was reading that failed.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    let operation = format!("{}: ", error.operation());
    text.strip_prefix(&operation).unwrap_or(&text).to_owned()
}

fn value_of(json: &[u8]) -> Value {
    serde_json::from_slice(json)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(json).into_owned()))
}

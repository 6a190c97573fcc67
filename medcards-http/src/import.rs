//! Case records, one JSON object a line, read from bytes as they arrive.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use bytes::{Buf, BytesMut};
use medcards_core::case::{CaseContent, CaseRecord, RecordNotice};
use medcards_core::{Error, ErrorKind, Result};

/// The most unknown fields of one record that are named.
const UNKNOWN_FIELDS_MAX: usize = 20;

/// The longest name of an unknown field that is repeated, in characters.
const FIELD_CHARS_MAX: usize = 64;

/// The longest reason that is given for a line, in characters.
const REASON_CHARS_MAX: usize = 300;

/// Cuts bytes into lines and reads each as a case.
///
/// A line that cannot be read is an error of that line alone. Blank lines are passed over, but
/// counted. Never holds more than one line and one chunk.
///
/// ```
/// use medcards_http::import::RecordLines;
///
/// let mut lines = RecordLines::new();
/// lines.push(b"{\"id\": \"1\", \"stem\": \"Which?\", \"options\": [{\"key\": \"A\", \"text\": \"This\"}, ");
/// assert!(lines.next_line().is_none());
/// lines.push(b"{\"key\": \"B\", \"text\": \"That\"}], \"answer_keys\": [\"B\"]}\nnonsense\n");
///
/// assert!(lines.next_line().unwrap().record.is_ok());
/// let broken = lines.next_line().unwrap();
/// assert_eq!((broken.number, broken.record.is_err()), (2, true));
/// assert!(lines.finish().is_none());
/// ```
#[derive(Debug, Default)]
pub struct RecordLines {
    buffer: BytesMut,
    /// How much of the buffer is known to have no line break.
    scanned: usize,
    /// The number of the last line that was read.
    number: u64,
    /// Whether what comes belongs to a line that was given up as too long.
    is_skipping: bool,
}

/// A line that is not blank.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a number and what stands there")]
pub struct RecordLine {
    /// The number of the line, from 1.
    pub number: u64,
    /// The case, or why the line is none.
    pub record: Result<ImportedCase>,
}

/// A case that was read from a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the reader alone")]
pub struct ImportedCase {
    /// The case.
    pub content: CaseContent,
    /// What its author should know.
    pub notices: Vec<RecordNotice>,
    /// The fields that nobody reads, with a star for each position in a list; at most 20.
    pub unknown_fields: Vec<String>,
}

/// The cases that one import has brought so far, so that one which comes twice with different
/// contents is refused: else importing the same file again would never come to rest.
///
/// Takes about 60 bytes a case. Beyond [`Self::CASES_MAX`] nothing more is remembered.
#[derive(Debug, Default)]
pub struct SeenCases {
    hasher: RandomState,
    /// By source and external id: the line, and the content.
    cases: HashMap<u64, (u64, u64)>,
}

impl SeenCases {
    /// The most cases that are remembered: 60 MB, fifty times the largest public collection of ours.
    pub const CASES_MAX: usize = 1_000_000;

    /// Lets a case pass that is new, or the same as before.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if an earlier line brought the same case with another content.
    pub fn admit(&mut self, line: u64, case: ImportedCase) -> Result<ImportedCase> {
        let content = &case.content;
        let name = self
            .hasher
            .hash_one((content.source(), content.external_id()));
        let hash = self.hasher.hash_one(content);
        match self.cases.get(&name) {
            Some((_, seen)) if *seen == hash => Ok(case),
            Some((first, _)) => Err(Error::new(
                ErrorKind::Invalid,
                "import case",
                format!("line {first} has a case of this source and id with another content"),
            )),
            None => {
                if self.cases.len() < Self::CASES_MAX {
                    self.cases.insert(name, (line, hash));
                }
                Ok(case)
            }
        }
    }
}

impl RecordLines {
    /// The longest line that is read, in bytes: eight times the longest text of a case.
    pub const LINE_BYTES_MAX: usize = 256 * 1024;

    /// Begins with line 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. Call [`next_line`](Self::next_line) until it has no more, then push on.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next line that is complete, or `None` until more is pushed.
    pub fn next_line(&mut self) -> Option<RecordLine> {
        loop {
            let found = self.buffer[self.scanned..]
                .iter()
                .position(|byte| *byte == b'\n');
            let Some(offset) = found else {
                return self.give_up_if_too_long();
            };
            let line = self.buffer.split_to(self.scanned + offset);
            self.buffer.advance(1);
            self.scanned = 0;
            if std::mem::take(&mut self.is_skipping) {
                continue;
            }
            if let Some(line) = self.read(&line) {
                return Some(line);
            }
        }
    }

    /// The last line, if the bytes do not end with a line break.
    pub fn finish(&mut self) -> Option<RecordLine> {
        let line = std::mem::take(&mut self.buffer);
        self.scanned = 0;
        if std::mem::take(&mut self.is_skipping) {
            return None;
        }
        self.read(&line)
    }

    /// The number of the last line that was read; 0 before the first.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    fn give_up_if_too_long(&mut self) -> Option<RecordLine> {
        self.scanned = self.buffer.len();
        if !self.is_skipping && self.buffer.len() <= Self::LINE_BYTES_MAX {
            return None;
        }
        self.buffer.clear();
        self.scanned = 0;
        if std::mem::replace(&mut self.is_skipping, true) {
            return None;
        }
        self.number += 1;
        Some(RecordLine {
            number: self.number,
            record: Err(too_long()),
        })
    }

    /// Reads a line; `None` if it is blank.
    fn read(&mut self, line: &[u8]) -> Option<RecordLine> {
        self.number += 1;
        let number = self.number;
        // Before it is trimmed, so that it does not matter how the bytes arrive.
        if line.len() > Self::LINE_BYTES_MAX {
            return Some(RecordLine {
                number,
                record: Err(too_long()),
            });
        }
        let mark: &[u8] = if number == 1 { b"\xef\xbb\xbf" } else { b"" };
        let line = line.strip_prefix(mark).unwrap_or(line).trim_ascii();
        (!line.is_empty()).then(|| RecordLine {
            number,
            record: read_record(line),
        })
    }
}

fn invalid(context: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, "read record", context)
}

fn too_long() -> Error {
    invalid(format!(
        "the line is longer than {} bytes",
        RecordLines::LINE_BYTES_MAX
    ))
}

fn read_record(line: &[u8]) -> Result<ImportedCase> {
    let line = std::str::from_utf8(line)
        .map_err(|source| invalid("the line is not UTF-8 text").with_source(source))?;
    // Serde would take a list as the fields in their order.
    if !line.starts_with('{') {
        return Err(invalid("the line is not a JSON object"));
    }
    let mut unknown = Unknown::default();
    let mut json = serde_json::Deserializer::from_str(line);
    let record: serde_json::Result<CaseRecord> =
        serde_ignored::deserialize(&mut json, |path| unknown.add(&path));
    let record = record.and_then(|record| json.end().map(|()| record));
    let record = record.map_err(|error| invalid(shortened(&error.to_string())))?;
    let (content, notices) = record.into_content()?;
    Ok(ImportedCase {
        content,
        notices,
        unknown_fields: unknown.0,
    })
}

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_CHARS_MAX) {
        None => reason.to_owned(),
        Some((end, _)) => format!("{}...", &reason[..end]),
    }
}

/// Fields that nobody reads, each named once.
#[derive(Default)]
struct Unknown(Vec<String>);

impl Unknown {
    fn add(&mut self, path: &impl fmt::Display) {
        if self.0.len() == UNKNOWN_FIELDS_MAX {
            return;
        }
        let path = path.to_string();
        let is_position = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        // Serde marks what may be absent with a question mark.
        let parts: Vec<_> = path
            .split('.')
            .filter(|part| *part != "?")
            .map(|part| if is_position(part) { "*" } else { part })
            .collect();
        let name: String = parts.join(".").chars().take(FIELD_CHARS_MAX).collect();
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

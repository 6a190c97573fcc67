use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::{Map, Value, json};

use super::RECORD_BYTES_MAX;
use super::source::Line;

/// The columns without which no row can be a case.
const REQUIRED: [&str; 5] = ["id", "stem", "option_a", "option_b", "answer_keys"];

/// What stands between the entries of a list in one cell.
const BETWEEN_ENTRIES: char = ';';

/// The rows of a table, each as the JSON of a record.
///
/// The columns: `id`, `source`, `lang`, `specialty`, `topic`, `difficulty`, `vignette`, `stem`,
/// `option_a` to `option_z`, `explanation_a` to `explanation_z`, `answer_keys`, `multi`,
/// `explanation`, `tags`, `references`, `licence`. Lists have `;` between their entries. An empty
/// cell is a missing field, and any other column an unknown one.
pub(super) struct Rows<R> {
    rows: Reader<Limited<R>>,
    room: Arc<AtomicUsize>,
    columns: Vec<String>,
    is_begun: bool,
    is_over: bool,
}

impl<R: Read> Rows<R> {
    pub(super) fn new(bytes: R) -> Self {
        let room = Arc::new(AtomicUsize::new(RECORD_BYTES_MAX));
        let bytes = Limited {
            bytes,
            room: Arc::clone(&room),
        };
        let rows = ReaderBuilder::new().flexible(true).from_reader(bytes);
        Self {
            rows,
            room,
            columns: Vec::new(),
            is_begun: false,
            is_over: false,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.is_begun = true;
        let header = self.rows.byte_headers()?;
        if header.is_empty() {
            // Nothing is not a table, but not a broken one.
            return Ok(());
        }
        let name = |cell: &[u8]| String::from_utf8_lossy(cell).trim().to_lowercase();
        self.columns = header.iter().map(name).collect();
        match REQUIRED
            .iter()
            .find(|name| !self.columns.iter().any(|column| column == *name))
        {
            None => Ok(()),
            Some(missing) => Err(io::Error::other(format!(
                "the header has no column {missing}: it must have {}, with commas between",
                REQUIRED.join(", ")
            ))),
        }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        if !self.is_begun {
            self.begin()?;
        }
        self.room.store(RECORD_BYTES_MAX, Ordering::Relaxed);
        let mut cells = ByteRecord::new();
        if !self.rows.read_byte_record(&mut cells)? {
            return Ok(None);
        }
        let number = cells.position().map_or(0, csv::Position::line);
        Ok(Some(Line {
            number,
            json: self.json_of(&cells),
        }))
    }

    fn json_of(&self, cells: &ByteRecord) -> Result<Vec<u8>, String> {
        if cells.len() != self.columns.len() {
            return Err(format!(
                "the row has {} cells, the header {}: is a comma or a quote missing or too many?",
                cells.len(),
                self.columns.len()
            ));
        }
        let mut row = Map::new();
        for (column, cell) in self.columns.iter().zip(cells) {
            let cell = std::str::from_utf8(cell)
                .map_err(|source| format!("the cell in column {column} is not UTF-8: {source}"))?;
            if !cell.trim().is_empty() {
                row.insert(column.clone(), Value::from(cell));
            }
        }
        let record = record(row)?;
        serde_json::to_vec(&record).map_err(|source| source.to_string())
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.read();
        self.is_over = read.is_err();
        read.transpose()
    }
}

/// Turns a row into the shape of a record.
fn record(mut row: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut options = Vec::new();
    for letter in b'a'..=b'z' {
        let letter = char::from(letter);
        let text = row.remove(&format!("option_{letter}"));
        let explanation = row.remove(&format!("explanation_{letter}"));
        match (text, explanation) {
            (Some(text), explanation) => options.push(json!({
                "key": letter.to_uppercase().to_string(), "text": text, "explanation": explanation,
            })),
            (None, Some(_)) => {
                return Err(format!(
                    "explanation_{letter} is given, but option_{letter} is empty"
                ));
            }
            (None, None) => {}
        }
    }
    for list in ["answer_keys", "tags", "references"] {
        if let Some(cell) = row.get_mut(list) {
            *cell = entries(cell);
        }
    }
    if let Some(cell) = row.get_mut("multi") {
        *cell = match cell
            .as_str()
            .map(|cell| cell.trim().to_lowercase())
            .as_deref()
        {
            Some("true" | "yes" | "1") => Value::from(true),
            Some("false" | "no" | "0") => Value::from(false),
            _ => return Err("multi must be true or false".to_owned()),
        };
    }
    if let Some(text) = row.remove("vignette") {
        row.insert(
            "vignette".to_owned(),
            json!([{ "label": "", "text": text }]),
        );
    }
    row.insert("options".to_owned(), Value::from(options));
    Ok(row)
}

fn entries(cell: &Value) -> Value {
    let entries = cell
        .as_str()
        .unwrap_or_default()
        .split(BETWEEN_ENTRIES)
        .map(str::trim);
    entries.filter(|entry| !entry.is_empty()).collect()
}

/// Bytes of which so many may be read until the next row begins: a quote left open would else make
/// one row of the rest of the file.
struct Limited<R> {
    bytes: R,
    room: Arc<AtomicUsize>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = self.room.load(Ordering::Relaxed);
        if room == 0 {
            return Err(io::Error::other(format!(
                "a row has more than {RECORD_BYTES_MAX} bytes: is a quote left open?"
            )));
        }
        let length = into.len().min(room);
        let read = self.bytes.read(&mut into[..length])?;
        self.room.store(room - read, Ordering::Relaxed);
        Ok(read)
    }
}

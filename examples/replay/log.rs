use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Deserializer};

use crate::Error;

/// The longest line of a log, in bytes: a hundred times the longest one known.
const LINE_LEN_MAX: u64 = 64 * 1024;

/// A row of a log. Which fields there are depends on where it comes from.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) user: String,
    pub(crate) item: String,
    /// `Some(None)` where the log says choices and this question was left out.
    #[serde(default, deserialize_with = "given")]
    choice: Option<Option<String>>,
    correct: Option<u8>,
    /// Between 0 and 1, where several points can be had. Only all of them count as right.
    score: Option<f64>,
    ts_ms: Option<i64>,
    t_ms: Option<i64>,
    latency_ms: Option<u32>,
    rt_s: Option<f64>,
}

impl Row {
    /// What was chosen, if the log says.
    pub(crate) fn choice(&self) -> Option<&str> {
        self.choice.as_ref()?.as_deref()
    }

    /// Whether the answer was right; `None` for a row that is no answer: a card that was only
    /// shown, a question that was left out.
    pub(crate) fn is_correct(&self) -> Option<bool> {
        match (self.correct, self.score) {
            _ if self.choice == Some(None) => None,
            (Some(correct), _) => Some(correct == 1),
            (None, score) => score.map(|score| score >= 1.0),
        }
    }

    /// When, in milliseconds: since 1970, or since something of its own.
    pub(crate) fn time_ms(&self) -> Option<i64> {
        self.ts_ms.or(self.t_ms)
    }

    /// Whether its time is since 1970.
    pub(crate) fn has_date(&self) -> bool {
        self.ts_ms.is_some()
    }

    pub(crate) fn time_to_answer_ms(&self) -> Option<u32> {
        self.latency_ms
            .or_else(|| self.rt_s.map(|seconds| (seconds * 1_000.0) as u32))
    }
}

/// Tells a null from a field that is not there.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// Reads a log row by row, packed or not.
pub(crate) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Row, Error>> + Send, Error> {
    let mut lines = lines(path)?;
    let mut number = 0_u64;
    let path = path.display().to_string();
    Ok(std::iter::from_fn(move || {
        number += 1;
        let row = match next_line(&mut lines) {
            Ok(None) => return None,
            Ok(Some(line)) => serde_json::from_slice(&line).map_err(Error::from),
            Err(error) => Err(error),
        };
        Some(row.map_err(|error| format!("{path}, line {number}: {error}").into()))
    }))
}

/// Opens a file of lines, packed with gzip if its name says so.
pub(crate) fn lines(path: &Path) -> Result<Box<dyn BufRead + Send>, Error> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    Ok(Box::new(BufReader::new(file)))
}

fn next_line(lines: &mut dyn BufRead) -> Result<Option<Vec<u8>>, Error> {
    let mut line = Vec::new();
    let read = lines.take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
    match read as u64 {
        0 => Ok(None),
        LINE_LEN_MAX if line.last() != Some(&b'\n') => Err("the line is too long".into()),
        _ => Ok(Some(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_right_wrong_or_that_it_is_no_answer() {
        for (fields, is_correct, choice) in [
            (r#""correct":1"#, Some(true), None),
            (r#""correct":0"#, Some(false), None),
            (r#""choice":"B","correct":1"#, Some(true), Some("B")),
            (r#""choice":null,"correct":0"#, None, None),
            (r#""outcome":"study","correct":null"#, None, None),
            (r#""score":1.0"#, Some(true), None),
            (r#""score":0.75"#, Some(false), None),
        ] {
            let json = format!(r#"{{"user":"u","item":"i",{fields}}}"#);
            let row: Row = serde_json::from_str(&json).expect("it is a row");
            assert_eq!(
                (row.is_correct(), row.choice()),
                (is_correct, choice),
                "{fields}"
            );
        }
    }
}

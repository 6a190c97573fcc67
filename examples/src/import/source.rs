use std::fmt;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::Path;
use std::str::FromStr;

use flate2::read::MultiGzDecoder;
use medcards::{Error, ErrorKind, Result};

use super::csv::Rows;
use super::decode::{Entry, decode};
use super::lines::Lines;

/// The first bytes of everything that gzip wrote.
const GZIP_MARK: [u8; 2] = [0x1f, 0x8b];

/// What some editors put before UTF-8.
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// How the records of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "lines or a table")]
pub enum Format {
    /// A table with a header.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl Format {
    /// What the name of a file says, with or without `.gz` at its end.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it says nothing.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Ok(Self::Csv),
            Some("json" | "jsonl" | "ndjson") => Ok(Self::Jsonl),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "tell the format",
                format!(
                    "{} says nothing by its name: use --format jsonl or csv",
                    path.display()
                ),
            )),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "tell the format",
                "it must be jsonl or csv",
            )),
        }
    }
}

/// A record as a line of JSON, or why there is none, with the number of its line in the file.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) json: Result<Vec<u8>, String>,
}

/// The records of a file, compressed or not, one at a time.
///
/// An error ends it: the file cannot be read further.
pub struct Source {
    lines: Box<dyn Iterator<Item = io::Result<Line>> + Send>,
}

impl Source {
    /// Reads records in this format from bytes that may be compressed with gzip.
    ///
    /// # Errors
    /// If the first bytes cannot be read.
    pub fn new(format: Format, bytes: impl Read + Send + 'static) -> io::Result<Self> {
        let bytes = BufReader::new(unmarked(unpacked(bytes)?)?);
        let lines: Box<dyn Iterator<Item = io::Result<Line>> + Send> = match format {
            Format::Csv => Box::new(Rows::new(bytes)),
            Format::Jsonl => Box::new(Lines::new(bytes)),
        };
        Ok(Self { lines })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Iterator for Source {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lines.next().map(|line| line.map(decode))
    }
}

/// Unpacks bytes if gzip packed them, which the first two tell.
fn unpacked(bytes: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (begin, bytes) = peek(bytes, GZIP_MARK.len())?;
    if begin == GZIP_MARK {
        Ok(Box::new(MultiGzDecoder::new(bytes)))
    } else {
        Ok(Box::new(bytes))
    }
}

/// Passes over the mark that some editors put before UTF-8.
fn unmarked(bytes: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let (begin, bytes) = peek(bytes, UTF8_MARK.len())?;
    if begin == UTF8_MARK {
        Ok(Box::new(bytes.into_inner().1))
    } else {
        Ok(Box::new(bytes))
    }
}

/// Bytes whose beginning was read once already.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// The first bytes, or fewer if there are no more, and all of them again.
fn peek<R: Read>(mut bytes: R, count: usize) -> io::Result<(Vec<u8>, Whole<R>)> {
    let mut begin = Vec::with_capacity(count);
    bytes.by_ref().take(count as u64).read_to_end(&mut begin)?;
    Ok((begin.clone(), Cursor::new(begin).chain(bytes)))
}

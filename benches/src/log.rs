//! Logs of real answers: a JSON object a line, packed with gzip or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;

/// The longest line of a log, in bytes: a hundred times the longest one known.
const LINE_LEN_MAX: u64 = 64 * 1024;

/// The two bytes that a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads all rows of a log. Fields that the type does not have are left out.
///
/// # Errors
/// Those of the file; and [`io::ErrorKind::InvalidData`], with the number of the line, for one that
/// is no such row.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let mut file = BufReader::new(File::open(path)?);
    let is_packed = file.fill_buf()?.starts_with(&GZIP);
    let mut lines: Box<dyn BufRead> = if is_packed {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    let mut rows = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = lines
            .by_ref()
            .take(LINE_LEN_MAX)
            .read_until(b'\n', &mut line)?;
        if bytes == 0 {
            return Ok(rows);
        }
        let row = serde_json::from_slice(&line).map_err(|error| {
            let words = format!("{}, line {}: {error}", path.display(), rows.len() + 1);
            io::Error::new(io::ErrorKind::InvalidData, words)
        });
        rows.push(row?);
    }
}

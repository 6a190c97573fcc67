use std::io::{self, BufRead};

use super::RECORD_BYTES_MAX;
use super::source::Line;

/// The lines of a text that have something on them. A line too long is skipped, not kept.
pub(super) struct Lines<R> {
    bytes: R,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(bytes: R) -> Self {
        Self { bytes, line: 0 }
    }

    /// The bytes of the next line, or `None` at the end.
    fn read(&mut self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        let (mut is_something, mut is_too_long) = (false, false);
        loop {
            let available = self.bytes.fill_buf()?;
            if available.is_empty() {
                break;
            }
            is_something = true;
            let newline = available.iter().position(|byte| *byte == b'\n');
            let text = &available[..newline.unwrap_or(available.len())];
            is_too_long |= line.len() + text.len() > RECORD_BYTES_MAX;
            if !is_too_long {
                line.extend_from_slice(text);
            }
            let used = newline.map_or(available.len(), |at| at + 1);
            self.bytes.consume(used);
            if newline.is_some() {
                break;
            }
        }
        let too_long = || format!("the line has more than {RECORD_BYTES_MAX} bytes");
        Ok(is_something.then(|| {
            if is_too_long {
                Err(too_long())
            } else {
                Ok(line)
            }
        }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let json = match self.read() {
                Ok(line) => line?,
                Err(source) => return Some(Err(source)),
            };
            self.line += 1;
            if json
                .as_ref()
                .is_ok_and(|bytes| bytes.trim_ascii().is_empty())
            {
                continue;
            }
            return Some(Ok(Line {
                number: self.line,
                json,
            }));
        }
    }
}

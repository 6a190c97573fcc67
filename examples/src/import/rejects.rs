use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use medcards::{Error, ErrorKind, Result};
use serde_json::json;

use super::Refused;

/// A file of records that were refused, each with its line and the reason. Made with the first.
#[derive(Debug)]
pub struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    /// Will write to this file, in place of what was in it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
        }
    }

    /// The file, if anything was written to it.
    #[must_use]
    pub fn written(&self) -> Option<&Path> {
        self.file.is_some().then_some(&*self.path)
    }

    /// Adds a record of the file `from`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, from: &Path, line: u64, refused: &Refused) -> Result<()> {
        let record = json!({
            "file": from.to_string_lossy(),
            "line": line,
            "reason": refused.reason,
            "record": refused.record,
        });
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let made = File::create(&self.path).map_err(|source| failed(&self.path, source))?;
                self.file.insert(BufWriter::new(made))
            }
        };
        writeln!(file, "{record}").map_err(|source| failed(&self.path, source))
    }

    /// Makes sure that all of it is in the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        flushed.map_err(|source| failed(&self.path, source))
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    let context = format!(
        "{} cannot be written: name another file with --rejects",
        path.display()
    );
    Error::new(ErrorKind::ReadOnly, "keep refused records", context).with_source(source)
}

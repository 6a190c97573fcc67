//! Files of cases: however the bytes arrive, the same cases are read, and what is read can be kept.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medcards_core::case::{CaseContent, CaseRecord};
use medcards_http::import::{RecordLine, RecordLines};

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, file)) = bytes.split_last() else {
        return;
    };
    let whole = lines(file, file.len().max(1));
    assert_eq!(
        whole,
        lines(file, usize::from(*cut).max(1)),
        "pieces of {cut} bytes"
    );
});

/// The number of each line, with the case or the reason why it is none.
fn lines(file: &[u8], piece: usize) -> Vec<(u64, Result<CaseContent, String>)> {
    let mut reader = RecordLines::new();
    let mut found = Vec::new();
    for piece in file.chunks(piece) {
        reader.push(piece);
        while let Some(line) = reader.next_line() {
            found.push(checked(line));
        }
    }
    found.extend(reader.finish().map(checked));
    assert!(
        found.is_sorted_by(|one, next| one.0 < next.0),
        "lines are numbered in order"
    );
    found
}

fn checked(line: RecordLine) -> (u64, Result<CaseContent, String>) {
    let record = line
        .record
        .map(|case| case.content)
        .map_err(|error| error.to_string());
    if let Ok(content) = &record {
        let right = content.right_options();
        assert!(!right.is_empty() && right.positions().all(|at| at < content.options().len()));
        let kept = serde_json::to_string(&CaseRecord::from(content.clone())).unwrap();
        let read: CaseContent = serde_json::from_str(&kept).unwrap();
        assert_eq!(&read, content, "what is kept is what was read");
    }
    (line.number, record)
}

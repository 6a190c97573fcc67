use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use medcards::case::{CaseQuery, CaseStore};
use medcards::memory::MemoryStore;
use medcards::testing::ManualClock;
use medcards::time::Clock;
use medcards_examples::import::{
    BATCH_CASES_MAX, Entry, FileSummary, Format, RECORD_BYTES_MAX, Rejects, import,
};
use serde_json::{Value, json};

fn case(id: &str) -> Value {
    json!({
        "id": id, "source": "test", "stem": "Which?", "answer_keys": ["A"],
        "options": [{"key": "A", "text": "This"}, {"key": "B", "text": "That"}],
    })
}

/// Imports these bytes, and gives the summary and every entry.
async fn run(
    format: Format,
    bytes: impl Read + Send + 'static,
    store: Option<&MemoryStore>,
) -> (FileSummary, Vec<Entry>) {
    let mut entries = Vec::new();
    let mut each = |entry: &Entry| {
        entries.push(entry.clone());
        Ok(())
    };
    let store = store.map(|store| store as &dyn CaseStore);
    let now = ManualClock::default().now();
    let summary = import(format, bytes, store, now, &mut each)
        .await
        .expect("a store in memory");
    (summary, entries)
}

fn text(bytes: impl Into<Vec<u8>>) -> io::Cursor<Vec<u8>> {
    io::Cursor::new(bytes.into())
}

/// What is refused, as line and reason.
fn refused(entries: &[Entry]) -> Vec<(u64, &str)> {
    let reasons = entries.iter().filter_map(|entry| {
        entry
            .record
            .as_ref()
            .err()
            .map(|refused| (entry.line, refused.reason.as_str()))
    });
    reasons.collect()
}

/// A table whose one row cannot be a case, with words of the reason.
async fn check_row(header: &str, row: &str, words: &str) {
    let (summary, entries) = run(Format::Csv, text(format!("{header}\n{row}\n")), None).await;
    assert_eq!((summary.records, summary.broken), (1, None), "{row}");
    let refused = refused(&entries);
    assert_eq!(
        refused.first().map(|(line, _)| *line),
        Some(2),
        "{row}: {refused:?}"
    );
    assert!(refused[0].1.contains(words), "{row}: {refused:?}");
}

const HEADER: &str =
    "id,stem,option_a,option_b,option_c,explanation_c,answer_keys,difficulty,multi";

#[tokio::test]
async fn importing_again_changes_nothing_and_a_changed_case_is_a_new_version() {
    let store = MemoryStore::new();
    let mut lines = format!("{}\n{}\n", case("1"), case("2"));
    let (first, _) = run(Format::Jsonl, text(lines.clone()), Some(&store)).await;
    assert_eq!((first.created, first.updated, first.unchanged), (2, 0, 0));
    let (again, _) = run(Format::Jsonl, text(lines.clone()), Some(&store)).await;
    assert_eq!((again.created, again.updated, again.unchanged), (0, 0, 2));
    lines = lines.replacen("That", "Another", 1);
    let (changed, _) = run(Format::Jsonl, text(lines), Some(&store)).await;
    assert_eq!(
        (changed.created, changed.updated, changed.unchanged),
        (0, 1, 1)
    );
}

#[tokio::test]
async fn checking_publishes_nothing() {
    let (summary, _) = run(Format::Jsonl, text(case("1").to_string()), None).await;
    assert_eq!(
        (summary.checked, summary.created, summary.accepted()),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn bad_lines_are_refused_alone_with_their_number() {
    let mut bytes = Vec::new();
    let long = format!("{{\"id\": \"{}\"}}", "x".repeat(RECORD_BYTES_MAX));
    let station = json!({"id": "o", "OSCE_Examination": {"Patient_Actor": {}}});
    for line in [
        format!("\u{feff}{}", case("1")),
        "{\"id\": ".to_owned(),
        String::new(),
        long,
        station.to_string(),
        "[1, 2]".to_owned(),
        case("2").to_string(),
    ] {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\"\xff\"\n");
    bytes.extend_from_slice(case("3").to_string().as_bytes());
    let store = MemoryStore::new();
    let (summary, entries) = run(Format::Jsonl, text(bytes), Some(&store)).await;
    assert_eq!(
        (summary.created, summary.rejected, summary.records),
        (3, 5, 8)
    );
    let refused = refused(&entries);
    let lines: Vec<_> = refused.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 4, 5, 6, 8]);
    assert!(refused[2].1.contains("OSCE station"), "{refused:?}");
    let too_long = entries[2].record.as_ref().unwrap_err();
    assert!(
        too_long.record.is_null(),
        "what is too long must not be held"
    );
}

#[tokio::test]
async fn more_cases_than_a_batch_all_arrive() {
    let store = MemoryStore::new();
    let count = 2 * BATCH_CASES_MAX + 1;
    let lines: Vec<_> = (0..count)
        .map(|id| case(&id.to_string()).to_string())
        .collect();
    let (summary, _) = run(Format::Jsonl, text(lines.join("\n")), Some(&store)).await;
    assert_eq!(summary.created, count as u64);
}

#[tokio::test]
async fn a_packed_file_is_unpacked_whatever_its_name() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    writeln!(packed, "{}", case("1")).unwrap();
    let mut packed = packed.finish().unwrap();
    // Two packed parts one after the other are one file, as with `cat`.
    packed.extend_from_slice(&packed.clone());
    let (summary, _) = run(Format::Jsonl, text(packed), None).await;
    assert_eq!((summary.checked, summary.broken), (2, None));
}

#[tokio::test]
async fn a_file_that_breaks_off_is_imported_up_to_there() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    for id in 0..100 {
        writeln!(packed, "{}", case(&id.to_string())).unwrap();
    }
    let mut packed = packed.finish().unwrap();
    packed.truncate(packed.len() / 2);
    let store = MemoryStore::new();
    let (summary, _) = run(Format::Jsonl, text(packed), Some(&store)).await;
    assert!(summary.broken.is_some());
    assert!((1..100).contains(&summary.created), "{summary:?}");
}

#[tokio::test]
async fn notices_and_unknown_fields_are_counted() {
    let mut one = case("1");
    one["explanation"] = "Ans. is 'a' i.e. This".into();
    one["colour"] = "red".into();
    let mut other = case("2");
    other["options"][1]["text"] = "this".into();
    let (summary, _) = run(Format::Jsonl, text(format!("{one}\n{other}\n")), None).await;
    assert_eq!(summary.notices.count("names_letter"), 1);
    assert_eq!(summary.notices.count("duplicate_options"), 1);
    assert_eq!(summary.unknown_fields.count("colour"), 1);
}

#[tokio::test]
async fn a_file_cannot_make_the_summary_grow_without_end() {
    let lines: String = (0..1_000)
        .map(|id| format!("{{\"id\": \"{id}\", \"f{id}\": 1}}\n"))
        .collect();
    let (summary, _) = run(Format::Jsonl, text(lines), None).await;
    assert!(summary.reasons.most().len() <= 21 && summary.unknown_fields.most().len() <= 21);
    let all: u64 = summary.reasons.most().iter().map(|(_, count)| count).sum();
    assert_eq!(all, 1_000);
}

#[tokio::test]
async fn a_table_gives_the_same_cases_as_lines() {
    let table = "\u{feff}id,source,Lang,specialty,topic,difficulty,vignette,stem,option_a,option_b,option_c,\
        explanation_a,explanation_c,answer_keys,explanation,tags,references,licence\n\
        1,test,fr,Néphrologie,Potassium,hard,\"A man, 40.\nHe is tired.\",Which?,This,,That,Why,Why not,A;C,\
        All in all,x; y,Book; Paper,MIT\n";
    let line = json!({
        "id": "1", "source": "test", "lang": "fr", "specialty": "Néphrologie", "topic": "Potassium",
        "difficulty": "hard", "stem": "Which?", "answer_keys": ["A", "C"], "explanation": "All in all",
        "vignette": [{"label": "", "text": "A man, 40.\nHe is tired."}],
        "options": [
            {"key": "A", "text": "This", "explanation": "Why"},
            {"key": "C", "text": "That", "explanation": "Why not"},
        ],
        "tags": ["x", "y"], "references": ["Book", "Paper"], "licence": "MIT",
    });
    let store = MemoryStore::new();
    let (from_table, entries) = run(Format::Csv, text(table), Some(&store)).await;
    assert_eq!(from_table.broken, None);
    assert_eq!((from_table.created, refused(&entries)), (1, vec![]));
    let (from_line, _) = run(Format::Jsonl, text(line.to_string()), Some(&store)).await;
    assert_eq!(from_line.unchanged, 1);
    let page = store.list_cases(&CaseQuery::default()).await.unwrap();
    assert!(page.items[0].content.several_right());
}

#[tokio::test]
async fn rows_that_are_no_cases_are_refused_with_the_reason() {
    check_row(
        HEADER,
        "1,Which?,This,That,,,D,,",
        "answer_keys names an option",
    )
    .await;
    check_row(HEADER, "1,Which?,This,That,,Why,A,,", "option_c is empty").await;
    check_row(HEADER, "1,Which?,This,That,,,A,harder,", "harder").await;
    check_row(
        HEADER,
        "1,Which?,This,That,,,A,,maybe",
        "multi must be true or false",
    )
    .await;
    check_row(HEADER, "1,Which?,This,That,,,A,", "8 cells, the header 9").await;
    check_row(HEADER, ",Which?,This,That,,,A,,", "missing field `id`").await;
}

#[tokio::test]
async fn a_row_after_a_bad_one_still_counts() {
    let table = format!("{HEADER}\n1,Which?,This,That\n2,Which?,This,That,,,A,,\n");
    let (summary, _) = run(Format::Csv, text(table), None).await;
    assert_eq!((summary.checked, summary.rejected), (1, 1));
}

#[tokio::test]
async fn a_table_without_its_columns_says_which() {
    let (summary, _) = run(Format::Csv, text("id;stem;option_a\n1;Which?;This\n"), None).await;
    assert!(summary.broken.unwrap().contains("no column id"));
    let (empty, _) = run(Format::Csv, text(""), None).await;
    assert_eq!(empty, FileSummary::default());
}

/// Bytes that never end, and that count how many were asked for.
struct Endless(
    std::sync::Arc<std::sync::atomic::AtomicUsize>,
    &'static [u8],
    u8,
);

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let begun = self.1.read(into)?;
        into[begun..].fill(self.2);
        self.0
            .fetch_add(into.len(), std::sync::atomic::Ordering::Relaxed);
        Ok(into.len())
    }
}

#[tokio::test]
async fn a_quote_left_open_does_not_swallow_the_rest_of_the_file() {
    let read = std::sync::Arc::default();
    let begin = b"id,stem,option_a,option_b,answer_keys\n1,\"Which";
    let bytes = Endless(std::sync::Arc::clone(&read), begin, b'x');
    let (summary, _) = run(Format::Csv, bytes, None).await;
    assert!(summary.broken.unwrap().contains("quote left open"));
    assert!(read.load(std::sync::atomic::Ordering::Relaxed) < 4 * RECORD_BYTES_MAX);
}

#[test]
fn refused_records_are_kept_so_that_they_can_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rejected.jsonl");
    let mut rejects = Rejects::new(&path);
    assert_eq!((rejects.written(), path.exists()), (None, false));
    let refused = medcards_examples::import::Refused {
        reason: "it has no stem".to_owned(),
        record: json!({"id": "1"}),
    };
    rejects.add(Path::new("cases.jsonl"), 7, &refused).unwrap();
    rejects.finish().unwrap();
    let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let expected = json!({"file": "cases.jsonl", "line": 7, "reason": "it has no stem", "record": {"id": "1"}});
    assert_eq!(kept, expected);
}

#[test]
fn names_tell_the_format() {
    for (name, format) in [
        ("a.jsonl", Some(Format::Jsonl)),
        ("a.NDJSON.gz", Some(Format::Jsonl)),
        ("a.b.csv.gz", Some(Format::Csv)),
        ("csv", None),
        ("a.xlsx", None),
    ] {
        assert_eq!(Format::of(Path::new(name)).ok(), format, "{name}");
    }
}

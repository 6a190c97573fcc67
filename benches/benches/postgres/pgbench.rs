use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use medcards_benches::answers::Answers;
use medcards_tests::pg::Database;

use crate::raw;
use crate::server;

/// The same rows: a user out of a thousand, a case out of two hundred, an event as long as ours. The
/// values that a client would send are made from numbers, which takes the server microseconds.
const SCRIPT: &str = "\
\\set user random(0, 999)
\\set case random(0, 199)
BEGIN;
INSERT INTO interactions (user_id, id, case_id, created_at, time_to_answer_ms, case_version, \
    chosen, bucket, confidence, is_correct, shown) \
    VALUES (lpad(to_hex(:user::int), 32, '0')::uuid, gen_random_uuid(), \
    lpad(to_hex(:case::int), 32, '0')::uuid, clock_timestamp(), 12345, 1, 1, :user::smallint, 60, \
    true, '\\x00010203') ON CONFLICT DO NOTHING;
INSERT INTO events (user_id, bucket, kind, body) \
    VALUES (lpad(to_hex(:user::int), 32, '0')::uuid, :user::smallint, 'answer_recorded', \
    :event::jsonb);
COMMIT;
";

/// Lets pgbench insert with this many clients, and returns the seconds that one transaction took of
/// all time: one by the rate.
///
/// The first second does not count: in it the connections are opened and the statements prepared.
pub(crate) fn insert(database: &Database, folder: &Path, clients: u64, time: Duration) -> f64 {
    let script = folder.join("insert.pgbench");
    fs::write(&script, SCRIPT).expect("the disk has room");
    let seconds = time.as_secs().max(2).to_string();
    let output = Command::new(server::programs().join("pgbench"))
        .args(["-n", "-M", "prepared", "-P", "1", "-T", &seconds])
        .args(["-c", &clients.to_string()])
        .args(["-j", &clients.min(2).to_string()])
        .args([
            "-D",
            &format!("event={}", raw::event(&Answers::new().make())),
        ])
        .arg("-f")
        .arg(script)
        .arg(database.url())
        .output()
        .expect("pgbench is beside the server");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pgbench failed: {words}");
    let rates: Vec<_> = words.lines().filter_map(rate).skip(1).collect();
    assert!(!rates.is_empty(), "pgbench says no rate: {words}");
    rates.len() as f64 / rates.iter().sum::<f64>()
}

/// Reads `progress: 2.0 s, 5234.1 tps, lat 0.190 ms stddev 0.041, 0 failed`.
fn rate(line: &str) -> Option<f64> {
    let (_, after) = line.strip_prefix("progress: ")?.split_once(" s, ")?;
    after.split_once(" tps")?.0.parse().ok()
}

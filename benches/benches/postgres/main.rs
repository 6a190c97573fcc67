//! Benches of the PostgreSQL store, each beside the same work by hand on the same server.
//!
//! See `benches/README.md`.

use std::process::ExitCode;

use criterion::Criterion;
use medcards_benches::report::Report;

/// The same work by pgbench.
mod pgbench;
/// The same work by sqlx alone, as somebody would write it by hand.
mod raw;
/// The server that both ways use.
mod server;

/// Answers that are read.
mod reads;
/// Answers that are committed.
mod record_answer;

fn main() -> ExitCode {
    // Far fewer resamples than usual: they only widen the interval of criterion's own line.
    let mut criterion = Criterion::default()
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let mut report = Report::default();
    record_answer::run(&mut criterion, &mut report);
    reads::run(&mut criterion, &mut report);
    criterion.final_summary();
    report.print_table();
    ExitCode::SUCCESS
}

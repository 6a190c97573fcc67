//! Benches of the platform, each beside a baseline of the same work in the same run.
//!
//! See `benches/README.md`.

use std::process::ExitCode;

use criterion::Criterion;
use medcards_benches::report::Report;

/// Many who want the same cold feedback at once.
mod coalescing;
/// Cached feedback over HTTP.
mod http_feedback;
/// A light HTTP client that measures.
mod load;
/// A feedback that the memory of this process has.
mod local_hit;
/// Answers written to disk.
mod record_answer;

fn main() -> ExitCode {
    // Far fewer resamples than usual: they only widen the interval of criterion's own line.
    let mut criterion = Criterion::default()
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let mut report = Report::default();
    local_hit::run(&mut criterion, &mut report);
    coalescing::run(&mut criterion, &mut report);
    record_answer::run(&mut criterion, &mut report);
    http_feedback::run(&mut criterion, &mut report);
    criterion.final_summary();
    report.print_table();
    ExitCode::SUCCESS
}

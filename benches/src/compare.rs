//! Measures two ways of doing the same work, turn by turn.

use std::collections::VecDeque;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use tokio::runtime::Runtime;

use crate::report::{Outcome, Report, Target};

/// How many turns the ways get that need seconds to get going.
const LONG_TURNS: usize = 5;

/// How long such a turn is.
const LONG_TURN: Duration = Duration::from_secs(5);

/// What is compared with what.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The work, such as `record_answer/64`.
    pub work: &'a str,
    /// Our way.
    pub ours: &'a str,
    /// The other way.
    pub baseline: &'a str,
    /// How many pieces of work one iteration does.
    pub pieces: u64,
    /// What the ratio should be.
    pub target: Target,
}

/// How long is measured.
struct Effort {
    warm_up: Duration,
    measurement: Duration,
    samples: usize,
}

/// The mode that only shows that everything runs, in less than a minute.
#[must_use]
pub fn is_quick() -> bool {
    std::env::var_os("MEDCARDS_BENCH_QUICK").is_some_and(|value| value != "0")
}

/// Whether the command line asks for this work: it names none, or a part of its name.
#[must_use]
pub fn is_wanted(work: &str) -> bool {
    let mut filters = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .peekable();
    filters.peek().is_none() || filters.any(|filter| work.contains(&filter))
}

/// A runtime as a server has it: a worker for each core.
///
/// # Panics
/// If there are no threads to be had.
#[must_use]
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("this machine has threads to spare")
}

fn effort() -> Effort {
    if is_quick() {
        return Effort {
            warm_up: Duration::from_millis(100),
            measurement: Duration::from_millis(800),
            samples: 10,
        };
    }
    Effort {
        warm_up: Duration::from_secs(1),
        measurement: Duration::from_secs(4),
        samples: 40,
    }
}

/// Measures both ways, each function doing that many iterations and saying how long they took.
///
/// Both are measured turn by turn, first one and then the other first, so that whatever else the
/// machine does meets both. The ratio is the median of the turns. Criterion keeps the history of
/// our way.
pub fn compare(
    criterion: &mut Criterion,
    report: &mut Report,
    comparison: &Comparison<'_>,
    mut baseline: impl FnMut(u64) -> Duration,
    mut ours: impl FnMut(u64) -> Duration,
) {
    let Effort {
        warm_up,
        measurement,
        samples,
    } = effort();
    let mut turns = VecDeque::with_capacity(samples);
    let mut group = criterion.benchmark_group(comparison.work);
    group
        .warm_up_time(warm_up)
        .measurement_time(measurement)
        .sample_size(samples)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(comparison.pieces));
    let mut is_ours_first = false;
    let id = format!("{} beside {}", comparison.ours, comparison.baseline);
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iterations| {
            is_ours_first = !is_ours_first;
            let (ours, baseline) = if is_ours_first {
                let ours = ours(iterations);
                (ours, baseline(iterations))
            } else {
                let baseline = baseline(iterations);
                (ours(iterations), baseline)
            };
            // What comes before the samples is warm-up.
            if turns.len() == samples {
                turns.pop_front();
            }
            let pieces = (iterations * comparison.pieces) as f64;
            turns.push_back((ours.as_secs_f64() / pieces, baseline.as_secs_f64() / pieces));
            ours
        });
    });
    group.finish();
    settle(report, comparison, turns);
}

/// Measures both ways in a few long turns, for those that need seconds to get going.
///
/// Each function works for about as long as it is told, and says how many seconds a piece of work
/// took.
pub fn compare_long(
    report: &mut Report,
    comparison: &Comparison<'_>,
    mut baseline: impl FnMut(Duration) -> f64,
    mut ours: impl FnMut(Duration) -> f64,
) {
    let (count, turn) = match is_quick() {
        true => (1, Duration::from_secs(2)),
        false => (LONG_TURNS, LONG_TURN),
    };
    let turns = (0..count).map(|number| {
        if number % 2 == 0 {
            let ours = ours(turn);
            (ours, baseline(turn))
        } else {
            let baseline = baseline(turn);
            (ours(turn), baseline)
        }
    });
    settle(report, comparison, turns);
}

/// Reports the medians of all turns: seconds for a piece of work of ours, and of the baseline.
fn settle(
    report: &mut Report,
    comparison: &Comparison<'_>,
    turns: impl IntoIterator<Item = (f64, f64)>,
) {
    let turns: Vec<_> = turns.into_iter().collect();
    if turns.is_empty() {
        // A filter on the command line left it out.
        return;
    }
    let ratio = |(ours, baseline): &(f64, f64)| match comparison.target {
        Target::RateAtLeast(_) => baseline / ours,
        Target::TimeAtMost(_) | Target::None => ours / baseline,
    };
    report.add(Outcome {
        name: format!(
            "{}: {}/{}",
            comparison.work, comparison.ours, comparison.baseline
        ),
        ours: median(turns.iter().map(|turn| turn.0)),
        baseline: median(turns.iter().map(|turn| turn.1)),
        ratio: median(turns.iter().map(ratio)),
        target: comparison.target,
    });
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

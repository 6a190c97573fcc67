#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::time::Duration;

use hdrhistogram::Histogram;
use medcards::feedback::{ResolverCounts, Tier};
use medcards::spend::MicroDollars;

use crate::arguments::Arguments;
use crate::count::Count;
use crate::course::Survey;
use crate::model::Calls;

/// Everything that the table says.
pub(crate) struct Figures<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) survey: &'a Survey,
    pub(crate) cases: usize,
    pub(crate) count: &'a Count,
    pub(crate) calls: &'a Calls,
    pub(crate) counts: &'a ResolverCounts,
    pub(crate) took: Duration,
    pub(crate) span_ms: i64,
}

/// What was replayed, in one line.
pub(crate) fn title(arguments: &Arguments) -> String {
    let log = arguments
        .log
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let kept = if arguments.forget {
        "written feedback forgotten"
    } else {
        "written feedback kept"
    };
    let hours = arguments.ttl.as_secs_f64() / 3_600.0;
    format!(
        "{log} at the price of {}, fresh for {hours:.1} h, {kept}",
        arguments.model
    )
}

/// Prints the table.
pub(crate) fn print(figures: &Figures<'_>) {
    println!("{}\n", title(figures.arguments));
    print_log(figures);
    print_tiers(figures.count);
    print_money(figures);
    print_times(figures);
    println!("the accounts of resolver, ledger, model and replay agree");
    println!("picture: {}", figures.arguments.svg.display());
}

fn row(what: &str, value: impl std::fmt::Display) {
    println!("{what:<44} {value:>14}");
}

fn print_log(
    Figures {
        survey,
        cases,
        count,
        calls,
        span_ms,
        ..
    }: &Figures<'_>,
) {
    row("answers", grouped(count.answers));
    row("rows that are no answer", grouped(survey.others));
    row("users", grouped(survey.users() as u64));
    row(
        "items, cases",
        format!(
            "{}, {}",
            grouped(survey.items() as u64),
            grouped(*cases as u64)
        ),
    );
    row(
        "days of the log",
        format!("{:.1}", *span_ms as f64 / 86_400_000.0),
    );
    row("distinct keys", grouped(count.keys()));
    row(
        "distinct keys in each time of freshness",
        grouped(count.windows()),
    );
    row("live calls", grouped(calls.count));
    row(
        "  of these renewing what was served stale",
        grouped(count.renewals(calls)),
    );
    let gap = calls
        .shortest_gap_ms
        .map(|gap| format!("{:.1} h", gap as f64 / 3_600_000.0));
    row(
        "  shortest time between two for one key",
        gap.unwrap_or_else(|| "-".to_owned()),
    );
    println!();
}

fn print_tiers(count: &Count) {
    for tier in Tier::ALL {
        let given = count.tiers[tier as usize];
        row(
            &format!("{tier} tier"),
            format!("{} {}", grouped(given), share(given, count.answers)),
        );
        if tier == Tier::Live {
            row(
                "  of these coalesced with another's call",
                grouped(count.followers),
            );
        }
    }
    println!();
}

fn print_money(Figures { count, calls, .. }: &Figures<'_>) {
    row("spent", dollars(calls.cost));
    row("a call for every answer", dollars(count.live_only));
    let saving = 1.0 - calls.cost.get() as f64 / count.live_only.get().max(1) as f64;
    row("saving", format!("{:.2} %", saving * 100.0));
    println!();
}

fn print_times(
    Figures {
        count,
        counts,
        took,
        ..
    }: &Figures<'_>,
) {
    row("recording, p50 / p95 / p99", percentiles(&count.record_ns));
    row("feedback, p50 / p95 / p99", percentiles(&count.feedback_ns));
    let per_second = count.answers as f64 / took.as_secs_f64();
    row(
        "answers recorded and fed back",
        format!("{} /s", grouped(per_second as u64)),
    );
    row("feedback past its time", grouped(counts.stale));
    println!();
}

fn percentiles(histogram: &Histogram<u64>) -> String {
    let at = |quantile| {
        let nanos = histogram.value_at_quantile(quantile);
        match nanos {
            ..1_000 => format!("{nanos} ns"),
            1_000..1_000_000 => format!("{:.1} us", nanos as f64 / 1e3),
            _ => format!("{:.1} ms", nanos as f64 / 1e6),
        }
    };
    format!("{} / {} / {}", at(0.5), at(0.95), at(0.99))
}

fn share(part: u64, all: u64) -> String {
    format!("{:>6.2} %", part as f64 * 100.0 / all.max(1) as f64)
}

/// Dollars with as many digits as a bill has.
pub(crate) fn dollars(amount: MicroDollars) -> String {
    let cents = (amount.get() + 5_000) / 10_000;
    format!("${}.{:02}", grouped(cents / 100), cents % 100)
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

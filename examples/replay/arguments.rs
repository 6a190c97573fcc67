use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use medcards::spend::{MicroDollars, Price};

/// Replays a log of real answers against the resolver, and says what the feedback cost.
///
/// The log has one JSON object a line, packed with gzip or not: user, item, correct or score, and
/// if known choice, ts_ms or t_ms.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The log.
    pub(crate) log: PathBuf,
    /// The model whose price is paid.
    #[arg(long, default_value = "claude-haiku-4-5")]
    pub(crate) model: String,
    /// Another price, in dollars per million tokens read and written, such as 1.00,5.00.
    #[arg(long, value_parser = price)]
    pub(crate) price: Option<Price>,
    /// How many cases the items of the log stand for. Default: one for each item.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cases: Option<u32>,
    /// Real cases to take in place of made-up ones, one JSON object a line.
    #[arg(long)]
    pub(crate) deck: Option<PathBuf>,
    /// How long a feedback is fresh, such as 24h or 30m.
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// By how many percent at most that time is varied.
    #[arg(long, default_value_t = 10)]
    pub(crate) jitter: u8,
    /// Keeps no written feedback beyond the cache, so that each one that ends costs a call: the
    /// worst case.
    #[arg(long)]
    pub(crate) forget: bool,
    /// Takes only the answers of the first so many users.
    #[arg(long)]
    pub(crate) users: Option<usize>,
    /// The days over which a log without times is spread.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) days: u32,
    /// How many answers in a row come at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) concurrency: u16,
    /// How long the model takes, in real time, such as 2s or 300ms.
    #[arg(long, default_value = "0ms", value_parser = duration)]
    pub(crate) latency: Duration,
    /// How many seconds of the log pass in one second, at most. Default: as fast as it goes.
    #[arg(long)]
    pub(crate) speed: Option<f64>,
    /// Changes which wrong options and words stand for those that the log does not say.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Plans what to have written ahead, each time so much of the log has passed, such as 24h; and
    /// replays the log without that too, to compare.
    #[arg(long, value_parser = duration)]
    pub(crate) plan_every: Option<Duration>,
    /// How much of the log trains the forecast before the first plan, in percent of its answers.
    /// What is compared is the rest.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) train: u8,
    /// How far a plan looks ahead.
    #[arg(long, default_value = "7d", value_parser = duration)]
    pub(crate) horizon: Duration,
    /// After what time an answer counts half in the forecast.
    #[arg(long, default_value = "14d", value_parser = duration)]
    pub(crate) half_life: Duration,
    /// The most that one plan may be expected to cost, in dollars.
    #[arg(long, default_value = "5.00", value_parser = dollars)]
    pub(crate) plan_budget: MicroDollars,
    /// What it is worth that one student does not wait for a model, in dollars.
    #[arg(long, default_value = "0", value_parser = dollars)]
    pub(crate) wait_value: MicroDollars,
    /// How long a batch takes, in the time of the log.
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub(crate) batch_time: Duration,
    /// The SQLite file that keeps answers and feedback; it must not exist. Default: memory.
    #[arg(long)]
    pub(crate) store: Option<PathBuf>,
    /// Where the picture goes.
    #[arg(long, default_value = "replay.svg")]
    pub(crate) svg: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let parsed = units.into_iter().find_map(|(unit, millis)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(millis).map(Duration::from_millis)
    });
    parsed.ok_or_else(|| "write a whole number and ms, s, m, h or d, such as 24h".to_owned())
}

fn dollars(text: &str) -> Result<MicroDollars, String> {
    let dollars: f64 = text.trim().parse().unwrap_or(f64::NAN);
    if !(0.0..=1_000_000.0).contains(&dollars) {
        return Err("write dollars, such as 5.00".to_owned());
    }
    Ok(MicroDollars::new((dollars * 1_000_000.0).round() as u64))
}

fn price(text: &str) -> Result<Price, String> {
    let micros = |dollars: &str| {
        let dollars: f64 = dollars.trim().parse().ok()?;
        let sensible = (0.0..=1_000_000.0).contains(&dollars);
        sensible.then(|| MicroDollars::new((dollars * 1_000_000.0).round() as u64))
    };
    let (input, output) = text
        .split_once(',')
        .and_then(|(input, output)| Some((micros(input)?, micros(output)?)))
        .ok_or("write dollars per million tokens read and written, such as 1.00,5.00")?;
    Ok(Price {
        input,
        cache_read: input,
        cache_write: input,
        output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_prices_are_read_or_refused() {
        for (text, expected) in [
            ("24h", Some(86_400_000)),
            ("300ms", Some(300)),
            ("2m", Some(120_000)),
            ("24", None),
            ("h", None),
            ("-1s", None),
            ("99999999999999999999d", None),
        ] {
            let read = duration(text).ok().map(|time| time.as_millis());
            assert_eq!(read, expected, "{text}");
        }
        let haiku = price("1.00,5").expect("it is a price");
        assert_eq!(
            (haiku.input.get(), haiku.output.get()),
            (1_000_000, 5_000_000)
        );
        for text in ["1", "1;5", "-1,5", "nan,1"] {
            assert!(price(text).is_err(), "{text}");
        }
    }
}

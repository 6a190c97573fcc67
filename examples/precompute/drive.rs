use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use medcards::precompute::{
    Advance, BatchReport, Forecast, ForecastConfig, LogReading, Plan, PlanPolicy, PlannedKey,
    WaitReason,
};
use medcards::spend::MicroDollars;
use medcards::{BatchId, Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::arguments::{RunFlags, Wishes};
use crate::table;
use crate::waiting::{Lines, Why};
use crate::wiring::Wired;

/// How often in a row a batch may fail to go on before that is given up: the provider, or the store,
/// has been away for a quarter of an hour then.
const FAILURES_MAX: u32 = 30;

/// What came of a run.
#[derive(Default)]
pub(crate) struct Total {
    pub(crate) batches: u64,
    pub(crate) asked: u64,
    pub(crate) written: u64,
    pub(crate) rejected: BTreeMap<String, u64>,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) cost: MicroDollars,
    /// What the live calls cost that the written ones are expected to make needless.
    pub(crate) saving: MicroDollars,
}

impl Total {
    fn add(&mut self, report: &BatchReport) {
        self.batches += 1;
        self.asked += report.len;
        self.written += report.written;
        self.cost += report.cost;
        for (sums, reasons) in [
            (&mut self.rejected, &report.rejected),
            (&mut self.failed, &report.failed),
        ] {
            for (reason, count) in reasons {
                *sums.entry(reason.clone()).or_default() += count;
            }
        }
    }
}

/// Makes a plan and prints it.
pub(crate) async fn plan(wired: &Wired, wishes: &Wishes) -> Result<Plan> {
    let mut forecast = Forecast::new(ForecastConfig {
        half_life: wishes.half_life,
        ..ForecastConfig::default()
    })?;
    let bar = spinner("reading the answer log: {pos} answers, {per_sec}");
    let prompt = &wired.prompt;
    LogReading::new()
        .read_on(
            &*wired.log,
            &mut forecast,
            |settings| prompt.version(settings.level),
            |answers| bar.set_position(answers),
        )
        .await?;
    bar.finish_and_clear();
    let bar = spinner("looking at cases: {pos}");
    let candidates = wired
        .precomputer
        .candidates(&forecast, wishes.horizon, |cases| bar.set_position(cases))
        .await?;
    bar.finish_and_clear();
    let policy = PlanPolicy {
        horizon: wishes.horizon,
        wait_value: wishes.wait_value,
        ..PlanPolicy::default()
    };
    let candidates_len = candidates.len();
    let plan = medcards::precompute::plan(candidates, &policy, wishes.budget);
    table::print_plan(&plan, forecast.answers(), candidates_len, wishes);
    Ok(plan)
}

/// Makes a plan, buys it, and keeps what is written.
pub(crate) async fn run(wired: &Wired, flags: &RunFlags) -> Result<()> {
    let plan = plan(wired, &flags.wishes).await?;
    if flags.dry_run || plan.keys.is_empty() {
        return Ok(());
    }
    if !flags.yes && !agrees(&plan)? {
        println!("nothing was bought");
        return Ok(());
    }
    let mut total = Total::default();
    let mut keys = plan.keys.as_slice();
    let limit = flags.at_most.unwrap_or(MicroDollars::MAX);
    while !keys.is_empty() {
        let begun = wired.precomputer.begin(keys, limit).await?;
        let (done, left) = keys.split_at(begun.done);
        keys = left;
        match begun.batch {
            Some(batch) => {
                println!("batch {batch}: {} feedbacks are bought", begun.done);
                let report = drive(wired, batch, flags.poll, false).await?;
                total.saving += saving_of(done, report.written);
                total.add(&report);
            }
            None if begun.done == 0 => {
                println!(
                    "{} are left: neither --at-most nor the spend budget of today allows another",
                    keys.len()
                );
                break;
            }
            None => println!("{} are bought by another process already", begun.done),
        }
    }
    table::print_total(&total, Some(total.saving));
    Ok(())
}

/// What so many of these keys are expected to save, whichever they are: their share of what all do.
fn saving_of(keys: &[PlannedKey], written: u64) -> MicroDollars {
    let all: f64 = keys
        .iter()
        .map(|planned| planned.live_calls * planned.cost.live.get() as f64)
        .sum();
    let share = written as f64 / keys.len().max(1) as f64;
    MicroDollars::new((all * share.min(1.0)).round() as u64)
}

/// Goes on with all batches that are open.
pub(crate) async fn resume(wired: &Wired, poll: Duration) -> Result<()> {
    let open = wired.precomputer.open_batches().await?;
    if open.is_empty() {
        println!("no batch is open");
        return Ok(());
    }
    let mut total = Total::default();
    let mut failed = Ok(());
    for record in open {
        match drive(wired, record.id, poll, false).await {
            Ok(report) => total.add(&report),
            // One that cannot go on holds up no other.
            Err(error) => {
                eprintln!("batch {} does not go on: {error}", record.id);
                failed = Err(error);
            }
        }
    }
    table::print_total(&total, None);
    failed
}

/// Lists the batches that are open.
pub(crate) async fn status(wired: &Wired) -> Result<()> {
    let open = wired.precomputer.open_batches().await?;
    if open.is_empty() {
        println!("no batch is open");
    }
    table::print_open(&open);
    Ok(())
}

/// Ends a batch.
pub(crate) async fn cancel(wired: &Wired, batch: BatchId, poll: Duration) -> Result<()> {
    let mut total = Total::default();
    total.add(&drive(wired, batch, poll, true).await?);
    table::print_total(&total, None);
    Ok(())
}

/// Waits until a batch is closed.
async fn drive(
    wired: &Wired,
    batch: BatchId,
    poll: Duration,
    is_cancelled: bool,
) -> Result<BatchReport> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} written, {elapsed} {msg}");
    let bar =
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut failures = 0;
    let mut lines = Lines::new(batch);
    loop {
        let step = if is_cancelled {
            wired.precomputer.cancel(batch).await
        } else {
            wired.precomputer.advance(batch).await
        };
        let why = match step {
            Ok(Advance::Closed(report)) => {
                bar.finish_and_clear();
                return Ok(report);
            }
            Ok(Advance::Refused) => {
                bar.finish_and_clear();
                let context = "the spend budget does not allow it: go on when it does";
                return Err(Error::new(ErrorKind::Busy, "buy batch", context));
            }
            Ok(Advance::Waiting(reason)) => {
                failures = 0;
                Why::Goes(reason)
            }
            Err(error) if error.is_retryable() && failures < FAILURES_MAX => {
                failures += 1;
                Why::Failed(error)
            }
            Err(error) => {
                bar.finish_and_clear();
                return Err(error);
            }
        };
        show(&bar, &why);
        if bar.is_hidden()
            && let Some(line) = lines.line(&why, Instant::now())
        {
            println!("{line}");
        }
        tokio::time::sleep(poll).await;
    }
}

/// Shows on a terminal why a batch is waited for.
fn show(bar: &ProgressBar, why: &Why) {
    match why {
        Why::Goes(WaitReason::Provider { done, total }) => {
            bar.set_length(*total);
            bar.set_position(*done);
            bar.set_message("");
        }
        Why::Goes(_) => bar.set_message("looking for it at the provider"),
        Why::Failed(error) => bar.set_message(format!("({error}; trying again)")),
    }
}

/// Asks who runs it.
fn agrees(plan: &Plan) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        let context = "nobody can be asked here: say --yes to spend, or --dry-run not to";
        return Err(Error::new(ErrorKind::Invalid, "ask", context));
    }
    print!(
        "buy {} feedbacks for about {}? [y/N] ",
        plan.keys.len(),
        table::dollars(plan.cost)
    );
    let failed = |source| {
        Error::new(ErrorKind::Unavailable, "ask", "the terminal is gone").with_source(source)
    };
    std::io::stdout().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn spinner(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

#[cfg(test)]
mod tests {
    use medcards::CaseId;
    use medcards::ai::PromptVersion;
    use medcards::case::CaseVersion;
    use medcards::feedback::FeedbackKey;
    use medcards::precompute::{CallCost, Demand};

    use super::*;

    fn planned(live_calls: f64) -> PlannedKey {
        PlannedKey {
            key: FeedbackKey {
                case_id: CaseId::from_bytes([1; 16]),
                case_version: CaseVersion::FIRST,
                chosen: [0].into_iter().collect(),
                locale: "en".parse().unwrap(),
                prompt_version: PromptVersion::new(1),
                model: "model".parse().unwrap(),
            },
            demand: Demand::default(),
            cost: CallCost {
                live: MicroDollars::new(1_000),
                batch: MicroDollars::new(500),
                batch_max: MicroDollars::new(900),
            },
            live_calls,
        }
    }

    #[test]
    fn only_what_was_written_saves_anything() {
        let keys = [planned(1.0), planned(2.0), planned(3.0)];
        for (written, saving) in [(0, 0), (1, 2_000), (3, 6_000), (4, 6_000)] {
            assert_eq!(saving_of(&keys, written), MicroDollars::new(saving));
        }
        assert_eq!(saving_of(&[], 0), MicroDollars::ZERO);
    }
}

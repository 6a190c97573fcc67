use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use medcards::BatchId;
use medcards::spend::MicroDollars;
use medcards_examples::config::Settings;

/// Has feedback written before it is asked for, in batches at half the price.
///
/// It takes the settings of the server, from the same flags, environment and file: the store, the
/// model (MEDCARDS_AI=anthropic), and the spend budget, which it never exceeds. Settings stand before
/// the command. A server on PostgreSQL may run meanwhile, and finds what was written within a minute;
/// stop one on a SQLite file, which one process at a time may open.
///
/// Begin with `plan`, which costs nothing and says what `run` would buy, what it would save, and which
/// tiers would answer. A batch takes minutes to a day. Ctrl-C leaves everything so that `resume` goes
/// on; so does a crash, also between paying and knowing. New texts count as unreviewed: reviewers find
/// them at GET /v1/admin/feedback.
#[derive(Debug, Parser)]
#[command(name = "precompute", verbatim_doc_comment)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what would be bought, what it would cost, and what it would save
    Plan(Wishes),
    /// Buy it, wait until it is written, and keep it
    Run(RunFlags),
    /// Go on with what an earlier run left
    Resume {
        /// How often the provider is asked, such as 30s
        #[arg(long, default_value = "30s", value_parser = duration)]
        poll: Duration,
    },
    /// List the batches that are open
    Status,
    /// End a batch: what was written by then is kept and paid, the rest is not bought
    Cancel {
        /// Its id, as status lists it
        #[arg(value_parser = batch)]
        batch: BatchId,
        /// How often the provider is asked, such as 30s
        #[arg(long, default_value = "30s", value_parser = duration)]
        poll: Duration,
    },
}

/// What a plan is to be like.
#[derive(Debug, Args)]
pub(crate) struct Wishes {
    /// The most that the plan may be expected to cost, in dollars
    #[arg(long, default_value = "1.00", value_parser = dollars)]
    pub(crate) budget: MicroDollars,
    /// How far it looks ahead, such as 7d
    #[arg(long, default_value = "7d", value_parser = duration)]
    pub(crate) horizon: Duration,
    /// After what time an answer counts half in the forecast, such as 14d
    #[arg(long, default_value = "14d", value_parser = duration)]
    pub(crate) half_life: Duration,
    /// What it is worth that one student does not wait for a model, in dollars. At 0 only what saves
    /// money is bought; at the price of a live call, most waits are bought away
    #[arg(long, default_value = "0", value_parser = dollars)]
    pub(crate) wait_value: MicroDollars,
}

/// How it is run.
#[derive(Debug, Args)]
pub(crate) struct RunFlags {
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// Only say what would be bought, as `plan` does
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before spending
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// The most that a batch may cost in the worst case, in dollars: what is set aside for it. Larger
    /// plans are bought in several batches, one after the other [default: what the spend budget
    /// allows]
    #[arg(long, value_parser = dollars)]
    pub(crate) at_most: Option<MicroDollars>,
    /// How often the provider is asked, such as 30s
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) poll: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let parsed = units.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        let seconds = number.checked_mul(seconds)?;
        // Ten years: sums of such times stay within what a timestamp can hold.
        (1..=315_360_000)
            .contains(&seconds)
            .then(|| Duration::from_secs(seconds))
    });
    parsed.ok_or_else(|| "write a whole number and s, m, h or d, such as 7d".to_owned())
}

fn dollars(text: &str) -> Result<MicroDollars, String> {
    let dollars: f64 = text.trim().parse().unwrap_or(f64::NAN);
    if !(0.0..=1_000_000.0).contains(&dollars) {
        return Err("write dollars, such as 2.50".to_owned());
    }
    Ok(MicroDollars::new((dollars * 1_000_000.0).round() as u64))
}

fn batch(text: &str) -> Result<BatchId, String> {
    text.parse()
        .map_err(|error: medcards::Error| error.context().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_and_amounts_are_read_or_refused() {
        assert_eq!(duration("7d"), Ok(Duration::from_hours(7 * 24)));
        for wrong in ["7", "d", "-1d", "0s", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(dollars("2.5"), Ok(MicroDollars::new(2_500_000)));
        for wrong in ["-1", "nan", "many", "1e9"] {
            assert!(dollars(wrong).is_err(), "{wrong}");
        }
    }
}

use std::fmt::Display;

use medcards::precompute::{BatchRecord, Plan};
use medcards::spend::MicroDollars;

use crate::arguments::Wishes;
use crate::drive::Total;

/// Prints what a plan would buy, cost and save.
pub(crate) fn print_plan(plan: &Plan, answers: u64, candidates: usize, wishes: &Wishes) {
    let days = wishes.horizon.as_secs_f64() / 86_400.0;
    println!("plan for {days:.1} days, from {answers} answers\n");
    row("feedbacks that may be asked for", candidates);
    let skipped = plan.skipped;
    row("  there already", skipped.kept);
    row("  in an open batch", skipped.in_batch);
    row("  withdrawn by reviewers", skipped.withdrawn);
    row("  given up after rejected replies", skipped.given_up);
    row("  not worth their price", skipped.not_worth_it);
    row("  worth it, beyond the budget", plan.beyond_budget);
    row("  to be bought", plan.keys.len());
    println!();
    row("expected cost", dollars(plan.cost));
    row("cost at most, which is set aside", dollars(plan.cost_max));
    row("expected saving of live calls", dollars(plan.saving));
    let gain = plan.gain_micros();
    let amount = dollars(MicroDollars::new(gain.unsigned_abs()));
    let sign = if gain < 0 { "-" } else { "" };
    row("expected gain", format!("{sign}{amount}"));
    println!();
    row(
        "requests expected",
        format!("{:.0}", plan.without.requests()),
    );
    println!("{:<38}{:>12}{:>12}", "answered by", "as it is", "with it");
    let [without, with] = [plan.without.percent(), plan.with.percent()];
    for (place, tier) in ["caches", "precomputed", "model, live"].iter().enumerate() {
        println!(
            "  {tier:<36}{:>10.2} %{:>10.2} %",
            without[place], with[place]
        );
    }
    println!();
}

/// Prints what came of a run.
pub(crate) fn print_total(total: &Total, saving: Option<MicroDollars>) {
    println!();
    row("batches", total.batches);
    row("feedbacks asked for", total.asked);
    row("  written", total.written);
    for (what, reasons) in [("rejected", &total.rejected), ("no reply", &total.failed)] {
        for (reason, count) in reasons {
            row(&format!("  {what}: {reason}"), count);
        }
    }
    row("cost", dollars(total.cost));
    if let Some(saving) = saving {
        row("expected saving of live calls", dollars(saving));
    }
}

/// Prints the batches that are open.
pub(crate) fn print_open(open: &[BatchRecord]) {
    for record in open {
        let stage = match (&record.name, record.attempt) {
            (Some(name), _) => format!("at the provider as {name}"),
            (None, 0) => "not handed in".to_owned(),
            (None, _) => "perhaps handed in: resume finds out".to_owned(),
        };
        println!(
            "{}  {} feedbacks of {}, at most {}, opened {}, {stage}",
            record.id,
            record.len,
            record.model,
            dollars(record.amount),
            record.opened_at
        );
    }
}

fn row(what: &str, value: impl Display) {
    println!("{what:<48} {value:>14}");
}

/// Dollars with as many digits as matter where each costs a fraction of a cent.
pub(crate) fn dollars(amount: MicroDollars) -> String {
    let hundredths_of_cents = (amount.get() + 50) / 100;
    format!(
        "${}.{:04}",
        hundredths_of_cents / 10_000,
        hundredths_of_cents % 10_000
    )
}

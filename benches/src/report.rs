//! What was measured, as lines and a table.

#![expect(clippy::print_stdout, reason = "a bench talks to who runs it")]

/// What a ratio should be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// None was set; the ratio is of times.
    None,
    /// Our rate is at least this part of the other's.
    RateAtLeast(f64),
    /// Our time is at most this many times the other's.
    TimeAtMost(f64),
}

/// One comparison, in seconds for a piece of work.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The work and both ways.
    pub name: String,
    /// How long our way takes.
    pub ours: f64,
    /// How long the other one takes.
    pub baseline: f64,
    /// Of times or of rates, as the target has it.
    pub ratio: f64,
    /// What the ratio should be.
    pub target: Target,
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    outcomes: Vec<Outcome>,
    remarks: Vec<String>,
}

impl Outcome {
    /// The target and whether it is met.
    fn verdict(&self) -> (String, &'static str) {
        let (text, is_met) = match self.target {
            Target::None => return ("-".to_owned(), "-"),
            Target::RateAtLeast(least) => (format!(">= {least}"), self.ratio >= least),
            Target::TimeAtMost(most) => (format!("<= {most}"), self.ratio <= most),
        };
        (text, if is_met { "ok" } else { "MISSED" })
    }
}

impl Report {
    /// Adds a comparison, and prints it.
    pub fn add(&mut self, outcome: Outcome) {
        let (target, verdict) = outcome.verdict();
        let Outcome { name, ratio, .. } = &outcome;
        println!("ratio {name} = {ratio:.2} (target {target}): {verdict}\n");
        self.outcomes.push(outcome);
    }

    /// Adds a line that is no ratio, and prints it.
    pub fn remark(&mut self, remark: String) {
        println!("{remark}\n");
        self.remarks.push(remark);
    }

    /// Prints all that was added.
    pub fn print_table(&self) {
        if self.outcomes.is_empty() {
            return;
        }
        println!(
            "{:<64} {:>10} {:>10} {:>6}  {:<7} ",
            "work: ours/baseline", "ours", "baseline", "ratio", "target"
        );
        for outcome in &self.outcomes {
            let (target, verdict) = outcome.verdict();
            let Outcome {
                name,
                ours,
                baseline,
                ratio,
                ..
            } = outcome;
            let (ours, baseline) = (time(*ours), time(*baseline));
            println!("{name:<64} {ours:>10} {baseline:>10} {ratio:>6.2}  {target:<7} {verdict}");
        }
        self.remarks.iter().for_each(|remark| println!("{remark}"));
        println!("times are for one piece of work: a hit, a request, an answer");
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.1} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} us", s * 1e6),
        s => format!("{:.2} ms", s * 1e3),
    }
}

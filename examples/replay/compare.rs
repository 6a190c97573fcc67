#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::fmt::Write;
use std::path::Path;

use medcards::feedback::Tier;
use medcards::spend::MicroDollars;

use crate::Error;
use crate::arguments::Arguments;
use crate::picture::{COLOURS, text};
use crate::run::{Run, Way};
use crate::table::{dollars, grouped};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 790.0;
const BAR: f64 = 24.0;
const STEP: f64 = 34.0;

/// What is compared of one way: what came after the training.
struct Measured {
    name: &'static str,
    answers: u64,
    /// How many feedbacks caches, store, model and author gave.
    tiers: [u64; 4],
    live: MicroDollars,
    batches: MicroDollars,
}

impl Measured {
    fn of(way: Way, run: &Run) -> Self {
        let tier = |tier: Tier| run.end.tiers[tier as usize] - run.trained.tiers[tier as usize];
        let tiers = [
            tier(Tier::Local) + tier(Tier::Remote),
            tier(Tier::Precomputed),
            tier(Tier::Live),
            tier(Tier::Authored),
        ];
        Self {
            name: match way {
                Way::CacheOnly => "caches only",
                Way::Kept => "kept, no planner",
                Way::Planned => "with planner",
            },
            answers: tiers.iter().sum(),
            tiers,
            live: run.end.live.saturating_sub(run.trained.live),
            batches: run.end.batches.saturating_sub(run.trained.batches),
        }
    }

    /// The way in which nothing is kept: a call for every answer.
    fn live_only(run: &Run) -> Self {
        let answers: u64 = Self::of(Way::CacheOnly, run).answers;
        Self {
            name: "live only",
            answers,
            tiers: [0, 0, answers, 0],
            live: run.end.live_only.saturating_sub(run.trained.live_only),
            batches: MicroDollars::ZERO,
        }
    }

    fn cost(&self) -> MicroDollars {
        self.live + self.batches
    }

    fn percent(&self, tier: usize) -> f64 {
        self.tiers[tier] as f64 * 100.0 / self.answers.max(1) as f64
    }
}

fn measured(runs: &[(Way, Run)]) -> Vec<Measured> {
    let live_only = runs.first().map(|(_, run)| Measured::live_only(run));
    let ways = runs.iter().map(|(way, run)| Measured::of(*way, run));
    live_only.into_iter().chain(ways).collect()
}

/// Prints the ways side by side.
pub(crate) fn print(arguments: &Arguments, title: &str, runs: &[(Way, Run)]) {
    let ways = measured(runs);
    println!("{title}");
    println!(
        "after the first {} % of the answers, which train the forecast; plans look {:.0} h ahead\n",
        arguments.train,
        arguments.horizon.as_secs_f64() / 3_600.0
    );
    let row = |what: &str, value: &dyn Fn(&Measured) -> String| {
        let values: String = ways
            .iter()
            .map(|way| format!(" {:>16}", value(way)))
            .collect();
        println!("{what:<34}{values}");
    };
    row("", &|way| way.name.to_owned());
    row("answers", &|way| grouped(way.answers));
    let tiers = [
        "caches",
        "store of precomputed feedback",
        "model, live",
        "author",
    ];
    for (tier, name) in tiers.into_iter().enumerate() {
        row(name, &|way| format!("{:.2} %", way.percent(tier)));
    }
    row("live calls cost", &|way| dollars(way.live));
    row("batches cost", &|way| dollars(way.batches));
    row("all cost", &|way| dollars(way.cost()));
    let against = |way: &Measured, other: Option<&Measured>| {
        let other = other.map_or(MicroDollars::ZERO, Measured::cost).get();
        let saving = 1.0 - way.cost().get() as f64 / other.max(1) as f64;
        format!("{:.2} %", saving * 100.0)
    };
    row("saving against live only", &|way| {
        against(way, ways.first())
    });
    row("saving against caches only", &|way| {
        against(way, ways.get(1))
    });
    for (_, run) in runs.iter().filter(|(way, _)| *way == Way::Planned) {
        let notes = run.notes;
        println!(
            "\n{} plans, {} feedbacks written ahead, {} lost; expected to save {}",
            grouped(notes.plans),
            grouped(notes.written),
            grouped(notes.lost),
            dollars(notes.saving_expected)
        );
        println!(
            "{} cases, {} distinct keys, {:.0} s",
            grouped(run.cases as u64),
            grouped(run.count.keys()),
            run.took.as_secs_f64()
        );
    }
    println!("the accounts of resolver, ledger, model and replay agree");
    println!("picture: {}", arguments.svg.display());
}

/// Draws the ways side by side: who answered, and what it cost.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn draw(path: &Path, title: &str, runs: &[(Way, Run)]) -> Result<(), Error> {
    let ways = measured(runs);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" \
         font-size=\"13\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let bold = "font-weight=\"bold\"";
    text(
        &mut svg,
        (20.0, 32.0),
        "start",
        "font-size=\"15\" font-weight=\"bold\"",
        title,
    );
    let heading = "Which tier gave the feedback, in percent of answers";
    text(&mut svg, (LEFT, 70.0), "start", bold, heading);
    let colours = [COLOURS[0], COLOURS[2], COLOURS[3], COLOURS[4]];
    for (place, way) in ways.iter().enumerate() {
        let y = 84.0 + place as f64 * STEP;
        text(&mut svg, (LEFT - 10.0, y + 17.0), "end", "", way.name);
        let mut x = LEFT;
        for (tier, colour) in colours.iter().enumerate() {
            let width = way.percent(tier) / 100.0 * (RIGHT - LEFT);
            bar(&mut svg, (x, y), width, colour)?;
            x += width;
        }
        let shares = format!(
            "{:.1} / {:.1} / {:.1}",
            way.percent(0),
            way.percent(1),
            way.percent(2)
        );
        text(&mut svg, (RIGHT + 10.0, y + 17.0), "start", "", &shares);
    }
    let legend = ["caches", "precomputed", "live", "authored"];
    for (place, (name, colour)) in legend.iter().zip(colours).enumerate() {
        let (x, y) = (LEFT + place as f64 * 120.0, 226.0);
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"13\" height=\"13\" fill=\"{colour}\"/>"
        )?;
        text(&mut svg, (x + 19.0, y + 11.0), "start", "", name);
    }
    text(
        &mut svg,
        (LEFT, 270.0),
        "start",
        bold,
        "What it cost: live calls, and batches",
    );
    let most = ways.iter().map(|way| way.cost().get()).max().unwrap_or(1);
    for (place, way) in ways.iter().enumerate() {
        let y = 284.0 + place as f64 * STEP;
        text(&mut svg, (LEFT - 10.0, y + 17.0), "end", "", way.name);
        let width = |cost: MicroDollars| cost.get() as f64 / most.max(1) as f64 * (RIGHT - LEFT);
        bar(&mut svg, (LEFT, y), width(way.live), COLOURS[3])?;
        bar(
            &mut svg,
            (LEFT + width(way.live), y),
            width(way.batches),
            COLOURS[2],
        )?;
        text(
            &mut svg,
            (RIGHT + 10.0, y + 17.0),
            "start",
            bold,
            &dollars(way.cost()),
        );
    }
    svg.push_str("</svg>\n");
    std::fs::write(path, svg).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn bar(svg: &mut String, (x, y): (f64, f64), width: f64, colour: &str) -> Result<(), Error> {
    writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
    )?;
    Ok(())
}

use std::fmt::Write;
use std::path::Path;

use medcards::feedback::Tier;
use medcards::spend::MicroDollars;

use crate::Error;
use crate::count::{Count, SLICES, Slice};
use crate::table::dollars;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 790.0;
const SHARES: Panel = Panel {
    top: 90.0,
    bottom: 320.0,
};
const MONEY: Panel = Panel {
    top: 390.0,
    bottom: 590.0,
};

/// The colours of the tiers, in their order; they differ in lightness too.
pub(crate) const COLOURS: [&str; Tier::ALL.len()] =
    ["#2f6fb3", "#7fb2e5", "#58b38f", "#e2703a", "#8a8a8a"];

#[derive(Clone, Copy)]
struct Panel {
    top: f64,
    bottom: f64,
}

impl Panel {
    fn y(self, share: f64) -> f64 {
        self.bottom - share * (self.bottom - self.top)
    }
}

/// Draws which tier gave the feedback over the time of the log, and what it cost.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn draw(
    path: &Path,
    title: &str,
    count: &Count,
    span_ms: (i64, i64),
) -> Result<(), Error> {
    let days = (span_ms.1 - span_ms.0) as f64 / 86_400_000.0;
    let slices = without_gaps(&count.slices);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" \
         font-size=\"13\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(
        &mut svg,
        (20.0, 32.0),
        "start",
        "font-size=\"15\" font-weight=\"bold\"",
        title,
    );
    draw_shares(&mut svg, count)?;
    draw_money(&mut svg, &slices)?;
    draw_axes(&mut svg, days)?;
    svg.push_str("</svg>\n");
    std::fs::write(path, svg).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The sums of a slice in which nothing happened are those of the one before.
fn without_gaps(slices: &[Slice]) -> Vec<Slice> {
    let mut last = Slice::default();
    let carried = slices.iter().map(|slice| {
        if slice.live_only > MicroDollars::ZERO {
            last = *slice;
        }
        Slice {
            tiers: slice.tiers,
            ..last
        }
    });
    carried.collect()
}

fn draw_shares(svg: &mut String, count: &Count) -> Result<(), Error> {
    let heading = "Which tier gave the feedback, in percent of answers";
    text(
        svg,
        (LEFT, SHARES.top - 14.0),
        "start",
        "font-weight=\"bold\"",
        heading,
    );
    let width = (RIGHT - LEFT) / SLICES as f64;
    for (place, slice) in count.slices.iter().enumerate() {
        let all: u64 = slice.tiers.iter().sum();
        let mut below = 0.0;
        for (given, colour) in slice
            .tiers
            .iter()
            .zip(COLOURS)
            .filter(|(given, _)| **given > 0)
        {
            let share = *given as f64 / all as f64;
            let (x, y) = (LEFT + place as f64 * width, SHARES.y(below + share));
            let height = share * (SHARES.bottom - SHARES.top);
            // A little wider than their place, so that no seam shows between them.
            let width = width + 0.3;
            writeln!(
                svg,
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
                 fill=\"{colour}\"/>"
            )?;
            below += share;
        }
    }
    let given = Tier::ALL.into_iter().zip(COLOURS).rev();
    let given = given.filter(|(tier, _)| count.tiers[*tier as usize] > 0);
    for (line, (tier, colour)) in given.enumerate() {
        let y = SHARES.top + 16.0 + 22.0 * line as f64;
        let (x, top) = (RIGHT + 14.0, y - 11.0);
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{top}\" width=\"13\" height=\"13\" fill=\"{colour}\"/>"
        )?;
        let share = count.tiers[tier as usize] as f64 * 100.0 / count.answers.max(1) as f64;
        text(
            svg,
            (x + 20.0, y),
            "start",
            "",
            &format!("{tier} {share:.2} %"),
        );
    }
    Ok(())
}

fn draw_money(svg: &mut String, slices: &[Slice]) -> Result<(), Error> {
    let end = slices.last().copied().unwrap_or_default();
    let most = end.live_only.max(end.spent).get().max(1) as f64;
    let saving = 100.0 - end.spent.get() as f64 * 100.0 / end.live_only.get().max(1) as f64;
    let heading =
        format!("What was spent, beside a call for every answer: {saving:.2} % were saved");
    text(
        svg,
        (LEFT, MONEY.top - 14.0),
        "start",
        "font-weight=\"bold\"",
        &heading,
    );
    let live_only: Vec<_> = slices.iter().map(|slice| slice.live_only).collect();
    let spent = slices.iter().map(|slice| slice.spent).collect();
    let lines = [
        ("a call for every answer", "#8a8a8a", live_only),
        ("spent", "#e2703a", spent),
    ];
    for (name, colour, amounts) in lines {
        let mut points = format!("{LEFT:.1},{:.1}", MONEY.bottom);
        for (place, amount) in amounts.iter().enumerate() {
            let x = LEFT + (place + 1) as f64 * (RIGHT - LEFT) / SLICES as f64;
            write!(points, " {x:.1},{:.1}", MONEY.y(amount.get() as f64 / most))?;
        }
        writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>"
        )?;
        let last = amounts.last().copied().unwrap_or_default();
        let y = MONEY.y(last.get() as f64 / most);
        let bold = "font-weight=\"bold\"";
        text(svg, (RIGHT + 14.0, y - 18.0), "start", bold, &dollars(last));
        text(svg, (RIGHT + 14.0, y - 2.0), "start", "", name);
    }
    text(
        svg,
        (LEFT - 8.0, MONEY.top + 4.0),
        "end",
        "",
        &dollars(MicroDollars::new(most as u64)),
    );
    text(svg, (LEFT - 8.0, MONEY.bottom + 4.0), "end", "", "$0");
    Ok(())
}

fn draw_axes(svg: &mut String, days: f64) -> Result<(), Error> {
    for (share, label) in [(0.0, "0"), (0.5, "50"), (1.0, "100")] {
        text(svg, (LEFT - 8.0, SHARES.y(share) + 4.0), "end", "", label);
    }
    let (unit, length) = if days >= 2.0 {
        ("day", days)
    } else {
        ("hour", days * 24.0)
    };
    for panel in [SHARES, MONEY] {
        let Panel { top, bottom } = panel;
        writeln!(
            svg,
            "<path d=\"M{LEFT},{top}V{bottom}H{RIGHT}\" fill=\"none\" stroke=\"#222\"/>"
        )?;
        for step in 0..=5 {
            let share = f64::from(step) / 5.0;
            let x = LEFT + share * (RIGHT - LEFT);
            writeln!(svg, "<path d=\"M{x:.1},{bottom}v5\" stroke=\"#222\"/>")?;
            let digits = usize::from(length < 20.0);
            let label = format!("{unit} {:.digits$}", share * length);
            text(svg, (x, bottom + 20.0), "middle", "", &label);
        }
    }
    Ok(())
}

pub(crate) fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, style: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{words}</text>"
    );
}

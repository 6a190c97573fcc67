//! What was moved, as proof: rows, hashes, times.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use medcards::transfer::{Differences, Inventory, Part, PartSum};
use medcards::{Error, ErrorKind, Result, Timestamp};
use serde::Serialize;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A dry run: everything could be moved.
    Checked,
    /// Both hold different things.
    Different,
    /// Both hold the same.
    Equal,
    /// Some rows cannot be moved, and none was.
    Refused,
}

#[derive(Serialize)]
pub(crate) struct Report {
    outcome: Outcome,
    from: String,
    to: Option<String>,
    began_at: Timestamp,
    seconds: f64,
    /// A hash of everything in the source.
    fingerprint: String,
    parts: Vec<PartReport>,
    users: u64,
    users_different: u64,
    /// Some of them.
    different_users: Vec<String>,
    rows_written: u64,
    rows_not_movable: u64,
    /// Some of them.
    not_movable: Vec<NotMovable>,
    steps: Vec<StepReport>,
    notes: Vec<String>,
    #[serde(skip)]
    began: Instant,
}

#[derive(Serialize)]
struct PartReport {
    part: &'static str,
    source: Sum,
    target: Option<Sum>,
    is_equal: Option<bool>,
    seconds_moving: f64,
}

#[derive(Serialize)]
struct Sum {
    rows: u64,
    hash: String,
}

#[derive(Serialize)]
struct NotMovable {
    row: String,
    reason: String,
}

#[derive(Serialize)]
struct StepReport {
    step: String,
    rows: u64,
    seconds: f64,
    rows_per_second: f64,
}

impl From<PartSum> for Sum {
    fn from(sum: PartSum) -> Self {
        Self {
            rows: sum.rows,
            hash: format!("{:032x}", sum.hash),
        }
    }
}

impl Report {
    pub(crate) fn new(from: String, began_at: Timestamp) -> Self {
        Self {
            outcome: Outcome::Refused,
            from,
            to: None,
            began_at,
            seconds: 0.0,
            fingerprint: String::new(),
            parts: Vec::new(),
            users: 0,
            users_different: 0,
            different_users: Vec::new(),
            rows_written: 0,
            rows_not_movable: 0,
            not_movable: Vec::new(),
            steps: Vec::new(),
            notes: Vec::new(),
            began: Instant::now(),
        }
    }

    pub(crate) fn to(&mut self, to: String) {
        self.to = Some(to);
    }

    /// Notes what is in the source.
    pub(crate) fn source(&mut self, inventory: &Inventory) {
        self.fingerprint = inventory.fingerprint().to_string();
        self.users = inventory.user_count();
        self.rows_not_movable = inventory.objection_count();
        let not_movable = inventory.objections().iter().map(|objection| NotMovable {
            row: objection.row.clone(),
            reason: objection.reason.to_string(),
        });
        self.not_movable = not_movable.collect();
        let parts = Part::ALL.map(|part| PartReport {
            part: part.as_str(),
            source: inventory.part(part).into(),
            target: None,
            is_equal: None,
            seconds_moving: 0.0,
        });
        self.parts = parts.into();
    }

    /// Notes how long a reading of everything took.
    pub(crate) fn read(&mut self, what: &'static str, rows: u64, took: Duration) {
        self.steps.push(StepReport::new(what, rows, took));
    }

    pub(crate) fn moved(&mut self, rows: u64, took: Duration, times: [Duration; Part::ALL.len()]) {
        self.rows_written = rows;
        self.steps.push(StepReport::new("moving", rows, took));
        for (part, time) in self.parts.iter_mut().zip(times) {
            part.seconds_moving = time.as_secs_f64();
        }
    }

    /// Notes what is in the target.
    pub(crate) fn target(&mut self, inventory: &Inventory, differences: &Differences) {
        for (report, part) in self.parts.iter_mut().zip(Part::ALL) {
            report.target = Some(inventory.part(part).into());
            report.is_equal = Some(!differences.parts.contains(&part));
        }
        self.users_different = differences.user_count;
        self.different_users = differences.users.iter().map(ToString::to_string).collect();
    }

    pub(crate) fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        self.seconds = self.began.elapsed().as_secs_f64();
    }

    /// Writes it into a file, in the form that the name says.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let is_markdown = path.extension().is_some_and(|extension| extension == "md");
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            let context = format!("{} cannot be written", path.display());
            Error::new(ErrorKind::ReadOnly, "write report", context).with_source(source)
        };
        let text = match is_markdown {
            true => self.markdown(),
            false => {
                serde_json::to_string_pretty(self).map_err(|source| failed(source.into()))? + "\n"
            }
        };
        fs::write(path, text).map_err(|source| failed(source.into()))
    }

    fn verdict(&self) -> String {
        match self.outcome {
            Outcome::Checked => "Everything can be moved. Nothing was written.".to_owned(),
            Outcome::Equal => format!(
                "Both hold the same: {} users and all other rows are equal by their hashes.",
                self.users
            ),
            Outcome::Different => format!(
                "They differ: {} of {} users are not equal. Do not use the database.",
                self.users_different, self.users
            ),
            Outcome::Refused => format!(
                "{} rows cannot be moved. Nothing was written: mend or delete them first.",
                self.rows_not_movable
            ),
        }
    }

    fn markdown(&self) -> String {
        let mut lines = vec![
            "# Move".to_owned(),
            String::new(),
            self.verdict(),
            String::new(),
            format!("- from: `{}`", self.from),
            format!("- to: `{}`", self.to.as_deref().unwrap_or("not opened")),
            format!("- began: {}, took {:.1} s", self.began_at, self.seconds),
            format!("- everything in the source: `{}`", self.fingerprint),
            format!("- rows written this time: {}", self.rows_written),
            String::new(),
            "| part | rows | hash in the source | hash in the target | equal | seconds |"
                .to_owned(),
            "| --- | ---: | --- | --- | --- | ---: |".to_owned(),
        ];
        lines.extend(self.parts.iter().map(|part| {
            let target = part.target.as_ref().map_or("", |sum| &sum.hash);
            let is_equal = match part.is_equal {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            format!(
                "| {} | {} | `{}` | `{target}` | {is_equal} | {:.2} |",
                part.part, part.source.rows, part.source.hash, part.seconds_moving
            )
        }));
        lines.push(String::new());
        lines.extend(self.steps.iter().map(|step| format!("- {step}")));
        lines.extend(self.remarks().map(|remark| format!("- {remark}")));
        lines.join("\n") + "\n"
    }

    /// What there is to say beside the figures.
    fn remarks(&self) -> impl Iterator<Item = String> {
        let rows = self.not_movable.iter();
        let rows = rows.map(|row| format!("cannot be moved: {}: {}", row.row, row.reason));
        let parts = self
            .parts
            .iter()
            .filter(|part| part.is_equal == Some(false));
        let parts = parts.map(|part| {
            let found = part.target.as_ref().map_or(0, |sum| sum.rows);
            let wanted = part.source.rows;
            format!(
                "not equal: {}: {wanted} rows in the file, {found} in the database",
                part.part
            )
        });
        let users = self.different_users.iter();
        let users = users.map(|user| format!("not equal: user {user}"));
        rows.chain(parts)
            .chain(users)
            .chain(self.notes.iter().cloned())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            writeln!(f, "{:>12}  {}", part.source.rows, part.part)?;
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for remark in self.remarks() {
            writeln!(f, "{remark}")?;
        }
        writeln!(f, "{}", self.verdict())
    }
}

impl StepReport {
    fn new(step: &str, rows: u64, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self {
            step: step.to_owned(),
            rows,
            seconds,
            #[expect(clippy::cast_precision_loss, reason = "a speed need not be exact")]
            rows_per_second: rows as f64 / seconds.max(1e-9),
        }
    }
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            rows,
            seconds,
            rows_per_second,
        } = self;
        write!(
            f,
            "{step}: {rows} rows in {seconds:.1} s, {rows_per_second:.0} a second"
        )
    }
}

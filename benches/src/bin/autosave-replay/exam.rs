use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use medcards_benches::log;
use medcards_core::UserId;
use medcards_core::case::{Case, OptionSet};
use medcards_core::testing::{sample_case, sample_user_id};
use serde::Deserialize;

use crate::Error;

/// A submission of the log, from the moment on at which the replay begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submission {
    pub(crate) after_ms: u64,
    pub(crate) user_id: UserId,
    /// Which case stands for the item.
    pub(crate) case: usize,
    /// Whether all points were given.
    pub(crate) is_correct: bool,
}

/// What is replayed.
#[derive(Debug)]
pub(crate) struct Exam {
    pub(crate) submissions: Vec<Submission>,
    pub(crate) cases: Vec<Case>,
    users: usize,
    /// How many submissions the whole log has, and how long it lasts.
    whole: (usize, Duration),
}

#[derive(Deserialize)]
struct Row {
    user: String,
    item: String,
    t_ms: u64,
    score: f64,
}

impl Exam {
    /// Reads a log, and takes the busiest so many seconds of it, or all.
    pub(crate) fn read(path: &Path, seconds: Option<u32>) -> Result<Self, Error> {
        let mut rows: Vec<Row> = log::read(path)?;
        rows.sort_by_key(|row| row.t_ms);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Err("the log has no submissions".into());
        };
        let whole = (rows.len(), Duration::from_millis(last.t_ms - first.t_ms));
        let rows = match seconds {
            Some(seconds) => busiest(&rows, u64::from(seconds) * 1_000),
            None => &rows[..],
        };
        let begin = rows.first().map_or(0, |row| row.t_ms);
        let (mut users, mut items) = (HashMap::new(), HashMap::new());
        let mut submissions = Vec::with_capacity(rows.len());
        for row in rows {
            let next = u32::try_from(users.len())?;
            let user = *users.entry(row.user.as_str()).or_insert(next);
            let next = items.len();
            submissions.push(Submission {
                after_ms: row.t_ms - begin,
                user_id: sample_user_id(user),
                case: *items.entry(row.item.as_str()).or_insert(next),
                is_correct: row.score >= 1.0,
            });
        }
        Ok(Self {
            submissions,
            cases: (0..u32::try_from(items.len())?).map(sample_case).collect(),
            users: users.len(),
            whole,
        })
    }

    /// How long the part that is replayed lasts.
    pub(crate) fn lasts(&self) -> Duration {
        let last = self.submissions.last();
        Duration::from_millis(last.map_or(0, |last| last.after_ms))
    }

    /// What a submission chose: the right options, or one that is not.
    pub(crate) fn chosen(&self, submission: &Submission) -> OptionSet {
        let content = &self.cases[submission.case].content;
        let right = content.right_options();
        if submission.is_correct {
            return right;
        }
        let wrong = (0..content.options().len()).find(|position| !right.contains(*position));
        wrong.into_iter().collect()
    }
}

/// The rows of the window of this length that has the most.
fn busiest(rows: &[Row], window_ms: u64) -> &[Row] {
    let (mut best, mut first) = (0..0, 0);
    for (at, row) in rows.iter().enumerate() {
        while row.t_ms - rows[first].t_ms >= window_ms {
            first += 1;
        }
        if at + 1 - first > best.len() {
            best = first..at + 1;
        }
    }
    &rows[best]
}

impl fmt::Display for Exam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, lasts) = self.whole;
        write!(
            f,
            "the log has {count} submissions and lasts {:.0} s ({:.1} h)\n\
             replayed are {} in {:.0} s, by {} users to {} items; {} in the busiest second",
            lasts.as_secs_f64(),
            lasts.as_secs_f64() / 3_600.0,
            self.submissions.len(),
            self.lasts().as_secs_f64(),
            self.users,
            self.cases.len(),
            most_in_a_second(self.submissions.iter().map(|one| one.after_ms)),
        )
    }
}

/// The most of these moments, in milliseconds and in order, that lie in one second.
pub(crate) fn most_in_a_second(moments: impl IntoIterator<Item = u64>) -> usize {
    let mut second = std::collections::VecDeque::new();
    let mut most = 0;
    for moment in moments {
        second.push_back(moment);
        while second.front().is_some_and(|first| moment - first >= 1_000) {
            second.pop_front();
        }
        most = most.max(second.len());
    }
    most
}

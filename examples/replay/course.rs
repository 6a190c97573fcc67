//! Logs name items and users, and say little of them. What is made up in their place:
//!
//! - **Case.** Each item is a case with the options that the log knows, else four, and texts as long
//!   as those of real ones. With more cases than items each item stands for several, as a skill
//!   stands for many problems; with fewer, several items share one.
//! - **Choice.** A right answer chose the right option. Of the wrong ones some tempt more: ranked by
//!   a hash of the case, the `n`th draws in proportion to `1/n` (Zipf); which one a user took is a
//!   hash of user, item and place in the log.

use std::collections::{BTreeSet, HashMap};
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use medcards::app::AnswerForm;
use medcards::case::{Case, CaseContent, CaseRecord, OptionRecord};
use medcards::store::Store;
use medcards::{Timestamp, UserId};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::Error;
use crate::arguments::Arguments;
use crate::log::{self, Row};

/// Where the time of a log begins that has none of its own: Monday, 5 January 2026, 00:00 UTC.
const START_MS: i64 = 1_767_571_200_000;

/// How many cases are published at once: about 1 MB.
const PUBLISHED_AT_ONCE: usize = 500;

/// The options of an item of which the log knows none.
const KEYS: [&str; 4] = ["A", "B", "C", "D"];

/// What one reading of the log says about all of it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// How many rows are answers.
    pub(crate) answers: u64,
    /// How many rows are none.
    pub(crate) others: u64,
    users: HashMap<String, UserId>,
    items: HashMap<String, Item>,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    has_date: bool,
}

#[derive(Debug)]
struct Item {
    index: u32,
    choices: BTreeSet<String>,
    right: Option<String>,
}

impl Survey {
    /// Reads the log once.
    pub(crate) fn read(arguments: &Arguments) -> Result<Self, Error> {
        let mut survey = Self::default();
        for row in log::rows(&arguments.log)? {
            survey.add(&row?, arguments.users);
        }
        if survey.answers == 0 {
            return Err(format!("{} has no answers", arguments.log.display()).into());
        }
        Ok(survey)
    }

    fn add(&mut self, row: &Row, users_max: Option<usize>) {
        let Some(is_correct) = row.is_correct() else {
            self.others += 1;
            return;
        };
        if !self.users.contains_key(&row.user) {
            if users_max.is_some_and(|most| self.users.len() >= most) {
                return;
            }
            let id = UserId::from_bytes(xxh3_128(row.user.as_bytes()).to_be_bytes());
            self.users.insert(row.user.clone(), id);
        }
        self.answers += 1;
        self.has_date |= row.has_date();
        if let Some(time) = row.time_ms() {
            self.first_ms = Some(self.first_ms.map_or(time, |first| first.min(time)));
            self.last_ms = Some(self.last_ms.map_or(time, |last| last.max(time)));
        }
        let index = self.items.len() as u32;
        let new = || Item {
            index,
            choices: BTreeSet::new(),
            right: None,
        };
        let item = self.items.entry(row.item.clone()).or_insert_with(new);
        if let Some(choice) = row.choice() {
            item.choices.insert(choice.to_owned());
            if is_correct {
                item.right = Some(choice.to_owned());
            }
        }
    }

    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }

    pub(crate) fn items(&self) -> usize {
        self.items.len()
    }

    /// Who gave an answer, if that user's answers are replayed.
    pub(crate) fn user(&self, row: &Row) -> Option<UserId> {
        self.users.get(&row.user).copied()
    }

    /// When the log begins and ends, in milliseconds since 1970.
    pub(crate) fn span_ms(&self, days: u32) -> (i64, i64) {
        match (self.first_ms, self.last_ms) {
            (Some(first), Some(last)) => (self.since_1970(first), self.since_1970(last)),
            _ => (START_MS, START_MS + i64::from(days) * 86_400_000),
        }
    }

    /// When the `n`th answer was given.
    pub(crate) fn time_ms(&self, row: &Row, n: u64, days: u32) -> i64 {
        match row.time_ms() {
            Some(time) => self.since_1970(time),
            None => {
                let (first, last) = self.span_ms(days);
                first + ((last - first) as f64 * n as f64 / self.answers as f64) as i64
            }
        }
    }

    fn since_1970(&self, time_ms: i64) -> i64 {
        if self.has_date {
            time_ms
        } else {
            START_MS + time_ms
        }
    }
}

/// The cases that the items stand for.
#[derive(Debug)]
pub(crate) struct Course {
    cases: Vec<Arc<Case>>,
    items: usize,
    seed: u64,
    /// Whether the options of the cases are those of the log.
    has_choices: bool,
}

impl Course {
    /// Makes the cases and publishes them.
    pub(crate) async fn publish(
        survey: &Survey,
        arguments: &Arguments,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let wanted = arguments
            .cases
            .map_or(survey.items(), |cases| cases as usize);
        let contents = match &arguments.deck {
            Some(deck) => from_deck(deck, wanted)?,
            None => made_up(survey, wanted)?,
        };
        let mut cases = Vec::with_capacity(contents.len());
        for contents in contents.chunks(PUBLISHED_AT_ONCE) {
            for publication in store.publish(contents.to_vec(), now).await? {
                let case = store.find_case(publication.case_id, None).await?;
                cases.push(case.ok_or("a case that was just published is gone")?);
            }
        }
        let has_choices = arguments.deck.is_none();
        Ok(Self {
            cases,
            items: survey.items(),
            seed: arguments.seed,
            has_choices,
        })
    }

    /// How many cases there are.
    pub(crate) fn len(&self) -> usize {
        self.cases.len()
    }

    /// The case that the `n`th answer of the log is to, and what was chosen.
    pub(crate) fn answer(&self, survey: &Survey, row: &Row, n: u64) -> (&Arc<Case>, AnswerForm) {
        let place = format!("{} {} {n}", row.user, row.item);
        let index = survey
            .items
            .get(&row.item)
            .map_or(0, |item| item.index as usize);
        let case =
            &self.cases[self.case_index(index, xxh3_64_with_seed(place.as_bytes(), !self.seed))];
        let known = row
            .choice()
            .filter(|choice| self.has_choices && case.content.position_of(choice).is_some());
        let options = match known {
            Some(choice) => vec![choice.to_owned()],
            None => self.derived(case, row, &place),
        };
        let time_to_answer_ms = row.time_to_answer_ms();
        (
            case,
            AnswerForm {
                options,
                time_to_answer_ms,
                ..AnswerForm::default()
            },
        )
    }

    fn case_index(&self, item: usize, hash: u64) -> usize {
        let spread = self.cases.len().div_ceil(self.items) as u64;
        let index = item + self.items * (hash % spread) as usize;
        if index < self.cases.len() {
            index
        } else {
            item % self.cases.len()
        }
    }

    fn derived(&self, case: &Case, row: &Row, place: &str) -> Vec<String> {
        let content = &case.content;
        let key = |position: usize| content.options()[position].key.to_string();
        let right = content.right_options();
        let mut wrong: Vec<usize> = (0..content.options().len())
            .filter(|position| !right.contains(*position))
            .collect();
        if row.is_correct() == Some(true) || wrong.is_empty() {
            return right.positions().map(key).collect();
        }
        wrong.sort_by_key(|position| {
            let name = format!("{} {position}", content.external_id());
            xxh3_64_with_seed(name.as_bytes(), self.seed)
        });
        let hash = xxh3_64_with_seed(place.as_bytes(), self.seed);
        vec![key(wrong[zipf(wrong.len(), hash as f64 / u64::MAX as f64)])]
    }
}

/// Which of `count` ranks a number between 0 and 1 falls on, if the `n`th is as wide as `1/n`.
fn zipf(count: usize, number: f64) -> usize {
    let all: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
    let mut rest = number * all;
    for rank in 1..count {
        rest -= 1.0 / rank as f64;
        if rest < 0.0 {
            return rank - 1;
        }
    }
    count - 1
}

fn from_deck(path: &Path, wanted: usize) -> Result<Vec<CaseContent>, Error> {
    let mut contents = Vec::new();
    for (number, line) in log::lines(path)?.lines().enumerate().take(wanted) {
        let read = |line: &str| -> Result<CaseContent, Error> {
            let record: CaseRecord = serde_json::from_str(line)?;
            Ok(record.into_content()?.0)
        };
        let content = read(&line?);
        contents.push(
            content.map_err(|error| format!("{}, line {}: {error}", path.display(), number + 1))?,
        );
    }
    if contents.is_empty() {
        return Err(format!("{} has no cases", path.display()).into());
    }
    Ok(contents)
}

fn made_up(survey: &Survey, wanted: usize) -> Result<Vec<CaseContent>, Error> {
    let mut items: Vec<&Item> = survey.items.values().collect();
    items.sort_by_key(|item| item.index);
    let case = |n: usize| Ok(record(n, items[n % items.len()]).into_content()?.0);
    (0..wanted).map(case).collect()
}

/// A case of the length that real ones have: 1,500 bytes with its explanations.
fn record(n: usize, item: &Item) -> CaseRecord {
    let mut keys: BTreeSet<&str> = item.choices.iter().map(String::as_str).collect();
    if keys.len() < 2 {
        keys.extend(KEYS);
    }
    let right = match &item.right {
        Some(right) => right.clone(),
        None => {
            let place = xxh3_64_with_seed(&n.to_be_bytes(), 0) as usize % keys.len();
            keys.iter()
                .nth(place)
                .copied()
                .unwrap_or_default()
                .to_owned()
        }
    };
    let options = keys.iter().enumerate().map(|(place, key)| OptionRecord {
        key: (*key).to_owned(),
        text: format!("Finding number {} of this patient's record {n}", place + 1),
        explanation: Some(format!(
            "Finding number {} is seen in record {n} together with the other signs of its disease. \
             Compare how it began, what was measured on admission, and how it answered to what was \
             given first.",
            place + 1
        )),
    });
    CaseRecord {
        id: format!("replay-{n}"),
        source: "replay".to_owned(),
        stem: format!(
            "A person of {} years comes with complaints that began {} days ago, first at night and \
             then also when climbing stairs. There was no fever and no journey. The pressure is \
             {}/80, the pulse {} and regular; the lungs are clear, and the legs show a slight \
             swelling on both sides. Blood count and electrolytes were taken in the morning and are \
             within what is usual for the age. Which finding of record {n} decides what is done next?",
            20 + n % 70,
            2 + n % 19,
            110 + n % 60,
            60 + n % 50,
        ),
        options: options.collect(),
        answer_keys: vec![right],
        specialty: Some("Internal medicine".to_owned()),
        ..CaseRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_draw_in_proportion_to_their_rank() {
        let mut drawn = [0_u32; 3];
        for n in 0..11_000 {
            drawn[zipf(3, (f64::from(n) + 0.5) / 11_000.0)] += 1;
        }
        assert_eq!(drawn, [6_000, 3_000, 2_000]);
        assert_eq!(zipf(1, 1.0), 0);
        assert_eq!(zipf(3, 1.0), 2);
    }
}

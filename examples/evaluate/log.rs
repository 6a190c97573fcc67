use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use medcards::answer::Answer;
use medcards::case::{CaseVersion, OptionOrder, OptionSet};
use medcards::event::{Event, EventBody, LogPosition};
use medcards::shard::Bucket;
use medcards::view::{CaseFact, Facts};
use medcards::{AnswerId, CaseId, Timestamp, UserId};
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::Error;

/// When logs without dates begin: 1 January 2026.
const START_MS: i64 = 1_767_225_600_000;

/// How long an answer takes in a log that does not say.
const MINUTE_MS: i64 = 60_000;

/// A log of this evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    Assistments,
    Credential,
    Memphis,
}

impl Log {
    pub(crate) const ALL: [Self; 3] = [Self::Assistments, Self::Credential, Self::Memphis];

    /// As the baselines name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Assistments => "assist09",
            Self::Credential => "credential",
            Self::Memphis => "memphis",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Assistments => "assistments2009_train.jsonl.gz",
            Self::Credential => "credential_licensure_exam.jsonl.gz",
            Self::Memphis => "memphis_stats_cloze.jsonl.gz",
        }
    }

    /// Reads the answers, in their order. What was only shown is no answer; a question that does not
    /// count towards the score of the exam is left out.
    pub(crate) fn read(self, data: &Path) -> Result<Course, Error> {
        let path = data.join("logs").join(self.file());
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut course = Course::default();
        let mut elapsed_ms = HashMap::<String, i64>::new();
        for line in BufReader::new(MultiGzDecoder::new(file)).lines() {
            let row: Row = serde_json::from_str(&line?)?;
            let (Some(correct), true) = (row.correct, row.scored) else {
                continue;
            };
            let took_ms = row.rt_s.map_or(MINUTE_MS, |seconds| (seconds * 1e3) as i64);
            let elapsed_ms = elapsed_ms.entry(row.user.clone()).or_default();
            *elapsed_ms += took_ms;
            let topic = match self {
                // The log names the skill only: it is the case as well as the topic.
                Self::Assistments => row.item.clone(),
                Self::Credential => String::new(),
                Self::Memphis => row.concept.unwrap_or_default(),
            };
            course.answers.push(Given {
                user: number(&mut course.users, row.user),
                case: number(&mut course.cases, row.item),
                topic: number(&mut course.topics, topic),
                is_right: correct == 1,
                at_ms: row.ts_ms.unwrap_or(START_MS + *elapsed_ms),
            });
        }
        Ok(course)
    }
}

/// The number of a name, which is new or known.
fn number(names: &mut Names, name: String) -> usize {
    let next = names.numbers.len();
    let number = *names.numbers.entry(name.clone()).or_insert(next);
    if number == next {
        names.names.push(name);
    }
    number
}

#[derive(Debug, Deserialize)]
struct Row {
    user: String,
    item: String,
    concept: Option<String>,
    correct: Option<u8>,
    #[serde(default = "yes")]
    scored: bool,
    ts_ms: Option<i64>,
    rt_s: Option<f64>,
}

const fn yes() -> bool {
    true
}

/// Names by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }
}

/// An answer of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) user: usize,
    pub(crate) case: usize,
    pub(crate) topic: usize,
    pub(crate) is_right: bool,
    pub(crate) at_ms: i64,
}

/// All answers of a log, and who and what is in it.
#[derive(Debug, Default)]
pub(crate) struct Course {
    pub(crate) users: Names,
    pub(crate) cases: Names,
    pub(crate) topics: Names,
    pub(crate) answers: Vec<Given>,
}

impl Course {
    /// In which of ten parts a user is: the same in every run.
    pub(crate) fn part(&self, user: usize) -> u64 {
        fowler_noll_vo(self.users.names[user].as_bytes()) % 10
    }

    pub(crate) fn topic(&self, topic: usize) -> &str {
        &self.topics.names[topic]
    }

    pub(crate) fn user_id(&self, user: usize) -> UserId {
        UserId::from_bytes(xxh3_128(self.users.names[user].as_bytes()).to_be_bytes())
    }

    pub(crate) fn case_id(&self, case: usize) -> CaseId {
        CaseId::from_bytes(xxh3_128(self.cases.names[case].as_bytes()).to_be_bytes())
    }

    /// Each case with two options, of which the first is right.
    pub(crate) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for row in &self.answers {
            let fact = CaseFact::new("", self.topic(row.topic), 2, OptionSet::from_iter([0]));
            facts.insert(self.case_id(row.case), CaseVersion::FIRST, fact);
        }
        facts
    }

    pub(crate) fn event(&self, row: &Given, sequence: u64) -> Event {
        let user_id = self.user_id(row.user);
        let at = Timestamp::from_millisecond(row.at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let answer = Answer {
            id: AnswerId::from_bytes(u128::from(sequence).to_be_bytes()),
            user_id,
            case_id: self.case_id(row.case),
            case_version: CaseVersion::FIRST,
            chosen: OptionSet::from_iter([usize::from(!row.is_right)]),
            shown: OptionOrder::authored(2),
            is_correct: row.is_right,
            time_to_answer_ms: None,
            confidence: None,
            created_at: at,
        };
        event(user_id, sequence, EventBody::AnswerRecorded { answer })
    }
}

/// An event in its place.
pub(crate) fn event(user_id: UserId, sequence: u64, body: EventBody) -> Event {
    Event {
        position: LogPosition {
            transaction: 0,
            sequence,
        },
        user_id,
        bucket: Bucket::of(&user_id),
        body,
    }
}

/// The hash FNV-1a: a few lines that give the same parts wherever the evaluation is repeated.
fn fowler_noll_vo(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

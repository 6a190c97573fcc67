//! How a student does: totals, specialties and topics, the trend, and the place among peers.
//!
//! The view `user-stats` has one row per user, pages for the cases of users with more than 64, and one
//! row for all peers. A version of a case whose key was corrected has a row too. An event costs a copy of
//! the user's row, of 1 to 10 kB, and of the row of the peers, of about 2 kB, if the student's share of
//! right answers moves.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::case_set::{CaseSet, is_first_answer, likely_page};
use super::histogram::{Histogram, permille};
use crate::answer::Answer;
use crate::case::CaseVersion;
use crate::event::{Event, EventBody};
use crate::id::{CaseId, UserId};
use crate::notice::NoticeBody;
use crate::view::{CaseFact, Changes, Facts, Item, Projection, RowKey, Stop, ViewName};

/// The name of the view.
pub const USER_STATS: &str = "user-stats";

/// How many answers a student needs to be compared with others, and to be one of them: with fewer, the
/// share of right answers is mostly chance (± 20 percentage points at 20).
pub const PEER_ANSWERS_MIN: u64 = 20;

/// For how many specialties of a user there are totals: medicine has about 30. Further ones are
/// gathered.
pub const SPECIALTIES_PER_USER_MAX: usize = 40;

/// For how many topics of a user, of all specialties, there are totals, so that a row rarely has over 10 kB.
/// Further ones are gathered in their specialty.
pub const TOPICS_PER_USER_MAX: usize = 120;

/// For how many days there is a trend.
pub const TREND_DAYS: i32 = 90;

/// For how many weeks there is a trend.
pub const TREND_WEEKS: i32 = 52;

/// The longest time that an answer counts with: 10 minutes. Whoever takes longer was away.
pub const ANSWER_TIME_COUNTED_MAX_MS: u32 = 600_000;

/// The row of all peers.
const PEERS: RowKey = RowKey::of_view(Item::named("peers"));

/// How many answers, how many of them right, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tally {
    /// How many answers.
    pub answers: u64,
    /// How many of them right, by what is known now.
    pub right: u64,
    /// How many of them have a time.
    pub timed: u64,
    /// How long those took, in milliseconds, each at most [`ANSWER_TIME_COUNTED_MAX_MS`].
    pub time_ms: u64,
}

impl Tally {
    /// How many of a thousand answers are right; `None` without answers.
    #[must_use]
    pub fn right_permille(&self) -> Option<u16> {
        permille(self.right, self.answers)
    }

    /// The mean time of an answer, in milliseconds; `None` if none has a time.
    #[must_use]
    pub const fn mean_time_ms(&self) -> Option<u64> {
        self.time_ms.checked_div(self.timed)
    }

    pub(super) fn count(&mut self, answer: &Answer, is_right: bool) {
        self.answers += 1;
        self.right += u64::from(is_right);
        if let Some(time_ms) = answer.time_to_answer_ms {
            self.timed += 1;
            self.time_ms += u64::from(time_ms.min(ANSWER_TIME_COUNTED_MAX_MS));
        }
    }

    /// What is left without these.
    fn without<'a>(self, parts: impl IntoIterator<Item = &'a Self>) -> Self {
        parts.into_iter().fold(self, |rest, part| Self {
            answers: rest.answers.saturating_sub(part.answers),
            right: rest.right.saturating_sub(part.right),
            timed: rest.timed.saturating_sub(part.timed),
            time_ms: rest.time_ms.saturating_sub(part.time_ms),
        })
    }
}

/// A row of the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the rows of one version of the view"
)]
pub enum UserStatsRow {
    /// What a user did.
    User(Box<UserFigures>),
    /// Some of the cases that a user answered.
    Cases(CaseSet),
    /// How many users have so many right answers of a thousand.
    Peers(Histogram),
    /// The key of a version was corrected: whoever still answers it is told that it counts otherwise.
    Corrected,
}

impl UserStatsRow {
    fn user(&self) -> Option<&UserFigures> {
        match self {
            Self::User(figures) => Some(figures),
            Self::Cases(_) | Self::Peers(_) | Self::Corrected => None,
        }
    }

    /// The cases that it names, if it is of a user.
    pub(super) fn case_set(&self) -> Option<&CaseSet> {
        match self {
            Self::User(figures) => Some(&figures.first_cases),
            Self::Cases(cases) => Some(cases),
            Self::Peers(_) | Self::Corrected => None,
        }
    }

    const fn cases(&self) -> Option<&CaseSet> {
        match self {
            Self::Cases(cases) => Some(cases),
            Self::User(_) | Self::Peers(_) | Self::Corrected => None,
        }
    }

    const fn peers(&self) -> Option<&Histogram> {
        match self {
            Self::Peers(peers) => Some(peers),
            Self::User(_) | Self::Cases(_) | Self::Corrected => None,
        }
    }
}

/// What a user did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserFigures {
    total: Tally,
    cases: u64,
    /// The latest instant of an answer, in milliseconds.
    last_ms: Option<i64>,
    specialties: Vec<Specialty>,
    days: Vec<Span>,
    weeks: Vec<Span>,
    first_cases: CaseSet,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Specialty {
    name: Box<str>,
    total: Tally,
    topics: Vec<Topic>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Topic {
    name: Box<str>,
    total: Tally,
}

/// The answers of a day or a week.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Span {
    /// The day or the week, counted from that of 1 January 1970.
    number: i32,
    answers: u32,
    right: u32,
}

impl UserFigures {
    /// Where the user stands among those who are compared, if one of them.
    fn standing(&self) -> Option<u16> {
        let counts = self.total.answers >= PEER_ANSWERS_MIN;
        self.total.right_permille().filter(|_| counts)
    }

    fn count(&mut self, answer: &Answer, fact: &CaseFact, is_right: bool) {
        self.total.count(answer, is_right);
        let at_ms = answer.created_at.as_millisecond();
        self.last_ms = self.last_ms.max(Some(at_ms));
        let day = day_number(answer.created_at);
        count_span(&mut self.days, day, TREND_DAYS, is_right);
        count_span(&mut self.weeks, week_number(day), TREND_WEEKS, is_right);
        let topics: usize = self.specialties.iter().map(|it| it.topics.len()).sum();
        let Some(specialty) = self.specialty(&fact.specialty) else {
            return;
        };
        specialty.total.count(answer, is_right);
        if let Some(topic) = specialty.topic(&fact.topic, topics < TOPICS_PER_USER_MAX) {
            topic.total.count(answer, is_right);
        }
    }

    /// The specialty of this name; `None` if there are as many others as there may be.
    fn specialty(&mut self, name: &str) -> Option<&mut Specialty> {
        let known = self.specialties.iter().position(|it| *it.name == *name);
        if known.is_none() && self.specialties.len() >= SPECIALTIES_PER_USER_MAX {
            return None;
        }
        let index = known.unwrap_or_else(|| {
            self.specialties.push(Specialty {
                name: name.into(),
                total: Tally::default(),
                topics: Vec::new(),
            });
            self.specialties.len() - 1
        });
        self.specialties.get_mut(index)
    }
}

impl Specialty {
    /// The topic of this name; `None` if it is not known and there is no room for another.
    fn topic(&mut self, name: &str, has_room: bool) -> Option<&mut Topic> {
        let known = self.topics.iter().position(|it| *it.name == *name);
        if known.is_none() && !has_room {
            return None;
        }
        let index = known.unwrap_or_else(|| {
            self.topics.push(Topic {
                name: name.into(),
                total: Tally::default(),
            });
            self.topics.len() - 1
        });
        self.topics.get_mut(index)
    }
}

/// The day in UTC, counted from 1 January 1970.
fn day_number(instant: Timestamp) -> i32 {
    let days = instant.as_second().div_euclid(24 * 60 * 60);
    i32::try_from(days).unwrap_or_default()
}

/// The ISO week of a day, counted from the one that began on Monday, 29 December 1969.
const fn week_number(day: i32) -> i32 {
    (day + 3).div_euclid(7)
}

/// Counts an answer in its day or week, and forgets those that lie too far behind the last one.
///
/// What is kept depends on which answers there are, and not on their order.
fn count_span(spans: &mut Vec<Span>, number: i32, kept: i32, is_right: bool) {
    let index = match spans.binary_search_by_key(&number, |span| span.number) {
        Ok(index) => index,
        Err(index) => {
            let span = Span {
                number,
                answers: 0,
                right: 0,
            };
            spans.insert(index, span);
            index
        }
    };
    if let Some(span) = spans.get_mut(index) {
        span.answers = span.answers.saturating_add(1);
        span.right = span.right.saturating_add(u32::from(is_right));
    }
    let last = spans.last().map_or(number, |span| span.number);
    spans.retain(|span| span.number > last - kept);
}

/// Counts what users do.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct UserStatsProjection;

impl UserStatsProjection {
    /// Makes one.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Projection for UserStatsProjection {
    type Row = UserStatsRow;

    fn name(&self) -> ViewName {
        super::view_name(USER_STATS)
    }

    fn version(&self) -> u64 {
        1
    }

    fn likely_rows(&self, event: &Event, _facts: &Facts) -> Vec<RowKey> {
        match &event.body {
            EventBody::AnswerRecorded { answer } => {
                vec![RowKey::of_user(answer.user_id), likely_page(answer), PEERS]
            }
            _ => Vec::new(),
        }
    }

    fn place(&self, _key: &RowKey, _row: &Self::Row) -> Option<i64> {
        None
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<Self::Row>,
    ) -> Result<(), Stop> {
        let answer = match &event.body {
            EventBody::AnswerRecorded { answer } => answer,
            EventBody::KeyCorrected { correction: it } => {
                return changes.put(corrected(it.case_id, it.version), UserStatsRow::Corrected);
            }
            _ => return Ok(()),
        };
        let fact = facts.case_of(answer)?;
        tell_late(answer, facts, changes)?;
        let key = RowKey::of_user(answer.user_id);
        let known = changes.find(key)?.and_then(UserStatsRow::user);
        let mut figures = known.cloned().unwrap_or_default();
        let stood = figures.standing();
        let first = &mut figures.first_cases;
        if is_first_answer(
            answer,
            first,
            changes,
            UserStatsRow::cases,
            UserStatsRow::Cases,
        )? {
            figures.cases += 1;
        }
        figures.count(answer, fact, facts.is_correct(answer));
        let stands = figures.standing();
        if stood != stands {
            let peers = changes.find(PEERS)?.and_then(UserStatsRow::peers);
            let mut peers = peers.cloned().unwrap_or_default();
            peers.shift(stood, stands);
            changes.put(PEERS, UserStatsRow::Peers(peers))?;
        }
        changes.put(key, UserStatsRow::User(Box::new(figures)))
    }
}

/// The row of a version whose key was corrected.
fn corrected(case_id: CaseId, version: CaseVersion) -> RowKey {
    let item = Item::from_bytes(&version.get().to_be_bytes()).unwrap_or(Item::NONE);
    RowKey::new(*case_id.as_uuid(), item)
}

/// Tells a student who answered a version after its key was corrected, if that changes how the answer
/// counts. Those who answered before are told by the job of the correction.
fn tell_late(
    answer: &Answer,
    facts: &Facts,
    changes: &mut Changes<UserStatsRow>,
) -> Result<(), Stop> {
    let (case_id, version) = (answer.case_id, answer.case_version);
    let is_correct = facts.is_correct(answer);
    if is_correct == answer.is_correct || changes.find(corrected(case_id, version))?.is_none() {
        return Ok(());
    }
    let body = NoticeBody::Regraded {
        case_id,
        version,
        is_correct,
    };
    changes.notify(answer.user_id, answer.created_at, body);
    Ok(())
}

/// How a student does.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Dashboard {
    /// All answers.
    pub total: Tally,
    /// How many different cases.
    pub cases: u64,
    /// When the latest answer was given.
    pub last_at: Option<Timestamp>,
    /// By specialty, the one with the most answers first, and then by name.
    pub specialties: Vec<SpecialtySuccess>,
    /// The answers of specialties beyond the first [`SPECIALTIES_PER_USER_MAX`].
    pub other_specialties: Tally,
    /// The days in UTC with answers among the last [`TREND_DAYS`], the oldest first.
    pub days: Vec<Trend>,
    /// The weeks in UTC with answers among the last [`TREND_WEEKS`], the oldest first.
    pub weeks: Vec<Trend>,
    /// How many of a hundred peers have a lower share of right answers, 0 to 100; `None` below
    /// [`PEER_ANSWERS_MIN`] answers. The peers include the student.
    pub percentile: Option<f64>,
}

/// How a student does in a specialty.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpecialtySuccess {
    /// The specialty in lower case; empty for cases that name none.
    pub name: Box<str>,
    /// The answers.
    pub total: Tally,
    /// By topic, the one with the most answers first, and then by name.
    pub topics: Vec<TopicSuccess>,
    /// The answers of topics that came when the user had [`TOPICS_PER_USER_MAX`].
    pub other_topics: Tally,
}

/// How a student does in a topic.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TopicSuccess {
    /// The topic in lower case; empty for cases that name none.
    pub name: Box<str>,
    /// The answers.
    pub total: Tally,
}

/// The answers of a day or of a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trend {
    /// The day, or the Monday of the week.
    pub date: Date,
    /// How many answers.
    pub answers: u32,
    /// How many of them right.
    pub right: u32,
}

impl Dashboard {
    /// The rows of the view from which [`read`](Self::read) makes it.
    #[must_use]
    pub const fn keys(user_id: UserId) -> [RowKey; 2] {
        [RowKey::of_user(user_id), PEERS]
    }

    /// Makes it of those of its rows that there are.
    #[must_use]
    pub fn read<'a>(rows: impl IntoIterator<Item = &'a UserStatsRow>, now: Timestamp) -> Self {
        let (mut figures, mut peers) = (None, None);
        for row in rows {
            figures = figures.or(row.user());
            peers = peers.or(row.peers());
        }
        figures.map_or_else(Self::default, |figures| Self::of(figures, peers, now))
    }

    fn of(figures: &UserFigures, peers: Option<&Histogram>, now: Timestamp) -> Self {
        let of_specialties = figures.specialties.iter().map(|it| &it.total);
        let other_specialties = figures.total.without(of_specialties);
        let mut specialties: Vec<_> = figures.specialties.iter().map(success).collect();
        specialties.sort_by(|a, b| most_first((&a.total, &a.name), (&b.total, &b.name)));
        let standing = figures.standing();
        let share = standing.and_then(|stands| peers?.share_below(stands));
        let today = day_number(now);
        let is_recent = |number: i32, now: i32, kept: i32| number > now - kept;
        let days = figures.days.iter();
        let days = days.filter(|span| is_recent(span.number, today, TREND_DAYS));
        let weeks = figures.weeks.iter();
        let weeks = weeks.filter(|span| is_recent(span.number, week_number(today), TREND_WEEKS));
        Self {
            total: figures.total,
            cases: figures.cases,
            last_at: figures
                .last_ms
                .and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            specialties,
            other_specialties,
            days: days.filter_map(|span| trend(span, span.number)).collect(),
            weeks: weeks
                .filter_map(|span| trend(span, span.number * 7 - 3))
                .collect(),
            percentile: share.map(|share| share * 100.0),
        }
    }
}

fn success(specialty: &Specialty) -> SpecialtySuccess {
    let of_topics = specialty.topics.iter().map(|it| &it.total);
    let topic = |it: &Topic| TopicSuccess {
        name: it.name.clone(),
        total: it.total,
    };
    let mut topics: Vec<_> = specialty.topics.iter().map(topic).collect();
    topics.sort_by(|a, b| most_first((&a.total, &a.name), (&b.total, &b.name)));
    SpecialtySuccess {
        name: specialty.name.clone(),
        total: specialty.total,
        topics,
        other_topics: specialty.total.without(of_topics),
    }
}

fn most_first(a: (&Tally, &str), b: (&Tally, &str)) -> std::cmp::Ordering {
    (b.0.answers, a.1).cmp(&(a.0.answers, b.1))
}

/// A day or a week that begins so many days after 1 January 1970.
fn trend(span: &Span, day: i32) -> Option<Trend> {
    let begins = Timestamp::from_second(i64::from(day) * 24 * 60 * 60).ok()?;
    Some(Trend {
        date: jiff::tz::Offset::UTC.to_datetime(begins).date(),
        answers: span.answers,
        right: span.right,
    })
}

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::ai::PromptVersion;
use crate::case::{Case, CaseVersion, OptionSet};
use crate::event::{EVENTS_PER_READ_MAX, EventBody, EventLog, LogPosition};
use crate::id::{CaseId, UserId};
use crate::user::{Locale, UserSettings};
use crate::{Error, ErrorKind, Result};

/// The shortest time for which a log counts as observed, in seconds: one day. A log of an hour says
/// how busy that hour was, not how busy a week will be.
const OBSERVED_S_MIN: f64 = 86_400.0;

/// The most kinds of readers that are told apart: languages times levels, several times what there
/// is. What comes beyond is counted where it is seen, and expected nowhere else.
const READERS_MAX: usize = 64;

/// The least share of all answers that a kind of reader must have to be expected where it was not
/// seen: one percent, below which it pays for itself nowhere.
const READER_SHARE_MIN: f64 = 0.01;

/// The most users whose settings are remembered while the log is read, at about 100 bytes each.
/// Those beyond count as users without settings of their own.
const SETTINGS_MAX: usize = 1_000_000;

/// How a [`Forecast`] weighs what it has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct ForecastConfig {
    /// After what time an answer counts half. Default: 14 days, so that what was taught in this
    /// month outweighs what was taught in the last.
    pub half_life: Duration,
    /// How many answers the mean of all cases is worth beside those to one case. Default: 1, which
    /// takes popularity to vary as much as its mean.
    pub case_prior: f64,
    /// How many answers the usual share of an option is worth beside those to one case. Default: 2.
    pub option_prior: f64,
    /// The most choices that are counted apart, at about 100 bytes each; beyond it, those seldom
    /// made are forgotten first. Default: 1,000,000.
    pub choices_max: usize,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        Self {
            half_life: Duration::from_hours(14 * 24),
            case_prior: 1.0,
            option_prior: 2.0,
            choices_max: 1_000_000,
        }
    }
}

/// An answer, as far as a forecast looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each answer")]
pub struct SeenAnswer {
    /// The case.
    pub case_id: CaseId,
    /// The version that was answered.
    pub case_version: CaseVersion,
    /// The options that were chosen.
    pub chosen: OptionSet,
    /// Whether they are the right ones.
    pub is_correct: bool,
    /// The language that the student has set; `None` for that of the case.
    pub locale: Option<Locale>,
    /// The edition of the prompt for this student.
    pub edition: PromptVersion,
    /// When.
    pub at: Timestamp,
}

/// How often a choice is expected to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "two numbers of one estimate")]
pub struct Demand {
    /// How many requests are expected.
    pub expected: f64,
    /// How many answers, each by its weight, this rests on.
    pub seen: f64,
}

impl Demand {
    /// The chance of at least one request, 0 to 1.
    #[must_use]
    pub fn chance(&self) -> f64 {
        self.chance_within(1.0)
    }

    /// The chance of at least one request within a part of the time, from 0 to 1.
    ///
    /// Requests are a Poisson process of a rate that is itself uncertain: a Gamma distribution of
    /// the expected mean whose shape is one more than what was seen. No request then has the chance
    /// `(1 + mean / shape)^-shape` (negative binomial). With much seen this is `exp(-mean)`; with
    /// nothing seen it says that a rate which is only guessed may as well be nothing.
    #[must_use]
    pub fn chance_within(&self, part: f64) -> f64 {
        let mean = self.expected.max(0.0) * part.clamp(0.0, 1.0);
        let shape = 1.0 + self.seen.max(0.0);
        // As exp and ln_1p, which stay exact where the mean is far smaller than the shape.
        -(-shape * (mean / shape).ln_1p()).exp_m1()
    }
}

/// What is expected of one choice: one feedback key but for the model.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "made for each choice of a case")]
pub struct ChoiceDemand {
    /// The options.
    pub chosen: OptionSet,
    /// The language of the feedback.
    pub locale: Locale,
    /// The edition of the prompt.
    pub edition: PromptVersion,
    /// How often.
    pub demand: Demand,
}

/// Says from the answers of the past how often each feedback will be asked for.
///
/// # How it estimates
///
/// An answer of age `t` weighs `2^(-t / half life)`. `N` is the sum of the weights of a case, `n`
/// that of one choice by one kind of reader (language and edition), `V` that of all choices of a
/// version.
///
/// **Popularity.** Answers to a case are a Poisson process of rate `r`. Over an observed time `T`
/// the expected `N` is `r E` with the exposure `E = (1 - 2^(-T / half life)) half life / ln 2`, the
/// integral of the weight. With a Gamma distribution before anything is seen, whose mean is the mean
/// rate `m` of all cases and whose shape is `a` (`case_prior`), the estimate is the posterior mean
/// `r = (a + N) / (a / m + E)`. A case that is new has no exposure and gets `m`; one that nobody
/// answered for long goes to zero.
///
/// **Share of a choice.** Choices are drawn from a Dirichlet distribution around the usual share
/// `p`: that of right answers in the whole log for the right options, what is left in equal parts
/// for the others; times the share `q` of the kind of reader in the whole log. It is worth `k`
/// answers (`option_prior`): `s = (n + k p q) / (V + k)`. What nobody chose yet has
/// `k p q / (V + k)` of the popularity of its case, and a choice that was seen often has its own
/// share.
///
/// What is expected within a horizon `h` is `r s h`. Both parts are the usual conjugate estimates;
/// their product lets all choices of a case add up to its popularity at most. The same answers in
/// the same order give the same figures; another order differs by rounding.
///
/// It keeps weights and no student. Of a case only the current version is expected to be answered.
#[derive(Clone, Debug)]
pub struct Forecast {
    config: ForecastConfig,
    first_ms: Option<i64>,
    last_ms: i64,
    answers: u64,
    all: Decayed,
    right: Decayed,
    readers: BTreeMap<Reader, Decayed>,
    cases: BTreeMap<CaseId, CaseCount>,
    versions: BTreeMap<(CaseId, CaseVersion), VersionCount>,
    choices: usize,
}

/// A kind of reader: the language that was set, and the edition.
type Reader = (Option<Locale>, PromptVersion);

#[derive(Clone, Copy, Debug)]
struct CaseCount {
    first_ms: i64,
    answers: Decayed,
}

#[derive(Clone, Debug, Default)]
struct VersionCount {
    all: Decayed,
    choices: BTreeMap<(OptionSet, Reader), Decayed>,
}

/// A sum of weights as of an instant.
#[derive(Clone, Copy, Debug, Default)]
struct Decayed {
    weight: f64,
    at_ms: i64,
}

impl Decayed {
    fn add(&mut self, at_ms: i64, half_life_ms: f64) {
        if self.weight == 0.0 {
            *self = Self { weight: 1.0, at_ms };
            return;
        }
        if at_ms <= self.at_ms {
            self.weight += decay(self.at_ms - at_ms, half_life_ms);
            return;
        }
        self.weight = self.as_of(at_ms, half_life_ms) + 1.0;
        self.at_ms = at_ms;
    }

    fn as_of(&self, now_ms: i64, half_life_ms: f64) -> f64 {
        self.weight * decay(now_ms.saturating_sub(self.at_ms).max(0), half_life_ms)
    }
}

fn decay(age_ms: i64, half_life_ms: f64) -> f64 {
    (-(age_ms as f64) / half_life_ms).exp2()
}

impl Forecast {
    /// Begins with nothing seen.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a configuration that cannot work.
    pub fn new(config: ForecastConfig) -> Result<Self> {
        let is_weight = |weight: f64| weight.is_finite() && weight > 0.0;
        if config.half_life.is_zero()
            || !is_weight(config.case_prior)
            || !is_weight(config.option_prior)
            || config.choices_max < 4
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                "make forecast",
                "half life, case prior and option prior must be above zero, and choices_max at \
                 least 4",
            ));
        }
        Ok(Self {
            config,
            first_ms: None,
            last_ms: 0,
            answers: 0,
            all: Decayed::default(),
            right: Decayed::default(),
            readers: BTreeMap::new(),
            cases: BTreeMap::new(),
            versions: BTreeMap::new(),
            choices: 0,
        })
    }

    /// How many answers were seen.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// How many different choices are counted apart.
    #[must_use]
    pub fn choices(&self) -> usize {
        self.choices
    }

    /// Counts an answer. Answers may come in any order of time.
    pub fn see(&mut self, answer: &SeenAnswer) {
        let half_life_ms = self.half_life_ms();
        let at_ms = answer.at.as_millisecond();
        self.answers += 1;
        self.last_ms = match self.first_ms {
            None => at_ms,
            Some(_) => self.last_ms.max(at_ms),
        };
        self.first_ms = Some(self.first_ms.map_or(at_ms, |first| first.min(at_ms)));
        self.all.add(at_ms, half_life_ms);
        if answer.is_correct {
            self.right.add(at_ms, half_life_ms);
        }
        let reader = (answer.locale, answer.edition);
        if self.readers.len() < READERS_MAX || self.readers.contains_key(&reader) {
            let count = self.readers.entry(reader).or_default();
            count.add(at_ms, half_life_ms);
        }
        let case = self.cases.entry(answer.case_id).or_insert(CaseCount {
            first_ms: at_ms,
            answers: Decayed::default(),
        });
        case.first_ms = case.first_ms.min(at_ms);
        case.answers.add(at_ms, half_life_ms);
        let version = (answer.case_id, answer.case_version);
        let version = self.versions.entry(version).or_default();
        version.all.add(at_ms, half_life_ms);
        let count = version.choices.entry((answer.chosen, reader)).or_default();
        self.choices += usize::from(count.weight == 0.0);
        count.add(at_ms, half_life_ms);
        if self.choices > self.config.choices_max {
            self.forget_seldom();
        }
    }

    /// How often answers to a case will be given within a time from `now` on.
    #[must_use]
    pub fn answers_expected(&self, case: &Case, now: Timestamp, horizon: Duration) -> f64 {
        let Some(first_ms) = self.first_ms.filter(|_| !self.cases.is_empty()) else {
            return 0.0;
        };
        let now_ms = now.as_millisecond();
        let observed_s = seconds(now_ms - first_ms).max(OBSERVED_S_MIN);
        let mean = self.all.as_of(now_ms, self.half_life_ms())
            / self.cases.len() as f64
            / self.exposure_s(observed_s);
        if mean <= 0.0 {
            return 0.0;
        }
        let count = self.cases.get(&case.id);
        let published_ms = case.published_at.as_millisecond();
        let since_ms = count.map_or(published_ms, |count| count.first_ms.min(published_ms));
        let exposure_s = self.exposure_s(seconds(now_ms - since_ms.max(first_ms)));
        let seen = count.map_or(0.0, |count| {
            count.answers.as_of(now_ms, self.half_life_ms())
        });
        let prior = self.config.case_prior;
        (prior + seen) / (prior / mean + exposure_s) * horizon.as_secs_f64()
    }

    /// What is expected of each choice of a case within a time from `now` on, in order of options,
    /// language and edition.
    ///
    /// Of a case with one right option these are all options. Of one with several right ones, whose
    /// sets are too many, they are the right set and those that were chosen.
    #[must_use]
    pub fn demand(&self, case: &Case, now: Timestamp, horizon: Duration) -> Vec<ChoiceDemand> {
        let expected = self.answers_expected(case, now, horizon);
        if expected <= 0.0 {
            return Vec::new();
        }
        let (now_ms, half_life_ms) = (now.as_millisecond(), self.half_life_ms());
        let empty = VersionCount::default();
        let version = self.versions.get(&(case.id, case.version));
        let version = version.unwrap_or(&empty);
        let prior = self.config.option_prior;
        let whole = version.all.as_of(now_ms, half_life_ms) + prior;
        // Weight by what makes a key: readers who set the language of the case read the same.
        let mut weights: BTreeMap<(OptionSet, Locale, PromptVersion), (f64, f64)> = BTreeMap::new();
        let mut add = |chosen: OptionSet, reader: Reader, seen: f64, guessed: f64| {
            let locale = reader.0.unwrap_or_else(|| case.content.locale());
            let sums = weights.entry((chosen, locale, reader.1)).or_default();
            sums.0 += seen;
            sums.1 += guessed;
        };
        for ((chosen, reader), count) in &version.choices {
            add(*chosen, *reader, count.as_of(now_ms, half_life_ms), 0.0);
        }
        let readers = self.reader_shares(now_ms);
        let usual = UsualShares::new(case, self.share_of_right(now_ms));
        for chosen in usual.sets(version.choices.keys().map(|(chosen, _)| *chosen)) {
            for (reader, share) in &readers {
                add(chosen, *reader, 0.0, prior * usual.of(chosen) * share);
            }
        }
        let demands =
            weights.into_iter().map(
                |((chosen, locale, edition), (seen, guessed))| ChoiceDemand {
                    chosen,
                    locale,
                    edition,
                    demand: Demand {
                        expected: expected * (seen + guessed) / whole,
                        seen,
                    },
                },
            );
        demands
            .filter(|choice| choice.demand.expected > 0.0)
            .collect()
    }

    fn half_life_ms(&self) -> f64 {
        self.config.half_life.as_secs_f64() * 1_000.0
    }

    /// The integral of the weight over a time that was observed, in seconds.
    fn exposure_s(&self, observed_s: f64) -> f64 {
        let half_life_s = self.config.half_life.as_secs_f64();
        half_life_s / std::f64::consts::LN_2 * (1.0 - (-observed_s.max(0.0) / half_life_s).exp2())
    }

    fn share_of_right(&self, now_ms: i64) -> f64 {
        let half_life_ms = self.half_life_ms();
        let right = self.right.as_of(now_ms, half_life_ms);
        let all = self.all.as_of(now_ms, half_life_ms);
        // As if one right and one wrong answer had been seen before.
        (right + 1.0) / (all + 2.0)
    }

    fn reader_shares(&self, now_ms: i64) -> Vec<(Reader, f64)> {
        let half_life_ms = self.half_life_ms();
        let all = self.all.as_of(now_ms, half_life_ms);
        let shares = self.readers.iter().map(|(reader, count)| {
            let share = count.as_of(now_ms, half_life_ms) / all;
            (*reader, share.min(1.0))
        });
        shares
            .filter(|(_, share)| *share >= READER_SHARE_MIN)
            .collect()
    }

    /// Forgets the quarter of the choices that weighs least, so that memory stays bounded. Their
    /// answers still count for the popularity of their case.
    fn forget_seldom(&mut self) {
        let (now_ms, half_life_ms) = (self.last_ms, self.half_life_ms());
        let mut ranked: Vec<_> = self
            .versions
            .iter()
            .flat_map(|(version, counts)| {
                let choices = counts.choices.iter();
                choices
                    .map(|(choice, count)| (count.as_of(now_ms, half_life_ms), *version, *choice))
            })
            .collect();
        ranked.sort_by(|one, other| {
            let by_weight = one.0.total_cmp(&other.0);
            by_weight.then_with(|| (one.1, one.2).cmp(&(other.1, other.2)))
        });
        let forgotten = self.config.choices_max / 4;
        for (_, version, choice) in ranked.into_iter().take(forgotten) {
            let Some(counts) = self.versions.get_mut(&version) else {
                continue;
            };
            self.choices -= usize::from(counts.choices.remove(&choice).is_some());
            if counts.choices.is_empty() {
                self.versions.remove(&version);
            }
        }
        let versions = &self.versions;
        if self.cases.len() > self.config.choices_max {
            self.cases.retain(|case_id, _| {
                let of_case = (*case_id, CaseVersion::FIRST)..;
                let next = versions.range(of_case).next();
                next.is_some_and(|((found, _), _)| found == case_id)
            });
        }
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

/// How large a share each set of options has where nobody has chosen yet.
struct UsualShares {
    right: OptionSet,
    of_right: f64,
    of_other: f64,
    singles: Option<usize>,
}

impl UsualShares {
    fn new(case: &Case, of_right: f64) -> Self {
        let options = case.content.options().len();
        let singles = (!case.content.several_right()).then_some(options);
        let sets = match singles {
            Some(options) => options as f64,
            // All sets but the empty one.
            None => (options as f64).exp2() - 1.0,
        };
        Self {
            right: case.content.right_options(),
            of_right,
            of_other: (1.0 - of_right) / (sets - 1.0).max(1.0),
            singles,
        }
    }

    fn of(&self, chosen: OptionSet) -> f64 {
        if chosen == self.right {
            self.of_right
        } else {
            self.of_other
        }
    }

    /// The sets that are expected, each once.
    fn sets(&self, chosen: impl Iterator<Item = OptionSet>) -> Vec<OptionSet> {
        let mut sets: Vec<OptionSet> = match self.singles {
            Some(options) => (0..options)
                .map(|position| [position].into_iter().collect())
                .collect(),
            None => chosen.filter(|set| !set.is_empty()).collect(),
        };
        sets.push(self.right);
        sets.sort_unstable();
        sets.dedup();
        sets
    }
}

/// Reads an answer log into a forecast, page by page, from where it stands.
///
/// It remembers the settings of users that differ from none, to know in which language and edition
/// they read; see [`LogReading::read_on`].
#[derive(Debug, Default)]
pub struct LogReading {
    position: LogPosition,
    settings: HashMap<UserId, UserSettings>,
}

impl LogReading {
    /// Begins at the start of the log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How far it has come.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Reads what the log shows by now, and tells of each page how many answers were seen.
    ///
    /// `edition` says which edition of the prompt a student with these settings gets. It takes one
    /// page of the log in memory at a time.
    ///
    /// # Errors
    /// Those of the log; then it stands behind the last page that was read whole.
    ///
    /// # Cancel safety
    /// A dropped future leaves it behind the last page that was read whole.
    pub async fn read_on(
        &mut self,
        log: &dyn EventLog,
        forecast: &mut Forecast,
        edition: impl Fn(&UserSettings) -> PromptVersion + Send + Sync,
        mut page_read: impl FnMut(u64) + Send,
    ) -> Result<()> {
        loop {
            let events = log.read_events(self.position, EVENTS_PER_READ_MAX).await?;
            let Some(last) = events.last() else {
                return Ok(());
            };
            self.position = last.position;
            let is_last = events.len() < EVENTS_PER_READ_MAX;
            let none = UserSettings::default();
            for event in events {
                match event.body {
                    EventBody::AnswerRecorded { answer } => {
                        let settings = self.settings.get(&answer.user_id).unwrap_or(&none);
                        forecast.see(&SeenAnswer {
                            case_id: answer.case_id,
                            case_version: answer.case_version,
                            chosen: answer.chosen,
                            is_correct: answer.is_correct,
                            locale: settings.locale,
                            edition: edition(settings),
                            at: answer.created_at,
                        });
                    }
                    EventBody::SettingsChanged { settings, .. } => {
                        self.remember(event.user_id, settings);
                    }
                    EventBody::CasesCalibrated { .. }
                    | EventBody::KeyCorrected { .. }
                    | EventBody::OutageDeclared { .. }
                    | EventBody::Unreadable { .. } => {}
                }
            }
            page_read(forecast.answers());
            if is_last {
                return Ok(());
            }
        }
    }

    fn remember(&mut self, user_id: UserId, settings: UserSettings) {
        if settings == UserSettings::default() {
            self.settings.remove(&user_id);
        } else if self.settings.len() < SETTINGS_MAX || self.settings.contains_key(&user_id) {
            self.settings.insert(user_id, settings);
        }
    }
}

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::answer::Answer;
use medcards_core::case::CaseVersion;
use medcards_core::event::{
    CALIBRATIONS_PER_EVENT_MAX, CaseCalibration, EVENTS_PER_READ_MAX, EventBody, EventLog,
    LogPosition,
};
use medcards_core::job::{ClaimedJob, Effects, JobKind};
use medcards_core::learning::irt::{CASES_MAX, Fit, FitConfig, Prior, Responses, fit};
use medcards_core::shard::{BUCKETS, Bucket};
use medcards_core::view::Facts;
use medcards_core::{CaseId, Error, ErrorKind, Result, Timestamp, UserId};

use crate::Stores;
use crate::view::CaseFacts;
use crate::worker::{JobContext, JobEnd, JobHandler, JobPolicy};

/// The name of the kind of job that calibrates cases.
const RECALIBRATE: &str = "recalibrate";

/// The most first answers that are kept in memory, at about 50 bytes each. From a longer log those of
/// half of the users are taken, or of a quarter, and so on.
const ANSWERS_MAX: usize = 2_000_000;

/// The fewest answers of a case that is calibrated: from fewer, a fit says more of other cases than of
/// this one.
const ANSWERS_PER_CASE_MIN: u64 = 30;

/// The most of a fit: some tens of seconds for as many answers as are kept.
const FIT: FitConfig = FitConfig {
    slopes: medcards_core::learning::irt::Slopes::Free,
    prior: Some(Prior::WEAK),
    nodes: 31,
    iterations_max: 100,
    tolerance: 1e-3,
};

/// Calibrates cases by what students answered first, and writes what it finds to the log.
#[derive(Debug)]
pub struct Recalibrate {
    stores: Stores,
    cases: CaseFacts,
    answers_max: usize,
}

impl Recalibrate {
    /// Does it on these stores.
    #[must_use]
    pub fn new(stores: Stores) -> Self {
        Self {
            cases: CaseFacts::new(Arc::clone(&stores.store)),
            stores,
            answers_max: ANSWERS_MAX,
        }
    }

    /// The same with at most so many answers in memory. Default: two millions.
    #[must_use]
    pub const fn answers_max(mut self, answers_max: usize) -> Self {
        self.answers_max = answers_max;
        self
    }

    /// The kind of its jobs, which have no payload.
    #[must_use]
    pub fn job_kind() -> JobKind {
        JobKind::named(RECALIBRATE)
    }

    async fn read(&self) -> Result<FirstAnswers> {
        let mut corrections = Vec::new();
        self.cases.follow_corrections(&mut corrections).await?;
        let mut facts = Facts::new(&corrections);
        let mut first = FirstAnswers::new(self.answers_max);
        let mut position = LogPosition::START;
        loop {
            let events = self.stores.store.read_events(position, EVENTS_PER_READ_MAX);
            let events = events.await?;
            self.cases.load(&mut facts, &events).await?;
            for event in &events {
                if let EventBody::AnswerRecorded { answer } = &event.body {
                    first.take(answer, facts.is_correct(answer));
                }
            }
            match events.last() {
                Some(last) => position = last.position,
                None => return Ok(first),
            }
        }
    }
}

#[async_trait]
impl JobHandler for Recalibrate {
    fn kind(&self) -> JobKind {
        Self::job_kind()
    }

    fn policy(&self) -> JobPolicy {
        JobPolicy {
            // It comes again the next night.
            attempts_max: 3,
            ..JobPolicy::default().one_at_a_time()
        }
    }

    async fn run(&self, _job: &ClaimedJob, context: &JobContext) -> Result<JobEnd> {
        let first = self.read().await?;
        let now = context.now();
        let fitted = tokio::task::spawn_blocking(move || first.calibrate(now));
        let events = fitted.await.map_err(|source| {
            let context = "the fit ended early: see the log for a panic";
            Error::new(ErrorKind::Unexpected, "calibrate cases", context).with_source(source)
        })?;
        Ok(JobEnd::Done(Effects {
            events,
            ..Effects::default()
        }))
    }
}

/// What users answered to each case for the first time.
#[derive(Debug)]
struct FirstAnswers {
    /// The versions that were answered, each with its number.
    numbers: HashMap<(CaseId, CaseVersion), usize>,
    versions: Vec<(CaseId, CaseVersion)>,
    /// The version and whether it was right, by user and case.
    by_user: HashMap<UserId, BTreeMap<CaseId, (usize, bool)>>,
    count: usize,
    count_max: usize,
    /// Of how many users one is taken: a power of two.
    one_of: u16,
}

impl FirstAnswers {
    fn new(count_max: usize) -> Self {
        Self {
            numbers: HashMap::new(),
            versions: Vec::new(),
            by_user: HashMap::new(),
            count: 0,
            count_max: count_max.max(1),
            one_of: 1,
        }
    }

    fn take(&mut self, answer: &Answer, is_correct: bool) {
        if !is_taken(answer.user_id, self.one_of) {
            return;
        }
        let version = (answer.case_id, answer.case_version);
        let number = match self.numbers.get(&version) {
            Some(number) => *number,
            None if self.versions.len() >= CASES_MAX => return,
            None => {
                let number = self.versions.len();
                self.versions.push(version);
                self.numbers.insert(version, number);
                number
            }
        };
        let of_user = self.by_user.entry(answer.user_id).or_default();
        if let std::collections::btree_map::Entry::Vacant(place) = of_user.entry(answer.case_id) {
            place.insert((number, is_correct));
            self.count += 1;
        }
        while self.count > self.count_max && self.one_of < BUCKETS {
            self.one_of *= 2;
            self.by_user
                .retain(|user_id, _| is_taken(*user_id, self.one_of));
            self.count = self.by_user.values().map(BTreeMap::len).sum();
        }
    }

    fn calibrate(self, now: Timestamp) -> Vec<EventBody> {
        if self.versions.is_empty() {
            return Vec::new();
        }
        let mut responses = Responses::new(self.versions.len());
        // In the order of users, so that the same log gives the same figures to the last digit.
        let mut by_user: Vec<_> = self.by_user.into_iter().collect();
        by_user.sort_unstable_by_key(|(user_id, _)| *user_id);
        for (_, answers) in by_user {
            responses.push(answers.into_values());
        }
        let fit = fit(&responses, &FIT);
        let calibrations = calibrations(&self.versions, &fit);
        tracing::info!(
            cases = calibrations.len(),
            users = responses.len(),
            iterations = fit.iterations,
            has_converged = fit.has_converged,
            "cases are calibrated"
        );
        calibrations
            .chunks(CALIBRATIONS_PER_EVENT_MAX)
            .map(|part| EventBody::CasesCalibrated {
                calibrations: part.to_vec(),
                calibrated_at: now,
            })
            .collect()
    }
}

/// Whether the answers of a user are taken if those of one of so many users are.
fn is_taken(user_id: UserId, one_of: u16) -> bool {
    Bucket::of(&user_id).get().is_multiple_of(one_of)
}

fn calibrations(versions: &[(CaseId, CaseVersion)], fit: &Fit) -> Vec<CaseCalibration> {
    let millionths = |figure: f64| (figure * 1e6).round() as i64;
    let found = versions.iter().zip(&fit.parameters).zip(&fit.answers);
    found
        .filter(|(_, answers)| **answers >= ANSWERS_PER_CASE_MIN)
        .map(
            |(((case_id, version), parameters), answers)| CaseCalibration {
                case_id: *case_id,
                version: *version,
                discrimination_millionths: millionths(parameters.discrimination),
                difficulty_millionths: millionths(parameters.difficulty()),
                answers: *answers,
            },
        )
        .collect()
}

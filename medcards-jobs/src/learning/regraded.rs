use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::answer::{Answer, AnswerStore};
use medcards_core::case::{CaseVersion, KeyCorrection};
use medcards_core::event::{EVENTS_PER_READ_MAX, Event, EventBody, EventLog, LogPosition};
use medcards_core::job::{ClaimedJob, Effects, JobKind, NewJob};
use medcards_core::learning::NOTIFY_REGRADED;
use medcards_core::notice::{NewNotice, NoticeBody};
use medcards_core::store::{Consistency, PageLimit};
use medcards_core::view::Facts;
use medcards_core::{CaseId, Error, ErrorKind, Result, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Stores;
use crate::view::CaseFacts;
use crate::worker::{JobContext, JobEnd, JobHandler, JobPolicy};

/// The name of the kind of job that tells one student of a corrected key.
const TELL_REGRADED: &str = "tell-regraded";

/// The most pages of the log that one job of a walk reads: some seconds, and little to do again.
const PAGES_PER_JOB_MAX: usize = 50;

/// How many students end a job of a walk early: each is a job of its own to be written.
const STUDENTS_PER_JOB: usize = 500;

/// How long to wait for the event of the correction, which its log holds back while older writes are
/// under way.
const CORRECTION_WAIT: Duration = Duration::from_secs(1);

/// How long it is remembered that a student is told: longer than any walk takes.
const TOLD_REMEMBERED_FOR: Duration = Duration::from_hours(30 * 24);

/// Walks the log for the students who answered a version whose key was corrected, and has each told:
/// does the jobs [`NOTIFY_REGRADED`].
///
/// A walk is a chain of jobs, each for a part of the log. A student is told once for each version,
/// however many parts of the walk meet answers of theirs: for the first one it meets it enqueues a job
/// with a key of walk, version and student. Whether the last answer is right is found out by that job,
/// which looks at what the student has answered since.
#[derive(Debug)]
pub struct NotifyRegraded {
    stores: Stores,
    cases: CaseFacts,
}

/// The payload of such a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    case_id: CaseId,
    /// The versions whose keys were corrected.
    versions: Vec<CaseVersion>,
    /// What is known once it has begun.
    #[serde(default)]
    begun: Option<Begun>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    /// Names the walk: the id of its first job.
    walk: Uuid,
    /// The last correction that it is about, by number.
    correction: u64,
    corrected_at: Timestamp,
    /// How far it has come.
    position: LogPosition,
    /// Whether it has come past the event of that correction: then no answer of before is missing.
    has_seen_correction: bool,
}

/// The first answer of each student that a part of a walk meets.
type Met = BTreeMap<(UserId, CaseVersion), Timestamp>;

impl NotifyRegraded {
    /// Does it on these stores. The students are told by a [`TellRegraded`].
    #[must_use]
    pub fn new(stores: Stores) -> Self {
        Self {
            cases: CaseFacts::new(Arc::clone(&stores.store)),
            stores,
        }
    }

    async fn begin(&self, walk: &Walk, job: &ClaimedJob) -> Result<Option<Begun>> {
        let mut corrections = Vec::new();
        self.cases.follow_corrections(&mut corrections).await?;
        let of_walk =
            |it: &&KeyCorrection| it.case_id == walk.case_id && walk.versions.contains(&it.version);
        let last = corrections.iter().rfind(of_walk);
        Ok(last.map(|last| Begun {
            walk: *job.id.as_uuid(),
            correction: last.number,
            corrected_at: last.corrected_at,
            position: LogPosition::START,
            has_seen_correction: false,
        }))
    }

    /// Goes on through the log; says whether there is nothing more in it.
    async fn walk(&self, walk: &Walk, begun: &mut Begun, met: &mut Met) -> Result<bool> {
        for _ in 0..PAGES_PER_JOB_MAX {
            let page = self
                .stores
                .store
                .read_events(begun.position, EVENTS_PER_READ_MAX);
            let events = page.await?;
            for event in &events {
                meet(walk, begun, event, met);
                if met.len() >= STUDENTS_PER_JOB {
                    return Ok(false);
                }
            }
            if events.len() < EVENTS_PER_READ_MAX {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl JobHandler for NotifyRegraded {
    fn kind(&self) -> JobKind {
        JobKind::named(NOTIFY_REGRADED)
    }

    fn policy(&self) -> JobPolicy {
        JobPolicy::default().one_at_a_time()
    }

    async fn run(&self, job: &ClaimedJob, context: &JobContext) -> Result<JobEnd> {
        let Ok(walk) = serde_json::from_str::<Walk>(&job.payload) else {
            let context = "it has no case and versions: correct the key again";
            return Ok(dead(&Error::new(ErrorKind::Invalid, "read job", context)));
        };
        let begun = match walk.begun {
            Some(begun) => Some(begun),
            None => self.begin(&walk, job).await?,
        };
        let Some(mut begun) = begun else {
            let context = "no key of this case and these versions was corrected";
            return Ok(dead(&Error::new(ErrorKind::NotFound, "read job", context)));
        };
        let mut met = Met::new();
        let has_ended = self.walk(&walk, &mut begun, &mut met).await?;
        let now = context.now();
        let told = met.iter().map(|((user_id, version), answered_at)| {
            let tell = Tell {
                case_id: walk.case_id,
                version: *version,
                answered_at: *answered_at,
                corrected_at: begun.corrected_at,
            };
            let key = format!("{}/{version}/{user_id}", begun.walk);
            let job = NewJob::new(JobKind::named(TELL_REGRADED), to_json(&tell)?, now);
            Ok(job.for_user(*user_id).once(key, TOLD_REMEMBERED_FOR))
        });
        let mut jobs: Vec<NewJob> = told.collect::<Result<_>>()?;
        if !(has_ended && begun.has_seen_correction) {
            let next = Walk {
                begun: Some(begun),
                ..walk
            };
            let wait = if has_ended {
                CORRECTION_WAIT
            } else {
                Duration::ZERO
            };
            let next = NewJob::new(self.kind(), to_json(&next)?, now);
            jobs.push(next.at(now + wait));
        }
        Ok(JobEnd::Done(Effects {
            jobs,
            ..Effects::default()
        }))
    }
}

fn meet(walk: &Walk, begun: &mut Begun, event: &Event, met: &mut Met) {
    begun.position = event.position;
    match &event.body {
        EventBody::AnswerRecorded { answer }
            if answer.case_id == walk.case_id && walk.versions.contains(&answer.case_version) =>
        {
            met.entry((answer.user_id, answer.case_version))
                .or_insert(answer.created_at);
        }
        EventBody::KeyCorrected { correction } => {
            begun.has_seen_correction |= correction.number >= begun.correction;
        }
        _ => {}
    }
}

fn to_json(payload: &impl Serialize) -> Result<String> {
    serde_json::to_string(payload).map_err(|source| {
        let context = "a payload has no stored form";
        Error::new(ErrorKind::Unexpected, "write job", context).with_source(source)
    })
}

fn dead(error: &Error) -> JobEnd {
    JobEnd::Dead {
        reason: error.to_string(),
    }
}

/// What is to be found out for a student.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tell {
    case_id: CaseId,
    version: CaseVersion,
    /// When the student gave an answer to it. The last one is not older.
    answered_at: Timestamp,
    corrected_at: Timestamp,
}

/// Tells one student that the key of a case was corrected, and whether their last answer to that version
/// is right now.
#[derive(Debug)]
pub struct TellRegraded {
    stores: Stores,
    cases: CaseFacts,
    /// Those that are known of the store, from the first.
    corrections: Mutex<Vec<KeyCorrection>>,
}

impl TellRegraded {
    /// Does it on these stores.
    #[must_use]
    pub fn new(stores: Stores) -> Self {
        Self {
            cases: CaseFacts::new(Arc::clone(&stores.store)),
            corrections: Mutex::default(),
            stores,
        }
    }

    async fn last_answer(&self, user_id: UserId, tell: &Tell) -> Result<Option<Answer>> {
        let mut after = None;
        loop {
            let page = self.stores.store.list_answers(
                user_id,
                after.as_ref(),
                PageLimit::MAX,
                &Consistency::Strong,
            );
            let page = page.await?;
            for answer in page.items {
                if answer.created_at < tell.answered_at {
                    return Ok(None);
                }
                if (answer.case_id, answer.case_version) == (tell.case_id, tell.version) {
                    return Ok(Some(answer));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(None);
            }
        }
    }
}

#[async_trait]
impl JobHandler for TellRegraded {
    fn kind(&self) -> JobKind {
        JobKind::named(TELL_REGRADED)
    }

    async fn run(&self, job: &ClaimedJob, _context: &JobContext) -> Result<JobEnd> {
        let tell = serde_json::from_str::<Tell>(&job.payload);
        let (Ok(tell), Some(user_id)) = (tell, job.user_id) else {
            let context = "it is not a job of a walk for regraded answers";
            return Ok(dead(&Error::new(ErrorKind::Invalid, "read job", context)));
        };
        // Whose answers are gone by now has left, and is told nothing.
        let Some(answer) = self.last_answer(user_id, &tell).await? else {
            return Ok(JobEnd::done());
        };
        let mut corrections = self.corrections.lock().await;
        self.cases.follow_corrections(&mut corrections).await?;
        let of_case = corrections.iter().filter(|it| it.case_id == tell.case_id);
        let mut facts = Facts::new(of_case);
        drop(corrections);
        let version = (tell.case_id, tell.version);
        self.cases.read(&mut facts, vec![version]).await?;
        let is_correct = facts.is_correct(&answer);
        let notice = NewNotice {
            user_id,
            at: tell.corrected_at,
            body: NoticeBody::Regraded {
                case_id: tell.case_id,
                version: tell.version,
                is_correct,
            },
        };
        Ok(JobEnd::Done(Effects {
            notices: vec![notice],
            ..Effects::default()
        }))
    }
}

//! The rows of a deployment, in a form that no store owns.

use jiff::Timestamp;
use jiff::civil::Date;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Part, StoredJson};
use crate::answer::Answer;
use crate::case::{CaseVersion, KeyCorrection};
use crate::chat::{ChatSummary, ChatTurn, SharedAnswer, TurnReply};
use crate::feedback::{Feedback, FeedbackKey, KeyPosition, Shared};
use crate::id::{CaseId, JobId, ReservationId, UserId};
use crate::job::{DeadJob, JobKind, JobOrder};
use crate::spend::{MicroDollars, Purpose, SpendRow, SpendScope};

/// A row of some part.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a store that cannot keep a new kind of row must not compile"
)]
pub enum Row {
    /// An answer.
    Answer(Answer),
    /// A badge of a user.
    Award(AwardRow),
    /// A version of a case.
    Case(CaseRow),
    /// The summary of a chat.
    ChatSummary(ChatSummary),
    /// A turn of a chat.
    ChatTurn(ChatTurn),
    /// How far a reader has come.
    Cursor(CursorRow),
    /// A job that was given up.
    DeadJob(DeadJobRow),
    /// An event.
    Event(EventRow),
    /// Feedback written before it is asked for.
    Feedback(FeedbackRow),
    /// A job in the queue.
    Job(JobRow),
    /// What keeps a job from being enqueued twice.
    JobKey(JobKeyRow),
    /// The key of a version was wrong.
    KeyCorrection(KeyCorrection),
    /// Money set aside.
    Reservation(ReservationRow),
    /// An answer of the coach that anyone may see.
    SharedAnswer(SharedAnswer),
    /// The sums of a day.
    SpendDay(SpendDayRow),
    /// The sums of a month, a purpose or a user.
    SpendScope(SpendScopeRow),
    /// What a tier did.
    SpendTotal(SpendRow),
    /// A user.
    User(UserRow),
}

/// A version of a case. Source and external id stand in the content.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct CaseRow {
    /// The case.
    pub case_id: CaseId,
    /// Which edition.
    pub version: CaseVersion,
    /// When this version was published.
    pub published_at: Timestamp,
    /// What it says, in the form of [`CaseRecord`](crate::case::CaseRecord).
    pub content: StoredJson,
}

/// A user.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct UserRow {
    /// The user.
    pub id: UserId,
    /// The stable name of the [`UserKind`](crate::user::UserKind).
    pub kind: String,
    /// In the form of [`UserSettings`](crate::user::UserSettings).
    pub settings: StoredJson,
    /// When the user was first seen.
    pub created_at: Timestamp,
}

/// Feedback that was written before it is asked for.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct FeedbackRow {
    /// Where its key stands in the order in which keys were first kept.
    pub position: KeyPosition,
    /// The key.
    pub key: FeedbackKey,
    /// The feedback.
    pub feedback: Feedback<Shared>,
    /// Who reviewed it last.
    pub reviewer: Option<UserId>,
    /// When.
    pub reviewed_at: Option<Timestamp>,
}

/// The sums of a day.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct SpendDayRow {
    /// The day (UTC).
    pub day: Date,
    /// What was spent.
    pub spent: MicroDollars,
    /// What is set aside.
    pub set_aside: MicroDollars,
}

/// The sums of a scope that is no day.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct SpendScopeRow {
    /// The scope.
    pub scope: SpendScope,
    /// What was spent.
    pub spent: MicroDollars,
    /// What is set aside.
    pub set_aside: MicroDollars,
}

/// Money that was set aside for a live call.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct ReservationRow {
    /// Names it.
    pub id: ReservationId,
    /// The day (UTC) on which it counts.
    pub day: Date,
    /// How much.
    pub amount: MicroDollars,
    /// Whether it was settled.
    pub settled: bool,
    /// What it is for; `None` if it was made before purposes were kept.
    pub purpose: Option<Purpose>,
    /// On whose behalf, if on somebody's.
    pub user_id: Option<UserId>,
}

/// An event. Where it stands follows from its place among the others.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct EventRow {
    /// Whom it concerns.
    pub user_id: UserId,
    /// The stable name of what happened.
    pub kind: String,
    /// In the form of [`EventBody`](crate::event::EventBody).
    pub body: StoredJson,
    /// When it was written, by the clock of that machine.
    pub recorded_at: Timestamp,
}

/// How far a reader of the log has come.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct CursorRow {
    /// The name of the reader.
    pub reader: String,
    /// How many of the events that there are it has behind it. Positions are another thing in each
    /// log, this number is not.
    pub events_read: u64,
}

/// A badge that a user has.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct AwardRow {
    /// Who has it.
    pub user_id: UserId,
    /// The stable name of the badge.
    pub badge: String,
    /// Since when.
    pub awarded_at: Timestamp,
}

/// A job in the queue, with how many claims there were of it. None of them goes with it: a job that
/// somebody is at when it moves is claimed again when the lease has ended. Where it stands in the order of its user
/// follows from its place among the others.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// What it needs to know.
    pub payload: String,
    /// Whom it is done for, if anybody.
    pub user_id: Option<UserId>,
    /// In which order.
    pub order: JobOrder,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// When it is due, or the lease of its claim ends.
    pub run_at: Timestamp,
    /// How often it was claimed.
    pub attempt: u32,
    /// How many of these claims do not count as its tries.
    pub uncounted: u32,
}

/// A job that was given up.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct DeadJobRow {
    /// What is shown of it.
    pub job: DeadJob,
    /// In which order it is done if it is put back into the queue.
    pub order: JobOrder,
}

/// A deduplication key, taken or free again.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct JobKeyRow {
    /// The kind of its job.
    pub kind: JobKind,
    /// The key, together with the kind.
    pub key: String,
    /// The job that took it: it is taken while that is in the queue or dead.
    pub job_id: JobId,
    /// Until when it is taken anyway.
    pub kept_until: Timestamp,
}

impl Row {
    /// The part it belongs to.
    #[must_use]
    pub fn part(&self) -> Part {
        match self {
            Self::Answer(_) => Part::Answers,
            Self::Award(_) => Part::Awards,
            Self::Case(_) => Part::Cases,
            Self::ChatSummary(_) => Part::ChatSummaries,
            Self::ChatTurn(_) => Part::ChatTurns,
            Self::Cursor(_) => Part::Cursors,
            Self::DeadJob(_) => Part::DeadJobs,
            Self::Event(_) => Part::Events,
            Self::Feedback(_) => Part::Feedback,
            Self::Job(_) => Part::Jobs,
            Self::JobKey(_) => Part::JobKeys,
            Self::KeyCorrection(_) => Part::KeyCorrections,
            Self::Reservation(_) => Part::Reservations,
            Self::SharedAnswer(_) => Part::SharedAnswers,
            Self::SpendDay(_) => Part::SpendDays,
            Self::SpendScope(_) => Part::SpendScopes,
            Self::SpendTotal(_) => Part::SpendTotals,
            Self::User(_) => Part::Users,
        }
    }

    /// The user whose row it is: who is verified with it, and leaves with it. No user for what is of
    /// everyone.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::Answer(answer) => Some(answer.user_id),
            Self::Award(award) => Some(award.user_id),
            Self::ChatSummary(summary) => Some(summary.user_id),
            Self::ChatTurn(turn) => Some(turn.user_id),
            Self::DeadJob(dead) => dead.job.user_id,
            Self::Event(event) => Some(event.user_id).filter(|id| *id != UserId::EVERYONE),
            Self::Job(job) => job.user_id,
            Self::User(user) => Some(user.id),
            Self::Case(_)
            | Self::Cursor(_)
            | Self::Feedback(_)
            | Self::JobKey(_)
            | Self::KeyCorrection(_)
            | Self::Reservation(_)
            | Self::SharedAnswer(_)
            | Self::SpendDay(_)
            | Self::SpendScope(_)
            | Self::SpendTotal(_) => None,
        }
    }

    /// Names it, without anything that it says.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Answer(answer) => format!("answer {} of user {}", answer.id, answer.user_id),
            Self::Award(award) => {
                format!("a badge of user {} of {}", award.user_id, award.awarded_at)
            }
            Self::Case(case) => format!("version {} of case {}", case.version, case.case_id),
            Self::ChatSummary(summary) => format!(
                "summary of the chat on answer {} of user {}",
                summary.answer_id, summary.user_id
            ),
            Self::ChatTurn(turn) => format!("turn {} of user {}", turn.id, turn.user_id),
            Self::Cursor(cursor) => format!("cursor of reader {}", cursor.reader),
            Self::DeadJob(dead) => format!("dead job {}", dead.job.id),
            Self::Event(event) => {
                format!("event of user {} of {}", event.user_id, event.recorded_at)
            }
            Self::Feedback(row) => format!("feedback {}", row.key),
            Self::Job(job) => format!("job {}", job.id),
            Self::JobKey(key) => format!("key of job {}", key.job_id),
            Self::KeyCorrection(correction) => format!("key correction {}", correction.number),
            Self::Reservation(reservation) => format!("reservation {}", reservation.id),
            Self::SharedAnswer(answer) => format!("shared answer {}", answer.id),
            Self::SpendDay(day) => format!("sums of {}", day.day),
            Self::SpendScope(sums) => format!("sums of {}", sums.scope),
            Self::SpendTotal(total) => format!("totals of {} for {}", total.tier, total.day),
            Self::User(user) => format!("user {}", user.id),
        }
    }

    /// Hashes everything in it, always in the same way: two stores that hold the same row agree.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let mut form = Form::default();
        match self {
            Self::Answer(answer) => form.answer(answer),
            Self::Award(award) => {
                let AwardRow {
                    user_id,
                    badge,
                    awarded_at,
                } = award;
                form.id(user_id.as_bytes()).text(badge).instant(*awarded_at);
            }
            Self::Case(case) => form.case(case),
            Self::ChatSummary(summary) => {
                let ChatSummary {
                    user_id,
                    answer_id,
                    through,
                    text,
                } = summary;
                form.id(user_id.as_bytes()).id(answer_id.as_bytes());
                form.id(through.as_bytes()).text(text);
            }
            Self::ChatTurn(turn) => form.turn(turn),
            Self::Cursor(cursor) => {
                let CursorRow {
                    reader,
                    events_read,
                } = cursor;
                form.text(reader).number(*events_read);
            }
            Self::DeadJob(dead) => form.dead_job(dead),
            Self::Event(event) => {
                let EventRow {
                    user_id,
                    kind,
                    body,
                    recorded_at,
                } = event;
                form.id(user_id.as_bytes()).text(kind);
                form.json(body).instant(*recorded_at);
            }
            Self::Feedback(row) => form.feedback(row),
            Self::Job(job) => form.job(job),
            Self::JobKey(key) => {
                let JobKeyRow {
                    kind,
                    key,
                    job_id,
                    kept_until,
                } = key;
                form.text(kind.as_str()).text(key);
                form.id(job_id.as_bytes()).instant(*kept_until);
            }
            Self::KeyCorrection(correction) => form.key_correction(correction),
            Self::Reservation(reservation) => {
                let ReservationRow {
                    id,
                    day,
                    amount,
                    settled,
                    purpose,
                    user_id,
                } = reservation;
                form.id(id.as_bytes()).day(*day).number(amount.get());
                form.number(u64::from(*settled));
                form.text(purpose.map_or("", Purpose::as_str));
                form.bytes(user_id.as_ref().map_or(&[], |user| user.as_bytes()));
            }
            Self::SharedAnswer(answer) => form.shared_answer(answer),
            Self::SpendDay(sums) => {
                let SpendDayRow {
                    day,
                    spent,
                    set_aside,
                } = sums;
                form.day(*day).number(spent.get()).number(set_aside.get());
            }
            Self::SpendScope(sums) => {
                let SpendScopeRow {
                    scope,
                    spent,
                    set_aside,
                } = sums;
                form.text(&scope.to_string());
                form.number(spent.get()).number(set_aside.get());
            }
            Self::SpendTotal(total) => form.total(total),
            Self::User(user) => {
                let UserRow {
                    id,
                    kind,
                    settings,
                    created_at,
                } = user;
                form.id(id.as_bytes()).text(kind);
                form.json(settings).instant(*created_at);
            }
        }
        xxh3_128_with_seed(&form.0, self.part() as u64)
    }
}

/// A row as bytes of which no two rows have the same: every value has a fixed length, or its length
/// before it.
#[derive(Default)]
struct Form(Vec<u8>);

impl Form {
    fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn optional(&mut self, number: Option<u64>) -> &mut Self {
        self.0.push(u8::from(number.is_some()));
        self.number(number.unwrap_or_default())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn id(&mut self, id: &[u8; 16]) -> &mut Self {
        self.0.extend_from_slice(id);
        self
    }

    /// To the microsecond, as stores keep it.
    fn instant(&mut self, instant: Timestamp) -> &mut Self {
        self.number(instant.as_microsecond().cast_unsigned())
    }

    fn day(&mut self, day: Date) -> &mut Self {
        self.text(&day.to_string())
    }

    fn json(&mut self, json: &StoredJson) -> &mut Self {
        self.0.extend_from_slice(&json.sense().hash().to_le_bytes());
        self
    }

    fn answer(&mut self, answer: &Answer) {
        let Answer {
            id,
            user_id,
            case_id,
            case_version,
            chosen,
            shown,
            is_correct,
            time_to_answer_ms,
            confidence,
            created_at,
        } = answer;
        self.id(id.as_bytes()).id(user_id.as_bytes());
        self.id(case_id.as_bytes())
            .number(case_version.get().into());
        self.number(chosen.bits().into()).bytes(shown.positions());
        self.number(u64::from(*is_correct));
        self.optional(time_to_answer_ms.map(u64::from));
        self.optional(confidence.map(|confidence| confidence.percent().into()));
        self.instant(*created_at);
    }

    fn case(&mut self, case: &CaseRow) {
        let CaseRow {
            case_id,
            version,
            published_at,
            content,
        } = case;
        self.id(case_id.as_bytes()).number(version.get().into());
        self.instant(*published_at).json(content);
    }

    fn key_correction(&mut self, correction: &KeyCorrection) {
        let KeyCorrection {
            number,
            case_id,
            version,
            right,
            corrected_in,
            corrected_at,
        } = correction;
        self.number(*number).id(case_id.as_bytes());
        self.number(version.get().into());
        self.number(right.bits().into());
        self.number(corrected_in.get().into());
        self.instant(*corrected_at);
    }

    fn job(&mut self, job: &JobRow) {
        let JobRow {
            id,
            kind,
            payload,
            user_id,
            order,
            enqueued_at,
            run_at,
            attempt,
            uncounted,
        } = job;
        self.id(id.as_bytes()).text(kind.as_str()).text(payload);
        self.user(*user_id).order(*order);
        self.instant(*enqueued_at).instant(*run_at);
        self.number(u64::from(*attempt));
        self.number(u64::from(*uncounted));
    }

    fn dead_job(&mut self, dead: &DeadJobRow) {
        let DeadJobRow { job, order } = dead;
        let DeadJob {
            id,
            kind,
            payload,
            user_id,
            enqueued_at,
            attempts,
            died_at,
            reason,
        } = job;
        self.id(id.as_bytes()).text(kind.as_str()).text(payload);
        self.user(*user_id).order(*order);
        self.instant(*enqueued_at).number(u64::from(*attempts));
        self.instant(*died_at).text(reason);
    }

    fn user(&mut self, user_id: Option<UserId>) -> &mut Self {
        self.bytes(user_id.as_ref().map_or(&[], |user| user.as_bytes()))
    }

    fn order(&mut self, order: JobOrder) -> &mut Self {
        self.number(match order {
            JobOrder::Any => 0,
            JobOrder::OfUser => 1,
        })
    }

    fn feedback(&mut self, row: &FeedbackRow) {
        let FeedbackRow {
            position,
            key,
            feedback,
            reviewer,
            reviewed_at,
        } = row;
        let Feedback {
            text,
            origin,
            model,
            prompt_version,
            review,
            cost,
            written_at,
            audience: _,
        } = feedback;
        self.number(position.0).text(&key.to_string()).text(text);
        self.text(origin.as_str());
        self.text(model.as_ref().map_or("", |model| model.as_str()));
        self.optional(prompt_version.map(|version| version.get().into()));
        self.text(review.as_str()).number(cost.get());
        self.instant(*written_at);
        self.bytes(reviewer.as_ref().map_or(&[], |user| user.as_bytes()));
        self.optional(reviewed_at.map(|instant| instant.as_microsecond().cast_unsigned()));
    }

    fn turn(&mut self, turn: &ChatTurn) {
        let ChatTurn {
            id,
            user_id,
            answer_id,
            question,
            started_at,
            attempt,
            reply,
        } = turn;
        self.id(id.as_bytes()).id(user_id.as_bytes());
        self.id(answer_id.as_bytes()).text(question);
        self.instant(*started_at).number(u64::from(*attempt));
        self.number(u64::from(reply.is_some()));
        if let Some(reply) = reply {
            let TurnReply {
                text,
                origin,
                model,
                cost,
                replied_at,
            } = reply;
            self.text(text).text(origin.as_str());
            self.text(model.as_ref().map_or("", |model| model.as_str()));
            self.number(cost.get()).instant(*replied_at);
        }
    }

    fn shared_answer(&mut self, shared: &SharedAnswer) {
        let SharedAnswer {
            id,
            case_id,
            case_version,
            locale,
            question,
            answer,
            reviewer,
            reviewed_at,
        } = shared;
        self.id(id.as_bytes()).id(case_id.as_bytes());
        self.number(case_version.get().into()).text(locale.as_str());
        self.text(question).text(answer);
        self.id(reviewer.as_bytes()).instant(*reviewed_at);
    }

    fn total(&mut self, total: &SpendRow) {
        let SpendRow {
            day,
            tier,
            model,
            case_id,
            resolutions,
            cost,
            saved,
        } = total;
        self.day(*day).text(tier.as_str());
        self.text(model.as_ref().map_or("", |model| model.as_str()));
        self.bytes(case_id.as_ref().map_or(&[], |case| case.as_bytes()));
        self.number(*resolutions)
            .number(cost.get())
            .number(saved.get());
    }
}

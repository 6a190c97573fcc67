//! What is written in the transaction of something else: notices, events of everyone, jobs.

use medcards_core::event::EventBody;
use medcards_core::job::{Effects, NewJob};
use medcards_core::notice::NewNotice;
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use uuid::Uuid;

use crate::answers::{bucket, event_json};
use crate::column::instant;
use crate::error::Failure;
use crate::jobs::{Entry, Ownership, enqueue};
use crate::signals::{Signals, Topic};
use crate::steps::Steps;

const INSERT_EVENTS_SQL: &str = "
INSERT INTO events (user_id, bucket, kind, body)
SELECT $1, $2, kind, body::jsonb
FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS given (kind, body, at)
ORDER BY at";

const INSERT_NOTICES_SQL: &str = "
INSERT INTO notices (user_id, at, bucket, body)
SELECT user_id, happened_at, bucket, body::jsonb
FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::text[])
WITH ORDINALITY AS given (user_id, happened_at, bucket, body, at)
ORDER BY at";

/// What several causes want written, in the form of the statements, so that it can be sent again when
/// a transaction gave way.
#[derive(Debug, Default)]
pub(crate) struct Written {
    notices: Vec<NoticeColumns>,
    events: Vec<(String, String)>,
    jobs: Vec<(NewJob, Timestamp)>,
}

#[derive(Debug)]
struct NoticeColumns {
    user_id: UserId,
    at: Timestamp,
    body: String,
}

impl Written {
    /// Adds effects, whose jobs are enqueued at `now`.
    pub(crate) fn add(
        &mut self,
        operation: &'static str,
        effects: Effects,
        now: Timestamp,
    ) -> Result<()> {
        for notice in &effects.notices {
            self.add_notice(operation, notice)?;
        }
        for event in &effects.events {
            self.add_event(operation, event)?;
        }
        self.jobs
            .extend(effects.jobs.into_iter().map(|job| (job, now)));
        Ok(())
    }

    pub(crate) fn add_notice(&mut self, operation: &'static str, notice: &NewNotice) -> Result<()> {
        let body = serde_json::to_string(&notice.body).map_err(|source| {
            let context = "the notice has no stored form";
            Error::new(ErrorKind::Unexpected, operation, context).with_source(source)
        })?;
        self.notices.push(NoticeColumns {
            user_id: notice.user_id,
            at: notice.at,
            body,
        });
        Ok(())
    }

    /// Adds an event of everyone.
    pub(crate) fn add_event(&mut self, operation: &'static str, event: &EventBody) -> Result<()> {
        let body = event_json(operation, event)?;
        self.events.push((event.kind().to_owned(), body));
        Ok(())
    }

    pub(crate) fn add_job(&mut self, job: NewJob, now: Timestamp) {
        self.jobs.push((job, now));
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = &NewJob> {
        self.jobs.iter().map(|(job, _)| job)
    }

    /// Writes all of it.
    pub(crate) async fn write(&self, steps: &mut impl Steps) -> Result<(), Failure> {
        if !self.notices.is_empty() {
            let all = self.notices.iter();
            let users: Vec<Uuid> = all.clone().map(|it| *it.user_id.as_uuid()).collect();
            let instants: Vec<_> = all.clone().map(|it| instant(it.at)).collect();
            let buckets: Vec<i16> = all.clone().map(|it| bucket(it.user_id)).collect();
            let bodies: Vec<String> = all.map(|it| it.body.clone()).collect();
            let insert = sqlx::query(INSERT_NOTICES_SQL).bind(users).bind(instants);
            steps.fetch(insert.bind(buckets).bind(bodies)).await?;
        }
        if !self.events.is_empty() {
            let (kinds, bodies): (Vec<_>, Vec<_>) = self.events.iter().cloned().unzip();
            let insert = sqlx::query(INSERT_EVENTS_SQL)
                .bind(*UserId::EVERYONE.as_uuid())
                .bind(bucket(UserId::EVERYONE));
            steps.fetch(insert.bind(kinds).bind(bodies)).await?;
        }
        let entries: Vec<_> = self
            .jobs
            .iter()
            .map(|(job, now)| Entry { job, now: *now })
            .collect();
        enqueue(steps, &entries, Ownership::Any).await?;
        Ok(())
    }

    /// Hints that it was written, once it is.
    pub(crate) fn tell(&self, signals: &Signals) {
        for (topic, is_empty) in [
            (Topic::Events, self.events.is_empty()),
            (Topic::Jobs, self.jobs.is_empty()),
            (Topic::Notices, self.notices.is_empty()),
        ] {
            if !is_empty {
                signals.give(topic);
            }
        }
    }
}

//! Fills the database: cases through the store, answers and events by `COPY`, month after month.

use std::fmt::Write as _;
use std::time::Instant;

use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use medcards_core::answer::{Answer, AnswerStore};
use medcards_core::case::{Case, CaseContent, CaseRecord, CaseStore, Publication};
use medcards_core::event::EventBody;
use medcards_core::jiff::tz::TimeZone;
use medcards_core::testing::sample_record;
use medcards_core::time::{Clock, SystemClock};
use medcards_store_pg::PgStore;
use sqlx::{Connection, PgConnection};

use crate::Error;
use crate::arguments;
use crate::made;
use crate::shape::Shape;

/// How many cases are published at once: about 1 MB.
const PUBLISHED_AT_ONCE: usize = 500;

/// How many answers share a transaction: half a second of work.
const COPIED_AT_ONCE: usize = 20_000;

/// How many specialties the cases are of.
const SPECIALTIES: u32 = 20;

const COPY_ANSWERS: &str = "\
    COPY interactions (user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, \
    bucket, confidence, is_correct, shown) FROM STDIN";

const COPY_EVENTS: &str = "COPY events (user_id, recorded_at, bucket, kind, body) FROM STDIN";

pub(crate) async fn fill(arguments: &arguments::Fill) -> Result<(), Error> {
    let arguments::Fill {
        database,
        answers: count,
        shape,
        course,
    } = arguments;
    let seed = shape.seed;
    let shape = Shape::of(shape)?;
    println!(
        "users drawn from {}, with {:.1} answers each on average",
        shape.users.len(),
        shape.answers_per_user()
    );
    let store = database.open(1).await?;
    let cases = publish(&store, course.cases, shape.items.into()).await?;
    let now = SystemClock::new().now();
    let (made, users) = made::make(&shape, *course, seed, *count, now);
    println!("{} answers of {users} users", made.len());

    let progress = bar("answers", *count)?;
    let mut connection = database.connect().await?;
    let mut rng = Rng::with_seed(seed);
    let mut month = None;
    let started = Instant::now();
    let mut rest = &made[..];
    while let Some(first) = rest.first() {
        let date = first.at().to_zoned(TimeZone::UTC).date();
        if month != Some((date.year(), date.month())) {
            // The first of a month goes through the store, which makes the partition.
            store.record_answer(first.answer(&cases, &mut rng)).await?;
            month = Some((date.year(), date.month()));
            rest = &rest[1..];
            continue;
        }
        let of_month = rest.iter().take(COPIED_AT_ONCE).take_while(|made| {
            let date = made.at().to_zoned(TimeZone::UTC).date();
            month == Some((date.year(), date.month()))
        });
        let batch: Vec<_> = of_month.map(|made| made.answer(&cases, &mut rng)).collect();
        copy(&mut connection, &batch).await?;
        rest = &rest[batch.len()..];
        progress.set_position((made.len() - rest.len()) as u64);
    }
    progress.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "loaded in {seconds:.0} s: {:.0} answers/s, each with its event",
        *count as f64 / seconds
    );
    store.close().await;
    let started = Instant::now();
    sqlx::raw_sql("VACUUM (ANALYZE)")
        .execute(&mut connection)
        .await?;
    println!("vacuumed in {:.0} s", started.elapsed().as_secs_f64());
    connection.close().await?;
    Ok(())
}

/// A bar that is seen on a terminal only.
fn bar(what: &'static str, count: u64) -> Result<ProgressBar, Error> {
    let style = "{prefix} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
    Ok(ProgressBar::new(count)
        .with_prefix(what)
        .with_style(ProgressStyle::with_template(style)?))
}

/// Publishes cases, each item's in one specialty, and returns them in their order.
async fn publish(store: &PgStore, count: u32, items: u32) -> Result<Vec<Case>, Error> {
    let now = SystemClock::new().now();
    let started = Instant::now();
    let mut cases = Vec::with_capacity(count as usize);
    let numbers: Vec<_> = (0..count).collect();
    for numbers in numbers.chunks(PUBLISHED_AT_ONCE) {
        let contents: Result<Vec<CaseContent>, _> = numbers
            .iter()
            .map(|n| {
                CaseContent::try_from(CaseRecord {
                    specialty: Some(format!("Specialty {}", n % items % SPECIALTIES)),
                    ..sample_record(*n)
                })
            })
            .collect();
        let contents = contents?;
        let published = store.publish(contents.clone(), now).await?;
        let case = |(published, content): (&Publication, CaseContent)| Case {
            id: published.case_id,
            version: published.version,
            published_at: now,
            content,
        };
        cases.extend(published.iter().zip(contents).map(case));
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("published {count} cases in {seconds:.0} s");
    Ok(cases)
}

/// Copies answers and their events, in one transaction.
async fn copy(connection: &mut PgConnection, answers: &[Answer]) -> Result<(), Error> {
    let (mut rows, mut events) = (String::new(), String::new());
    for answer in answers {
        add_answer(&mut rows, answer)?;
        add_event(&mut events, answer)?;
    }
    let mut transaction = connection.begin().await?;
    for (sql, rows) in [(COPY_ANSWERS, rows), (COPY_EVENTS, events)] {
        let mut copy = transaction.copy_in_raw(sql).await?;
        copy.send(rows.into_bytes()).await?;
        copy.finish().await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Adds a line in the text format of `COPY`.
fn add_answer(rows: &mut String, answer: &Answer) -> Result<(), Error> {
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
    write!(rows, "{user_id}\t{id}\t{case_id}\t{created_at}\t")?;
    match time_to_answer_ms {
        Some(time) => write!(rows, "{time}\t")?,
        None => rows.push_str("\\N\t"),
    }
    let bucket = answer.bucket().get();
    write!(
        rows,
        "{}\t{}\t{bucket}\t",
        case_version.get(),
        chosen.bits()
    )?;
    match confidence {
        Some(confidence) => write!(rows, "{}\t", confidence.percent())?,
        None => rows.push_str("\\N\t"),
    }
    write!(rows, "{is_correct}\t\\\\x")?;
    for position in shown.positions() {
        write!(rows, "{position:02x}")?;
    }
    rows.push('\n');
    Ok(())
}

fn add_event(rows: &mut String, answer: &Answer) -> Result<(), Error> {
    let bucket = answer.bucket().get();
    let event = EventBody::AnswerRecorded {
        answer: answer.clone(),
    };
    // Every backslash of the JSON is one of its own, which the text format wants twice.
    let body = serde_json::to_string(&event)?.replace('\\', "\\\\");
    let (user_id, at, kind) = (answer.user_id, answer.created_at, event.kind());
    writeln!(rows, "{user_id}\t{at}\t{bucket}\t{kind}\t{body}")?;
    Ok(())
}

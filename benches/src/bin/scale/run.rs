//! All phases: a cluster for each number of answers, a process for each phase.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use medcards_tests::pg::{Cluster, Installed};
use sqlx::{Connection, Row};

use crate::Error;
use crate::arguments::{Database, Run, Wait};
use crate::measure::{BEGINNING, Waited};

/// As a server is run that must lose nothing. `shared_buffers` is an argument.
const SETTINGS: [(&str, &str); 7] = [
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    // Half an hour of loading needs no more disk for the log than this.
    ("max_wal_size", "2GB"),
    ("maintenance_work_mem", "256MB"),
];

/// Makes a session write the plan of each statement into the log of the server.
const EXPLAINED: &str = "?options[session_preload_libraries]=auto_explain\
    &options[auto_explain.log_min_duration]=0&options[auto_explain.log_analyze]=on\
    &options[auto_explain.log_buffers]=on";

/// What 95 of 100 may wait, among more answers, for one that they wait among the first number.
const GROWTH_MAX: f64 = 1.3;

/// Users chosen at random, always the same ones.
const USERS: &str =
    "SELECT user_id::text FROM user_stats_cache ORDER BY md5(user_id::text) LIMIT $1";

pub(crate) async fn run(run: &Run) -> Result<(), Error> {
    let mut measured = Vec::with_capacity(run.answers.len());
    for answers in &run.answers {
        println!("== {answers} answers");
        measured.push((*answers, run_with(run, *answers).await?));
    }
    if measured.len() > 1 {
        print(&measured);
    }
    Ok(())
}

/// Fills a cluster, and measures all that users wait for.
async fn run_with(run: &Run, answers: u64) -> Result<Vec<Waited>, Error> {
    let folder = tempfile::tempdir()?;
    let shared_buffers = ("shared_buffers", run.shared_buffers.as_str());
    let settings = [&SETTINGS[..], &[shared_buffers]].concat();
    let cluster = Cluster::start(&Installed::oldest(), &settings);
    let database = cluster.fresh_database();
    let url = database.url();
    println!(
        "PostgreSQL {} with {} of shared buffers, at {url}",
        cluster.installed().major(),
        run.shared_buffers
    );
    let mut fill: Vec<OsString> = vec!["fill".into(), url.clone().into()];
    let mut option = |name: &str, value: OsString| fill.extend([name.into(), value]);
    option("--answers", answers.to_string().into());
    option("--cases", run.course.cases.to_string().into());
    option("--months", run.course.months.to_string().into());
    option("--seed", run.shape.seed.to_string().into());
    if let Some(log) = &run.shape.log {
        option("--log", log.into());
    }
    phase(&fill)?;
    phase(&["project".into(), url.clone().into()])?;
    phase(&["sizes".into(), url.clone().into()])?;

    println!(
        "each wait is measured by a new process, after a restart of the server; the operating system \
         keeps the files in memory"
    );
    let users = folder.path().join("users");
    choose_users(&url, run.users, &users).await?;
    let mut waited = Vec::with_capacity(Wait::ALL.len());
    for wait in Wait::ALL {
        cluster.restart();
        waited.push(measure(&url, wait, &users)?);
    }
    if run.plans {
        print_plans(&cluster, &url, folder.path()).await?;
    }
    print(&[(answers, waited.clone())]);
    if run.keep {
        print!("{url} stays until you press Enter. ");
        std::io::stdout().flush()?;
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(waited)
}

/// Runs a phase in a process of its own, and returns what it prints if that is asked for.
fn child(arguments: &[OsString], output: Stdio) -> Result<Vec<u8>, Error> {
    let child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdout(output)
        .spawn()?;
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("a phase failed: {arguments:?}").into()),
    }
}

fn phase(arguments: &[OsString]) -> Result<(), Error> {
    child(arguments, Stdio::inherit()).map(drop)
}

fn measure(url: &str, wait: Wait, users: &Path) -> Result<Waited, Error> {
    let arguments = ["measure", url, "--wait", wait.name(), "--users"].map(OsString::from);
    let arguments = [&arguments[..], &[users.into()]].concat();
    Ok(serde_json::from_slice(&child(&arguments, Stdio::piped())?)?)
}

/// Writes down the ids of users.
async fn choose_users(url: &str, count: u32, path: &Path) -> Result<(), Error> {
    let database = Database { url: url.into() };
    let mut connection = database.connect().await?;
    let rows = sqlx::query(USERS)
        .bind(i64::from(count))
        .fetch_all(&mut connection)
        .await?;
    connection.close().await?;
    let users: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    std::fs::write(path, users?.join("\n"))?;
    Ok(())
}

/// Prints what the server says of each statement, with the values of one user.
async fn print_plans(cluster: &Cluster, url: &str, folder: &Path) -> Result<(), Error> {
    let user = folder.join("user");
    choose_users(url, 1, &user).await?;
    let explained = format!("{url}{EXPLAINED}");
    for wait in Wait::ALL {
        let before = cluster.log().len();
        measure(&explained, wait, &user)?;
        println!("-- {}", wait.name());
        println!("{}", plans(&cluster.log()[before..]));
    }
    Ok(())
}

/// The plans in what the server wrote, without those of the statements that open the store.
fn plans(log: &str) -> String {
    let measured = log
        .split_once(BEGINNING)
        .map_or(log, |(_, measured)| measured);
    // What belongs to a message begins with a tab, the message itself with a date.
    let mut plans = String::new();
    for line in measured.lines() {
        match (line.strip_prefix('\t'), line.split_once("LOG:")) {
            (Some(line), _) => plans.push_str(line),
            (None, Some((_, message))) => plans.push_str(message.trim()),
            (None, None) => continue,
        }
        plans.push('\n');
    }
    plans
}

/// Prints what was measured: for each thing that users wait for, each number of answers.
fn print(measured: &[(u64, Vec<Waited>)]) {
    println!(
        "{:<14} {:>10} {:>9} {:>9} {:>9} {:>9}  {:<9} ",
        "waits, in ms", "answers", "p50", "p95", "p99", "max", "target"
    );
    for (at, wait) in Wait::ALL.into_iter().enumerate() {
        let first = measured.first().map(|(_, waited)| waited[at]);
        for (number, (answers, waited)) in measured.iter().enumerate() {
            let Waited { p50, p95, p99, max } = waited[at];
            let target = wait
                .target_ms()
                .map_or("-".into(), |ms| format!("p95 < {ms}"));
            let met = wait.target_ms().map_or("", |ms| verdict(p95 < ms));
            let growth = first.filter(|_| number > 0).map(|first| {
                let growth = p95 / first.p95;
                let verdict = verdict(growth < GROWTH_MAX);
                format!("x {growth:.2} (target < {GROWTH_MAX}): {verdict}")
            });
            let name = wait.name();
            println!(
                "{name:<14} {answers:>10} {p50:>9.2} {p95:>9.2} {p99:>9.2} {max:>9.2}  {target:<9} \
                 {met} {}",
                growth.unwrap_or_default()
            );
        }
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "ok" } else { "MISSED" }
}

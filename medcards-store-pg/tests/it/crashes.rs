use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use medcards_core::ErrorKind;
use medcards_core::answer::AnswerStore;
use medcards_core::store::Consistency;
use medcards_store_pg::PgStore;
use medcards_tests::pg::{Cluster, Installed};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::place::{
    ClientLedger, answer, answer_until, answers_of, at, config, record, until, user,
};

/// How often the primary is killed, unless `MEDCARDS_KILLS` says otherwise.
const KILLS: u32 = 8;

/// How many clients answer meanwhile.
const CLIENTS: u32 = 16;

/// Within which time a server that is there again must be used again.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

fn kills() -> u32 {
    let wanted = std::env::var("MEDCARDS_KILLS").ok();
    wanted
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or(KILLS)
}

fn answering(store: &PgStore) -> (CancellationToken, tokio::task::JoinHandle<ClientLedger>) {
    let stop = CancellationToken::new();
    let task = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move { answer_until(&store, CLIENTS, &stop).await })
    };
    (stop, task)
}

/// Waits until answers are acknowledged again, and says how long that took.
async fn recovery(store: &PgStore, probe: i64) -> Duration {
    let asked = Instant::now();
    until("answers are acknowledged again", async || {
        store.record_answer(answer(9_999, at(probe))).await.ok()
    })
    .await;
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_under_load_loses_nothing_acknowledged() {
    let cluster = Cluster::start(&Installed::oldest(), &[]);
    let store = PgStore::open(config(&cluster.url("postgres")))
        .await
        .unwrap();
    let (stop, task) = answering(&store);
    let mut longest = Duration::ZERO;
    for kill in 0..kills() {
        tokio::time::sleep(Duration::from_millis(120)).await;
        cluster.kill();
        cluster.start_again();
        longest = longest.max(recovery(&store, i64::from(kill)).await);
    }
    stop.cancel();
    let mut ledger = task.await.unwrap();
    ledger
        .acknowledged
        .extend(answers_of(&store, user(9_999)).await.unwrap());
    println!(
        "{} kills: {} answers acknowledged, {} not, recovered within {longest:?}",
        kills(),
        ledger.acknowledged.len(),
        ledger.unknown.len()
    );
    assert!(longest < RECOVERY_MAX, "{longest:?}");
    assert!(ledger.acknowledged.len() > 100);
    ledger.audit(&store).await;
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(cluster.psql("postgres", idle).trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_takes_over_and_has_every_acknowledged_answer() {
    let primary = Cluster::start(&Installed::oldest(), &[]);
    let replica = primary.replica();
    primary.psql(
        "postgres",
        "ALTER SYSTEM SET synchronous_standby_names = '*';
         SELECT pg_reload_conf();",
    );
    until("commits wait for the replica", async || {
        let state = "SELECT sync_state FROM pg_stat_replication";
        (primary.psql("postgres", state).trim() == "sync").then_some(())
    })
    .await;
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres",
        primary.port(),
        replica.port()
    );
    let config = config(&url).with_statement_timeout(Duration::from_secs(2));
    let store = PgStore::open(config.clone()).await.unwrap();
    let (stop, task) = answering(&store);
    tokio::time::sleep(Duration::from_millis(500)).await;
    primary.kill();
    replica.promote();
    let took = recovery(&store, 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    // The old primary comes back by itself and would take writes, on a timeline that has ended.
    primary.start_again();
    let started_later = PgStore::open(config).await.unwrap();
    record(&started_later, &answer(9_998, at(1))).await;
    let on_new = format!(
        "SELECT count(*) FROM interactions WHERE user_id = '{}'",
        user(9_998)
    );
    assert_eq!(replica.psql("postgres", &on_new).trim(), "1");

    stop.cancel();
    let mut ledger = task.await.unwrap();
    for probe in [9_998, 9_999] {
        let stored = answers_of(&store, user(probe)).await.unwrap();
        ledger.acknowledged.extend(stored);
    }
    println!(
        "failover: {} acknowledged, {} not, recovered {took:?} after the promotion",
        ledger.acknowledged.len(),
        ledger.unknown.len()
    );
    assert!(took < RECOVERY_MAX, "{took:?}");
    ledger.audit(&store).await;
}

/// A small disk of its own, in memory. Unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing may be mounted.
    fn mount(megabytes: u32) -> Option<Self> {
        let folder =
            std::env::temp_dir().join(format!("medcards-small-disk-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let size = format!("size={megabytes}m,mode=0777");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&folder)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_answers_are_taken_again_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(20) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "no small disk can be mounted"
        );
        println!("NOT CHECKED: only root can mount a small disk");
        return;
    };
    let folder = disk.path().join("tablespace");
    std::fs::create_dir(&folder).unwrap();
    let owner = std::fs::metadata("/var/lib/postgresql")
        .map_or(0, |metadata| std::os::unix::fs::MetadataExt::uid(&metadata));
    std::os::unix::fs::chown(&folder, Some(owner), None).unwrap();
    let cluster = Cluster::start(&Installed::oldest(), &[]);
    cluster.psql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{}'", folder.display()),
    );
    cluster.psql("postgres", "CREATE DATABASE small TABLESPACE small");
    let store = PgStore::open(config(&cluster.url("small"))).await.unwrap();
    let mut ledger = ClientLedger::default();
    for round in 0..2 {
        let full = fill(&store, round, &mut ledger).await;
        assert_eq!(full.kind(), ErrorKind::Full, "{full}");
        assert!(full.to_string().contains("make room"), "{full}");
        // Reading goes on.
        store
            .user_stats(user(1), &Consistency::Strong)
            .await
            .unwrap();
        if round == 0 {
            remount(disk.path(), 26);
        }
    }
    remount(disk.path(), 60);
    until("answers are taken again", async || {
        let probe = answer(1, at(900_000));
        let recorded = store.record_answer(probe.clone()).await.ok()?;
        ledger.acknowledged.push(recorded.answer);
        Some(())
    })
    .await;
    ledger.audit(&store).await;
}

fn remount(folder: &Path, megabytes: u32) {
    let size = format!("remount,size={megabytes}m");
    let status = Command::new("mount")
        .args(["-o", &size])
        .arg(folder)
        .status();
    assert!(status.unwrap().success());
}

/// Records answers, many at a time, until one is refused because the disk is full.
async fn fill(store: &PgStore, round: u32, ledger: &mut ClientLedger) -> medcards_core::Error {
    for second in 0..2_000 {
        let mut recording = tokio::task::JoinSet::new();
        for n in 0..256 {
            let at = at(i64::from(round) * 100_000 + second);
            let (store, answer) = (store.clone(), answer(round * 1_000 + n, at));
            recording.spawn(async move { (store.record_answer(answer.clone()).await, answer) });
        }
        let mut full = None;
        for (recorded, answer) in recording.join_all().await {
            match recorded {
                Ok(_) => ledger.acknowledged.push(answer),
                Err(error) => {
                    ledger.unknown.push(answer);
                    full = Some(error);
                }
            }
        }
        if let Some(error) = full {
            return error;
        }
    }
    panic!("half a million answers found room");
}

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use medcards_store_pg::PgStore;
use medcards_tests::pg::{Cluster, Installed, WalReceiver};
use tokio::time::Instant;

use super::clients::{Answering, ENOUGH};
use super::{ARCHIVE_TIMEOUT, DATABASE, Place, name_of};
use crate::place::{config, until};

/// How much longer than `archive_timeout` a file may take to the archive, on a machine that compiles.
const SLACK: Duration = Duration::from_secs(20);

/// The name of the synchronous receiver.
const RECEIVER: &str = "wal_receiver";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_is_restored_to_its_last_archived_file_and_to_any_moment_before() {
    let place = Place::new(&Installed::oldest());
    let primary = place.cluster();
    let store = PgStore::open(config(&primary.url(DATABASE))).await.unwrap();
    let answering = Answering::start(&store);
    let oldest_archived = || {
        let archived = fs::read_dir(&place.archive).unwrap();
        let names = archived.map(|entry| name_of(&entry.unwrap().path()));
        names.filter(|name| !name.contains('.')).min().unwrap()
    };
    let first = place.backup(&primary, &place.archive, 2).await;
    let needed_by_first = oldest_archived();
    answering.go_on(ENOUGH).await;
    let second = place.backup(&primary, &place.archive, 2).await;
    assert_eq!(place.kept(), [first, second.clone()]);
    assert_eq!(oldest_archived(), needed_by_first);
    answering.go_on(ENOUGH).await;
    let backup = place.backup(&primary, &place.archive, 2).await;
    assert_eq!(place.kept(), [second.clone(), backup]);
    assert!(oldest_archived() > needed_by_first);
    // From the one that needs most of the archive.
    let backup = second;

    answering.go_on(ENOUGH).await;
    let asked = Instant::now();
    let moment = primary.psql(DATABASE, "SELECT clock_timestamp()");
    let told = Instant::now();
    answering.go_on(ENOUGH).await;

    // Nothing but time brings the present file to the archive.
    let marked = Instant::now();
    let file = primary.psql(
        DATABASE,
        "SELECT pg_walfile_name(pg_current_wal_insert_lsn())",
    );
    until("the present file is archived", async || {
        place.archive.join(&file).exists().then_some(())
    })
    .await;
    let archived_within = marked.elapsed();
    answering.go_on(5 * ENOUGH).await;
    primary.kill();
    let killed = Instant::now();
    drop(primary);
    let ledger = answering.end().await;
    store.close().await;

    let latest = place
        .restore(&backup, &place.archive, &["--until-latest"])
        .await;
    let took = latest.recovery_time().await;
    let missing = ledger.audit(&latest.store).await;
    let lost: Vec<_> = missing
        .iter()
        .filter_map(|sent| sent.acknowledged)
        .collect();
    let lost_since = lost.iter().min().copied().unwrap_or(killed);
    let rpo = killed - lost_since;
    println!(
        "archive: {} acknowledged, {} lost; RPO {rpo:?} with archive_timeout {ARCHIVE_TIMEOUT:?} (a \
         file was archived within {archived_within:?}), RTO {took:?}",
        ledger.acknowledged().count(),
        lost.len(),
    );
    assert!(lost_since > marked, "what is in the archive is restored");
    assert!(rpo < ARCHIVE_TIMEOUT + SLACK, "{rpo:?}");
    let first_lost: HashSet<_> = missing.iter().map(|sent| sent.answer.id).collect();
    ledger.go_on(&latest.store, &missing).await;
    latest.store.close().await;
    let file = "SELECT pg_walfile_name(pg_switch_wal())";
    let file = place.archive.join(latest.cluster.psql(DATABASE, file));
    until("the restored server archives", async || {
        file.exists().then_some(())
    })
    .await;
    drop(latest);

    // What the lost server had archived can still be had, though the restored one has gone on.
    let how = ["--rehearsal", "--timeline", "1"];
    let lost = place.restore(&backup, &place.archive, &how).await;
    let missing = ledger.audit(&lost.store).await;
    let missing_ids: HashSet<_> = missing.iter().map(|sent| sent.answer.id).collect();
    assert_eq!(missing_ids, first_lost);
    let archive_mode = lost.cluster.psql(DATABASE, "SHOW archive_mode");
    assert_eq!(archive_mode, "off", "a rehearsal archives nothing");
    drop(lost);

    // Somebody has deleted what they should not have, at that moment.
    let how = ["--until", &moment];
    let then = place.restore(&backup, &place.archive, &how).await;
    let took = then.recovery_time().await;
    let missing = ledger.audit(&then.store).await;
    let missing_ids: HashSet<_> = missing.iter().map(|sent| sent.answer.id).collect();
    for sent in ledger.all() {
        let is_there = !missing_ids.contains(&sent.answer.id);
        if sent.acknowledged.is_some_and(|instant| instant < asked) {
            assert!(is_there, "acknowledged before {moment} and lost");
        } else if sent.at > told {
            assert!(!is_there, "sent after {moment} and there");
        }
    }
    println!(
        "moment: {} answers until it, {} after, RTO {took:?}",
        ledger.all().count() - missing.len(),
        missing.len()
    );
    ledger.go_on(&then.store, &missing).await;
}

async fn synchronous_receiver(primary: &Cluster) -> WalReceiver {
    let receiver = primary.wal_receiver(RECEIVER);
    let set = format!(
        "ALTER SYSTEM SET synchronous_standby_names = '{RECEIVER}'; SELECT pg_reload_conf()"
    );
    primary.psql(DATABASE, &set);
    until("commits wait for the receiver", async || {
        let state = "SELECT sync_state FROM pg_stat_replication WHERE sync_state = 'sync'";
        (primary.psql(DATABASE, state) == "sync").then_some(())
    })
    .await;
    receiver
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_synchronous_receiver_loses_nothing_acknowledged_with_its_disk() {
    let installed = Installed::all().pop().unwrap();
    let place = Place::new(&installed);
    let primary = Cluster::start(&installed, &[]);
    let mut receiver = synchronous_receiver(&primary).await;
    let store = PgStore::open(config(&primary.url(DATABASE))).await.unwrap();
    let answering = Answering::start(&store);
    let received = receiver.folder();
    let backup = place.backup(&primary, &received, 3).await;
    answering.go_on(ENOUGH).await;
    primary.kill();
    receiver.kill();
    drop(primary);
    let ledger = answering.end().await;
    store.close().await;

    let restored = place.restore(&backup, &received, &[]).await;
    let took = restored.recovery_time().await;
    let missing = ledger.audit(&restored.store).await;
    for sent in &missing {
        assert_eq!(sent.acknowledged, None, "an acknowledged answer is lost");
    }
    println!(
        "receiver: {} acknowledged, none lost, {} never acknowledged and gone, RTO {took:?}",
        ledger.acknowledged().count(),
        missing.len()
    );
    ledger.go_on(&restored.store, &missing).await;
}

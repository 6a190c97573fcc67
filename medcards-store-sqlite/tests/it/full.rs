use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use medcards_core::answer::{AnswerStore, RecordedAnswer};
use medcards_core::store::Consistency;
use medcards_core::{Error, ErrorKind};
use medcards_store_sqlite::SqliteStore;
use tokio::task::JoinSet;

use crate::fresh::{self, answer, config, folder, path};

/// Records answers, many at a time, until one is refused.
async fn record_until_refused(store: &SqliteStore) -> (Vec<RecordedAnswer>, Error) {
    let mut recorded = Vec::new();
    for round in 0..1_000 {
        let mut writers = JoinSet::new();
        for n in 0..50 {
            let store = store.clone();
            writers.spawn(async move { store.record_answer(answer(round * 50 + n)).await });
        }
        let mut refused = None;
        for result in writers.join_all().await {
            match result {
                Ok(answer) => recorded.push(answer),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return (recorded, error);
        }
    }
    panic!("50,000 answers found room");
}

#[tokio::test]
async fn a_store_at_its_size_limit_says_so_and_keeps_what_it_has() {
    let folder = folder();
    let small = config(folder.path()).with_size_max_bytes(600_000);
    let store = SqliteStore::open(small).await.unwrap();
    let (recorded, error) = record_until_refused(&store).await;
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(!recorded.is_empty());
    fresh::assert_recorded_once(&store, &recorded).await;
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;

    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    let more = store.record_answer(answer(1_000_000)).await.unwrap();
    let all: Vec<_> = recorded.into_iter().chain([more]).collect();
    fresh::assert_recorded_once(&store, &all).await;
}

#[tokio::test]
async fn a_full_disk_stops_writes_until_there_is_room_again() {
    let folder = folder();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("skipped: this user may not mount a small disk");
        return;
    };
    let store = SqliteStore::open(config(&disk.place)).await.unwrap();
    let filler = disk.place.join("filler");
    fill(&filler);
    let (mut recorded, error) = record_until_refused(&store).await;
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    if let Some(known) = recorded.first() {
        let (user_id, id) = (known.answer.user_id, known.answer.id);
        let found = store
            .find_answer(user_id, id, &Consistency::Strong)
            .await
            .unwrap();
        assert_eq!(
            found.as_ref(),
            Some(&known.answer),
            "a full disk can be read"
        );
    }

    fs::remove_file(&filler).unwrap();
    recorded.push(store.record_answer(answer(1_000_000)).await.unwrap());
    fresh::assert_recorded_once(&store, &recorded).await;
    store.close().await;
    fresh::assert_sound(&path(&disk.place)).await;
}

#[tokio::test]
async fn a_full_disk_takes_no_new_store() {
    let folder = folder();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("skipped: this user may not mount a small disk");
        return;
    };
    fill(&disk.place.join("filler"));
    let error = SqliteStore::open(config(&disk.place)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    fs::remove_file(disk.place.join("filler")).unwrap();
    SqliteStore::open(config(&disk.place))
        .await
        .unwrap()
        .close()
        .await;
}

/// A disk of four megabytes, in memory.
struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// `None` if this user may not mount anything.
    fn mount(folder: &Path) -> Option<Self> {
        let place = folder.join("disk");
        fs::create_dir(&place).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "medcards-test"])
            .arg(&place)
            .output();
        mount
            .is_ok_and(|mount| mount.status.success())
            .then_some(Self { place })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).output();
    }
}

/// Writes until the disk is full, in the end byte by byte, so that the last page is taken too.
fn fill(filler: &Path) {
    let mut file = fs::File::create(filler).unwrap();
    for size in [64 * 1024, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

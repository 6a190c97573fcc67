use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use medcards_core::ErrorKind;
use medcards_core::answer::AnswerStore;
use medcards_store_sqlite::{SqliteConfig, SqliteStore};

use crate::fresh::{self, answer, config, folder, path, run_raw};

/// Set for a process that is to open a file which its parent holds.
const HELD_FILE: &str = "MEDCARDS_TEST_HELD_FILE";

/// Asserts that opening is refused with this kind and these words, and changes nothing.
async fn check_refused(config: SqliteConfig, kind: ErrorKind, words: &str) {
    let folder = config.path().parent().unwrap().to_owned();
    let before = contents(&folder);
    let error = SqliteStore::open(config).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    let mut after = contents(&folder);
    if !before.contains_key("store.sqlite.lock") {
        after.remove("store.sqlite.lock");
    }
    for (name, bytes) in &before {
        assert!(
            after.get(name) == Some(bytes),
            "{error}: {name} is not what it was"
        );
    }
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "{error}");
}

/// The files of a folder, but for those that SQLite takes away a moment after it failed to open.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let named = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.path());
    entries
        .map(|entry| named(entry.unwrap()))
        .filter(|(name, path)| !name.ends_with("-wal") && !name.ends_with("-shm") && path.is_file())
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

async fn closed_store(folder: &Path) {
    let store = SqliteStore::open(config(folder)).await.unwrap();
    store.record_answer(answer(1)).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_file_that_is_not_sqlite_is_refused() {
    let folder = folder();
    fs::write(path(folder.path()), "name,answer\nA,B\n").unwrap();
    check_refused(
        config(folder.path()),
        ErrorKind::Corrupt,
        "not a SQLite file",
    )
    .await;
    assert_eq!(
        contents(folder.path()).len(),
        1,
        "nothing is left beside a foreign file"
    );
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let folder = folder();
    run_raw(
        &path(folder.path()),
        "CREATE TABLE interactions (id INTEGER)",
    )
    .await;
    check_refused(config(folder.path()), ErrorKind::Invalid, "another program").await;
    assert_eq!(
        contents(folder.path()).len(),
        1,
        "nothing is left beside a foreign file"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused() {
    let folder = folder();
    closed_store(folder.path()).await;
    run_raw(
        &path(folder.path()),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, x'00', 1)",
    )
    .await;
    check_refused(config(folder.path()), ErrorKind::Invalid, "format 9999").await;
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let folder = folder();
    closed_store(folder.path()).await;
    let mut bytes = fs::read(path(folder.path())).unwrap();
    bytes[100..].fill(0x5a);
    fs::write(path(folder.path()), bytes).unwrap();
    check_refused(
        config(folder.path()),
        ErrorKind::Corrupt,
        "restore a backup",
    )
    .await;
}

#[tokio::test]
async fn a_log_without_its_file_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("store.sqlite-wal"), "answers").unwrap();
    check_refused(
        config(folder.path()),
        ErrorKind::Corrupt,
        "put the file back",
    )
    .await;
}

#[tokio::test]
async fn a_file_marked_read_only_is_refused() {
    let folder = folder();
    closed_store(folder.path()).await;
    mark_read_only(&path(folder.path()), true);
    check_refused(
        config(folder.path()),
        ErrorKind::ReadOnly,
        "the right to write",
    )
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_marked_read_only_is_refused() {
    let folder = folder();
    closed_store(folder.path()).await;
    mark_read_only(folder.path(), true);
    check_refused(
        config(folder.path()),
        ErrorKind::ReadOnly,
        "the right to write",
    )
    .await;
    mark_read_only(folder.path(), false);
}

fn mark_read_only(path: &Path, is_read_only: bool) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    permissions.set_readonly(is_read_only);
    fs::set_permissions(path, permissions).unwrap();
}

#[tokio::test]
async fn a_wrong_place_or_configuration_is_refused() {
    let folder = folder();
    let nowhere = SqliteConfig::new(folder.path().join("missing").join("store.sqlite"));
    check_refused(nowhere, ErrorKind::Invalid, "create it").await;
    fs::create_dir(folder.path().join("folder")).unwrap();
    let a_folder = SqliteConfig::new(folder.path().join("folder"));
    check_refused(a_folder, ErrorKind::Invalid, "cannot be used").await;
    for readers in [0, SqliteConfig::READERS_MAX + 1] {
        let config = config(folder.path()).with_readers(readers);
        check_refused(config, ErrorKind::Invalid, "readers must be").await;
    }
}

#[tokio::test]
async fn a_file_is_opened_once_at_a_time() {
    let (store, folder) = fresh::store().await;
    let us = format!("process {}", std::process::id());
    let error = SqliteStore::open(config(folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains(&us), "{error}");
    store.close().await;
    SqliteStore::open(config(folder.path())).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_to_an_open_file_is_the_same_file() {
    let (_store, folder) = fresh::store().await;
    let link = folder.path().join("link.sqlite");
    std::os::unix::fs::symlink(path(folder.path()), &link).unwrap();
    let error = SqliteStore::open(SqliteConfig::new(link))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let (store, folder) = fresh::store().await;
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "opening::child_finds_the_file_held",
            "--ignored",
            "--nocapture",
        ])
        .env(HELD_FILE, path(folder.path()))
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    store.record_answer(answer(1)).await.unwrap();
}

#[tokio::test]
#[ignore = "run by a_second_process_is_refused"]
async fn child_finds_the_file_held() {
    let Some(held) = std::env::var_os(HELD_FILE) else {
        return;
    };
    let error = SqliteStore::open(SqliteConfig::new(held))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
}

#[tokio::test]
async fn what_a_crash_left_of_a_file_in_the_making_is_in_nobodys_way() {
    let folder = folder();
    fs::write(folder.path().join("store.sqlite.new"), "half a fi").unwrap();
    closed_store(folder.path()).await;
    fresh::assert_sound(&path(folder.path())).await;
    assert!(!folder.path().join("store.sqlite.new").exists());
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let folder = folder();
    fs::write(path(folder.path()), "").unwrap();
    closed_store(folder.path()).await;
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    assert_eq!(fresh::events(&store).await.len(), 1);
}

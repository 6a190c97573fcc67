use std::fs;
use std::path::Path;

use medcards_tests::pg::Installed;

use super::{Place, succeeded};

#[test]
fn a_file_is_archived_whole_or_not_at_all_and_never_over_another() {
    let place = Place::new(&Installed::oldest());
    let file = place.folder.path().join("file");
    let archived = place.archive.join("000000010000000000000001");
    let gone = place
        .folder
        .path()
        .join("unmounted/000000010000000000000001");
    fs::write(&file, "what was written").unwrap();
    let archive = |to: &Path| {
        let mut command = place.script("archive-wal");
        command.arg(&file).arg(to).output().unwrap()
    };
    succeeded(&archive(&archived));
    assert_eq!(fs::read(&archived).unwrap(), b"what was written");
    // PostgreSQL asks again when it was killed before it took note.
    succeeded(&archive(&archived));

    fs::write(&file, "by another server").unwrap();
    for (to, complaint) in [(&archived, "differs"), (&gone, "mount its disk")] {
        let output = archive(to);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(complaint), "{said}");
    }
    assert_eq!(fs::read(&archived).unwrap(), b"what was written");
    assert_eq!(fs::read_dir(&place.archive).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_not_taken_for_the_end_of_the_log() {
    let place = Place::new(&Installed::oldest());
    let primary = place.cluster();
    let backup = place.backup(&primary, &place.archive, 1).await;
    let target = place.folder.path().join("target");
    let mut restore = place.script("restore");
    let output = restore.args([&backup, &place.archive, &target]).output();
    succeeded(&output.unwrap());
    let settings = fs::read_to_string(target.join("postgresql.auto.conf")).unwrap();
    let command = settings
        .lines()
        .find_map(|line| line.strip_prefix("restore_command = '")?.strip_suffix('\''));
    let fetch = |file: &str| {
        let command = command
            .unwrap()
            .replace("%f", file)
            .replace("%p", "fetched");
        let mut shell = place.folder.command("sh");
        shell.args(["-c", &command]).output().unwrap().status.code()
    };
    let fetched = place.folder.path().join("fetched");
    fs::write(place.archive.join("whole"), "whole").unwrap();
    fs::write(place.archive.join("whole.partial"), "before it was").unwrap();
    fs::write(place.archive.join("begun.partial"), "begun").unwrap();
    for file in ["whole", "begun"] {
        assert_eq!(fetch(file), Some(0));
        assert_eq!(fs::read_to_string(&fetched).unwrap(), file);
    }
    // A server that sees 1 takes what it has for all there is; from 126 on it stops.
    assert_eq!(fetch("missing"), Some(1));
    fs::create_dir(place.archive.join("unreadable")).unwrap();
    assert_eq!(fetch("unreadable"), Some(200));
    fs::rename(&place.archive, place.folder.path().join("unmounted")).unwrap();
    assert_eq!(fetch("whole"), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_end_badly_is_refused_and_changes_nothing() {
    let place = Place::new(&Installed::oldest());
    let primary = place.cluster();
    let backup = place.backup(&primary, &place.archive, 2).await;
    let [backup, archive] = [backup, place.archive.clone()].map(|path| path.display().to_string());
    let full = place.folder.folder("full");
    fs::write(full.join("PG_VERSION"), "15").unwrap();
    let full = full.display().to_string();
    let empty = place.folder.folder("empty").display().to_string();
    let target = place.path("target");
    let before = fs::read_dir(&place.backups).unwrap().count();
    for (script, arguments, complaint) in [
        ("restore", vec![&*backup, &archive, &full], "is not empty"),
        ("restore", vec![&full, &archive, &target], "is no backup"),
        (
            "restore",
            vec![&backup, &empty, &target],
            "no write-ahead log",
        ),
        ("restore", vec![&backup, "/nowhere", &target], "mounted?"),
        (
            "restore",
            vec!["--until", "2026-11-25 12:00:00", &backup, &archive, &target],
            "offset from UTC",
        ),
        (
            "restore",
            vec!["--timeline", "0", &backup, &archive, &target],
            "takes a number",
        ),
        ("restore", vec![&backup, &target], "takes three folders"),
        ("backup", vec!["--keep", "0", &empty, &archive], "from 1 on"),
        ("backup", vec!["/nowhere", &archive], "mount its disk"),
        ("backup", vec!["--kep", "3", &empty, &archive], "no option"),
        ("archive-wal", vec!["pg_wal/1"], "takes a file"),
    ] {
        let output = place.script(script).args(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(complaint), "{arguments:?}: {said}");
        assert!(!Path::new(&target).exists(), "{arguments:?}");
    }
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&place.backups).unwrap().count(), before);
    for script in ["archive-wal", "backup", "restore"] {
        let help = place.script(script).arg("--help").output().unwrap();
        assert!(succeeded(&help).starts_with(&format!("Usage: {script} ")));
    }

    // A bit of the backup is not what it was.
    let version = Path::new(&backup).join("global/pg_control");
    let mut bytes = fs::read(&version).unwrap();
    bytes[100] ^= 1;
    fs::write(&version, bytes).unwrap();
    let mut restore = place.script("restore");
    let output = restore
        .args([&*backup, &archive, &target])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("checksum mismatch"),
        "{said}"
    );
    assert!(said.contains("is incomplete"), "{said}");
    assert!(!Path::new(&target).join("recovery.signal").exists());
}

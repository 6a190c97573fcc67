use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use medcards_tests::pg::{Cluster, Installed};

use crate::harness::{block_until, processes_in};

/// Does the check with each major version, and names the one that it failed with.
#[expect(clippy::print_stdout, reason = "shown when a test fails")]
fn with_each_major(check: impl Fn(&Installed)) {
    for installed in Installed::all() {
        println!("with PostgreSQL {}", installed.major());
        check(&installed);
    }
}

/// A client beside those of the library: it stays connected until its input ends.
fn psql(installed: &Installed, address: &str) -> Command {
    let mut command = Command::new(installed.bin().join("psql"));
    command
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            address,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What one statement gives, or how it fails.
fn ask(installed: &Installed, address: &str, sql: &str) -> Result<String, String> {
    let output = psql(installed, address).args(["-c", sql]).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// Runs a statement in a client that stays, and returns the client with the first line of the answer.
fn ask_and_stay(mut command: Command, sql: &str) -> (Child, String) {
    let mut client = command.spawn().unwrap();
    writeln!(client.stdin.as_mut().unwrap(), "{sql};").unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (client, line.trim_end().to_owned())
}

#[test]
fn the_newest_major_is_installed_beside_another() {
    let majors: Vec<_> = Installed::all().iter().map(Installed::major).collect();
    assert!(
        majors.len() > 1 && majors.contains(&18),
        "there are only {majors:?}: run ./tests/run"
    );
    assert_eq!(Installed::oldest().major(), majors[0]);
}

#[test]
fn a_cluster_answers_with_the_wanted_settings_over_the_usual_ones() {
    with_each_major(|installed| {
        let settings = [("fsync", "on"), ("search_path", "a, \"b's\"")];
        let cluster = Cluster::start(installed, &settings);
        let shown = cluster.psql("postgres", "show fsync; show search_path; show wal_level");
        assert_eq!(shown, "on\na, \"b's\"\nlogical");
        let version = cluster.psql("postgres", "show server_version_num");
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, installed.major());
    });
}

#[test]
fn a_shared_cluster_is_the_same_for_all_who_ask() {
    with_each_major(|installed| {
        let majors = [(); 4].map(|()| installed.major());
        let asked = majors.map(|major| thread::spawn(move || Cluster::shared(major).port()));
        let ports: BTreeSet<_> = asked.map(|port| port.join().unwrap()).into();
        assert_eq!(ports.len(), 1, "{ports:?}");
    });
}

#[test]
fn a_statement_that_fails_panics_with_its_complaint() {
    let cluster = Cluster::shared(Installed::oldest().major());
    let failed = thread::spawn(|| cluster.psql("postgres", "select 1; select 1/0; select 2"));
    let complaint = *failed.join().unwrap_err().downcast::<String>().unwrap();
    assert!(complaint.contains("division by zero"), "{complaint}");
}

#[test]
fn a_fresh_database_is_a_copy_and_goes_away_though_somebody_is_connected() {
    with_each_major(|installed| {
        let cluster = Cluster::shared(installed.major());
        let first = cluster.fresh_database();
        first.psql("create table t (n int); insert into t values (7)");
        let copy = cluster.fresh_database_from(first.name());
        assert_eq!(copy.psql("select n from t"), "7");

        let (mut client, answer) = ask_and_stay(psql(installed, &copy.url()), "select 40 + 2");
        assert_eq!(answer, "42");
        let sql = format!("select from pg_database where datname = '{}'", copy.name());
        drop(copy);
        assert_eq!(
            cluster.psql("postgres", &format!("select exists({sql})")),
            "f"
        );
        assert_eq!(first.psql("select n from t"), "7");
        drop(client.stdin.take());
        client.wait().unwrap();
    });
}

#[test]
fn a_killed_cluster_starts_at_once_and_keeps_what_was_committed() {
    with_each_major(|installed| {
        let cluster = Cluster::start(installed, &[]);
        cluster.psql("postgres", "create table t (n int)");
        for round in 1..=3 {
            cluster.psql("postgres", &format!("insert into t values ({round})"));
            let (mut client, _) =
                ask_and_stay(psql(installed, &cluster.url("postgres")), "select 1");
            cluster.kill();
            assert!(!cluster.is_running());
            assert_eq!(processes_in(&cluster.data_folder()), [""; 0]);
            TcpStream::connect(("127.0.0.1", cluster.port())).unwrap_err();
            client.kill().unwrap();
            client.wait().unwrap();

            cluster.start_again();
            let count = cluster.psql("postgres", "select count(*) from t");
            assert_eq!(count, round.to_string());
        }
        let recovered = cluster.log().matches("automatic recovery").count();
        assert_eq!(recovered, 3, "{}", cluster.log());
    });
}

#[test]
fn a_cluster_that_stops_in_good_order_has_nothing_to_recover() {
    with_each_major(|installed| {
        let cluster = Cluster::start(installed, &[]);
        cluster.psql("postgres", "alter system set max_connections = 7");
        cluster.suspend();
        cluster.restart();
        assert_eq!(cluster.psql("postgres", "show max_connections"), "7");
        let log = cluster.log();
        assert!(!log.contains("automatic recovery"), "{log}");
    });
}

#[test]
fn a_suspended_cluster_keeps_its_connections_and_answers_when_it_goes_on() {
    with_each_major(|installed| {
        let cluster = Cluster::start(installed, &[]);
        let (mut client, _) = ask_and_stay(psql(installed, &cluster.url("postgres")), "select 1");
        cluster.suspend();
        // All of them, that of the client too.
        let data = cluster.data_folder();
        block_until("all processes are stopped", || {
            processes_in(&data).iter().all(|state| state == "T")
        });
        assert!(processes_in(&data).len() > 5, "the server has children");
        assert!(cluster.is_running());
        writeln!(client.stdin.take().unwrap(), "select 'still here';").unwrap();

        cluster.resume();
        let mut rest = String::new();
        client
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut rest)
            .unwrap();
        assert_eq!(rest, "still here\n");
        assert!(client.wait().unwrap().success());
    });
}

#[test]
fn a_replica_follows_pauses_resumes_and_takes_over() {
    with_each_major(|installed| {
        let primary = Cluster::start(installed, &[]);
        let replica = primary.replica();
        let count = "select count(*) from t";
        primary.psql(
            "postgres",
            "create table t as select generate_series(1, 10)",
        );
        replica.wait_until_caught_up(&primary);
        assert_eq!(replica.psql("postgres", count), "10");

        replica.pause_replay();
        primary.psql("postgres", "insert into t values (11)");
        let wanted = primary.psql("postgres", "select pg_current_wal_lsn()");
        block_until("the replica has what it does not show", || {
            let sql = format!("select pg_last_wal_receive_lsn() >= '{wanted}'");
            replica.psql("postgres", &sql) == "t"
        });
        assert_eq!(replica.psql("postgres", count), "10");
        replica.resume_replay();
        replica.wait_until_caught_up(&primary);
        assert_eq!(replica.psql("postgres", count), "11");

        let name = replica.psql("postgres", "show cluster_name");
        let followers = primary.psql(
            "postgres",
            "select application_name from pg_stat_replication",
        );
        assert_eq!(followers, name);
        primary.kill();
        replica.promote();
        replica.psql("postgres", "insert into t values (12)");
        assert_eq!(replica.psql("postgres", count), "12");
    });
}

#[test]
fn a_bouncer_lends_one_connection_to_two_idle_clients_and_comes_back_after_a_kill() {
    with_each_major(|installed| {
        let cluster = Cluster::shared(installed.major());
        let database = cluster.fresh_database();
        let bouncer = cluster.bouncer(&[("default_pool_size", "1")]);
        let url = bouncer.url(database.name());
        let backend = "select pg_backend_pid()";
        let (mut client, first) = ask_and_stay(psql(installed, &url), backend);
        assert_eq!(ask(installed, &url, backend), Ok(first));

        bouncer.kill();
        client.wait().unwrap();
        let error = ask(installed, &url, backend).unwrap_err();
        assert!(error.contains("refused"), "{error}");
        bouncer.start_again();
        assert_eq!(ask(installed, &url, "select 1"), Ok("1".to_owned()));
    });
}

#[test]
fn tls_is_demanded_with_a_password_of_one_role_and_a_certificate_of_another() {
    let installed = Installed::all().into_iter().find(Installed::has_tls);
    let installed = installed.expect("one server has tls: run ./tests/run");
    let (cluster, credentials) = Cluster::start_with_tls(&installed, &[]);
    let ca = credentials.ca_certificate();
    let certificate = format!(
        "sslcert='{}' sslkey='{}'",
        credentials.client_certificate().display(),
        credentials.client_key().display()
    );
    let password = format!("password='{}'", credentials.password());
    let mode = format!("sslmode=verify-full sslrootcert='{}'", ca.display());
    let plain = "sslmode=disable";
    let none = "sslcert=none";
    let cases = [
        ("app_password", &*mode, &*password, true),
        ("app_password", &mode, "password=wrong", false),
        ("app_password", plain, &password, false),
        ("app_cert", &mode, &certificate, true),
        ("app_cert", &mode, none, false),
        ("app_cert", plain, none, false),
        ("postgres", plain, none, true),
    ];
    for (role, mode, with, is_let_in) in cases {
        let port = cluster.port();
        let address =
            format!("host=127.0.0.1 port={port} dbname=postgres user={role} {mode} {with}");
        let answer = ask(&installed, &address, "select current_user");
        assert_eq!(
            answer.is_ok(),
            is_let_in,
            "{role}, {mode}, {with}: {answer:?}"
        );
    }
}

/// Whether the kernel still has the shared memory of this id.
fn has_shared_memory(id: &str) -> bool {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let mut ids = table.lines().map(|line| line.split_whitespace().nth(1));
    ids.any(|found| found == Some(id))
}

/// The id of the shared memory of a cluster.
fn shared_memory(data: &Path) -> String {
    let lines = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let line = lines.lines().nth(6).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_dropped_cluster_leaves_nothing_behind_though_it_was_killed() {
    with_each_major(|installed| {
        for is_killed in [false, true] {
            let cluster = Cluster::start(installed, &[]);
            let data = cluster.data_folder();
            let memory = shared_memory(&data);
            assert!(has_shared_memory(&memory));
            if is_killed {
                cluster.kill();
            }
            drop(cluster);
            assert!(!data.parent().unwrap().exists());
            assert!(!has_shared_memory(&memory));
        }
    });
}

#[test]
fn a_killed_test_process_leaves_no_server_and_no_folder() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "pg_clusters::holds_clusters_until_its_input_ends",
        ])
        .args(["--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let held: Vec<_> = lines
        .map_while(|line| match line.unwrap() {
            line if line == "all held" => None,
            line => Some(line),
        })
        .filter_map(|line| line.strip_prefix("holds ").map(PathBuf::from))
        .collect();
    assert!(held.len() > 2);
    for data in &held {
        assert!(!processes_in(data).is_empty(), "{}", data.display());
    }

    holder.kill().unwrap();
    holder.wait().unwrap();
    for data in &held {
        block_until("the server is gone", || processes_in(data).is_empty());
        block_until("the folder is gone", || !data.parent().unwrap().exists());
    }
}

#[test]
#[ignore = "the process that another test kills"]
fn holds_clusters_until_its_input_ends() {
    let mut suspended = Vec::new();
    for installed in Installed::all() {
        let shared = Cluster::shared(installed.major());
        println!("\nholds {}", shared.data_folder().display());
        let cluster = Cluster::start(&installed, &[]);
        cluster.suspend();
        println!("\nholds {}", cluster.data_folder().display());
        suspended.push(cluster);
    }
    println!("all held");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

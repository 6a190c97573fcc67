use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use medcards_tests::redis::{RedisCluster, RedisServer, Sentinels, fresh_namespace};

use crate::harness::{block_until, processes_in};

/// A key for each primary of a cluster.
fn keys_of_all(cluster: &RedisCluster) -> Vec<String> {
    let mut owners = BTreeSet::new();
    let mut keys: Vec<_> = (0..100).map(|n| format!("key{n}")).collect();
    keys.retain(|key| owners.insert(cluster.primary_of(key).port()));
    assert_eq!(keys.len(), 3, "{owners:?}");
    keys
}

#[test]
fn a_server_answers_with_the_wanted_settings_over_the_usual_ones() {
    let settings = [("maxmemory", "8mb"), ("appendfsync", "always")];
    let server = RedisServer::start_with(&settings);
    let shown = server.command(&["CONFIG", "GET", "maxmemory", "appendfsync", "save"]);
    let lines: Vec<_> = shown.lines().collect();
    let value = |name| lines.chunks(2).find(|pair| pair[0] == name).unwrap()[1..].to_vec();
    assert_eq!(value("maxmemory"), ["8388608"]);
    assert_eq!(value("appendfsync"), ["always"]);
    assert_eq!(value("save").concat(), "");
    assert_eq!(server.command(&["DEBUG", "SLEEP", "0"]), "OK");
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
}

#[test]
fn a_shared_server_is_the_same_for_all_who_ask_and_each_has_a_namespace() {
    let asked =
        [(); 4].map(|()| thread::spawn(|| (RedisServer::shared().port(), fresh_namespace())));
    let asked = asked.map(|asked| asked.join().unwrap());
    let ports: BTreeSet<_> = asked.iter().map(|(port, _)| port).collect();
    let namespaces: BTreeSet<_> = asked.iter().map(|(_, namespace)| namespace).collect();
    assert_eq!((ports.len(), namespaces.len()), (1, 4), "{asked:?}");
}

#[test]
fn a_command_that_is_refused_panics_with_the_complaint() {
    let key = fresh_namespace();
    RedisServer::shared().command(&["SET", &key, "word"]);
    let refused = thread::spawn(move || RedisServer::shared().command(&["INCR", &key]));
    let complaint = *refused.join().unwrap_err().downcast::<String>().unwrap();
    assert!(complaint.contains("not an integer"), "{complaint}");
}

#[test]
fn a_killed_server_keeps_what_it_has_acknowledged_only_if_it_appends_to_a_file() {
    for (appends, kept) in [("no", ""), ("yes", "7")] {
        let server = RedisServer::start_with(&[("appendonly", appends)]);
        for _ in 0..3 {
            server.command(&["SET", "n", "7"]);
            server.kill();
            assert!(!server.is_running());
            assert_eq!(processes_in(&server.data_folder()), [""; 0]);
            TcpStream::connect(("127.0.0.1", server.port())).unwrap_err();
            server.start_again();
            assert_eq!(server.command(&["GET", "n"]), kept, "appendonly {appends}");
        }
        server.suspend();
        server.stop();
        server.start_again();
        assert_eq!(server.command(&["PING"]), "PONG");
        assert_eq!(server.log().matches("User requested shutdown").count(), 1);
    }
}

#[test]
fn a_suspended_server_keeps_its_connections_and_answers_when_it_goes_on() {
    let server = RedisServer::start();
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let mut answer = [0; 7];
    client.write_all(b"PING\r\n").unwrap();
    client.read_exact(&mut answer).unwrap();
    server.suspend();
    block_until("the server is stopped", || {
        processes_in(&server.data_folder()) == ["T"]
    });
    assert!(server.is_running());
    client.write_all(b"ECHO 3\r\n").unwrap();

    server.resume();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"$1\r\n3\r\n");
}

#[test]
fn a_password_is_demanded_and_is_in_the_address() {
    let server = RedisServer::start_with(&[("requirepass", "secret")]);
    assert_eq!(server.command(&["PING"]), "PONG");
    let address = format!("redis://:secret@127.0.0.1:{}", server.port());
    assert_eq!(server.url(), address);
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    assert!(line.starts_with("-NOAUTH"), "{line}");
}

#[test]
fn tls_is_demanded_and_the_certificate_is_that_of_the_authority() {
    let server = RedisServer::start_with_tls(&[("tls-auth-clients", "yes")]);
    let port = server.port().to_string();
    assert_eq!(server.url(), format!("rediss://127.0.0.1:{port}"));
    let other = RedisServer::start_with_tls(&[]);
    let ping = |options: &[PathBuf]| {
        let names = ["--cacert", "--cert", "--key"];
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-h", "127.0.0.1", "-p", &port]);
        for (name, value) in names.iter().zip(options) {
            command.arg(name).arg(value);
        }
        if !options.is_empty() {
            command.arg("--tls");
        }
        command.arg("PING").output().unwrap().status.success()
    };
    let (ca, wrong_ca) = (server.ca_certificate(), other.ca_certificate());
    let (certificate, key) = (server.client_certificate(), server.client_key());
    assert!(ping(&[ca.clone(), certificate.clone(), key.clone()]));
    assert!(!ping(&[wrong_ca, certificate, key]));
    assert!(!ping(&[ca]));
    assert!(!ping(&[]));
    assert_eq!(other.command(&["PING"]), "PONG");
}

#[test]
fn sentinels_make_the_replica_the_primary_when_the_primary_is_killed_and_when_told() {
    let sentinels = Sentinels::start();
    let first = sentinels.primary_port();
    let second = sentinels.replica().port();
    sentinels.primary().command(&["SET", "n", "1"]);
    assert_eq!(sentinels.primary().command(&["WAIT", "1", "0"]), "1");
    let written = sentinels.replica().try_command(&["SET", "n", "2"]);
    assert!(written.unwrap_err().contains("READONLY"));

    assert_eq!(sentinels.kill_primary(), first);
    assert_eq!(sentinels.wait_until_writable(), second);
    assert_eq!(sentinels.primary().command(&["INCR", "n"]), "2");

    sentinels.start_again();
    assert_eq!(sentinels.replica().port(), first);
    assert_eq!(sentinels.replica().command(&["GET", "n"]), "2");

    assert_eq!(sentinels.fail_over(), first);
    assert_eq!(sentinels.primary().command(&["INCR", "n"]), "3");
    assert_eq!(sentinels.replica().port(), second);
}

#[test]
fn sentinels_that_are_shared_have_a_primary_a_replica_and_each_other() {
    let sentinels = Sentinels::shared();
    let ports: BTreeSet<_> = sentinels
        .sentinels()
        .iter()
        .map(RedisServer::port)
        .collect();
    assert_eq!(ports.len(), 3);
    for port in ports {
        assert!(sentinels.url().contains(&format!("127.0.0.1:{port}")));
    }
    assert!(sentinels.url().starts_with("redis+sentinel://127.0.0.1:"));
    assert!(sentinels.url().ends_with("/mymaster"));
    let key = fresh_namespace();
    sentinels.primary().command(&["SET", &key, "7"]);
    assert_eq!(sentinels.primary().command(&["WAIT", "1", "0"]), "1");
    assert_eq!(sentinels.replica().command(&["GET", &key]), "7");
}

#[test]
fn a_cluster_serves_all_slots_again_after_its_primaries_were_killed_one_by_one() {
    let cluster = RedisCluster::start();
    let keys = keys_of_all(&cluster);
    for key in &keys {
        assert_eq!(cluster.command(&["INCR", key]), "1");
        assert_eq!(cluster.primary_of(key).command(&["WAIT", "1", "0"]), "1");
    }
    for key in &keys {
        let replica = cluster.replica_of(key).port();
        let killed = cluster.kill_primary_of(key);
        cluster.wait_ok();
        assert_eq!(cluster.primary_of(key).port(), replica);
        assert_eq!(cluster.command(&["INCR", key]), "2");

        cluster.start_again();
        assert_eq!(cluster.replica_of(key).port(), killed);
        assert_eq!(cluster.primary_of(key).port(), replica);
    }
    for key in &keys {
        assert_eq!(cluster.command(&["GET", key]), "2");
    }
}

#[test]
fn a_replica_in_a_cluster_takes_over_in_good_order() {
    let cluster = RedisCluster::shared();
    let key = fresh_namespace();
    cluster.command(&["SET", &key, "7"]);
    let replica = cluster.replica_of(&key).port();
    let old = cluster.primary_of(&key);
    assert_eq!(cluster.fail_over_primary_of(&key), replica);
    let moved = old.try_command(&["GET", &key]).unwrap_err();
    assert!(
        moved.contains(&format!("MOVED {} ", cluster.slot_of(&key))),
        "{moved}"
    );
    assert_eq!(cluster.command(&["GET", &key]), "7");
    assert_eq!(cluster.primaries().len(), 3);
    for node in cluster.nodes() {
        assert!(
            cluster
                .url()
                .contains(&format!("127.0.0.1:{}", node.port()))
        );
    }
}

#[test]
fn a_dropped_server_leaves_nothing_behind() {
    for is_suspended in [false, true] {
        let server = RedisServer::start_with(&[("appendonly", "yes")]);
        let folder = server.data_folder();
        if is_suspended {
            server.suspend();
        }
        drop(server);
        assert_eq!(processes_in(&folder), [""; 0]);
        assert!(!folder.parent().unwrap().exists());
    }
}

#[test]
fn a_killed_test_process_leaves_no_redis_and_no_folder() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "redis_servers::holds_servers_until_its_input_ends",
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
    // Two alone, two and three Sentinels, six in a cluster.
    assert_eq!(held.len(), 2 + 5 + 6);
    for folder in &held {
        assert_eq!(processes_in(folder).len(), 1, "{}", folder.display());
    }

    holder.kill().unwrap();
    holder.wait().unwrap();
    for folder in &held {
        block_until("the server is gone", || processes_in(folder).is_empty());
        block_until("the folder is gone", || !folder.parent().unwrap().exists());
    }
}

#[test]
#[ignore = "the process that another test kills"]
fn holds_servers_until_its_input_ends() {
    let suspended = RedisServer::start();
    suspended.suspend();
    let sentinels = Sentinels::start();
    let cluster = RedisCluster::start();
    let pair = [sentinels.primary(), sentinels.replica()];
    let alone = [RedisServer::shared(), &suspended];
    let all = alone.into_iter().chain(pair);
    for server in all.chain(sentinels.sentinels()).chain(cluster.nodes()) {
        println!("\nholds {}", server.data_folder().display());
    }
    println!("all held");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

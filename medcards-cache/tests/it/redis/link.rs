use std::time::Duration;

use medcards_cache::{Redis, RedisConfig};
use medcards_core::ErrorKind;
use medcards_core::cache::Cache;
use medcards_core::testing::sample_key;
use medcards_tests::proxy::Proxy;
use medcards_tests::redis::{RedisCluster, RedisServer, fresh_namespace};
use tokio::time::Instant;

use super::cache::{cache_on, entry, hash};
use super::logs::Logs;
use super::places::{connected, patient, process_on, raw, until, within};

#[tokio::test]
async fn it_starts_without_a_server_and_finds_it_later() {
    let server = RedisServer::start();
    server.kill();
    let redis = process_on(&server.url()).await;
    assert!(redis.is_away());
    server.start_again();
    until("it is connected", async || !redis.is_away()).await;
    let counts = redis.counts();
    assert!(counts.degraded_us > 0 && !counts.is_away);
    assert_eq!(counts.opened, 0, "it was never there");
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once() {
    let server = RedisServer::start_with(&[("requirepass", "right")]);
    let host = format!("127.0.0.1:{}", server.port());
    for place in [
        "redis://",
        "redis://:wrong@",
        "redis://nobody:right@",
        "redis+cluster://:wrong@",
        "redis+cluster://",
    ] {
        let config = RedisConfig::new(&format!("{place}{host}")).unwrap();
        let error = Redis::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(!error.to_string().contains("wrong@"), "{error}");
    }
    let redis = Redis::connect(patient(&format!("redis://:right@{host}")))
        .await
        .unwrap();
    assert!(!redis.is_away());
}

#[tokio::test]
async fn an_address_that_does_not_fit_what_is_there_is_told_at_once() {
    let server = RedisServer::shared().port();
    let node = RedisCluster::shared().primaries()[0].port();
    for (address, advice) in [
        (format!("redis://127.0.0.1:{server}/99"), "databases"),
        (format!("redis://127.0.0.1:{node}/1"), "databases"),
        (format!("redis+cluster://127.0.0.1:{server}"), "redis://"),
        (
            format!("redis+sentinel://127.0.0.1:{server}/main"),
            "check server",
        ),
    ] {
        let error = Redis::connect(patient(&address)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{address}: {error:?}");
        assert!(error.to_string().contains(advice), "{address}: {error}");
    }
}

#[tokio::test]
async fn processes_are_counted_and_leave() {
    let server = RedisServer::start();
    let first = process_on(&server.url()).await;
    let second = process_on(&server.url()).await;
    until("both are seen", async || second.processes() == 2).await;
    second.close().await;
    drop(second);
    // Whoever comes next is told by the server, and sees one fewer.
    let third = process_on(&server.url()).await;
    until("the second is gone", async || third.processes() == 2).await;
    drop(first);
}

#[tokio::test]
async fn another_namespace_is_another_world() {
    let server = RedisServer::start();
    let ours = process_on(&server.url()).await;
    let theirs = Redis::connect(patient(&server.url()).with_namespace("theirs"))
        .await
        .unwrap();
    let mut raw = raw(&server);
    until("both have said so", async || {
        let count: u64 = redis::cmd("DBSIZE").query(&mut raw).unwrap();
        count == 2
    })
    .await;
    assert_eq!((ours.processes(), theirs.processes()), (1, 1));
}

#[tokio::test]
async fn it_is_given_up_when_it_dies_and_found_again() {
    let server = RedisServer::start();
    let redis = process_on(&server.url()).await;
    assert!(!redis.is_away());
    for round in 1..=2 {
        server.kill();
        // The heartbeat notices, if nothing else does.
        until("it is given up", async || redis.is_away()).await;
        server.start_again();
        until("it is found again", async || !redis.is_away()).await;
        assert_eq!(redis.counts().opened, round);
    }
}

/// How many connections a server has ever taken.
fn connections_taken(server: &RedisServer) -> u64 {
    let stats = server.command(&["INFO", "stats"]);
    let mut lines = stats.lines();
    let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    let count = count.and_then(|count| count.trim().parse().ok());
    count.expect("it counts them")
}

/// New connections are made meanwhile, which answer as slowly.
#[tokio::test]
async fn a_line_that_is_slower_than_requests_may_wait_is_not_taken_back() {
    let server = RedisServer::start();
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()));
    let config = RedisConfig::new(&format!("redis://127.0.0.1:{}", proxy.port())).unwrap();
    // 60 ms there and back, where 20 are allowed.
    let redis = connected(config.with_patience(Duration::from_millis(20))).await;
    let cache = cache_on(redis.clone());
    until("it serves", async || {
        cache.get(&sample_key(1)).await.is_ok()
    })
    .await;
    proxy.delay(Duration::from_millis(30));
    let is_given_up = async || {
        let _slow = cache.get(&sample_key(1)).await;
        redis.is_away()
    };
    until("it is given up", is_given_up).await;

    let opened = redis.counts().opened;
    // Each look at the server is a connection, too.
    let (before, mut looks) = (connections_taken(&server), 0);
    until("it was tried again some times", async || {
        let error = cache.get(&sample_key(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "it was taken back");
        looks += 1;
        connections_taken(&server) >= before + looks + 6
    })
    .await;
    assert_eq!(redis.counts().opened, opened);

    proxy.delay(Duration::ZERO);
    until("it serves", async || {
        cache.get(&sample_key(1)).await.is_ok()
    })
    .await;
}

/// As a node of a Cluster does that misses others: it answers, and carries nothing out.
#[tokio::test]
async fn a_server_that_answers_and_does_not_serve_is_taken_back_ever_more_seldom() {
    let logs = Logs::listen();
    let server = RedisServer::start_with(&[("cluster-enabled", "yes")]);
    let redis = process_on(&server.url()).await;
    let cache = cache_on(redis.clone());
    let began = Instant::now();
    until("it was lost some times", async || {
        let error = cache.get(&sample_key(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        redis.counts().opened >= 9
    })
    .await;
    // The second comes at once. Before each of the others there is at least half of a pause.
    let pauses_ms = [50, 100, 200, 400, 800, 1_000, 1_000];
    let waited_ms = pauses_ms.iter().sum::<u64>() / 2;
    assert!(began.elapsed() >= Duration::from_millis(waited_ms));
    let told = logs.warnings("Redis is away").len() as u64;
    let seconds = began.elapsed().as_secs();
    assert!((1..=seconds + 1).contains(&told), "{told} in {seconds} s");
    let left_out = |line: &String| line.contains("left_out=") && !line.contains("left_out=0");
    assert!(logs.warnings("Redis is away").iter().any(left_out));

    server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    until("it serves", async || {
        cache.get(&sample_key(1)).await.is_ok()
    })
    .await;
}

/// Waits until nobody is connected but who asks.
async fn until_alone(server: &RedisServer) {
    until("the server sees nobody else", async || {
        server.command(&["CLIENT", "LIST"]).lines().count() == 1
    })
    .await;
}

#[tokio::test]
async fn a_closed_connection_stays_closed() {
    let server = RedisServer::start();
    let redis = process_on(&server.url()).await;
    let other = redis.clone();
    redis.close().await;
    redis.close().await;
    assert!(other.is_away());
    until_alone(&server).await;
}

#[tokio::test]
async fn the_last_handle_takes_the_connection_with_it() {
    let server = RedisServer::start();
    let redis = process_on(&server.url()).await;
    drop(redis.clone());
    assert!(!redis.is_away());
    drop(redis);
    until_alone(&server).await;
}

#[tokio::test]
async fn a_replica_is_not_taken_for_a_primary() {
    let primary = RedisServer::start();
    let replica =
        RedisServer::start_with(&[("replicaof", &format!("127.0.0.1 {}", primary.port()))]);
    let redis = process_on(&replica.url()).await;
    assert!(redis.is_away());
    let mut raw = raw(&replica);
    redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .exec(&mut raw)
        .unwrap();
    until("it was promoted", async || !redis.is_away()).await;
}

/// A failure that stays is told, each kind for itself, and without what the call was about.
#[tokio::test]
async fn what_fails_until_somebody_acts_is_told_once_for_many_calls() {
    let logs = Logs::listen();
    let server = RedisServer::start();
    let redis = process_on(&server.url()).await;
    let cache = cache_on(redis.clone());
    let key = sample_key(1);
    server.command(&["SET", &hash(&key), "of another program"]);
    let told = || logs.warnings("Redis fails calls");
    for _ in 0..20 {
        let error = cache.get(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert_eq!(told().len(), 1, "{:?}", told());
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..20 {
        let error = cache.put(sample_key(2), entry("Words.")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    }
    server.command(&["ACL", "SETUSER", "default", "-@hash"]);
    for _ in 0..20 {
        let error = cache.get(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
    let told = told();
    assert_eq!(told.len(), 3, "{told:?}");
    let case = key.case_id.to_string();
    assert!(!told.iter().any(|line| line.contains(&case)), "{told:?}");
    assert!(!redis.is_away());
}

/// Of the keys of a Cluster one node has some. The others are not a reason to give it up.
#[tokio::test]
async fn a_node_that_is_taken_for_a_server_says_what_it_is() {
    let node = RedisCluster::shared().primaries()[0];
    let redis = within(&node.url(), &fresh_namespace()).await;
    let cache = cache_on(redis.clone());
    let mut moved = 0;
    for n in 0..30 {
        if let Err(error) = cache.get(&sample_key(n)).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("redis+cluster://"), "{error}");
            moved += 1;
        }
    }
    assert!((1..30).contains(&moved), "{moved}");
    assert!(!redis.is_away());
}

#[test]
fn addresses_are_read_and_shown_without_their_secrets() {
    for (address, shown) in [
        ("redis://localhost", "redis://localhost:6379"),
        ("redis://user:pa%40ss@host:7000/3", "redis://host:7000"),
        (
            "unix:///run/redis.sock?db=1&pass=pa%40ss",
            "unix:///run/redis.sock",
        ),
        (
            "redis+sentinel://user:pa%40ss@one,two:26380,[::1]/main/2?sentinel_password=pa%40ss",
            "redis+sentinel://one:26379,two:26380,::1:26379/main",
        ),
        (
            "redis+cluster://:pa%40ss@one:7000,two",
            "redis+cluster://one:7000,two:6379",
        ),
    ] {
        let config = RedisConfig::new(address).unwrap();
        assert_eq!(config.to_string(), shown);
        assert!(!format!("{config:?}").contains("40ss"), "{config:?}");
    }
}

#[test]
fn addresses_that_cannot_work_are_refused() {
    for address in [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis://host/database",
        "redis://host/-1",
        "unix:///run/redis.sock?db=-1",
        "redis+sentinel://one/main/-1",
        "redis://host?tls=yes",
        "redis://host?ca=/tmp/ca.pem",
        "redis+sentinel://one,two",
        "redis+sentinel://one,,two/main",
        "redis+sentinel://one/main/database",
        "redis+cluster://one/1",
        "redis+cluster://",
    ] {
        let error = RedisConfig::new(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{address}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let config = RedisConfig::new("redis://localhost").unwrap();
    for config in [
        config.clone().with_patience(Duration::ZERO),
        config.clone().with_patience(Duration::from_mins(1)),
        config.clone().with_namespace(""),
        config.clone().with_namespace("{a}"),
        config.with_namespace("a".repeat(41)),
    ] {
        let error = Redis::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[cfg(not(feature = "redis-tls"))]
#[test]
fn tls_that_was_not_built_in_is_refused() {
    let error = RedisConfig::new("rediss://localhost").unwrap_err();
    assert!(error.to_string().contains("redis-tls"), "{error}");
}

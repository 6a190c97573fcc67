//! The kinds of Redis that everything runs on: one server, Sentinel, a Cluster.

use std::time::Duration;

use medcards_cache::{Redis, RedisConfig};
use medcards_tests::redis::{RedisCluster, RedisServer, Sentinels, fresh_namespace};

/// Longer than any answer takes: a busy machine is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects in a namespace that nobody else uses.
pub(super) async fn connected(url: &str) -> Redis {
    within(url, &fresh_namespace()).await
}

/// Connects as one more process of those in a namespace.
pub(super) async fn within(url: &str, namespace: &str) -> Redis {
    let config = RedisConfig::new(url).expect("the address is right");
    let config = config.with_namespace(namespace).with_patience(PATIENCE);
    Redis::connect(config).await.expect("the server runs")
}

/// A namespace of its own on one server that tests share.
pub(super) async fn on_server() -> Redis {
    connected(&RedisServer::shared().url()).await
}

/// A namespace of its own behind Sentinels that tests share.
pub(super) async fn on_sentinels() -> Redis {
    connected(&Sentinels::shared().url()).await
}

/// A namespace of its own in a Cluster that tests share.
pub(super) async fn on_cluster() -> Redis {
    connected(&RedisCluster::shared().url()).await
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "it never came to pass that {what}");
}

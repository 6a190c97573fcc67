//! The kinds of Redis that everything runs on: one server, Sentinel, a Cluster.

use std::time::Duration;

use medcards_cache::{Redis, RedisConfig};
use medcards_tests::redis::{RedisCluster, RedisServer, Sentinels, fresh_namespace};

/// Longer than any answer takes: a busy machine is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long anything that is waited for may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How to connect in the namespace that is not named.
pub(super) fn patient(url: &str) -> RedisConfig {
    let config = RedisConfig::new(url).expect("the address is right");
    config.with_patience(PATIENCE)
}

/// Connects as one more process of those that are on servers of the test's own.
pub(super) async fn process_on(url: &str) -> Redis {
    connected(patient(url)).await
}

/// Connects as one more process of those in a namespace.
pub(super) async fn within(url: &str, namespace: &str) -> Redis {
    connected(patient(url).with_namespace(namespace)).await
}

pub(super) async fn connected(config: RedisConfig) -> Redis {
    let connected = Redis::connect(config).await;
    connected.expect("the server runs, or is gone on without")
}

/// A namespace of its own on one server that tests share.
pub(super) async fn on_server() -> Redis {
    within(&RedisServer::shared().url(), &fresh_namespace()).await
}

/// A namespace of its own behind Sentinels that tests share.
pub(super) async fn on_sentinels() -> Redis {
    within(&Sentinels::shared().url(), &fresh_namespace()).await
}

/// A namespace of its own in a Cluster that tests share.
pub(super) async fn on_cluster() -> Redis {
    within(&RedisCluster::shared().url(), &fresh_namespace()).await
}

/// A connection without anything of ours in between.
pub(super) fn raw(server: &RedisServer) -> redis::Connection {
    let client = redis::Client::open(server.url()).expect("the address is right");
    client.get_connection().expect("the server runs")
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(WAIT_MAX, wait).await;
    assert!(waited.is_ok(), "it never came to pass that {what}");
}

/// Runs a conformance suite on each kind of Redis, in a module for each. The module around them has
/// `Made`, the type of what the suite takes, and `make`, which makes it of a [`Redis`] with a namespace
/// of its own, and of what else is named here with its type.
macro_rules! on_every_kind {
    ($conformance:ident $(, $argument:ident: $type:ty)?) => {
        $crate::redis::places::on_every_kind!(@ on_server $conformance $($argument: $type)?);
        $crate::redis::places::on_every_kind!(@ on_sentinels $conformance $($argument: $type)?);
        $crate::redis::places::on_every_kind!(@ on_cluster $conformance $($argument: $type)?);
    };
    (@ $kind:ident $conformance:ident $($argument:ident: $type:ty)?) => {
        mod $kind {
            use super::*;

            async fn make($($argument: $type)?) -> Made {
                let redis = $crate::redis::places::$kind().await;
                super::make(redis $(, $argument)?).await
            }

            medcards_core::$conformance!(make);
        }
    };
}

pub(super) use on_every_kind;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use medcards_core::{Error, ErrorKind, Result};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, FromRedisValue, Pipeline, ScriptInvocation};
use tokio::time::timeout;

use super::RedisConfig;

/// A connection to Redis that everything in this process shares. Cloning gives a handle on the same.
#[derive(Clone, Debug)]
pub struct Redis {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RedisConfig,
    /// `None` while Redis is away: who asks then is told at once.
    connection: ArcSwapOption<MultiplexedConnection>,
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the server cannot be reached.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let connect = async { config.client()?.get_multiplexed_async_connection().await };
        let connection = connect
            .await
            .map_err(|source| failed("connect to Redis", source))?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                connection: ArcSwapOption::from_pointee(connection),
            }),
        })
    }

    /// How long a request may wait for one answer of Redis.
    pub(crate) fn patience(&self) -> Duration {
        self.inner.config.patience
    }

    /// The name of something in Redis. What has the same `tag` is on the same server of a cluster.
    pub(crate) fn key(&self, tag: &str, rest: &str) -> String {
        format!("{}:{{{tag}}}:{rest}", self.inner.config.namespace)
    }

    /// Sends one command.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        patience: Duration,
        command: &Cmd,
    ) -> Result<T> {
        self.run(operation, patience, async |mut connection| {
            command.query_async(&mut connection).await
        })
        .await
    }

    /// Sends several commands at once, whose keys have the same tag.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        patience: Duration,
        pipeline: &Pipeline,
    ) -> Result<T> {
        self.run(operation, patience, async |mut connection| {
            pipeline.query_async(&mut connection).await
        })
        .await
    }

    /// Runs a script, whose keys have the same tag.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        patience: Duration,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        self.run(operation, patience, async |mut connection| {
            script.invoke_async(&mut connection).await
        })
        .await
    }

    async fn run<T>(
        &self,
        operation: &'static str,
        patience: Duration,
        work: impl AsyncFnOnce(MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T> {
        let Some(connection) = self.inner.connection.load_full() else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                operation,
                "Redis is away",
            ));
        };
        match timeout(patience, work((*connection).clone())).await {
            Ok(done) => done.map_err(|source| failed(operation, source)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                operation,
                "Redis takes longer than it may",
            )),
        }
    }
}

fn failed(operation: &'static str, source: redis::RedisError) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "Redis failed").with_source(source)
}

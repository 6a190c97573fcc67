//! A connection, whatever is at its other end.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    Arg, AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline,
    RedisError, RedisFuture, RedisResult, ServerErrorKind, TlsMode, Value,
};

use super::address::{Address, Place};

/// How long one node of a Cluster may take for a connection, so that a dead one leaves time for the
/// others.
const NODE_CONNECT_PATIENCE: Duration = Duration::from_millis(300);

/// After how long a node of a Cluster that does not answer is connected to anew. Calls have long
/// given up by then.
const NODE_RESPONSE_PATIENCE: Duration = Duration::from_millis(500);

/// How often the driver tries a call again when the Cluster has moved its key or is electing.
const CLUSTER_RETRIES: u32 = 3;

/// The shortest and longest wait before such a try, in milliseconds.
const CLUSTER_RETRY_WAITS_MS: (u64, u64) = (1, 20);

/// A connection that everything in this process shares.
#[derive(Clone)]
pub(super) enum Wire {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    /// Connects. How long it takes is for the caller to bound.
    pub(super) async fn connect(address: &Address) -> RedisResult<Self> {
        #[cfg(feature = "redis-tls")]
        install_crypto();
        // The link in front bounds each call, and this must not break off others.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        match &address.place {
            Place::Server(info) => {
                let client = open(info, address)?;
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Ok(Self::Server(connection.await?))
            }
            Place::Sentinel {
                sentinels,
                service,
                primary,
            } => {
                // Made anew each time, so that nothing is locked while Sentinels are asked.
                let mut client = sentinel_client(sentinels, service, primary, address)?.build()?;
                let connection = client.get_async_connection_with_config(&config);
                Ok(Self::Server(connection.await?))
            }
            Place::Cluster(nodes) => {
                let (wait_min, wait_max) = CLUSTER_RETRY_WAITS_MS;
                let builder = ClusterClient::builder(nodes.clone())
                    .connection_timeout(NODE_CONNECT_PATIENCE)
                    .response_timeout(NODE_RESPONSE_PATIENCE)
                    .overall_response_timeout(None)
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(wait_min)
                    .max_retry_wait(wait_max)
                    .retry_wait_formula(2, 2);
                #[cfg(feature = "redis-tls")]
                let builder = match &address.certificates {
                    Some(certificates) => builder.certs(certificates.clone()),
                    None => builder,
                };
                Ok(Self::Cluster(
                    builder.build()?.get_async_connection().await?,
                ))
            }
        }
    }

    /// Asks for an answer, of any node of a Cluster.
    pub(super) async fn ping(&self) -> RedisResult<()> {
        let ping = redis::cmd("PING");
        match self.clone() {
            Self::Server(mut connection) => ping.exec_async(&mut connection).await,
            Self::Cluster(mut connection) => {
                let anyone = RoutingInfo::MultiNode((
                    MultipleNodeRoutingInfo::AllMasters,
                    Some(ResponsePolicy::OneSucceeded),
                ));
                connection.route_command(ping, anyone).await.map(drop)
            }
        }
    }

    /// Fails if the other end is a replica.
    pub(super) async fn check_role(&self) -> RedisResult<()> {
        let Self::Server(mut connection) = self.clone() else {
            return Ok(());
        };
        let role: RedisResult<Value> = redis::cmd("ROLE").query_async(&mut connection).await;
        // Who may not ask is told by the first write.
        let Ok(Value::Array(parts)) = role else {
            return Ok(());
        };
        match parts.first() {
            Some(Value::BulkString(role)) if role != b"master" => Err(RedisError::from((
                ErrorKind::Io,
                "this server is no primary",
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A connection for one call of a script.
///
/// A node that does not know the script is given it together with the call. The driver would load it
/// into all nodes of a Cluster first, and fail if one of them is away.
pub(super) struct ScriptWire {
    wire: Wire,
    /// The call that a node could not carry out.
    unknown: Option<Cmd>,
    answer: Option<RedisResult<Value>>,
}

impl ScriptWire {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            unknown: None,
            answer: None,
        }
    }

    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        // The driver calls, loads if the script is not known, and calls again.
        if let Some(answer) = self.answer.take() {
            return answer;
        }
        let Some(call) = self.unknown.take() else {
            let answer = self.wire.req_packed_command(command).await;
            let error = match &answer {
                Ok(Value::ServerError(error)) => error.kind(),
                Err(error) => match error.kind() {
                    ErrorKind::Server(kind) => Some(kind),
                    _ => None,
                },
                Ok(_) => None,
            };
            if error == Some(ServerErrorKind::NoScript) {
                self.unknown = Some(command.clone());
            }
            return answer;
        };
        let code = command.args_iter().nth(2).map(plain);
        let mut eval = redis::cmd("EVAL");
        eval.arg(code.unwrap_or_default());
        for arg in call.args_iter().skip(2).map(plain) {
            eval.arg(arg);
        }
        self.answer = Some(self.wire.req_packed_command(&eval).await);
        let hash = call.args_iter().nth(1).map(plain);
        Ok(Value::BulkString(hash.unwrap_or_default().to_vec()))
    }
}

impl ConnectionLike for ScriptWire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.send(command))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.wire.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.wire.get_db()
    }
}

fn plain(arg: Arg<&[u8]>) -> &[u8] {
    match arg {
        Arg::Simple(bytes) => bytes,
        _ => &[],
    }
}

#[cfg(feature = "redis-tls")]
fn open(info: &ConnectionInfo, address: &Address) -> RedisResult<Client> {
    match &address.certificates {
        Some(certificates) => Client::build_with_tls(info.clone(), certificates.clone()),
        None => Client::open(info.clone()),
    }
}

#[cfg(not(feature = "redis-tls"))]
fn open(info: &ConnectionInfo, _address: &Address) -> RedisResult<Client> {
    Client::open(info.clone())
}

fn sentinel_client(
    sentinels: &[ConnectionInfo],
    service: &str,
    primary: &ConnectionInfo,
    address: &Address,
) -> RedisResult<SentinelClientBuilder> {
    let hosts = sentinels.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(hosts, service, SentinelServerType::Master)?
        .set_client_to_redis_db(primary.redis_settings().db())
        .set_client_to_redis_protocol(primary.redis_settings().protocol());
    if let Some(user) = primary.redis_settings().username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = primary.redis_settings().password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(first) = sentinels.first().map(ConnectionInfo::redis_settings) {
        if let Some(user) = first.username() {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = first.password() {
            builder = builder.set_client_to_sentinel_password(password);
        }
    }
    if let ConnectionAddr::TcpTls { insecure, .. } = primary.addr() {
        let mode = if *insecure {
            TlsMode::Insecure
        } else {
            TlsMode::Secure
        };
        builder = builder.set_client_to_redis_tls_mode(mode);
    }
    #[cfg(feature = "redis-tls")]
    if let Some(certificates) = &address.certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates.clone());
    }
    #[cfg(not(feature = "redis-tls"))]
    let _ = address;
    Ok(builder)
}

/// Names the cryptography that TLS uses in this process, unless the program did.
#[cfg(feature = "redis-tls")]
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails if another thread was faster, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

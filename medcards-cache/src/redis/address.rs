use std::fmt;

use medcards_core::{Error, ErrorKind, Result};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

/// The most hosts in one address; clients need a few to start from, not all.
const HOSTS_MAX: usize = 64;

/// Where Redis is, checked.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) place: Place,
    #[cfg(feature = "redis-tls")]
    pub(super) certificates: Option<redis::TlsCertificates>,
}

/// What is there.
#[derive(Clone)]
pub(super) enum Place {
    /// One server.
    Server(ConnectionInfo),
    /// The primary of a service that Sentinels watch.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        service: String,
        /// How to log in on the primary; the host is not used.
        primary: ConnectionInfo,
    },
    /// A Cluster.
    Cluster(Vec<ConnectionInfo>),
}

impl Address {
    pub(super) fn read(url: &SecretString) -> Result<Self> {
        // No error of a parser is kept: it may repeat the password.
        let url = url.expose_secret();
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(invalid("it must look like redis://user:password@host:6379"));
        };
        let is_tls = scheme.starts_with("rediss");
        if is_tls && cfg!(not(feature = "redis-tls")) {
            return Err(invalid(
                "it asks for TLS: build with the feature redis-tls, or use redis://",
            ));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters = Parameters::read(query)?;
        let place = match scheme {
            "redis" | "rediss" => Place::Server(server(url)?),
            "unix" | "redis+unix" => Place::Server(server(url)?),
            "redis+cluster" | "rediss+cluster" => {
                let parts = Parts::read(rest)?;
                if parts.path.is_some_and(|path| !path.is_empty()) {
                    return Err(invalid("a Cluster has one database: leave out the path"));
                }
                Place::Cluster(parts.servers(is_tls, parts.login, 6379, None, query)?)
            }
            "redis+sentinel" | "rediss+sentinel" => sentinel(rest, is_tls, query, &parameters)?,
            _ => {
                return Err(invalid(
                    "it must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
                ));
            }
        };
        if !is_tls && parameters.names_certificates() {
            return Err(invalid("ca, cert and key need TLS: use rediss"));
        }
        Ok(Self {
            place,
            #[cfg(feature = "redis-tls")]
            certificates: parameters.certificates()?,
        })
    }
}

fn sentinel(rest: &str, is_tls: bool, query: &str, parameters: &Parameters) -> Result<Place> {
    let parts = Parts::read(rest)?;
    let path = parts.path.unwrap_or_default();
    let (service, database) = match path.split_once('/') {
        Some((service, database)) => (service, Some(database)),
        None => (path, None),
    };
    if service.is_empty() {
        return Err(invalid(
            "name the service after the Sentinels: redis+sentinel://host:26379/service",
        ));
    }
    let mut sentinels = parts.servers(is_tls, None, 26379, None, query)?;
    for info in &mut sentinels {
        let mut login = redis::RedisConnectionInfo::default();
        if let Some(user) = &parameters.sentinel_user {
            login = login.set_username(user);
        }
        if let Some(password) = &parameters.sentinel_password {
            login = login.set_password(password.expose_secret());
        }
        *info = info.clone().set_redis_settings(login);
    }
    let primary = parts
        .servers(is_tls, parts.login, 6379, database, query)?
        .swap_remove(0);
    Ok(Place::Sentinel {
        sentinels,
        service: service.to_owned(),
        primary,
    })
}

/// The parts of an address with several hosts.
struct Parts<'a> {
    login: Option<&'a str>,
    hosts: Vec<&'a str>,
    path: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn read(rest: &'a str) -> Result<Self> {
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let hosts: Vec<_> = hosts.split(',').collect();
        if hosts.len() > HOSTS_MAX || hosts.iter().any(|host| host.is_empty()) {
            return Err(invalid("name 1 to 64 hosts, with a comma between them"));
        }
        Ok(Self { login, hosts, path })
    }

    /// What each host is to the driver.
    fn servers(
        &self,
        is_tls: bool,
        login: Option<&str>,
        port: u16,
        database: Option<&str>,
        query: &str,
    ) -> Result<Vec<ConnectionInfo>> {
        let scheme = if is_tls { "rediss" } else { "redis" };
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        let database = database.unwrap_or_default();
        let server_at = |host: &&str| {
            let has_port = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| !port.contains(']'));
            let port = if has_port {
                String::new()
            } else {
                format!(":{port}")
            };
            server(&format!(
                "{scheme}://{login}{host}{port}/{database}?{query}"
            ))
        };
        self.hosts.iter().map(server_at).collect()
    }
}

fn server(url: &str) -> Result<ConnectionInfo> {
    let info = url.into_connection_info().map_err(|_secret| {
        invalid(
            "it must look like redis://user:password@host:6379/0, with special characters as %XX",
        )
    })?;
    if info.redis_settings().db() < 0 {
        return Err(invalid("databases are numbered from 0"));
    }
    Ok(info)
}

/// What stands after the question mark.
#[derive(Default)]
struct Parameters {
    sentinel_user: Option<String>,
    sentinel_password: Option<SecretString>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl Parameters {
    fn read(query: &str) -> Result<Self> {
        let mut read = Self::default();
        // The driver's reader of addresses decodes what is percent-encoded.
        let Some(url) = redis::parse_redis_url(&format!("redis://host/?{query}")) else {
            return Err(invalid("what follows the question mark cannot be read"));
        };
        for (name, value) in url.query_pairs() {
            let value = value.into_owned();
            match &*name {
                "sentinel_user" => read.sentinel_user = Some(value),
                "sentinel_password" => read.sentinel_password = Some(value.into()),
                "ca" => read.ca = Some(value),
                "cert" => read.cert = Some(value),
                "key" => read.key = Some(value),
                // Those that the driver reads.
                "protocol" | "db" | "user" | "pass" => {}
                _ => {
                    return Err(invalid(
                        "of parameters there are protocol, ca, cert, key, sentinel_user, \
                         sentinel_password, and for a socket db, user, pass",
                    ));
                }
            }
        }
        Ok(read)
    }

    fn names_certificates(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    #[cfg(feature = "redis-tls")]
    fn certificates(&self) -> Result<Option<redis::TlsCertificates>> {
        let read = |path: &String| {
            std::fs::read(path).map_err(|source| {
                invalid("a file of certificates that it names cannot be read").with_source(source)
            })
        };
        let client_tls = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(redis::ClientTlsConfig {
                client_cert: read(cert)?,
                client_key: read(key)?,
            }),
            (None, None) => None,
            _ => return Err(invalid("cert and key go together")),
        };
        let root_cert = self.ca.as_ref().map(read).transpose()?;
        if client_tls.is_none() && root_cert.is_none() {
            return Ok(None);
        }
        Ok(Some(redis::TlsCertificates {
            client_tls,
            root_cert,
        }))
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "read Redis address", what)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = |infos: &[ConnectionInfo]| {
            let hosts: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
            hosts.join(",")
        };
        match &self.place {
            Place::Server(info) => {
                let scheme = match info.addr() {
                    ConnectionAddr::Unix(_) => "unix",
                    ConnectionAddr::TcpTls { .. } => "rediss",
                    _ => "redis",
                };
                write!(f, "{scheme}://{}", info.addr())
            }
            Place::Sentinel {
                sentinels, service, ..
            } => write!(f, "redis+sentinel://{}/{service}", hosts(sentinels)),
            Place::Cluster(nodes) => write!(f, "redis+cluster://{}", hosts(nodes)),
        }
    }
}

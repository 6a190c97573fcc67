//! Clusters that speak TLS, and who may come in how.

use std::fs;
use std::path::PathBuf;

use super::cluster::{Cluster, SETTINGS, configure, copy_template, postgres_guard};
use super::installed::Installed;
use crate::certificates;

/// Who may come in over the network, and how: the first line that fits decides.
const WHO: &str = "\
local   all         all                   trust
hostssl all         app_password all      scram-sha-256
hostssl all         app_cert     all      cert
host    all         app_password,app_cert all reject
host    all         all          127.0.0.1/32 trust
host    replication all          127.0.0.1/32 trust
";

/// The password of `app_password`.
const PASSWORD: &str = "correct horse battery staple";

/// What a client needs to come in: the files go away with the cluster.
#[derive(Clone, Debug)]
pub struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// The certificate that signed the server's, in PEM.
    pub fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The certificate of the role `app_cert`, in PEM.
    pub fn client_certificate(&self) -> PathBuf {
        self.folder.join("client.crt")
    }

    /// The key of that certificate, in PEM.
    pub fn client_key(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    /// The password of the role `app_password`.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }
}

impl Cluster {
    /// Starts a cluster that speaks TLS, with two roles that must use it: `app_password` has to give
    /// its password (SCRAM), `app_cert` has to show its certificate. The user `postgres` comes in as
    /// in any other cluster.
    ///
    /// Only for programs that [have TLS](Installed::has_tls).
    pub fn start_with_tls(installed: &Installed, settings: &[(&str, &str)]) -> (Self, Credentials) {
        let guard = postgres_guard(installed);
        copy_template(installed, guard.folder());
        certificates::make(guard.folder(), "app_cert");
        fs::write(guard.folder().join("data/pg_hba.conf"), WHO).unwrap();
        configure(guard.folder(), &SETTINGS);
        let tls = [
            ("ssl", "on"),
            ("ssl_ca_file", "../ca.crt"),
            ("ssl_cert_file", "../server.crt"),
            ("ssl_key_file", "../server.key"),
        ];
        configure(guard.folder(), &tls);
        configure(guard.folder(), settings);
        let folder = guard.folder().to_owned();
        let cluster = Self::start_on_free_port(installed, guard);
        let roles = format!(
            "create role app_password login password '{PASSWORD}'; create role app_cert login"
        );
        cluster.psql("postgres", &roles);
        (cluster, Credentials { folder })
    }
}

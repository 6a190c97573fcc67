//! Clusters that speak TLS, and who may come in how.

use std::fs;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::cluster::{Cluster, SETTINGS, configure, copy_template, postgres_guard};
use super::installed::Installed;

/// How openssl makes the certificates. The server is known as 127.0.0.1 and localhost.
const OPENSSL: &str = "\
[req]
distinguished_name = nobody
[nobody]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
";

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
        make_certificates(guard.folder());
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

/// Makes an authority and the certificates that it signs for the server and for `app_cert`.
fn make_certificates(folder: &Path) {
    fs::write(folder.join("openssl.cnf"), OPENSSL).unwrap();
    let openssl = |arguments: &str| {
        let account = Account::of_servers();
        account.run(Path::new("openssl"), arguments.split(' '), folder);
    };
    let key = "-config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -extensions ca -days 30 -subj /CN=ca -keyout ca.key -out ca.crt"
    ));
    for (file, name) in [("server", "localhost"), ("client", "app_cert")] {
        openssl(&format!(
            "req {key} -subj /CN={name} -keyout {file}.key -out {file}.csr"
        ));
        openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
             -extfile openssl.cnf -extensions {file} -out {file}.crt"
        ));
    }
}

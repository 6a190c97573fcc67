//! Certificates for servers on this machine and their clients.

use std::fs;
use std::path::Path;

use crate::account::Account;

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

/// Makes, in a folder of the servers' account, an authority `ca` and the certificates that it signs for
/// a `server` and for a `client` of this name; each is a `.crt` with its `.key`, in PEM.
pub(crate) fn make(folder: &Path, client: &str) {
    fs::write(folder.join("openssl.cnf"), OPENSSL).unwrap();
    let openssl = |arguments: &str| {
        let account = Account::of_servers();
        account.run(Path::new("openssl"), arguments.split(' '), folder);
    };
    let key = "-config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -extensions ca -days 30 -subj /CN=ca -keyout ca.key -out ca.crt"
    ));
    for (file, name) in [("server", "localhost"), ("client", client)] {
        openssl(&format!(
            "req {key} -subj /CN={name} -keyout {file}.key -out {file}.csr"
        ));
        openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
             -extfile openssl.cnf -extensions {file} -out {file}.crt"
        ));
    }
}

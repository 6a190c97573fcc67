//! Redis over TLS.

use medcards_cache::Redis;
use medcards_core::ErrorKind;
use medcards_tests::redis::RedisServer;

use super::places::{connected, patient, until};

/// The address of this server, with the files that it needs.
fn address(server: &RedisServer, files: &[(&str, std::path::PathBuf)]) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|(name, path)| format!("{name}={}", path.display()))
        .collect();
    format!("{}?{}", server.url(), files.join("&"))
}

#[tokio::test]
async fn tls_is_spoken_with_who_can_prove_their_name() {
    let server = RedisServer::start_with_tls(&[]);
    for protocol in ["resp2", "resp3"] {
        let trusting = address(&server, &[("ca", server.ca_certificate())]);
        let redis = connected(patient(&format!("{trusting}&protocol={protocol}"))).await;
        assert!(!redis.is_away());
        until("it counts itself", async || redis.counts().commands > 0).await;
        assert_eq!(redis.counts().failures, 0);
    }
    let error = Redis::connect(patient(&server.url())).await.unwrap_err();
    let kind = error.kind();
    assert_eq!(kind, ErrorKind::Denied, "nobody vouches for it: {error}");
}

#[tokio::test]
async fn a_server_that_wants_to_know_who_we_are_is_shown_a_certificate() {
    let server = RedisServer::start_with_tls(&[("tls-auth-clients", "yes")]);
    let ca = ("ca", server.ca_certificate());
    let known = address(
        &server,
        &[
            ca.clone(),
            ("cert", server.client_certificate()),
            ("key", server.client_key()),
        ],
    );
    let redis = connected(patient(&known)).await;
    assert!(!redis.is_away());
    until("it counts itself", async || redis.counts().commands > 0).await;
    assert_eq!(redis.counts().failures, 0);
    let error = Redis::connect(patient(&address(&server, &[ca]))).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

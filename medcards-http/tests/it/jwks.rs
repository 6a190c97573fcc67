use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::{rand, rsa, signature};
use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::world::{World, sign};

const USER: &str = "7f1b6c1e-58a7-4f0b-9f3a-0d9f5a1c2b3d";

/// An issuer with a key set on a socket.
#[derive(Clone)]
struct Issuer {
    document: Arc<Mutex<String>>,
    fetches: Arc<AtomicU64>,
    address: SocketAddr,
}

impl Issuer {
    async fn new(keys: &[&IssuerKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            document: Arc::default(),
            fetches: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        issuer.publish(keys);
        let served = issuer.clone();
        let keys = move || async move {
            served.fetches.fetch_add(1, Ordering::SeqCst);
            let document = served.document.lock().unwrap().clone();
            if document.is_empty() {
                Err(axum::http::StatusCode::BAD_GATEWAY)
            } else {
                Ok(document)
            }
        };
        drop(tokio::spawn(async move {
            axum::serve(listener, Router::new().route("/jwks", get(keys))).await
        }));
        issuer
    }

    fn publish(&self, keys: &[&IssuerKey]) {
        let mut keys: Vec<_> = keys.iter().map(|key| key.jwk.clone()).collect();
        keys.push(json!({"kty": "strange", "kid": "strange"}));
        keys.push(json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"}));
        *self.document.lock().unwrap() = json!({"keys": keys}).to_string();
    }

    fn go_away(&self) {
        self.document.lock().unwrap().clear();
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }

    async fn world(&self) -> World {
        let url = format!("http://{}/jwks", self.address);
        World::with(|config| config.with_jwks_url(url)).await
    }
}

struct IssuerKey {
    algorithm: Algorithm,
    signing: EncodingKey,
    jwk: Value,
}

impl IssuerKey {
    fn new(id: &str, algorithm: Algorithm) -> Self {
        let random = rand::SystemRandom::new();
        let mut jwk = Value::Null;
        let signing = match algorithm {
            Algorithm::ES256 => {
                let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pkcs8 = signature::EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
                EncodingKey::from_ec_der(pkcs8.as_ref())
            }
            Algorithm::EdDSA => {
                let pkcs8 = signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = signature::Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
                let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
                jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                EncodingKey::from_ed_der(pkcs8.as_ref())
            }
            _ => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                let base64 = STANDARD.encode(der.as_ref());
                let pem =
                    format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
                EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
            }
        };
        if jwk.is_null() {
            let described = Jwk::from_encoding_key(&signing, algorithm).unwrap();
            jwk = serde_json::to_value(described).unwrap();
        }
        (jwk["kid"], jwk["use"]) = (json!(id), json!("sig"));
        Self {
            algorithm,
            signing,
            jwk,
        }
    }

    fn sign(&self, world: &World, id: Option<&str>) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = id.map(str::to_owned);
        let claims = json!({"sub": USER, "exp": world.in_an_hour()});
        jsonwebtoken::encode(&header, &claims, &self.signing).unwrap()
    }
}

#[tokio::test]
async fn tokens_signed_with_the_issuers_keys_are_taken() {
    let rsa = IssuerKey::new("rsa", Algorithm::RS256);
    let ec = IssuerKey::new("ec", Algorithm::ES256);
    let ed = IssuerKey::new("ed", Algorithm::EdDSA);
    let issuer = Issuer::new(&[&rsa, &ec, &ed]).await;
    let world = issuer.world().await;
    for (key, id) in [(&rsa, "rsa"), (&ec, "ec"), (&ed, "ed")] {
        world
            .get(&key.sign(&world, Some(id)), "/v1/me")
            .await
            .expect(200);
        world
            .get(&key.sign(&world, None), "/v1/me")
            .await
            .expect(200);
        let stranger = IssuerKey::new(id, key.algorithm);
        let forged = stranger.sign(&world, Some(id));
        world
            .get(&forged, "/v1/me")
            .await
            .expect_problem(401, "token_invalid");
    }
    let crossed = ec.sign(&world, Some("rsa"));
    world
        .get(&crossed, "/v1/me")
        .await
        .expect_problem(401, "token_invalid");
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_public_key_never_serves_as_a_secret() {
    let rsa = IssuerKey::new("rsa", Algorithm::RS256);
    let issuer = Issuer::new(&[&rsa]).await;
    let world = issuer.world().await;
    let claims = json!({"sub": USER, "exp": world.in_an_hour(), "role": "admin"});
    for secret in [rsa.jwk["n"].as_str().unwrap(), "secret", "c2VjcmV0"] {
        let token = sign(&claims, secret);
        world
            .get(&token, "/v1/me")
            .await
            .expect_problem(401, "token_invalid");
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_once_and_no_oftener_than_allowed() {
    let old = IssuerKey::new("old", Algorithm::ES256);
    let new = IssuerKey::new("new", Algorithm::ES256);
    let issuer = Issuer::new(&[&old]).await;
    let world = issuer.world().await;
    world
        .get(&old.sign(&world, Some("old")), "/v1/me")
        .await
        .expect(200);

    issuer.publish(&[&old, &new]);
    let token = new.sign(&world, Some("new"));
    for _ in 0..3 {
        world
            .get(&token, "/v1/me")
            .await
            .expect_problem(401, "token_invalid");
    }
    assert_eq!(issuer.fetches(), 1, "the pause is not over");
    world.clock.advance(Duration::from_secs(10));
    let calls = (0..20).map(|_| world.get(&token, "/v1/me"));
    for reply in futures_util::future::join_all(calls).await {
        reply.expect(200);
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_costs_only_tokens_that_are_not_known() {
    let key = IssuerKey::new("key", Algorithm::ES256);
    let issuer = Issuer::new(&[&key]).await;
    issuer.go_away();
    let world = issuer.world().await;
    let token = key.sign(&world, Some("key"));
    let reply = world.get(&token, "/v1/me").await;
    reply.expect_problem(503, "keys_unavailable");
    reply.header("retry-after");

    issuer.publish(&[&key]);
    world.clock.advance(Duration::from_secs(10));
    world.get(&token, "/v1/me").await.expect(200);
    issuer.go_away();
    world.clock.advance(Duration::from_mins(20));
    world.get(&token, "/v1/me").await.expect(200);
}

#[tokio::test]
async fn a_withdrawn_key_is_not_believed_for_long() {
    let (old, new) = (
        IssuerKey::new("old", Algorithm::ES256),
        IssuerKey::new("new", Algorithm::ES256),
    );
    let issuer = Issuer::new(&[&old]).await;
    let world = issuer.world().await;
    let token = old.sign(&world, Some("old"));
    world.get(&token, "/v1/me").await.expect(200);
    issuer.publish(&[&new]);
    world.clock.advance(Duration::from_mins(10));
    // Served from the old keys, while new ones are fetched.
    world.get(&token, "/v1/me").await.expect(200);
    let is_fetched = async {
        while issuer.fetches() < 2 {
            tokio::task::yield_now().await
        }
    };
    is_fetched.await;
    world
        .get(&new.sign(&world, Some("new")), "/v1/me")
        .await
        .expect(200);
    world.clock.advance(Duration::from_mins(5));
    world
        .get(&token, "/v1/me")
        .await
        .expect_problem(401, "token_invalid");
}

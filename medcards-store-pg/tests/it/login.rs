use medcards_core::ErrorKind;
use medcards_core::answer::AnswerStore;
use medcards_core::store::Consistency;
use medcards_store_pg::{PgConfig, PgStore};
use medcards_tests::pg::{Cluster, Installed};

use crate::place::{answer, at, oldest, record, user};

#[tokio::test(flavor = "multi_thread")]
async fn password_and_certificate_open_the_store_over_tls_and_nothing_else_does() {
    let Some(installed) = Installed::all().into_iter().find(Installed::has_tls) else {
        panic!("no server with TLS is installed: run ./tests/run");
    };
    let (cluster, credentials) = Cluster::start_with_tls(&installed, &[]);
    let ca = credentials.ca_certificate();
    let place = format!("127.0.0.1:{}/postgres", cluster.port());
    let verified = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    let certificate = format!(
        "sslcert={}&sslkey={}",
        credentials.client_certificate().display(),
        credentials.client_key().display()
    );
    let password = credentials.password();
    for role in ["app_password", "app_cert"] {
        let grant = format!("GRANT ALL ON SCHEMA public TO {role}; GRANT {role} TO postgres");
        cluster.psql("postgres", &grant);
    }

    let with_password = format!("postgres://app_password:{password}@{place}?{verified}");
    let store = PgStore::open(PgConfig::new(&with_password).unwrap())
        .await
        .unwrap();
    record(&store, &answer(1, at(1))).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE usename = 'app_password'";
    assert_eq!(cluster.psql("postgres", encrypted).trim(), "t");
    store.close().await;

    // The tables are the first role's; the other only reads here.
    cluster.psql("postgres", "GRANT app_password TO app_cert");
    let with_certificate = format!("postgres://app_cert@{place}?{verified}&{certificate}");
    let store = PgStore::open(PgConfig::new(&with_certificate).unwrap())
        .await
        .unwrap();
    let stats = store
        .user_stats(user(1), &Consistency::Strong)
        .await
        .unwrap();
    assert_eq!(stats.answered, 1);
    store.close().await;

    let wrong_password = format!("postgres://app_password:wrong-{password}@{place}?{verified}");
    let no_certificate = format!("postgres://app_cert@{place}?{verified}");
    let not_encrypted = format!("postgres://app_password:{password}@{place}?sslmode=disable");
    for url in [&wrong_password, &no_certificate, &not_encrypted] {
        let error = PgStore::open(PgConfig::new(url).unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(!format!("{error} {error:?}").contains(password), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_address_is_refused_and_never_repeated() {
    for url in [
        "",
        "medcards.sqlite",
        "mysql://u:s3cret@h/d",
        "postgres://u:s3cret@h:port/d",
        "postgres://u:s3cret@h:99999/d",
        "postgres://u:s3cret@h/d?sslmode=s3cret",
        "postgres://u:s3cret@h1:1,h2:two/d",
        "postgres://u:s3cret#1@h/d",
        "postgres://u:s3cret/1@h/d",
        "postgres://u:s3cret?1@h/d",
        "postgres://u:geh?s3cret@h/d",
        "postgres://u:ge?a&s3cret@h/d",
        "postgres://u:s3cret@h/d?sslmod=require",
    ] {
        let error = PgConfig::new(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {error}");
        assert!(
            !format!("{error} {error:?}").contains("s3cret"),
            "{error:?}"
        );
    }
    for url in [
        "postgres://h/d",
        "postgresql://u@h1,h2:5433,h3/d?target_session_attrs=read-write&sslmode=disable",
        "postgres://u:p@[::1]:5432/d",
    ] {
        PgConfig::new(url).unwrap();
    }
}

#[tokio::test]
async fn an_opening_that_cannot_succeed_says_what_to_do() {
    let cluster = oldest();
    let nowhere = "postgres://postgres@127.0.0.1:1/d".to_owned();
    let missing = cluster.url("there_is_no_such_database");
    let nobody = cluster
        .url("postgres")
        .replace("postgres@", "nobody_at_all@");
    for (url, kind) in [
        (nowhere, ErrorKind::Unavailable),
        (missing, ErrorKind::Invalid),
        (nobody, ErrorKind::Denied),
    ] {
        let error = PgStore::open(PgConfig::new(&url).unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let config = PgConfig::new(&cluster.url("postgres")).unwrap();
    for wrong in [
        config.clone().with_connections_max(0),
        config.clone().with_writers(17),
        config
            .clone()
            .with_statement_timeout(std::time::Duration::ZERO),
        config.with_retention(medcards_store_pg::Retention::Drop(3)),
    ] {
        let error = PgStore::open(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

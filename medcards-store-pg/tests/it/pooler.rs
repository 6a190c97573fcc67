use medcards_core::answer::AnswerStore;
use medcards_core::store::Consistency;
use medcards_store_pg::{PgStore, Pooling};

use crate::place::{answer, answer_until, at, config, fresh_database, oldest, record, until, user};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_session_stays_on_servers_that_clients_share() {
    let database = fresh_database(oldest()).await;
    let bouncer = oldest().bouncer(&[("default_pool_size", "2")]);
    let url = bouncer.url(database.name());
    let config = config(&url)
        .with_pooling(Pooling::Transaction)
        .with_connections_max(20);
    let stores = [
        PgStore::open(config.clone()).await.unwrap(),
        PgStore::open(config).await.unwrap(),
    ];
    let stop = tokio_util::sync::CancellationToken::new();
    let mut answering = tokio::task::JoinSet::new();
    for (offset, store) in (0_u32..).zip(&stores) {
        let (store, stop) = (store.clone(), stop.clone());
        answering.spawn(async move {
            for second in 0..50 {
                let answer = answer(100 + offset, at(second));
                record(&store, &answer).await;
                let stats = store.user_stats(answer.user_id, &Consistency::Strong).await;
                assert_eq!(stats.unwrap().answered, u64::try_from(second).unwrap() + 1);
            }
            stop.cancel();
        });
    }
    let ledger = answer_until(&stores[0], 8, &stop).await;
    answering.join_all().await;
    assert!(ledger.unknown.is_empty(), "{:?}", ledger.unknown.len());

    // Asked on each of the shared servers, through the pooler itself.
    let mut connection = {
        use sqlx::Connection;
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let options = options.statement_cache_capacity(0).extra_float_digits(None);
        sqlx::PgConnection::connect_with(&options).await.unwrap()
    };
    for _ in 0..10 {
        let left = sqlx::raw_sql(
            "SELECT (SELECT count(*) FROM pg_prepared_statements)::text,
                    current_setting('statement_timeout'), current_setting('jit')",
        );
        let row = left.fetch_one(&mut connection).await.unwrap();
        let read = |at| sqlx::Row::get::<String, usize>(&row, at);
        assert_eq!(read(0), "0", "a statement was left prepared");
        assert_eq!((read(1).as_str(), read(2).as_str()), ("0", "on"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_killed_is_found_again() {
    let database = fresh_database(oldest()).await;
    let bouncer = oldest().bouncer(&[]);
    let config = config(&bouncer.url(database.name())).with_pooling(Pooling::Transaction);
    let store = PgStore::open(config).await.unwrap();
    for round in 0..3 {
        record(&store, &answer(1, at(round))).await;
        bouncer.kill();
        let error = store.record_answer(answer(1, at(100 + round))).await;
        assert!(error.unwrap_err().is_retryable());
        bouncer.start_again();
        until("the store answers again", async || {
            store.user_stats(user(1), &Consistency::Strong).await.ok()
        })
        .await;
    }
}

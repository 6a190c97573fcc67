//! Drains, follows and keeps up a flow of jobs, by each of three queues in turn on one PostgreSQL.
//!
//! See `benches/README.md`.

mod apalis_queue;
mod graphile;
mod ours;
mod queue;
mod run;

use std::time::Duration;

use clap::Parser;
use medcards_tests::pg::{Cluster, Installed};

use crate::queue::Queue;

/// Compares the job queue with its peers, in one run on one server.
#[derive(Debug, Parser)]
struct Options {
    /// How many jobs are drained.
    #[arg(long, default_value_t = 50_000)]
    drain: u64,
    /// How many jobs are enqueued one by one to see when they are begun.
    #[arg(long, default_value_t = 1_000)]
    single: u64,
    /// For how many seconds jobs flow, without and then with a transaction that holds back vacuum.
    #[arg(long, default_value_t = 60)]
    flow: u64,
    /// How often each queue has its turn.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let installed = Installed::oldest();
    println!("PostgreSQL {}, fsync on", installed.major());
    let cluster = Cluster::start(&installed, &[("max_connections", "200")]);
    for round in 1..=options.rounds {
        println!("\nround {round}");
        for name in ["medcards", "apalis", "graphile"] {
            let database = cluster.fresh_database();
            let queue: Box<dyn Queue> = match name {
                "medcards" => Box::new(ours::Ours::open(&database.url()).await),
                "apalis" => Box::new(apalis_queue::Apalis::open(&database.url()).await),
                _ => Box::new(graphile::Graphile::open(&database.url()).await),
            };
            run::drain(&*queue, name, options.drain).await;
            run::single(&*queue, name, options.single).await;
            let flow = Duration::from_secs(options.flow);
            let before = run::flow(&*queue, name, flow, None).await;
            let held = run::flow(&*queue, name, flow, Some(&database.url())).await;
            println!(
                "{name:10} keeps {:.0} % of its rate while vacuum is held back",
                100.0 * held / before
            );
            queue.stop().await;
        }
    }
}

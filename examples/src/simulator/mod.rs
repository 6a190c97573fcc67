//! A simulator of a model's server, so that the whole platform runs and is loaded without a key.
//!
//! One port speaks two dialects: that of Anthropic (messages, streamed and whole, counted tokens,
//! models, message batches) and that of OpenAI (chat completions, models, files, batches). The
//! replies are plausible: feedback on the options that it finds in a prompt of ours, and a few
//! sentences for any other prompt. What goes wrong, and how long things take, is told by a
//! [`Script`], at the start or while it runs; what was asked is told by [`Counts`]. Text is in
//! English whatever language a prompt asks for, and tokens are four bytes each.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> medcards::Result<()> {
//! use medcards_examples::simulator::{Behaviour, Script, Simulator};
//!
//! let simulator = Simulator::start(Script {
//!     next: vec![Behaviour::Overloaded, Behaviour::Cut],
//!     ..Script::default()
//! })
//! .await?;
//! println!("ask {}", simulator.base_url());
//! assert_eq!(simulator.counts().all_calls_of("POST /v1/messages"), 0);
//! simulator.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Routes that steer it
//!
//! | Route | What it does |
//! | --- | --- |
//! | `GET` and `PUT /simulator/script` | tells and replaces the [`Script`], as JSON |
//! | `POST /simulator/next` | adds to [`Script::next`]: an array such as `["cut", "good"]` |
//! | `PUT` and `DELETE /simulator/next` | replaces and empties what is left of it |
//! | `GET` and `DELETE /simulator/counts` | tells and clears the [`Counts`] |
//! | `POST /simulator/batches/finish` | finishes at once every batch that is under way |
//! | `POST /simulator/batches/expire` | lets the time of every batch that is under way run out |

mod script;

mod counts;

mod anthropic;
mod openai;

mod batch;
mod cache;
mod control;
mod feedback;
mod limit;
mod play;
mod problem;
mod prompt;
mod reply;
mod serve;
mod state;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use medcards::time::{Clock, SystemClock};
use medcards::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::counts::{BatchCounts, Counts};
pub use self::script::{BatchScript, Behaviour, Limits, Script};
use self::state::Shared;

/// The longest body of a request by default, which is that of the real Anthropic.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many times longer a batch or a file may be, as with the real one: 256 MiB by default.
const BATCH_BODIES: usize = 8;

/// How a simulator is started.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    listen: SocketAddr,
    clock: Arc<dyn Clock>,
    body_bytes_max: usize,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            clock: Arc::new(SystemClock::new()),
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

impl SimulatorOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the address. Default: a free port of this machine.
    #[must_use]
    pub fn with_listen(mut self, listen: SocketAddr) -> Self {
        self.listen = listen;
        self
    }

    /// Sets the clock of batches, rate limits and the cache; the waits within a call are in real
    /// time. Default: that of the machine.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the longest body of a request, in bytes; a batch or a file may have eight times as much.
    /// Default: [`BODY_BYTES_MAX`].
    #[must_use]
    pub const fn with_body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Starts a simulator.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a script that cannot be, and [`ErrorKind::Unavailable`] if the
    /// address cannot be had.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing running.
    pub async fn start(self, script: Script) -> Result<Simulator> {
        script.check()?;
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|source| unavailable(self.listen).with_source(source))?;
        let address = listener.local_addr();
        let address = address.map_err(|source| unavailable(self.listen).with_source(source))?;
        let shared = Arc::new(Shared::new(script, self.clock, self.body_bytes_max));
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::clone(&shared));
        let task = tokio::spawn(serve::serve(listener, router, stopped));
        Ok(Simulator {
            address,
            shared,
            stop: Some(stop),
            task,
        })
    }
}

/// A running simulator. Dropping it stops it at once, in the midst of replies.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Starts one on a free port of this machine.
    ///
    /// # Errors
    /// Those of [`SimulatorOptions::start`].
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing running.
    pub async fn start(script: Script) -> Result<Self> {
        SimulatorOptions::new().start(script).await
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as our providers take it, without `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.state().counts.clone()
    }

    /// Forgets what it was asked so far.
    pub fn clear_counts(&self) {
        self.shared.state().clear_counts();
    }

    /// Replaces the script. Calls and batches that are under way go on under the old one; rate
    /// limits are full again, and calls are numbered anew.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a script that cannot be; the old one stays.
    pub fn follow(&self, script: Script) -> Result<()> {
        script.check()?;
        self.shared.follow(script);
        Ok(())
    }

    /// Adds to how the next calls are treated.
    pub fn queue(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.state().queue(behaviours);
    }

    /// Finishes at once every batch that is under way.
    pub fn finish_batches(&self) {
        let now = self.shared.now();
        self.shared.state().batches.finish(now);
    }

    /// Lets the time of every batch that is under way run out.
    pub fn expire_batches(&self) {
        let now = self.shared.now();
        self.shared.state().batches.expire(now);
    }

    /// Stops it: nothing more is accepted, and replies that are under way have two seconds to end.
    ///
    /// # Cancel safety
    /// A dropped future stops it at once.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // It ends by itself, or was aborted with the runtime: there is no one to tell.
        drop((&mut self.task).await);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Simulator {
    /// Says nothing of the script, which may hold a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let script = get(control::script).put(control::put_script);
    let next = post(control::next)
        .put(control::put_next)
        .delete(control::clear_next);
    let counts = get(control::counts).delete(control::clear_counts);
    Router::new()
        .route("/simulator/script", script)
        .route("/simulator/next", next)
        .route("/simulator/counts", counts)
        .route("/simulator/batches/finish", post(control::finish_batches))
        .route("/simulator/batches/expire", post(control::expire_batches))
        .merge(anthropic::routes())
        .merge(openai::routes())
        .fallback(anthropic::not_found)
        .with_state(shared)
}

fn unavailable(listen: SocketAddr) -> Error {
    let context = format!("{listen} cannot be listened on; is it in use? port 0 takes a free one");
    Error::new(ErrorKind::Unavailable, "start a simulator", context)
}

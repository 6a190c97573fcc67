//! Several servers on one database and one Redis.

use futures_util::future::join_all;
use tempfile::TempDir;

use super::{Home, Model, Server, Student, send};

/// How many servers there are.
pub(crate) const SERVERS: usize = 3;

/// Servers, and all that they share.
pub(crate) struct Fleet {
    pub(crate) servers: Vec<Server>,
    pub(crate) home: Home,
    folders: Vec<TempDir>,
}

impl Fleet {
    /// Starts servers on one database and the Redis at this address.
    pub(crate) async fn start(redis: &str, model: &Model, settings: &[(&str, &str)]) -> Self {
        let mut fleet = Self {
            servers: Vec::new(),
            home: Home::postgres(),
            folders: Vec::new(),
        };
        for _ in 0..SERVERS {
            let folder = TempDir::new().unwrap();
            let mut launch = fleet.home.launch_in(folder.path());
            for (name, value) in [
                ("MEDCARDS_REDIS", redis),
                ("MEDCARDS_AI", "openai"),
                ("MEDCARDS_AI_URL", model.url()),
                ("MEDCARDS_AI_MODEL", "model-of-nobody"),
                ("MEDCARDS_AI_PRICE", "1.00/5.00"),
            ] {
                launch = launch.with(name, value);
            }
            for (name, value) in settings {
                launch = launch.with(name, value);
            }
            fleet.servers.push(launch.start().await);
            fleet.folders.push(folder);
        }
        fleet
    }

    /// A student who can ask all servers.
    pub(crate) fn student(&self) -> Student {
        self.servers[0].client().student()
    }

    /// The sum of a counter over all servers that run.
    pub(crate) async fn total(&self, name: &str) -> u64 {
        let figures = self.servers.iter().map(|server| figure(server, name));
        join_all(figures).await.into_iter().sum()
    }
}

/// A whole figure of a server, such as a counter, by its name and labels.
pub(crate) async fn figure(server: &Server, name: &str) -> u64 {
    measure(server, name).await as u64
}

/// Any figure of a server, by its name and labels.
pub(crate) async fn measure(server: &Server, name: &str) -> f64 {
    let reply = send(server.client().get("/metrics")).await;
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let figure = line.unwrap_or_else(|| panic!("no {name}: {text}"));
    figure.parse().unwrap()
}

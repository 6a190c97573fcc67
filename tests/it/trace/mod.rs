//! One trace of requests, played on every kind of store: whoever asks cannot tell them apart.
//!
//! The servers are asked step by step, all of them the same at about the same time. What must differ
//! is put aside: times, and the ids that a server makes. The ids of cases decide which case comes
//! next and in which order its options are shown, so those of all stores are made the same, after the
//! cases were imported and before the first student comes.

mod cases;
mod script;
mod step;

mod compare;
mod play;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use medcards_core::CaseId;
use medcards_core::time::{Clock, SystemClock};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use self::play::{Player, Seen};
use self::script::Script;
use self::step::Step;
use crate::harness::{Home, Server, until};

/// The most steps with differences that are shown: a first one often brings others.
const DIFFERENCES_SHOWN_MAX: usize = 10;

/// The least requests of a trace.
const STEPS_MIN: usize = 600;

/// What a client may be told, each of which the trace must bring about.
const STATUSES: [u16; 12] = [200, 201, 304, 400, 401, 403, 404, 405, 406, 409, 415, 422];

#[tokio::test]
async fn the_same_trace_gives_the_same_answers_on_every_store() {
    let homes = [
        ("sqlite", Home::sqlite()),
        ("postgres", Home::postgres()),
        ("postgres with replicas", Home::postgres_with_replicas()),
        ("postgres with redis", Home::postgres().with_redis()),
    ];
    let mut stage = Stage::new(&homes);
    stage.start().await;
    for step in cases::imports() {
        stage.play(&step).await;
    }
    let cases = stage.share_case_ids().await;

    let script = Script::new(&cases, SystemClock::new().now());
    assert!(script.steps.len() >= STEPS_MIN, "{}", script.steps.len());
    stage.share(&script.ids, &script.instants);
    for step in &script.steps {
        stage.play(step).await;
    }
    stage.assert_broad(&script).await;
    stage.assert_same();
    replicas_were_asked(&homes[2].1).await;
}

/// All servers, and what they answered differently.
struct Stage<'a> {
    homes: &'a [(&'static str, Home)],
    servers: Vec<Server>,
    players: Vec<Player>,
    statuses: BTreeSet<u16>,
    steps: usize,
    differences: Vec<String>,
}

impl<'a> Stage<'a> {
    fn new(homes: &'a [(&'static str, Home)]) -> Self {
        Self {
            homes,
            servers: Vec::new(),
            players: homes.iter().map(|_| Player::default()).collect(),
            statuses: BTreeSet::new(),
            steps: 0,
            differences: Vec::new(),
        }
    }

    async fn start(&mut self) {
        self.servers = join_all(
            self.homes
                .iter()
                .map(|(_, home)| home.launch().with("MEDCARDS_ROLE", "serve").start()),
        )
        .await;
        for (player, server) in self.players.iter_mut().zip(&self.servers) {
            player.asks(server.client());
        }
    }

    /// Takes a step on each server and notes where another than the first saw something else.
    async fn play(&mut self, step: &Step) {
        self.steps += 1;
        let played = self.players.iter_mut().map(|player| player.play(step));
        let seen: Vec<Seen> = join_all(played).await;
        self.statuses.insert(seen[0].status());
        for ((name, _), other) in self.homes.iter().zip(&seen).skip(1) {
            let differences = compare::differences(&seen[0], other);
            if !differences.is_empty() {
                let (number, more) = (self.steps, differences.join("\n    "));
                let difference = format!("step {number}, {name}: {step}\n    {more}");
                self.differences.push(difference);
            }
        }
    }

    /// Gives the cases of every database the ids that they have in the file, and returns these by
    /// name. Every store gets feedback of a model for reviewers to judge. The servers are started again, so that none remembers an id of before.
    async fn share_case_ids(&mut self) -> BTreeMap<String, String> {
        let listed = self.players[0].list_cases().await;
        let named = listed.iter().map(|case| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&case["source"]["external_id"]), text(&case["id"]))
        });
        let cases: BTreeMap<_, _> = named.collect();
        for server in self.servers.drain(..) {
            server.stop().await;
        }
        let rows = cases.iter().map(|(name, id)| {
            let id: CaseId = id.parse().unwrap();
            let pick = xxh3_64(id.as_bytes()).cast_signed();
            format!("('{name}', '{id}'::uuid, {pick})")
        });
        let rows = rows.collect::<Vec<_>>().join(", ");
        // Nothing refers to a case yet but its versions.
        let sql = format!(
            "create temporary table wanted as
             select old.id as old_id, new.* from cases as old
             join (values {rows}) as new (name, id, pick) on name = external_id;
             update case_versions set case_id = id from wanted where case_id = old_id;
             update cases set id = wanted.id, pick = wanted.pick from wanted where cases.id = old_id;
             select count(*) from wanted"
        );
        for (name, home) in &self.homes[1..] {
            let changed = home.database().psql(&sql);
            assert_eq!(changed, cases.len().to_string(), "{name}");
        }
        for (_, home) in self.homes {
            home.with_store(async |store| {
                for (key, feedback) in script::written(&cases) {
                    assert!(store.put_feedback(&key, &feedback).await.unwrap());
                }
            })
            .await;
        }
        self.start().await;
        let ids: BTreeSet<_> = cases.values().cloned().collect();
        self.share(&ids, &BTreeSet::new());
        cases
    }

    /// Tells the players what is the same on every server.
    fn share(&mut self, ids: &BTreeSet<String>, instants: &BTreeSet<String>) {
        for player in &mut self.players {
            player.knows(ids, instants);
        }
    }

    /// The trace asks every route and meets every kind of reply.
    async fn assert_broad(&self, script: &Script) {
        for status in STATUSES {
            assert!(self.statuses.contains(&status), "no reply was a {status}");
        }
        let document = self.players[0].openapi().await;
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "post", "patch", "put", "delete"] {
                let is_asked = || script.steps.iter().any(|step| step.is_for(method, path));
                let is_there = item.get(method).is_some();
                assert!(!is_there || is_asked(), "nobody asks {method} {path}");
            }
        }
    }

    fn assert_same(&self) {
        let shown = self.differences.iter().take(DIFFERENCES_SHOWN_MAX);
        assert!(
            self.differences.is_empty(),
            "{} of {} steps differ:\n{}",
            self.differences.len(),
            self.steps,
            shown.cloned().collect::<Vec<_>>().join("\n")
        );
    }
}

/// Else the trace would say nothing about them. A server tells of reads a while later.
async fn replicas_were_asked(home: &Home) {
    let name = home.database().name();
    let sql = "select coalesce(sum(idx_scan), 0) > 0 from pg_stat_user_tables
               where relname like 'interactions%'";
    until("replicas have been asked for answers", async || {
        let mut replicas = home.replicas().iter();
        replicas
            .any(|replica| replica.psql(name, sql) == "t")
            .then_some(())
    })
    .await;
}

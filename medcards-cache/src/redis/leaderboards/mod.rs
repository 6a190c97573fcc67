//! Leaderboards in sorted sets.

mod reply;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::event::LogPosition;
use medcards_core::leaderboard::{
    Applied, Batch, Board, COHORT_SIZE, Cohort, Edition, FedLeaderboards, Leaderboards,
    Neighbourhood, Period, Progress, STANDINGS_MAX, Top, Week,
};
use medcards_core::{Error, ErrorKind, Result, UserId};
use redis::{Script, ScriptInvocation};

use self::reply::{Read, progress_of, ranked_among_themselves};
use super::Redis;

static APPLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));
static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("begin.lua")));
static FIELDS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("fields.lua")));
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("read.lua")));
static SWITCH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("switch.lua")));
static VERIFY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("verify.lua")));

/// What all keys have in common, so that a script may read and change several of them.
const TAG: &str = "boards";

/// How long a keeper may wait for one answer: nobody waits for a keeper.
const KEEPER_PATIENCE: Duration = Duration::from_secs(1);

/// How many sorted sets one script compares: well below a millisecond.
const VERIFIED_AT_ONCE: usize = 200;

/// How often a read follows editions that change under it. They change when a rebuild is done.
const READ_TRIES: usize = 3;

/// What tells which editions there are, and where they stand.
const PROGRESS_FIELDS: [&str; 8] = [
    "current",
    "current_position",
    "current_lost",
    "current_corrections",
    "next",
    "next_position",
    "next_lost",
    "next_corrections",
];

/// Leaderboards in Redis, which all processes share.
///
/// A board is a sorted set of the sixteen bytes of user ids by their points, negated: so that it
/// has more points first, and equal points in the order of ids. A rank and its neighbours cost the
/// logarithm of the members, and what is returned. A hash says which editions there are, how far
/// they have come, and how many members each board has.
///
/// All keys have one hash tag, `{boards}`: gains are counted, and a place read, by scripts that need
/// several boards at once. So in a Cluster one node has all boards. That is 100 bytes for each user
/// on each board, and a hundred thousand gains a second, which is far more than students make.
///
/// Boards of a week expire; those of all time must not. Give the server room for all of them twice,
/// which a rebuild needs: one that has to evict boards loses them again and again, and is built anew
/// after longer and longer waits. Should the server lose any of them all the
/// same, by FLUSHALL, a restart, an operator, or by evicting what expires never, then the counts
/// tell: gains are refused and the keepers build all boards anew from the log. What somebody else put
/// under their names is dropped, and is such a loss. It is noticed when
/// somebody gains a point on the board, and within the time between two
/// [verifications](FedLeaderboards::verify). Answers say until then that they are not complete. Should the
/// hash alone be lost, then the boards that it told of stay until they are evicted or deleted.
///
/// Cloning gives a handle on the same boards.
#[derive(Clone)]
pub struct RedisLeaderboards {
    redis: Redis,
    meta: Arc<str>,
    /// The edition that answered last, or 0.
    answering: Arc<AtomicU64>,
}

impl RedisLeaderboards {
    /// Keeps boards there.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self {
            meta: redis.key(TAG, "meta").into(),
            redis,
            answering: Arc::default(),
        }
    }

    async fn read(&self, operation: &'static str, wanted: &Wanted<'_>) -> Result<Option<Read>> {
        let mut edition = Edition::new(self.answering.load(Ordering::Relaxed));
        for _ in 0..READ_TRIES {
            let script = wanted.script(self, edition);
            let patience = self.redis.patience();
            let reply = self.redis.script(operation, patience, &script).await?;
            match Read::from_reply(operation, reply, edition)? {
                reply::Answer::Nobody => return Ok(None),
                reply::Answer::Another(other) => {
                    self.answering.store(other.get(), Ordering::Relaxed);
                    edition = other;
                }
                reply::Answer::This(read) => return Ok(Some(read)),
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            operation,
            "the boards are being exchanged: try again",
        ))
    }

    /// The name of what this field of the meta hash tells of.
    fn key(&self, field: &str) -> String {
        self.redis.key(TAG, field)
    }

    /// All fields that tell of sorted sets.
    async fn fields(&self, operation: &'static str) -> Result<Vec<String>> {
        let mut script = FIELDS.prepare_invoke();
        script.key(&*self.meta);
        self.redis.script(operation, KEEPER_PATIENCE, &script).await
    }

    /// Compares all sorted sets with what is known of them, and drops what no edition has.
    async fn compare(&self, operation: &'static str) -> Result<()> {
        let fields = self.fields(operation).await?;
        let sets: Vec<_> = fields
            .iter()
            .filter_map(|text| SetField::read(text))
            .collect();
        for sets in sets.chunks(VERIFIED_AT_ONCE) {
            let mut script = VERIFY.prepare_invoke();
            script.key(&*self.meta);
            for set in sets {
                script
                    .key(self.key(set.text))
                    .arg(set.edition)
                    .arg(set.text)
                    .arg(kept_until_s(set.week));
            }
            let () = self
                .redis
                .script(operation, KEEPER_PATIENCE, &script)
                .await?;
        }
        Ok(())
    }
}

/// A field of the meta hash that tells of a sorted set: an edition, then `/` and a board, or `#` and
/// a week with cohorts.
struct SetField<'a> {
    text: &'a str,
    edition: &'a str,
    week: Option<Week>,
}

impl<'a> SetField<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (edition, name) = text.split_at(text.find(['/', '#'])?);
        let week = match name.split_at(1) {
            ("#", week) => Some(week.parse().ok()?),
            (_, board) => week_of(board.parse().ok()?),
        };
        Some(Self {
            text,
            edition,
            week,
        })
    }
}

fn week_of(board: Board) -> Option<Week> {
    match board.period {
        Period::Week(week) => Some(week),
        Period::AllTime => None,
    }
}

/// The second from which it is not kept; 0 if it always is.
fn kept_until_s(week: Option<Week>) -> i64 {
    week.map_or(0, |week| week.kept_until().as_second())
}

fn board_field(edition: Edition, board: &Board) -> String {
    format!("{edition}/{board}")
}

fn cohorts_field(edition: Edition, week: Week) -> String {
    format!("{edition}#{week}")
}

/// What to read.
enum Wanted<'a> {
    Top(&'a Board, usize),
    Standing(&'a Board, UserId, usize),
    Cohort(Week, UserId),
}

impl Wanted<'_> {
    fn script(&self, boards: &RedisLeaderboards, edition: Edition) -> ScriptInvocation<'static> {
        let mut script = READ.prepare_invoke();
        script.key(&*boards.meta).arg(edition.to_string());
        let mut of_board = |board: &Board| {
            let field = board_field(edition, board);
            script.key(boards.key(&field)).arg(field);
            script.arg(kept_until_s(week_of(board.clone())));
        };
        match self {
            Self::Top(board, limit) => {
                of_board(board);
                script.arg("top").arg(*limit);
            }
            Self::Standing(board, user_id, neighbours) => {
                of_board(board);
                script.arg("standing").arg(user_id.as_bytes().as_slice());
                script.arg(*neighbours);
            }
            Self::Cohort(week, user_id) => {
                let board = board_field(edition, &Board::overall(Period::Week(*week)));
                let cohorts = cohorts_field(edition, *week);
                script.key(boards.key(&board)).key(boards.key(&cohorts));
                script.arg(cohorts).arg(kept_until_s(Some(*week)));
                script.arg("cohort").arg(user_id.as_bytes().as_slice());
                script.arg(COHORT_SIZE);
            }
        }
        script
    }
}

/// A batch as the script takes it.
fn apply_script(
    boards: &RedisLeaderboards,
    edition: Edition,
    batch: &Batch<'_>,
) -> ScriptInvocation<'static> {
    let mut points: HashMap<Board, HashMap<UserId, u64>> = HashMap::new();
    let mut firsts: HashMap<Week, Vec<UserId>> = HashMap::new();
    for gain in batch.gains {
        for board in gain.boards() {
            let of_board = points.entry(board).or_default();
            *of_board.entry(gain.user_id).or_default() += 1;
        }
        let firsts = firsts.entry(gain.week).or_default();
        if !firsts.contains(&gain.user_id) {
            firsts.push(gain.user_id);
        }
    }
    let mut script = APPLY.prepare_invoke();
    script
        .key(&*boards.meta)
        .arg(edition.to_string())
        .arg(batch.from.to_string())
        .arg(batch.to.to_string())
        .arg(points.len());
    for (board, users) in points {
        let field = board_field(edition, &board);
        script.key(boards.key(&field)).arg(field);
        script.arg(kept_until_s(week_of(board))).arg(users.len());
        for (user_id, points) in users {
            script.arg(user_id.as_bytes().as_slice()).arg(points);
        }
    }
    for (week, users) in firsts {
        let field = cohorts_field(edition, week);
        script.key(boards.key(&field)).arg(field);
        script.arg(kept_until_s(Some(week))).arg(users.len());
        for user_id in users {
            script.arg(user_id.as_bytes().as_slice());
        }
    }
    script
}

#[async_trait]
impl FedLeaderboards for RedisLeaderboards {
    async fn progress(&self) -> Result<Progress> {
        const OPERATION: &str = "look how far leaderboards are";
        let mut command = redis::cmd("HMGET");
        command.arg(&*self.meta).arg(&PROGRESS_FIELDS);
        let fields = self.redis.query(OPERATION, KEEPER_PATIENCE, &command).await;
        progress_of(OPERATION, fields?)
    }

    async fn verify(&self) -> Result<Progress> {
        self.compare("verify leaderboards").await?;
        self.progress().await
    }

    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> Result<Applied> {
        const OPERATION: &str = "count gains";
        batch.check()?;
        let script = apply_script(self, edition, batch);
        let reply = self.redis.script(OPERATION, KEEPER_PATIENCE, &script).await;
        let (outcome, position): (String, String) = reply?;
        match outcome.as_str() {
            "done" => Ok(Applied::Done),
            "elsewhere" => reply::position(OPERATION, &position).map(Applied::Elsewhere),
            _ => Ok(Applied::Gone),
        }
    }

    async fn begin_rebuild(&self, corrections: u64) -> Result<Progress> {
        const OPERATION: &str = "rebuild leaderboards";
        // Random, so that it is never that of boards which the hash has forgotten. 0 is nobody's.
        let edition = Edition::new(fastrand::u64(1..));
        let mut script = BEGIN.prepare_invoke();
        script
            .key(&*self.meta)
            .arg(edition.to_string())
            .arg(LogPosition::START.to_string())
            .arg(corrections);
        let fields = self.redis.script(OPERATION, KEEPER_PATIENCE, &script).await;
        progress_of(OPERATION, fields?)
    }

    async fn switch(&self, edition: Edition, position: LogPosition) -> Result<bool> {
        const OPERATION: &str = "switch leaderboards";
        let mut script = SWITCH.prepare_invoke();
        script
            .key(&*self.meta)
            .arg(edition.to_string())
            .arg(position.to_string());
        let switched: u8 = self
            .redis
            .script(OPERATION, KEEPER_PATIENCE, &script)
            .await?;
        if switched == 0 {
            return Ok(false);
        }
        // What is not dropped now is when somebody verifies.
        if let Err(error) = self.compare(OPERATION).await {
            tracing::debug!(%error, "old leaderboards are not dropped yet");
        }
        Ok(true)
    }
}

#[async_trait]
impl Leaderboards for RedisLeaderboards {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        let wanted = Wanted::Top(board, limit.min(STANDINGS_MAX));
        let Some(read) = self.read("read leaderboard", &wanted).await? else {
            return Ok(Top::default());
        };
        let mut standings = read.standings;
        medcards_core::leaderboard::rank_from(1, 1, &mut standings);
        Ok(Top {
            standings,
            members: read.members,
            as_of: read.as_of,
        })
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let wanted = Wanted::Standing(board, user_id, neighbours.min(STANDINGS_MAX));
        match self.read("read standing", &wanted).await? {
            Some(read) => Ok(read.around(user_id)),
            None => Ok(Neighbourhood::default()),
        }
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        let wanted = Wanted::Cohort(week, user_id);
        let read = self.read("read cohort", &wanted).await?;
        Ok(read
            .filter(|read| !read.standings.is_empty())
            .map(|read| Cohort {
                number: read.number,
                standings: ranked_among_themselves(read.standings),
                as_of: read.as_of,
            }))
    }

    async fn rebuild(&self) -> Result<()> {
        let corrections = self.progress().await?.corrections();
        self.begin_rebuild(corrections).await.map(drop)
    }
}

impl fmt::Debug for RedisLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLeaderboards")
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RedisLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisLeaderboards({})", self.meta)
    }
}

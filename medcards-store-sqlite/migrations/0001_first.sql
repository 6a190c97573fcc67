-- The first format. Later files only add: no drop, no rename, no rewrite of rows.
--
-- Instants are INTEGER microseconds since 1970 (UTC), ids are the sixteen bytes of a UUID as BLOB,
-- money is INTEGER millionths of a US dollar. `bucket` is xxh3_64(user id) mod 4096 and stands on
-- every row of a user, so that the user can be moved to another store.

-- Which cases there are, and what the current version of each is filtered by.
CREATE TABLE cases (
    -- For the full-text index only; nothing outside this file may refer to it.
    number            INTEGER PRIMARY KEY,
    id                BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    -- Source and external id name the case for ever, through all versions.
    source            TEXT    NOT NULL,
    external_id       TEXT    NOT NULL,
    current_version   INTEGER NOT NULL CHECK (current_version > 0),
    -- Lower case, to be compared without regard to case.
    specialty_folded  TEXT,
    lang              TEXT    NOT NULL,
    -- A hash of the id (xxh3_64 as a signed number): the order in which unseen cases are picked,
    -- each user starting at a place of their own.
    pick              INTEGER NOT NULL,
    published_at      INTEGER NOT NULL,
    UNIQUE (source, external_id)
) STRICT;

-- Picking the next case reads nothing but this index until it has found one.
CREATE INDEX cases_by_pick ON cases (pick, specialty_folded, lang, id);

-- Lists of one specialty, in the order of lists.
CREATE INDEX cases_by_specialty ON cases (specialty_folded, id);

-- All versions of all cases. A row never changes.
CREATE TABLE case_versions (
    case_id       BLOB    NOT NULL CHECK (length(case_id) = 16),
    version       INTEGER NOT NULL CHECK (version > 0),
    -- The content as JSON, in the form of `CaseRecord`.
    content       TEXT    NOT NULL,
    published_at  INTEGER NOT NULL,
    PRIMARY KEY (case_id, version)
) STRICT;

-- The words of the current version of each case; rowid is `cases.number`. Made from `case_versions`
-- and can be made again. The words are folded before they come here, as those of a search are, and
-- the tokenizer folds what is left. A match in `leading` counts more.
CREATE VIRTUAL TABLE case_words USING fts5 (
    -- Stem and specialty.
    leading,
    -- Vignette, options and topic.
    others,
    content = '',
    contentless_delete = 1,
    prefix = '2 3',
    tokenize = 'unicode61 remove_diacritics 2'
);

-- The answers. A row never changes. Without rowid: one tree less to write for each answer.
CREATE TABLE interactions (
    user_id            BLOB    NOT NULL CHECK (length(user_id) = 16),
    -- The client's idempotency key, which only its user can see or take.
    id                 BLOB    NOT NULL CHECK (length(id) = 16),
    bucket             INTEGER NOT NULL,
    case_id            BLOB    NOT NULL CHECK (length(case_id) = 16),
    case_version       INTEGER NOT NULL,
    -- The chosen options as bits, authored position 0 being the lowest.
    chosen             INTEGER NOT NULL,
    -- The order in which the student saw the options: one byte for each, its authored position.
    shown              BLOB    NOT NULL,
    is_correct         INTEGER NOT NULL CHECK (is_correct IN (0, 1)),
    time_to_answer_ms  INTEGER,
    -- In percent, if the student was asked.
    confidence         INTEGER,
    created_at         INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) STRICT, WITHOUT ROWID;

-- A user's answers, newest first.
CREATE INDEX interactions_by_instant ON interactions (user_id, created_at DESC, id DESC);

-- What a user has answered: totals and the next case read this index alone.
CREATE INDEX interactions_by_case ON interactions (user_id, case_id, created_at, is_correct);

-- The answer log: what happened, in commit order. Everything derived follows it.
CREATE TABLE events (
    -- Never used twice, even after the last rows are gone: readers remember how far they came.
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id      BLOB    NOT NULL CHECK (length(user_id) = 16),
    bucket       INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    -- The whole event as JSON, in the form of `EventBody`.
    body         TEXT    NOT NULL,
    -- By the clock of the machine, for people who look into the log; no code reads it.
    recorded_at  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER))
) STRICT;

-- How far each reader of the log has come. The numbers are 64 bits without sign, kept as signed.
CREATE TABLE cursors (
    reader          TEXT    PRIMARY KEY,
    transaction_no  INTEGER NOT NULL,
    sequence        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Users as far as learning is concerned: no name, no address, no account.
CREATE TABLE users (
    id          BLOB    PRIMARY KEY CHECK (length(id) = 16),
    bucket      INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    -- As JSON, in the form of `UserSettings`.
    settings    TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Feedback that was written before it is asked for, with what reviewers said of it.
CREATE TABLE precomputed_feedback (
    -- The order in which keys were first kept; processes read on from where they came.
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The text form of the feedback key.
    key             TEXT    NOT NULL UNIQUE,
    text            TEXT    NOT NULL,
    origin          TEXT    NOT NULL,
    model           TEXT,
    prompt_version  INTEGER,
    review          TEXT    NOT NULL,
    cost            INTEGER NOT NULL,
    written_at      INTEGER NOT NULL,
    -- Who reviewed it last, and when.
    reviewer        BLOB,
    reviewed_at     INTEGER
) STRICT;

-- What waits for a reviewer, oldest first.
CREATE INDEX precomputed_feedback_by_review ON precomputed_feedback (review, position);

-- Money set aside for live calls. A settled row stays, so that settling twice books once.
CREATE TABLE spend_reservations (
    id       BLOB    PRIMARY KEY CHECK (length(id) = 16),
    -- As YYYY-MM-DD (UTC).
    day      TEXT    NOT NULL,
    amount   INTEGER NOT NULL,
    settled  INTEGER NOT NULL CHECK (settled IN (0, 1))
) STRICT, WITHOUT ROWID;

-- What each day has spent and set aside: kept with the rows it sums, so that reserving reads one.
CREATE TABLE spend_days (
    day        TEXT    PRIMARY KEY,
    spent      INTEGER NOT NULL,
    set_aside  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was served, spent and saved, per day, tier, model and case. No model is '', no case is x''.
CREATE TABLE spend_totals (
    day          TEXT    NOT NULL,
    tier         TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    case_id      BLOB    NOT NULL,
    resolutions  INTEGER NOT NULL,
    cost         INTEGER NOT NULL,
    saved        INTEGER NOT NULL,
    PRIMARY KEY (day, tier, model, case_id)
) STRICT, WITHOUT ROWID;

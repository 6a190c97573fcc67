CREATE TABLE awards (
    user_id     BLOB    NOT NULL CHECK (length(user_id) = 16),
    badge       TEXT    NOT NULL,
    bucket      INTEGER NOT NULL,
    awarded_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, badge)
) STRICT, WITHOUT ROWID;

CREATE TABLE case_versions (
    case_id       BLOB    NOT NULL CHECK (length(case_id) = 16),
    version       INTEGER NOT NULL CHECK (version > 0),
    -- The content as JSON, in the form of `CaseRecord`.
    content       TEXT    NOT NULL,
    published_at  INTEGER NOT NULL,
    PRIMARY KEY (case_id, version)
) STRICT;

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

CREATE INDEX cases_by_pick ON cases (pick, specialty_folded, lang, id);

CREATE INDEX cases_by_specialty ON cases (specialty_folded, id);

CREATE TABLE chat_summaries (
    user_id    BLOB    NOT NULL CHECK (length(user_id) = 16),
    answer_id  BLOB    NOT NULL CHECK (length(answer_id) = 16),
    bucket     INTEGER NOT NULL,
    -- The last turn that it tells of.
    through    BLOB    NOT NULL CHECK (length(through) = 16),
    text       TEXT    NOT NULL,
    PRIMARY KEY (user_id, answer_id)
) STRICT;

CREATE TABLE chat_turns (
    user_id     BLOB    NOT NULL CHECK (length(user_id) = 16),
    -- The client's idempotency key, which only its user can see or take.
    id          BLOB    NOT NULL CHECK (length(id) = 16),
    bucket      INTEGER NOT NULL,
    -- The answer that the chat is about.
    answer_id   BLOB    NOT NULL CHECK (length(answer_id) = 16),
    question    TEXT    NOT NULL,
    -- When the last attempt to reply began, and which one that is.
    started_at  INTEGER NOT NULL,
    attempt     INTEGER NOT NULL CHECK (attempt > 0),
    -- The words, where they come from, which model wrote them, what they cost and when they were
    -- complete; null while there is no reply.
    reply       TEXT,
    origin      TEXT    CHECK ((origin IS NULL) = (reply IS NULL)),
    model       TEXT,
    cost        INTEGER CHECK ((cost IS NULL) = (reply IS NULL)),
    replied_at  INTEGER CHECK ((replied_at IS NULL) = (reply IS NULL)),
    PRIMARY KEY (user_id, id)
) STRICT;

CREATE INDEX chat_turns_by_answer ON chat_turns (user_id, answer_id, id DESC);

CREATE TABLE cursors (
    reader          TEXT    PRIMARY KEY,
    transaction_no  INTEGER NOT NULL,
    sequence        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_jobs (
    id           BLOB    PRIMARY KEY CHECK (length(id) = 16),
    kind         TEXT    NOT NULL,
    payload      TEXT    NOT NULL,
    user_id      BLOB    CHECK (length(user_id) = 16),
    bucket       INTEGER CHECK ((bucket IS NULL) = (user_id IS NULL)),
    is_ordered   INTEGER NOT NULL CHECK (is_ordered IN (0, 1)),
    attempt      INTEGER NOT NULL,
    enqueued_at  INTEGER NOT NULL,
    died_at      INTEGER NOT NULL,
    reason       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_jobs_by_kind ON dead_jobs (kind);

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

CREATE INDEX interactions_by_case ON interactions (user_id, case_id, created_at, is_correct);

CREATE INDEX interactions_by_instant ON interactions (user_id, created_at DESC, id DESC);

CREATE TABLE job_keys (
    kind        TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    job_id      BLOB    NOT NULL CHECK (length(job_id) = 16),
    -- Free after it, unless the job is in the queue or dead.
    kept_until  INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_keys_by_instant ON job_keys (kept_until);

CREATE TABLE jobs (
    -- The order in which they were enqueued. Never used twice, so that it stays that order.
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    kind         TEXT    NOT NULL,
    payload      TEXT    NOT NULL,
    -- Whom it is done for, and whose bucket that is.
    user_id      BLOB    CHECK (length(user_id) = 16),
    bucket       INTEGER CHECK ((bucket IS NULL) = (user_id IS NULL)),
    -- One at a time among such jobs of its user.
    is_ordered   INTEGER NOT NULL CHECK (is_ordered IN (0, 1)),
    -- When it is due, or the lease of its claim ends.
    run_at       INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    -- How many of the attempts do not count: those before it was requeued, and those not begun.
    uncounted    INTEGER NOT NULL,
    -- From a claim until that attempt is settled, so that none is settled twice.
    is_claimed   INTEGER NOT NULL CHECK (is_claimed IN (0, 1)),
    enqueued_at  INTEGER NOT NULL,
    -- Why the last attempt failed.
    reason       TEXT
) STRICT;

CREATE INDEX jobs_by_instant ON jobs (kind, run_at);

CREATE INDEX jobs_in_order ON jobs (user_id, (attempt = 0), sequence) WHERE is_ordered = 1;

CREATE TABLE key_corrections (
    number         INTEGER PRIMARY KEY,
    case_id        BLOB    NOT NULL CHECK (length(case_id) = 16),
    -- The version whose key was wrong.
    version        INTEGER NOT NULL CHECK (version > 0),
    -- The right options as bits, authored position 0 being the lowest.
    right_options  INTEGER NOT NULL,
    -- The version that was published with the correction.
    corrected_in   INTEGER NOT NULL CHECK (corrected_in > 0),
    corrected_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE notices (
    -- Never used twice, even after the last rows are gone: clients remember how far they came.
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id      BLOB    NOT NULL CHECK (length(user_id) = 16),
    bucket       INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    -- As JSON, in the form of `NoticeBody`.
    body         TEXT    NOT NULL,
    happened_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX notices_by_instant ON notices (happened_at);

CREATE INDEX notices_by_user ON notices (user_id);

CREATE TABLE precompute_batches (
    -- In the order in which they were opened.
    position     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    model        TEXT    NOT NULL,
    len          INTEGER NOT NULL,
    reservation  BLOB    NOT NULL CHECK (length(reservation) = 16),
    -- As YYYY-MM-DD (UTC).
    day          TEXT    NOT NULL,
    amount       INTEGER NOT NULL,
    opened_at    INTEGER NOT NULL,
    -- How often its submission was claimed, and when last.
    attempt      INTEGER NOT NULL,
    claimed_at   INTEGER,
    -- The provider's name for it.
    name         TEXT,
    -- All three null while it is open.
    closed_at    INTEGER,
    cost         INTEGER,
    written      INTEGER
) STRICT;

CREATE INDEX precompute_batches_by_name ON precompute_batches (name) WHERE name IS NOT NULL;

CREATE INDEX precompute_batches_open ON precompute_batches (position) WHERE closed_at IS NULL;

CREATE TABLE precompute_keys (
    batch_id  BLOB    NOT NULL,
    -- The number in the name of its item.
    place     INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    -- Null while its batch is open.
    outcome   TEXT,
    PRIMARY KEY (batch_id, place)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX precompute_keys_open ON precompute_keys (key) WHERE outcome IS NULL;

CREATE INDEX precompute_keys_rejected ON precompute_keys (key) WHERE outcome = 'rejected';

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

CREATE INDEX precomputed_feedback_by_review ON precomputed_feedback (review, position);

CREATE TABLE sessions (
    -- The SHA-256 of the secret token, which itself is kept nowhere.
    key         BLOB    PRIMARY KEY CHECK (length(key) = 32),
    user_id     BLOB    NOT NULL CHECK (length(user_id) = 16),
    kind        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE INDEX sessions_by_user ON sessions (user_id, created_at DESC, key DESC);

CREATE TABLE shared_answers (
    id            BLOB    PRIMARY KEY CHECK (length(id) = 16),
    case_id       BLOB    NOT NULL CHECK (length(case_id) = 16),
    case_version  INTEGER NOT NULL CHECK (case_version > 0),
    locale        TEXT    NOT NULL,
    question      TEXT    NOT NULL,
    answer        TEXT    NOT NULL,
    -- Who says that anyone may see it, and when.
    reviewer      BLOB    NOT NULL CHECK (length(reviewer) = 16),
    reviewed_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX shared_answers_by_case ON shared_answers (case_id, id);

CREATE TABLE spend_days (
    day        TEXT    PRIMARY KEY,
    spent      INTEGER NOT NULL,
    set_aside  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE spend_reservations (
    id       BLOB    PRIMARY KEY CHECK (length(id) = 16),
    -- As YYYY-MM-DD (UTC).
    day      TEXT    NOT NULL,
    amount   INTEGER NOT NULL,
    settled  INTEGER NOT NULL CHECK (settled IN (0, 1))
, purpose TEXT, user_id BLOB CHECK (length(user_id) = 16)) STRICT, WITHOUT ROWID;

CREATE TABLE spend_scopes (
    -- Such as month/2026-11 or purpose/2026-11-25/chat.
    scope      TEXT    PRIMARY KEY,
    -- The day, or the first one of the month, as YYYY-MM-DD (UTC).
    day        TEXT    NOT NULL,
    spent      INTEGER NOT NULL,
    set_aside  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE users (
    id          BLOB    PRIMARY KEY CHECK (length(id) = 16),
    bucket      INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    -- As JSON, in the form of `UserSettings`.
    settings    TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE view_editions (
    -- Never used twice: whoever still writes an edition that is gone must not meet another one.
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    view            TEXT    NOT NULL,
    -- One that is gone stays until its rows are deleted.
    state           TEXT    NOT NULL CHECK (state IN ('current', 'gone', 'next')),
    version         INTEGER NOT NULL,
    corrections     INTEGER NOT NULL,
    -- The last event that counts.
    transaction_no  INTEGER NOT NULL,
    sequence        INTEGER NOT NULL,
    -- How many events were set aside.
    set_aside       INTEGER NOT NULL,
    begun_at        INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX view_editions_current ON view_editions (view) WHERE state = 'current';

CREATE INDEX view_editions_gone ON view_editions (number) WHERE state = 'gone';

CREATE UNIQUE INDEX view_editions_next ON view_editions (view) WHERE state = 'next';

CREATE TABLE view_rows (
    edition  INTEGER NOT NULL,
    -- A user, a case, or whatever else has rows.
    owner    BLOB    NOT NULL CHECK (length(owner) = 16),
    item     BLOB    NOT NULL,
    place    INTEGER,
    -- In the form that the version of the edition gives them.
    bytes    BLOB    NOT NULL,
    PRIMARY KEY (edition, owner, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX view_rows_by_place ON view_rows (edition, owner, place, item)
WHERE place IS NOT NULL;

CREATE TABLE view_set_aside (
    edition         INTEGER NOT NULL,
    -- How many were set aside before it.
    place           INTEGER NOT NULL,
    transaction_no  INTEGER NOT NULL,
    sequence        INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    PRIMARY KEY (edition, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE views (
    name                      TEXT    PRIMARY KEY,
    -- The last event that was announced, by whichever edition.
    announced_transaction_no  INTEGER NOT NULL,
    announced_sequence        INTEGER NOT NULL,
    -- Who applies events, and until when unless it goes on.
    leader                    BLOB    CHECK (length(leader) = 16),
    led_until                 INTEGER CHECK ((led_until IS NULL) = (leader IS NULL))
) STRICT, WITHOUT ROWID;


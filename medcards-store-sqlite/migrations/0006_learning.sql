-- What is derived from the log, what is to be done about it, and what students are told.

-- Which keys of cases were wrong, numbered from 1 without a gap; no row ever goes.
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

CREATE TABLE views (
    name                      TEXT    PRIMARY KEY,
    -- The last event that was announced, by whichever edition.
    announced_transaction_no  INTEGER NOT NULL,
    announced_sequence        INTEGER NOT NULL,
    -- Who applies events, and until when unless it goes on.
    leader                    BLOB    CHECK (length(leader) = 16),
    led_until                 INTEGER CHECK ((led_until IS NULL) = (leader IS NULL))
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

CREATE UNIQUE INDEX view_editions_next ON view_editions (view) WHERE state = 'next';

CREATE INDEX view_editions_gone ON view_editions (number) WHERE state = 'gone';

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

-- Most rows have no place.
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

-- Badges, which outlive all editions.
CREATE TABLE awards (
    user_id     BLOB    NOT NULL CHECK (length(user_id) = 16),
    badge       TEXT    NOT NULL,
    bucket      INTEGER NOT NULL,
    awarded_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, badge)
) STRICT, WITHOUT ROWID;

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

-- Each entry has the sequence too.
CREATE INDEX notices_by_user ON notices (user_id);

CREATE INDEX notices_by_instant ON notices (happened_at);

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

-- Each entry has the sequence too: of those due at one instant the first enqueued is the first.
CREATE INDEX jobs_by_instant ON jobs (kind, run_at);

-- Whose turn it is: one that was begun, else the one that was enqueued first.
CREATE INDEX jobs_in_order ON jobs (user_id, (attempt = 0), sequence) WHERE is_ordered = 1;

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

-- What keeps a job from being enqueued twice.
CREATE TABLE job_keys (
    kind        TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    job_id      BLOB    NOT NULL CHECK (length(job_id) = 16),
    -- Free after it, unless the job is in the queue or dead.
    kept_until  INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_keys_by_instant ON job_keys (kept_until);

-- Which batches of feedback are bought, so that none is bought twice.
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

-- The few that are open.
CREATE INDEX precompute_batches_open ON precompute_batches (position) WHERE closed_at IS NULL;

CREATE INDEX precompute_batches_by_name ON precompute_batches (name) WHERE name IS NOT NULL;

CREATE TABLE precompute_keys (
    batch_id  BLOB    NOT NULL,
    -- The number in the name of its item.
    place     INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    -- Null while its batch is open.
    outcome   TEXT,
    PRIMARY KEY (batch_id, place)
) STRICT, WITHOUT ROWID;

-- A key is in one open batch only.
CREATE UNIQUE INDEX precompute_keys_open ON precompute_keys (key) WHERE outcome IS NULL;

-- How often a key was rejected.
CREATE INDEX precompute_keys_rejected ON precompute_keys (key) WHERE outcome = 'rejected';

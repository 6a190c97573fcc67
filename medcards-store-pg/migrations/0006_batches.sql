-- Which batches of feedback are bought, so that none is bought twice.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE precompute_batches (
    -- In the order in which they were opened.
    position     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           uuid        NOT NULL UNIQUE,
    model        text        NOT NULL,
    len          bigint      NOT NULL,
    reservation  uuid        NOT NULL,
    day          date        NOT NULL,
    amount       bigint      NOT NULL,
    opened_at    timestamptz NOT NULL,
    -- How often its submission was claimed, and when last.
    attempt      bigint      NOT NULL,
    claimed_at   timestamptz,
    -- The provider's name for it.
    name         text,
    -- All three null while it is open.
    closed_at    timestamptz,
    cost         bigint,
    written      bigint
);

-- The few that are open. The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX precompute_batches_open ON precompute_batches (position) WHERE closed_at IS NULL;

-- The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX precompute_batches_by_name ON precompute_batches (name) WHERE name IS NOT NULL;

CREATE TABLE precompute_keys (
    batch_id  uuid    NOT NULL,
    -- The number in the name of its item.
    place     bigint  NOT NULL,
    key       text    NOT NULL,
    -- Null while its batch is open.
    outcome   text,
    PRIMARY KEY (batch_id, place)
);

-- A key is in one open batch only. The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE UNIQUE INDEX precompute_keys_open ON precompute_keys (key) WHERE outcome IS NULL;

-- How often a key was rejected. The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX precompute_keys_rejected ON precompute_keys (key) WHERE outcome = 'rejected';

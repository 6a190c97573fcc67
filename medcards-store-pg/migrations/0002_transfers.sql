-- What is moved into this database from another store, and how far that has come.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- One row at most: a database takes one other store, while it is empty.
CREATE TABLE transfers (
    -- The fingerprint of the source.
    source    text        PRIMARY KEY,
    begun_at  timestamptz NOT NULL DEFAULT now(),
    -- When everything was there and found equal; nothing else may use the database before.
    ended_at  timestamptz
);

CREATE TABLE transfer_parts (
    part    text    PRIMARY KEY,
    -- How many rows were written.
    rows    bigint  NOT NULL,
    -- The place in the source behind the last of them; null before the first, and at the end.
    place   text,
    is_done boolean NOT NULL
);

-- Who is signed in on which device.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- No bucket: a request brings nothing but the key, so sessions stand together in one database and
-- are not moved with their user.
CREATE TABLE sessions (
    -- The SHA-256 of the secret token, which itself is kept nowhere.
    key         bytea       PRIMARY KEY CHECK (length(key) = 32),
    user_id     uuid        NOT NULL,
    kind        text        NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);

-- A user's sessions, newest first. The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX sessions_by_user ON sessions (user_id, created_at DESC, key DESC);

-- What has expired, longest ago first. The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX sessions_by_end ON sessions (expires_at);

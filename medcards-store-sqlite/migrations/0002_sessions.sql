-- Who is signed in on which device. No bucket: sessions are not moved with their user.
CREATE TABLE sessions (
    -- The SHA-256 of the secret token, which itself is kept nowhere.
    key         BLOB    PRIMARY KEY CHECK (length(key) = 32),
    user_id     BLOB    NOT NULL CHECK (length(user_id) = 16),
    kind        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A user's sessions, newest first.
CREATE INDEX sessions_by_user ON sessions (user_id, created_at DESC, key DESC);

-- What has expired, longest ago first.
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- What students asked the coach and what it replied. Ordinary tables: a turn is as long as a page or
-- several, too long to stand within the tree of a key.
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

-- A chat, newest turn first.
CREATE INDEX chat_turns_by_answer ON chat_turns (user_id, answer_id, id DESC);

-- What was said in a chat before the turns that are still sent in full.
CREATE TABLE chat_summaries (
    user_id    BLOB    NOT NULL CHECK (length(user_id) = 16),
    answer_id  BLOB    NOT NULL CHECK (length(answer_id) = 16),
    bucket     INTEGER NOT NULL,
    -- The last turn that it tells of.
    through    BLOB    NOT NULL CHECK (length(through) = 16),
    text       TEXT    NOT NULL,
    PRIMARY KEY (user_id, answer_id)
) STRICT;

-- Answers of the coach that anyone may see. They are of no user, so they have no bucket.
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

-- What students asked the coach and what it replied, and answers of the coach that anyone may see.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE chat_turns (
    user_id     uuid        NOT NULL,
    -- The client's idempotency key, which only its user can see or take.
    id          uuid        NOT NULL,
    -- The answer that the chat is about.
    answer_id   uuid        NOT NULL,
    -- When the last attempt to reply began, and which one that is.
    started_at  timestamptz NOT NULL,
    attempt     bigint      NOT NULL CHECK (attempt > 0),
    bucket      smallint    NOT NULL,
    question    text        NOT NULL,
    -- The words, where they come from, which model wrote them, what they cost and when they were
    -- complete; null while there is no reply.
    reply       text,
    origin      text,
    model       text,
    cost        bigint,
    replied_at  timestamptz,
    PRIMARY KEY (user_id, id),
    CHECK (num_nulls(reply, origin, cost, replied_at) IN (0, 4))
);

-- A chat, newest turn first. The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX chat_turns_by_answer ON chat_turns (user_id, answer_id, id DESC);

-- What was said in a chat before the turns that are still sent in full.
CREATE TABLE chat_summaries (
    user_id    uuid     NOT NULL,
    answer_id  uuid     NOT NULL,
    -- The last turn that it tells of.
    through    uuid     NOT NULL,
    bucket     smallint NOT NULL,
    text       text     NOT NULL,
    PRIMARY KEY (user_id, answer_id)
);

-- No bucket: they are of no user, and stand where the cases do.
CREATE TABLE shared_answers (
    id            uuid        PRIMARY KEY,
    case_id       uuid        NOT NULL,
    -- Who says that anyone may see it, and when.
    reviewer      uuid        NOT NULL,
    reviewed_at   timestamptz NOT NULL,
    case_version  integer     NOT NULL CHECK (case_version > 0),
    locale        text        NOT NULL,
    question      text        NOT NULL,
    answer        text        NOT NULL
);

-- The table was made just now and is empty.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX shared_answers_by_case ON shared_answers (case_id, id);

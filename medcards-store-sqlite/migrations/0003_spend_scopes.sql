-- What was spent in a month, for a purpose and on behalf of a user. The day stands in spend_days.
CREATE TABLE spend_scopes (
    -- Such as month/2026-11 or purpose/2026-11-25/chat.
    scope      TEXT    PRIMARY KEY,
    -- The day, or the first one of the month, as YYYY-MM-DD (UTC).
    day        TEXT    NOT NULL,
    spent      INTEGER NOT NULL,
    set_aside  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Null in reservations made before this format, which count in their day and month.
ALTER TABLE spend_reservations ADD COLUMN purpose TEXT;
ALTER TABLE spend_reservations ADD COLUMN user_id BLOB CHECK (length(user_id) = 16);

-- Months count from their first day on. A sum beyond 64 bits would become a fraction.
INSERT INTO spend_scopes (scope, day, spent, set_aside)
SELECT 'month/' || substr(day, 1, 7), substr(day, 1, 7) || '-01',
       CAST(min(total(spent), 9223372036854774784.0) AS INTEGER),
       CAST(min(total(set_aside), 9223372036854774784.0) AS INTEGER)
FROM spend_days WHERE day >= '0001-01-01' GROUP BY substr(day, 1, 7);

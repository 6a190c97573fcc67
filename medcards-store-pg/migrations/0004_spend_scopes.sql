-- What was spent in a month, for a purpose and on behalf of a user.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- The day stands in spend_days, which programs before this format go on using. What these spend
-- while both run counts in the day alone.
CREATE TABLE spend_scopes (
    -- Such as month/2026-11 or purpose/2026-11-25/chat.
    scope      text   PRIMARY KEY,
    -- The day, or the first one of the month.
    day        date   NOT NULL,
    spent      bigint NOT NULL,
    set_aside  bigint NOT NULL
);

-- Null in reservations of programs before this format, which count in their day and month.
ALTER TABLE spend_reservations ADD COLUMN purpose text;
ALTER TABLE spend_reservations ADD COLUMN user_id uuid;

-- Months count from their first day on.
INSERT INTO spend_scopes (scope, day, spent, set_aside)
SELECT 'month/' || to_char(day, 'YYYY-MM'), date_trunc('month', min(day))::date,
       least(sum(spent), 9223372036854775807)::bigint,
       least(sum(set_aside), 9223372036854775807)::bigint
FROM spend_days WHERE day >= '0001-01-01' GROUP BY to_char(day, 'YYYY-MM');

-- readings.db, version 13: dead letters say whether their sender had an account, because it may say no more when one is read
-- again than when it came.

ALTER TABLE dead_letter ADD COLUMN anonymous INTEGER NOT NULL DEFAULT 0;
-- Of those from before it is known of these; what would be tried again by itself is not believed to have had one.
UPDATE dead_letter SET anonymous = 1 WHERE source = 'mqtt' AND (code = 'not-authorised' OR retry_at_ms IS NOT NULL);

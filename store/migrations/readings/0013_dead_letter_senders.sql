-- readings.db, version 13: dead letters say whether their sender had an account, because it may say no more when one is read
-- again than when it came.

ALTER TABLE dead_letter ADD COLUMN anonymous INTEGER NOT NULL DEFAULT 0;
-- Of those from before it is not known: what came here, and not from a broker, is not believed to have had one. Where that is
-- wrong, what such a letter says of a device with an account is not read again; where it is right, nobody speaks for others.
UPDATE dead_letter SET anonymous = 1 WHERE source = 'mqtt' AND state = 0;

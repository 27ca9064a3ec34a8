-- readings.db, version 4: dead letters say which decoder refused them, and when they are tried again by themselves.

-- Name and version of the decoder, and the stable name of the cause.
ALTER TABLE dead_letter ADD COLUMN decoder TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letter ADD COLUMN code TEXT NOT NULL DEFAULT '';
-- When the node tries again by itself; null where the cause cannot pass, or it was tried often enough.
ALTER TABLE dead_letter ADD COLUMN retry_at_ms INTEGER;
CREATE INDEX dead_letter_retry ON dead_letter (retry_at_ms) WHERE retry_at_ms IS NOT NULL;

-- readings.db, version 9: which dead letters make room for others.

-- Bytes of the payload, so that they are counted without reading it.
ALTER TABLE dead_letter ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
-- What shares the room of its source: a device, or the first level of other topics. Those from before are one share.
ALTER TABLE dead_letter ADD COLUMN share TEXT NOT NULL DEFAULT '';
UPDATE dead_letter SET bytes = length(payload);
CREATE INDEX dead_letter_share ON dead_letter (source, share, id, bytes) WHERE state = 0;
CREATE INDEX dead_letter_settled ON dead_letter (id, bytes) WHERE state <> 0;

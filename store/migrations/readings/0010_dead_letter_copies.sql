-- readings.db, version 10: what a broker keeps and nobody can read is one dead letter, however often it comes.

-- Of a copy that a broker kept for whoever subscribes (RETAIN): a hash of its payload.
ALTER TABLE dead_letter ADD COLUMN copy INTEGER;
CREATE UNIQUE INDEX dead_letter_copy ON dead_letter (source, topic, copy) WHERE copy IS NOT NULL;

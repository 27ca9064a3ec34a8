-- readings.db, version 14: what is known about a series' last value in blocks besides the value. NULL where that was not
-- written down: nothing is known against it.

ALTER TABLE series ADD COLUMN block_last_flags INTEGER;

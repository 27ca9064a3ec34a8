-- readings.db, version 3: blocks have a kind, a period and a level; rollups are blocks too. The table is made anew,
-- because `data` has to be the last column: SQLite walks through all pages of a long one to reach what stands behind it.

DROP INDEX block_time;
ALTER TABLE block RENAME TO block_1;

-- local durable state. Many readings, or many buckets of a rollup, to a row (see readings/block.rs for kinds and bytes).
-- Blocks of one series and kind may overlap in time: late readings make their own. `period` is the UTC day, or 1,440
-- buckets; `level` counts merges, 9 is closed: the readings of a closed block are in the rollups, those of others are not.
CREATE TABLE block (
  id       INTEGER PRIMARY KEY,
  series   INTEGER NOT NULL,
  kind     INTEGER NOT NULL,
  period   INTEGER NOT NULL,
  level    INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  count    INTEGER NOT NULL,
  format   INTEGER NOT NULL,
  data     BLOB    NOT NULL
) STRICT;

-- What stood in blocks so far is open: it is sorted into days and rollups by the next merges.
INSERT INTO block (id, series, kind, period, level, first_at, last_at, count, format, data)
  SELECT id, series, 1, (first_at - ((first_at % 86400000) + 86400000) % 86400000) / 86400000, 0,
         first_at, last_at, count, format, data FROM block_1;
DROP TABLE block_1;

-- Newest first, without touching the data of blocks that are skipped.
CREATE INDEX block_time ON block (series, kind, last_at, first_at);
-- What is to be merged, and what queries add to the rollups: small, because closed blocks are not in it.
CREATE INDEX block_open ON block (series, kind, period, level, last_at, first_at) WHERE level < 9;
-- What unapproved devices take up, oldest first.
CREATE INDEX block_unapproved ON block (series, id, length(data)) WHERE kind = 2;

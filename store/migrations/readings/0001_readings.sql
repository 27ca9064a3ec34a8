-- readings.db, version 1. All of it is local durable state: never rebuilt, always in the backup.

-- local durable state. `file_id` names this file for the rule cursor: a restored or fresh file is another one.
-- `compacted_to` (8 bytes, little-endian): rows of `reading` up to this position are in blocks, and wait to be deleted.
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- local durable state. Count and last value cover the blocks only; those of the tail are added at start, so the hot path
-- writes no series row and the sums are exact after a crash.
CREATE TABLE series (
  id             INTEGER PRIMARY KEY,
  device         TEXT    NOT NULL,
  channel        TEXT    NOT NULL,
  unit           TEXT    NOT NULL,
  block_count    INTEGER NOT NULL DEFAULT 0,
  block_last_at  INTEGER,
  block_last     REAL,
  UNIQUE (device, channel, unit)
) STRICT;

-- local durable state. The tail: newest readings in arrival order. No second index: appending is what must be fast.
-- `session`, `packet`, `hash` name the QoS 1 message it came in, for duplicates after a reconnect.
CREATE TABLE reading (
  position    INTEGER PRIMARY KEY,
  series      INTEGER NOT NULL,
  at_ms       INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  value       REAL    NOT NULL,
  flags       INTEGER NOT NULL,
  session     INTEGER,
  packet      INTEGER,
  hash        INTEGER
) STRICT;

-- local durable state. Older readings, sorted by time, many to a row (see readings/block.rs for the bytes). Blocks of one
-- series may overlap in time: late readings make their own.
CREATE TABLE block (
  id       INTEGER PRIMARY KEY,
  series   INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  count    INTEGER NOT NULL,
  format   INTEGER NOT NULL,
  data     BLOB    NOT NULL
) STRICT;
-- Newest first, without touching the data of blocks that are skipped.
CREATE INDEX block_time ON block (series, last_at, first_at);

-- local durable state. MQTT client ids, so that a reading's row holds a small number.
CREATE TABLE mqtt_session (
  no           INTEGER PRIMARY KEY,
  client_id    TEXT    NOT NULL UNIQUE,
  last_seen_ms INTEGER NOT NULL
) STRICT;

-- local durable state. The last message of a packet id whose row has left the tail.
CREATE TABLE delivery_key (
  session  INTEGER NOT NULL,
  packet   INTEGER NOT NULL,
  hash     INTEGER NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (session, packet)
) STRICT, WITHOUT ROWID;

-- local durable state. What could not be read, with its bytes and the reason. state: 0 open, 1 replayed, 2 discarded.
CREATE TABLE dead_letter (
  id          INTEGER PRIMARY KEY,
  source      TEXT    NOT NULL,
  topic       TEXT    NOT NULL,
  reason      TEXT    NOT NULL,
  received_ms INTEGER NOT NULL,
  payload     BLOB    NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 1,
  state       INTEGER NOT NULL DEFAULT 0,
  session     INTEGER,
  packet      INTEGER,
  hash        INTEGER,
  position    INTEGER NOT NULL DEFAULT 0 -- the newest reading when it came
) STRICT;
CREATE INDEX dead_letter_received ON dead_letter (received_ms);

-- local durable state. Every device that was ever heard here, known or not.
CREATE TABLE device_seen (
  name          TEXT    PRIMARY KEY,
  first_seen_ms INTEGER NOT NULL,
  last_seen_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

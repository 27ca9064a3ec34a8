-- readings.db, version 6: what devices say besides values.

-- local durable state. What a device said last of itself, so that a restart does not forget it.
CREATE TABLE device_report (
  device      TEXT PRIMARY KEY,
  firmware    TEXT,
  firmware_ms INTEGER,
  lat         REAL,
  lon         REAL,
  alt_m       REAL,
  location_ms INTEGER
) STRICT, WITHOUT ROWID;

-- local durable state. Words from devices that are not facts of the operation yet: they wait to be written down, those of
-- devices that nobody has approved until somebody does. `id` follows from what makes it one, so that a text that is heard
-- again is the same one.
CREATE TABLE device_text (
  id          BLOB    PRIMARY KEY,
  device      TEXT    NOT NULL,
  text        TEXT    NOT NULL,
  recipient   TEXT,
  channel     INTEGER,
  received_ms INTEGER NOT NULL,
  sent_ms     INTEGER
) STRICT, WITHOUT ROWID;

-- local durable state. What a clock said that cannot be true, beside the reading that counts from its receipt. A table of
-- its own: nearly no reading has one. `number` grows, so that the oldest give way.
CREATE TABLE odd_clock (
  number    INTEGER PRIMARY KEY,
  series    INTEGER NOT NULL,
  at_ms     INTEGER NOT NULL,
  device_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX odd_clock_time ON odd_clock (series, at_ms);

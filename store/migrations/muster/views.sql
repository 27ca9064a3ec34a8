-- muster.db: the views. All of it can be dropped and computed again from the log and the journal; `begin_rebuild` does
-- just that, with this file. Change a view here and raise VIEWS_VERSION in migrate.rs: no numbered migration is needed.

DROP TABLE IF EXISTS device_health;
DROP TABLE IF EXISTS device_health_author;
DROP TABLE IF EXISTS raw_quarter;
DROP TABLE IF EXISTS summary_hour;
DROP TABLE IF EXISTS summary_quarter;
DROP TABLE IF EXISTS summary_heard;
DROP TABLE IF EXISTS summary_author;
DROP TABLE IF EXISTS summary_series;
DROP TABLE IF EXISTS document_place;
DROP TABLE IF EXISTS row_facet;
DROP TABLE IF EXISTS document_log;
DROP TABLE IF EXISTS document_past;
DROP TABLE IF EXISTS document_state;
DROP TABLE IF EXISTS fact;
DROP TABLE IF EXISTS conflict;
DROP TABLE IF EXISTS document;

-- view. The document as it is now. `facets` holds every filterable value between unit separators (char 31), so that a
-- second filter is one instr(); `search` is the lower-case text that q= looks in. Valid since `from_commit`.
CREATE TABLE document (
  no              INTEGER PRIMARY KEY,
  id              BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
  kind            INTEGER NOT NULL,
  grp             BLOB    NOT NULL,
  lane            INTEGER NOT NULL,
  from_commit     INTEGER NOT NULL,
  first_commit    INTEGER NOT NULL,
  deleted         INTEGER NOT NULL,
  created_wall_ms INTEGER NOT NULL,
  updated_wall_ms INTEGER NOT NULL,
  lat             REAL,
  lon             REAL,
  version         TEXT    NOT NULL,
  heads           BLOB    NOT NULL,
  title           TEXT    NOT NULL,
  facets          TEXT    NOT NULL,
  search          TEXT    NOT NULL,
  view            TEXT    NOT NULL
) STRICT;
CREATE INDEX document_list ON document (kind, created_wall_ms, id, deleted);
CREATE INDEX document_changed ON document (kind, from_commit);
CREATE INDEX document_digest ON document (grp, id, lane);

-- view. What a document was, from one commit up to (not including) another. Kept 30 days. Appended to: the wide rows
-- share pages with their neighbours in time, only the small index is written at random places.
CREATE TABLE document_past (
  no              INTEGER NOT NULL,
  from_commit     INTEGER NOT NULL,
  to_commit       INTEGER NOT NULL,
  deleted         INTEGER NOT NULL,
  updated_wall_ms INTEGER NOT NULL,
  lat             REAL,
  lon             REAL,
  version         TEXT    NOT NULL,
  title           TEXT    NOT NULL,
  facets          TEXT    NOT NULL,
  view            TEXT    NOT NULL
) STRICT;
CREATE INDEX document_past_no ON document_past (no, to_commit);
CREATE INDEX document_past_to ON document_past (to_commit);

-- view (a cache: its bytes may differ between two rebuilds). The saved document, good up to a journal position; a loader
-- adds the entries applied after it.
CREATE TABLE document_state (
  no      INTEGER PRIMARY KEY,
  covers  INTEGER NOT NULL,
  bytes   BLOB    NOT NULL
) STRICT;

-- view. The newest applied entry of each log in a document: a peer that has stored them all has the document.
CREATE TABLE document_log (
  no       INTEGER NOT NULL,
  log_no   INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  PRIMARY KEY (no, log_no)
) STRICT, WITHOUT ROWID;

-- view. Filterable values of current documents, in the order of their lists.
CREATE TABLE row_facet (
  kind            INTEGER NOT NULL,
  facet           TEXT    NOT NULL, -- name=value
  created_wall_ms INTEGER NOT NULL,
  id              BLOB    NOT NULL,
  no              INTEGER NOT NULL,
  PRIMARY KEY (kind, facet, created_wall_ms, id)
) STRICT, WITHOUT ROWID;

-- view. Where current documents are (the R*Tree rounds outwards to 32-bit floats; the exact values are in `document`).
CREATE VIRTUAL TABLE document_place USING rtree (no, lat_min, lat_max, lon_min, lon_max);

-- view. Facts: immutable, one entry each.
CREATE TABLE fact (
  id              BLOB    PRIMARY KEY CHECK (length(id) = 16),
  kind            INTEGER NOT NULL,
  grp             BLOB    NOT NULL,
  lane            INTEGER NOT NULL,
  entry           INTEGER NOT NULL,
  about           BLOB,
  from_commit     INTEGER NOT NULL,
  created_wall_ms INTEGER NOT NULL,
  view            TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX fact_list ON fact (kind, created_wall_ms, id);
CREATE INDEX fact_about ON fact (about, created_wall_ms) WHERE about IS NOT NULL;
CREATE INDEX fact_digest ON fact (grp, id, lane);

-- view. Conflicts that people see. state: 0 open, 1 resolved. Appended to: ids are random, so in the order of ids each of
-- a catch-up's wide rows would be written to a page of its own.
CREATE TABLE conflict (
  no           INTEGER PRIMARY KEY,
  id           TEXT    NOT NULL UNIQUE,
  kind         TEXT    NOT NULL,
  object       BLOB    NOT NULL,
  object_kind  INTEGER NOT NULL,
  field        TEXT    NOT NULL,
  state        INTEGER NOT NULL,
  detail       TEXT    NOT NULL,
  first_commit INTEGER NOT NULL,
  from_commit  INTEGER NOT NULL
) STRICT;
CREATE INDEX conflict_list ON conflict (state, first_commit, id);
CREATE INDEX conflict_object ON conflict (object);

-- view. Series that nodes, this one included, have said something of, by the hash of their names.
CREATE TABLE summary_series (
  no      INTEGER PRIMARY KEY,
  id      BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
  device  TEXT    NOT NULL,
  channel TEXT    NOT NULL,
  unit    TEXT    NOT NULL
) STRICT;

-- view. Who said it, with how much there is of each.
CREATE TABLE summary_author (
  no       INTEGER PRIMARY KEY,
  node     BLOB    NOT NULL UNIQUE CHECK (length(node) = 32),
  series   INTEGER NOT NULL,
  quarters INTEGER NOT NULL
) STRICT;

-- view. Which node heard which series: first and last quarter, and the readings in all of them.
CREATE TABLE summary_heard (
  series        INTEGER NOT NULL,
  author        INTEGER NOT NULL,
  first_quarter INTEGER NOT NULL,
  last_quarter  INTEGER NOT NULL,
  count         INTEGER NOT NULL,
  PRIMARY KEY (series, author)
) STRICT, WITHOUT ROWID;

-- view. Quarters of an hour (`start` counts them since 1970) as their author said them last. In the order in which they
-- come, so that what a node says of a thousand series at once lies on a dozen pages and not on a thousand.
CREATE TABLE summary_quarter (
  author INTEGER NOT NULL,
  start  INTEGER NOT NULL,
  series INTEGER NOT NULL,
  count  INTEGER NOT NULL,
  min    REAL    NOT NULL,
  max    REAL    NOT NULL,
  sum    REAL    NOT NULL,
  PRIMARY KEY (author, start, series)
) STRICT, WITHOUT ROWID;

-- view. Hours (counted since 1970) of what is too old for quarters; `quarters` is a bit for each that is in it.
CREATE TABLE summary_hour (
  author   INTEGER NOT NULL,
  start    INTEGER NOT NULL,
  series   INTEGER NOT NULL,
  quarters INTEGER NOT NULL,
  count    INTEGER NOT NULL,
  min      REAL    NOT NULL,
  max      REAL    NOT NULL,
  sum      REAL    NOT NULL,
  PRIMARY KEY (author, start, series)
) STRICT, WITHOUT ROWID;

-- view. Which entry of lane 5 holds a node's readings of a quarter of an hour: the last one that says them. The entry is
-- not copied.
CREATE TABLE raw_quarter (
  author INTEGER NOT NULL,
  start  INTEGER NOT NULL,
  series INTEGER NOT NULL,
  count  INTEGER NOT NULL,
  entry  INTEGER NOT NULL,
  PRIMARY KEY (author, start, series)
) STRICT, WITHOUT ROWID;

-- view. Who says something of devices, of how many, and how often it has.
CREATE TABLE device_health_author (
  no      INTEGER PRIMARY KEY,
  node    BLOB    NOT NULL UNIQUE CHECK (length(node) = 32),
  devices INTEGER NOT NULL,
  turns   INTEGER NOT NULL
) STRICT;

-- view. What a node, this one included, said last of a device; `turn` is the order in which it said it. Times are
-- milliseconds since 1970, moved back where its clock was ahead of ours when it came.
CREATE TABLE device_health (
  device      TEXT    NOT NULL,
  author      INTEGER NOT NULL,
  turn        INTEGER NOT NULL,
  said_ms     INTEGER NOT NULL,
  heard_ms    INTEGER,
  battery_pct REAL,
  battery_ms  INTEGER,
  rssi_dbm    REAL,
  rssi_ms     INTEGER,
  online      INTEGER,
  firmware    TEXT,
  firmware_ms INTEGER,
  PRIMARY KEY (device, author)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX device_health_turn ON device_health (author, turn);

-- muster.db, version 1: the log and the local durable state. The views are in views.sql, because a rebuild drops and
-- recreates them. Every table says which of the three classes it is:
--   log                  signed and replicated: the truth about documents and facts
--   view                 computed from the log, may be dropped at any time (views.sql)
--   local durable state  this node's own memory, never rebuilt, always in the backup

-- log. One row per (author, incarnation, group, lane). `floor` is the oldest sequence still held and `floor_chain` the
-- chain hash just before it; the height is the newest row of `entry` and needs no column that could disagree.
CREATE TABLE log (
  no          INTEGER PRIMARY KEY CHECK (no BETWEEN 1 AND 4194303),
  author      BLOB    NOT NULL CHECK (length(author) = 32),
  incarnation INTEGER NOT NULL,
  grp         BLOB    NOT NULL CHECK (length(grp) = 16),
  lane        INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 6),
  floor       INTEGER NOT NULL DEFAULT 1,
  floor_chain BLOB    NOT NULL,
  UNIQUE (author, incarnation, grp, lane)
) STRICT;

-- log. `at` = log.no << 40 | sequence: the entries of one log lie together and in order, without a second index.
-- `signature` is the head signature where one was kept, `commit_no` the local commit that stored the entry, `applied`
-- the journal position at which it was applied (null: waiting, quarantined or held back).
CREATE TABLE entry (
  at        INTEGER PRIMARY KEY,
  kind      INTEGER NOT NULL,
  object    BLOB    NOT NULL CHECK (length(object) = 16),
  bytes     BLOB    NOT NULL,
  chain     BLOB    NOT NULL CHECK (length(chain) = 32),
  signature BLOB    CHECK (signature IS NULL OR length(signature) = 64),
  commit_no INTEGER NOT NULL,
  applied   INTEGER
) STRICT;
-- One object's entries in the order of their application: loading a document and its history.
CREATE INDEX entry_object ON entry (object, applied);

-- local durable state. Every commit and when it happened here. `journal_last` is the newest journal position after it.
CREATE TABLE commit_info (
  commit_no    INTEGER PRIMARY KEY,
  at_wall_ms   INTEGER NOT NULL,
  journal_last INTEGER NOT NULL
) STRICT;
CREATE INDEX commit_at ON commit_info (at_wall_ms, commit_no);

-- local durable state. The order in which entries arrived or changed their state; what a rebuild replays.
-- disposition: 0 applied, 1 waiting, 2 quarantined, 3 held back by a local fault. `heads`: of the document afterwards.
CREATE TABLE journal (
  position    INTEGER PRIMARY KEY,
  commit_no   INTEGER NOT NULL,
  entry       INTEGER NOT NULL,
  disposition INTEGER NOT NULL,
  detail      BLOB,
  heads       BLOB
) STRICT;

-- local durable state. Entries whose dependencies have not arrived: stored and acknowledged, not applied.
CREATE TABLE waiting (
  entry     INTEGER PRIMARY KEY,
  object    BLOB    NOT NULL,
  missing   BLOB    NOT NULL, -- concatenated 32-byte hashes
  commit_no INTEGER NOT NULL
) STRICT;
CREATE INDEX waiting_object ON waiting (object);

-- local durable state. Entries that were judged invalid (held = 0), or that this node could not apply (held = 1).
CREATE TABLE quarantine (
  entry     INTEGER PRIMARY KEY,
  object    BLOB    NOT NULL,
  held      INTEGER NOT NULL,
  reason    TEXT    NOT NULL,
  commit_no INTEGER NOT NULL
) STRICT;
CREATE INDEX quarantine_object ON quarantine (object);

-- local durable state. The outbox: what changed, for event streams. Bounded; positions are never used again.
CREATE TABLE event (
  position  INTEGER PRIMARY KEY,
  commit_no INTEGER NOT NULL,
  kind      INTEGER,          -- null: a conflict
  id        TEXT    NOT NULL,
  version   TEXT    NOT NULL
) STRICT;

-- local durable state. How far each peer said it has stored and applied a log, and when it said so.
CREATE TABLE peer (
  no   INTEGER PRIMARY KEY,
  node BLOB    NOT NULL UNIQUE CHECK (length(node) = 32)
) STRICT;
CREATE TABLE ack_mark (
  peer_no    INTEGER NOT NULL REFERENCES peer (no),
  log_no     INTEGER NOT NULL,
  stored     INTEGER NOT NULL,
  applied    INTEGER NOT NULL,
  at_wall_ms INTEGER NOT NULL,
  PRIMARY KEY (peer_no, log_no, stored, applied)
) STRICT, WITHOUT ROWID;

-- local durable state. Who did what through this node.
CREATE TABLE audit (
  no         INTEGER PRIMARY KEY,
  at_wall_ms INTEGER NOT NULL,
  actor      TEXT    NOT NULL,
  action     TEXT    NOT NULL,
  kind       INTEGER,
  object     BLOB,
  commit_no  INTEGER NOT NULL,
  detail     TEXT    NOT NULL
) STRICT;

-- local durable state. Answers given to requests that carried an Idempotency-Key.
CREATE TABLE idempotency (
  scope      TEXT    NOT NULL,
  key        TEXT    NOT NULL,
  body_hash  BLOB    NOT NULL,
  status     INTEGER NOT NULL,
  answer     BLOB    NOT NULL,
  at_wall_ms INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) STRICT;
CREATE INDEX idempotency_at ON idempotency (at_wall_ms);

-- local durable state. Tokens and cookies, by hash only.
CREATE TABLE session (
  token_hash      BLOB    PRIMARY KEY CHECK (length(token_hash) = 32),
  kind            TEXT    NOT NULL,
  user            BLOB    NOT NULL,
  family          BLOB    NOT NULL,
  created_wall_ms INTEGER NOT NULL,
  expires_wall_ms INTEGER NOT NULL,
  data            TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_user ON session (user);
CREATE INDEX session_family ON session (family);
CREATE INDEX session_expires ON session (expires_wall_ms);

-- local durable state. Invitations, by the hash of their secret; a row is taken once.
CREATE TABLE invite (
  secret_hash     BLOB    PRIMARY KEY CHECK (length(secret_hash) = 32),
  role            TEXT    NOT NULL,
  organisation    TEXT,
  expires_wall_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- local durable state. Who this node is; one row.
CREATE TABLE identity (
  one              INTEGER PRIMARY KEY CHECK (one = 1),
  node_secret      BLOB    NOT NULL CHECK (length(node_secret) = 32),
  incarnation      INTEGER NOT NULL,
  name             TEXT    NOT NULL,
  role             TEXT    NOT NULL,
  operation        BLOB    CHECK (operation IS NULL OR length(operation) = 32),
  operation_title  TEXT    NOT NULL,
  root_secret      BLOB    CHECK (root_secret IS NULL OR length(root_secret) = 32),
  successor_secret BLOB    CHECK (successor_secret IS NULL OR length(successor_secret) = 32),
  created_wall_ms  INTEGER NOT NULL
) STRICT;

-- local durable state. How far the rules have come in readings.db; committed with their effect. One row.
CREATE TABLE rule_cursor (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  file_id  BLOB    NOT NULL,
  position INTEGER NOT NULL,
  state    BLOB    NOT NULL
) STRICT;

-- local durable state. Small named values of the node.
CREATE TABLE setting (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- local durable state. The store's own notes about this file (the version of its views, the pruning marks).
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

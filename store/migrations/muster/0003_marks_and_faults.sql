-- muster.db, version 3: what sync remembers of peers over a restart, and faults that comparing with them brought up.

-- local durable state. Frontiers that this node held and agreed on with a peer (marks), in the order in which they were
-- kept: two nodes that both know one greet each other with its name instead of with every log. Bounded.
CREATE TABLE mark (
  no    INTEGER PRIMARY KEY,
  hash  BLOB    NOT NULL UNIQUE CHECK (length(hash) = 16),
  bytes BLOB    NOT NULL
) STRICT;

-- local durable state. The newest mark agreed on with each peer.
CREATE TABLE peer_mark (
  node       BLOB    PRIMARY KEY CHECK (length(node) = 32),
  hash       BLOB    NOT NULL CHECK (length(hash) = 16),
  at_wall_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- local durable state. Times when a peer had made something else of the same logs. `mark` names the logs, `about` what
-- differed: the same difference again counts in `times`. `detail` is JSON for whoever looks for the cause.
-- `repaired_at_wall_ms`: when this node's own side was put right, or was found to be right. `seen_at_wall_ms`: when a
-- person had looked at it. Bounded.
CREATE TABLE sync_fault (
  no                  INTEGER PRIMARY KEY,
  at_wall_ms          INTEGER NOT NULL,
  last_wall_ms        INTEGER NOT NULL,
  times               INTEGER NOT NULL,
  peer                BLOB    NOT NULL CHECK (length(peer) = 32),
  mark                BLOB    NOT NULL CHECK (length(mark) = 16),
  grp                 BLOB    NOT NULL CHECK (length(grp) = 16),
  about               BLOB    NOT NULL CHECK (length(about) = 16),
  objects             INTEGER NOT NULL,
  detail              TEXT    NOT NULL,
  repaired_at_wall_ms INTEGER,
  seen_at_wall_ms     INTEGER
) STRICT;

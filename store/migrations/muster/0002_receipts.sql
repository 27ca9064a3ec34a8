-- muster.db, version 2: receipts, which say over several hops how far a node has come with the others' logs.

-- local durable state. How far this node's own receipts said it had come with a log: the next one says what is new.
CREATE TABLE receipt_said (
  log_no  INTEGER PRIMARY KEY,
  stored  INTEGER NOT NULL,
  applied INTEGER NOT NULL
) STRICT;

-- local durable state. What receipts said of logs of which nothing is here yet: lanes do not wait for each other, so a
-- receipt may overtake what it is about. Becomes rows of ack_mark when the log's first entry comes. Bounded per peer.
CREATE TABLE receipt_ahead (
  peer_no     INTEGER NOT NULL REFERENCES peer (no),
  author      BLOB    NOT NULL CHECK (length(author) = 32),
  incarnation INTEGER NOT NULL,
  grp         BLOB    NOT NULL CHECK (length(grp) = 16),
  lane        INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 6),
  stored      INTEGER NOT NULL,
  applied     INTEGER NOT NULL,
  at_wall_ms  INTEGER NOT NULL,
  PRIMARY KEY (author, incarnation, grp, lane, peer_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipt_ahead_peer ON receipt_ahead (peer_no);

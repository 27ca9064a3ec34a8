-- muster.db, version 5: how far the quarters that nodes said have become hours.

-- local durable state. Quarters before this one (a number since 1970) of a node's summaries are hours by now; a rebuild of
-- the views ends with the same.
CREATE TABLE summary_collapsed (
  node       BLOB    PRIMARY KEY CHECK (length(node) = 32),
  to_quarter INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

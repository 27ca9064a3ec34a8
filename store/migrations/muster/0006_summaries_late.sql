-- muster.db, version 6: which summaries came when the quarters that they are about were hours already.

-- local durable state. A commit that said quarters of a node after they had become hours, and before which quarter (a
-- number since 1970) they had by then. A rebuild of the views adds them to the same hours.
CREATE TABLE summary_late (
  commit_no  INTEGER NOT NULL,
  node       BLOB    NOT NULL CHECK (length(node) = 32),
  to_quarter INTEGER NOT NULL,
  PRIMARY KEY (commit_no, node)
) STRICT, WITHOUT ROWID;

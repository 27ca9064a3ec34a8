-- readings.db, version 5: which quarters of an hour have got readings that no summary of this node has told others of.

-- local durable state. Written in the transaction that moves readings from the tail to blocks, so that none is forgotten;
-- what is in the tail is found there. `stamp` is the tail's position then: what came later is not forgotten with what was
-- said. Only of approved devices, and of a month around the time of receipt, so that nobody can fill it.
CREATE TABLE summary_due (
  series  INTEGER NOT NULL,
  quarter INTEGER NOT NULL,
  stamp   INTEGER NOT NULL,
  PRIMARY KEY (series, quarter)
) STRICT, WITHOUT ROWID;

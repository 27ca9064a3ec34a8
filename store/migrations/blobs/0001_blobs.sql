-- blobs.db, version 1.

-- local durable state. Bytes by their BLAKE3 hash.
CREATE TABLE blob (
  hash  BLOB PRIMARY KEY CHECK (length(hash) = 32),
  bytes BLOB NOT NULL
) STRICT;

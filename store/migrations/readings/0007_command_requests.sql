-- readings.db, version 7: which request gave a command, so that the same request, sent again, does not give another.

-- Hash of who sent which key to which path.
ALTER TABLE device_command ADD COLUMN request BLOB;
-- Of the request's body, where `request` is there.
ALTER TABLE device_command ADD COLUMN body_hash BLOB;

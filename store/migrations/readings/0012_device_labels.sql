-- readings.db, version 12: what devices call themselves.

ALTER TABLE device_report ADD COLUMN label TEXT;
ALTER TABLE device_report ADD COLUMN label_ms INTEGER;

-- readings.db, version 8: texts that wait are counted and read by device. (It also holds the ids, so that one of them is
-- found without reading what others say.)

CREATE INDEX device_text_device ON device_text (device, received_ms);

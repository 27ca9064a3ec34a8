-- readings.db, version 11: the signal of a device has one unit, `dBm`. It was written as `dB[mW]`, which UCUM does not have.

-- The signal goes on in the series that it has. Where a device has one of each, both stay: which readings are the same
-- nobody can say any more.
UPDATE OR IGNORE series SET unit = 'dBm' WHERE channel = 'rssi_dbm' AND unit = 'dB[mW]';

-- readings.db, version 11: decibels over a milliwatt have one unit, `dBm`. The signal of devices was written as `dB[mW]`, which
-- UCUM does not have.

-- Who said one goes on in the series that it has. Where a device has one of each, both stay: which readings are the same
-- nobody can say any more.
UPDATE OR IGNORE series SET unit = 'dBm' WHERE unit = 'dB[mW]';

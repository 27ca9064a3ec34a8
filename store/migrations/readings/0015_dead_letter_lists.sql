-- readings.db, version 15: dead letters are counted and looked for without reading their payloads.

-- All that a list can be filtered by, newest last, and what is counted. In the row these stand behind the payload.
CREATE INDEX dead_letter_listed ON dead_letter (id, state, bytes, source, code, topic);

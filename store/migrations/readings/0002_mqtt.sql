-- readings.db, version 2: what the MQTT endpoint has promised. All of it is local durable state: never rebuilt, always in
-- the backup. It lives beside the readings, so that an acknowledgement and what it acknowledges are one commit.

-- local durable state. QoS 2: packet ids whose message is stored and whose PUBREL has not come (MQTT 5 §4.3.3).
CREATE TABLE mqtt_unreleased (
  session INTEGER NOT NULL,
  packet  INTEGER NOT NULL,
  PRIMARY KEY (session, packet)
) STRICT, WITHOUT ROWID;

-- local durable state. Sessions that outlive their connection. `owner` is the account, empty for nobody. `left_ms` is null
-- while the client is connected; after a crash that counts as the moment of the next start.
CREATE TABLE mqtt_persistent (
  session  INTEGER PRIMARY KEY,
  owner    TEXT    NOT NULL,
  expiry_s INTEGER NOT NULL, -- 4294967295: never
  left_ms  INTEGER
) STRICT;

-- local durable state. `options` as on the wire (MQTT 5 §3.8.3.1), with the QoS that was granted.
CREATE TABLE mqtt_subscription (
  session    INTEGER NOT NULL,
  filter     TEXT    NOT NULL,
  options    INTEGER NOT NULL,
  identifier INTEGER NOT NULL, -- 0: none
  PRIMARY KEY (session, filter)
) STRICT, WITHOUT ROWID;

-- local durable state. Messages on their way to a session, in the order of `number`. `released`: PUBREC came (QoS 2).
CREATE TABLE mqtt_outgoing (
  session     INTEGER NOT NULL,
  number      INTEGER NOT NULL,
  packet      INTEGER NOT NULL,
  topic       TEXT    NOT NULL,
  payload     BLOB    NOT NULL,
  properties  BLOB    NOT NULL, -- as on the wire, without expiry and subscription identifiers
  identifiers BLOB    NOT NULL, -- subscription identifiers as on the wire
  qos         INTEGER NOT NULL,
  retain      INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  expires_ms  INTEGER,
  released    INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

-- local durable state. The last message of a topic that asked to be kept for later subscribers.
CREATE TABLE mqtt_retained (
  topic       TEXT    PRIMARY KEY,
  payload     BLOB    NOT NULL,
  properties  BLOB    NOT NULL,
  qos         INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  expires_ms  INTEGER
) STRICT;

-- local durable state. Who may publish and subscribe. `device` is null for a gateway. Only a keyed hash of the secret is
-- kept: secrets are made by the node with 160 bits, so that there is nothing to guess slowly.
CREATE TABLE mqtt_account (
  name        TEXT    PRIMARY KEY,
  device      TEXT,
  secret_hash BLOB    NOT NULL,
  publish     TEXT    NOT NULL, -- topic filters, a line each
  subscribe   TEXT    NOT NULL,
  created_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- local durable state. state: 0 queued, 1 sent, 2 acknowledged, 3 failed, 4 expired.
CREATE TABLE device_command (
  id         BLOB    PRIMARY KEY,
  device     TEXT    NOT NULL,
  payload    TEXT    NOT NULL, -- JSON
  state      INTEGER NOT NULL,
  detail     TEXT,
  created_by TEXT    NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- local durable state. What a device last said about itself on `state`.
CREATE TABLE device_state (
  device      TEXT    PRIMARY KEY,
  payload     BLOB    NOT NULL,
  received_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

/** What the node sends and takes, in the words of its interface. Enumerations stay open: a node of a newer version may
 * send a value this page does not know, and it is then shown as it is. */

export const INCIDENT_STATUSES = ["reported", "confirmed", "active", "contained", "closed", "false_alarm"] as const;
export const SEVERITIES = ["extreme", "severe", "moderate", "minor", "unknown"] as const;
/** CAP 1.2 §3.2.2 `category`. */
export const CATEGORIES = [
  "Geo",
  "Met",
  "Safety",
  "Security",
  "Rescue",
  "Fire",
  "Health",
  "Env",
  "Transport",
  "Infra",
  "CBRNE",
  "Other",
] as const;
export const ASSIGNMENT_STATES = ["requested", "committed", "en_route", "on_scene", "released", "cancelled"] as const;

/** A known value, or a word from a newer node. */
type Open<Known extends string> = Known | (string & {});

export interface Page<Item> {
  items: Item[];
  next: string | null;
}

export interface Location {
  lat: number;
  lon: number;
}

export interface FieldConflictRef {
  field: string;
  conflict: string;
}

export interface SeenBy {
  node: string;
  name?: string | null;
  /** On that node's disk. */
  stored_at: string | null;
  /** In what that node shows; null while it waits for something it depends on. */
  applied_at: string | null;
}

export interface DocumentBase {
  id: string;
  version: string;
  created_at: string;
  updated_at: string;
  /** Who changed it last; null where the node itself did. */
  author: string | null;
  node: string | null;
  node_name?: string | null;
  conflicts: FieldConflictRef[];
  seen_by: SeenBy[];
  deleted?: boolean;
}

export interface Incident extends DocumentBase {
  title: string;
  category: string | null;
  status: Open<(typeof INCIDENT_STATUSES)[number]>;
  severity: Open<(typeof SEVERITIES)[number]>;
  description: string | null;
  location: Location | null;
  tags: string[];
  parent: string | null;
  source: { rule: string; device: string; channel: string } | null;
  raised_at?: string | null;
  peak?: { at: string; value: number } | null;
  cleared_at?: string | null;
}

/** What a person may write; a PATCH carries only what changed. */
export interface IncidentInput {
  title: string;
  category: string | null;
  status: string;
  severity: string;
  description: string | null;
  location: Location | null;
  tags: string[];
}

export interface Resource extends DocumentBase {
  name: string;
  kind: string | null;
  type: string | null;
  organisation: string | null;
  location: Location | null;
  capabilities: string[];
  out_of_service: string | null;
  status: Open<"available" | "assigned" | "out_of_service">;
}

export interface Assignment extends DocumentBase {
  resource: string;
  incident: string;
  state: Open<(typeof ASSIGNMENT_STATES)[number]>;
}

export interface Device extends Partial<DocumentBase> {
  id: string;
  name: string;
  state: Open<"unknown" | "approved" | "disabled">;
  location?: Location | null;
  last_seen?: string | null;
  battery_pct?: number | null;
  rssi_dbm?: number | null;
  expected_interval_s?: number | null;
}

export interface Series {
  id: string;
  device: string;
  channel: string;
  unit: string | null;
  count: number;
  last: { at: string; value: number } | null;
}

export interface Rule extends DocumentBase {
  name: string;
  enabled: boolean;
  match: { device: string; channel: string };
  kind: Open<"threshold">;
  raise_above?: number | null;
  clear_below?: number | null;
  raise_below?: number | null;
  clear_above?: number | null;
  for_s?: number | null;
  hold_s?: number | null;
  incident: { title: string; category?: string | null; severity?: string | null };
}

export interface ConflictValue {
  value: unknown;
  author: string | null;
  node: string | null;
  at: string | null;
}

export interface Conflict {
  id: string;
  kind: Open<"field">;
  documents: { kind: string; id: string }[];
  /** The field, where it is about one. */
  field: string | null;
  summary: string;
  values: ConflictValue[];
  state: Open<"open" | "resolved">;
  choices: { id: string; label: string }[];
}

export interface HistoryItem {
  version: string;
  /** When this node took it in. */
  at: string;
  /** When its author wrote it, by the author's clock. */
  made_at: string;
  author: string | null;
  node: string | null;
  node_name: string | null;
  changes: { field: string; from: unknown; to: unknown }[];
}

export interface DeadLetter {
  id: string;
  source: string;
  topic: string | null;
  reason: string;
  received_at: string;
  payload_base64: string;
  attempts: number;
  state: string;
}

export interface Peer {
  node_id: string;
  name: string | null;
  role?: string | null;
  state: string;
  last_seen: string | null;
  /** What we hold and they have not acknowledged. */
  behind_entries: number;
  behind_bytes?: number;
}

export interface NodeStatus {
  node_id: string;
  name: string;
  role: Open<"field" | "hq" | "gateway">;
  operation: { id: string; title: string };
  documents: number;
  readings: number;
  heads_digest: string;
  pending: number;
  quarantined: number;
  peers: Peer[];
}

export interface Session {
  user: { id: string | null; name: string; role: string };
  csrf_token: string;
}

/** RFC 9457, with the pointers of a 422. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  errors?: { pointer: string; detail: string }[];
}

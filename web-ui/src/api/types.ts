/** What the node sends and takes, from its OpenAPI document (`npm run types` writes schema.ts).
 *
 * Enumerations are open on reading: a node of a newer version may send a word that this page does not know, and it is
 * then shown as it is. On writing they are closed. */
import type { components } from "./schema.ts";

type Schemas = components["schemas"];

/** Adds "or another word" to every enumeration in a shape. */
type Opened<Shape> = Shape extends string
  ? string extends Shape
    ? Shape
    : Shape | (string & {})
  : Shape extends (infer Item)[]
    ? Opened<Item>[]
    : Shape extends object
      ? { [Name in keyof Shape]: Opened<Shape[Name]> }
      : Shape;

export type Incident = Opened<Schemas["Incident"]>;
export type Resource = Opened<Schemas["Resource"]>;
export type Assignment = Opened<Schemas["Assignment"]>;
export type Device = Opened<Schemas["Device"]>;
export type Rule = Opened<Schemas["Rule"]>;
export type RuleTestResult = Schemas["RuleTestResult"];
export type RuleCurve = Schemas["RuleCurve"];
export type RuleSeen = Opened<Schemas["RuleSeen"]>;
export type Calibration = Opened<Schemas["Calibration"]>;
export type CalibrationInput = Schemas["CalibrationCreate"];
export type CalibrationCurve = CalibrationInput["curve"];
export type Message = Schemas["Message"];
export type MessageInput = Schemas["MessageCreate"];
export type Series = Schemas["Series"];
export type HeardBy = Schemas["HeardBy"];
export type DeviceHeardBy = Schemas["DeviceHeardBy"];
export type Readings = Schemas["Readings"];
export type Resolution = Schemas["Resolution"];
export type Broker = Opened<Schemas["Broker"]>;
/** The options of an entry are those of its format: this page passes them on without knowing them. */
export type Decoder = Omit<Opened<Schemas["Decoder"]>, "entry"> & { entry: Record<string, unknown> | null };
export type DecoderPage = Omit<Schemas["DecoderPage"], "items"> & { items: Decoder[] };
export type DecodedMessage = Schemas["DecodedMessage"];
export type DeviceCommand = Opened<Schemas["DeviceCommand"]>;
export type DeviceCommandPage = Schemas["DeviceCommandPage"];
export type AuditRecord = Omit<Schemas["AuditRecord"], "detail"> & { detail: Record<string, unknown> };
export type MqttAccount = Schemas["MqttAccount"];
export type MqttAccountCredentials = Schemas["MqttAccountCredentials"];
export type DeviceCredentials = Schemas["DeviceCredentials"];
export type Conflict = Opened<Schemas["Conflict"]>;
export type ConflictValue = Conflict["values"][number];
export type HistoryEntry = Schemas["HistoryEntry"];
export type DeadLetter = Schemas["DeadLetter"];
export type Peer = Schemas["Peer"];
/** A node, as against an address that is dialled and at which nobody has answered. */
export type KnownPeer = Peer & { node_id: string };
export type NodeStatus = Omit<Schemas["Status"], "peers"> & { peers: KnownPeer[]; dialled: Peer[] };
/** As it comes: nodes and dialled addresses in one list. */
export type StatusAnswer = Schemas["Status"];
export type Session = Schemas["Session"];
export type SeenBy = Schemas["SeenBy"];
export type Location = Schemas["Location"];
/** RFC 9457; another program in between may answer with less. */
export type Problem = Partial<Schemas["Problem"]>;

/** What every kind of document has. */
export type DocumentBase = Pick<
  Incident,
  "id" | "version" | "created_at" | "updated_at" | "author" | "node" | "node_name" | "conflicts" | "seen_by"
>;

export interface Page<Item> {
  items: Item[];
  next: string | null;
}

/** The part of an incident that a person writes. */
type IncidentField = "title" | "category" | "status" | "severity" | "description" | "location" | "tags";
export type IncidentInput = Pick<Incident, IncidentField>;

/** The part of a device that a person writes. */
export type DeviceInput = Pick<Device, "location" | "expected_interval_s" | "description">;

type RuleCreate = Schemas["RuleCreate"];
export type RuleKind = NonNullable<RuleCreate["kind"]>;
export type RuleExpression = NonNullable<RuleCreate["expression"]>;
export type RuleExpressionInput = RuleExpression["inputs"][number];
export type RuleFunction = NonNullable<RuleExpressionInput["function"]>;
export type RuleWindow = NonNullable<RuleCreate["silence"]>[number];
export type Severity = Schemas["Incident"]["severity"];
/** All that a person writes about a rule, but whether it is on. */
export type RuleInput = {
  [Field in Exclude<keyof RuleCreate, "enabled">]-?: Exclude<RuleCreate[Field], undefined>;
} & { [Field in "kind" | "for_s" | "hold_s" | "reopen_s" | "either_way"]: NonNullable<RuleCreate[Field]> };

/** A list of all words of an enumeration: the compiler refuses one too few as well as one too many. */
const every =
  <Word extends string>() =>
  <const List extends readonly Word[]>(list: List & ([Word] extends [List[number]] ? unknown : never)) =>
    list;

export const INCIDENT_STATUSES = every<Schemas["Incident"]["status"]>()([
  "reported",
  "confirmed",
  "active",
  "contained",
  "closed",
  "false_alarm",
]);
export const SEVERITIES = every<Schemas["Incident"]["severity"]>()([
  "extreme",
  "severe",
  "moderate",
  "minor",
  "unknown",
]);
/** CAP 1.2 §3.2.2 `category`. */
export const CATEGORIES = every<Schemas["Incident"]["category"]>()([
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
]);
export const RULE_KINDS = every<RuleKind>()(["threshold", "rate", "no_data", "deviation", "sta_lta", "expression"]);
export const RULE_FUNCTIONS = every<RuleFunction>()([
  "last",
  "rise",
  "min",
  "max",
  "mean",
  "nowcast_aqi_pm25",
  "nowcast_aqi_pm10",
]);
export const ASSIGNMENT_STATES = every<Schemas["Assignment"]["state"]>()([
  "requested",
  "committed",
  "en_route",
  "on_scene",
  "released",
  "cancelled",
]);

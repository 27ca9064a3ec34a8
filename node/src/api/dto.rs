//! The shapes of answers and requests that are no documents, as the OpenAPI document describes them.
//!
//! Invariant: these types describe; they are not what handlers parse with. Answers come as JSON from the app layer, and
//! requests are read field by field, so that errors point at their place. Tests compare real answers with them.

#![allow(dead_code)]

mod audit;
mod brokers;
mod decoders;
mod mqtt;
mod nodes;

use serde_json::Value;
use utoipa::ToSchema;

pub use audit::*;
pub use brokers::*;
pub use decoders::*;
pub use mqtt::*;
pub use nodes::*;

/// An error (RFC 9457).
#[derive(ToSchema)]
pub struct Problem {
    /// A stable name for this kind of problem; it ends in a code such as `version-unknown`.
    #[schema(
        rename = "type",
        example = "https://muster.invalid/problems/version-unknown"
    )]
    pub kind: String,
    /// The same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
    /// What does not fit, place by place.
    #[schema(nullable = false)]
    pub errors: Option<Vec<ProblemError>>,
}

/// One place that does not fit.
#[derive(ToSchema)]
pub struct ProblemError {
    /// JSON pointer (RFC 6901) into the body; for a query parameter into the parameters as one object.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// A point in WGS 84 degrees.
#[derive(ToSchema)]
pub struct Location {
    /// Latitude.
    #[schema(minimum = -90, maximum = 90)]
    pub lat: f64,
    /// Longitude.
    #[schema(minimum = -180, maximum = 180)]
    pub lon: f64,
}

/// A field that holds several values, and the conflict that lists them.
#[derive(ToSchema)]
pub struct OpenConflict {
    /// Name of the field.
    pub field: String,
    /// Id of the conflict.
    pub conflict: String,
}

/// A copy on another node, as far as this one has heard: from the node itself or, over others, from its receipts.
///
/// Stored is not applied, and neither is a person's acknowledgement. Times are for people: of a node that this one
/// exchanges with they are when this node heard it, by its own clock; of any other, when that node wrote so, by that
/// node's clock.
#[derive(ToSchema)]
pub struct SeenBy {
    /// Node id.
    pub node: String,
    /// Its name.
    #[schema(required)]
    pub name: Option<String>,
    /// Since when it stores what is shown here; null where it does not yet.
    #[schema(required, format = DateTime)]
    pub stored_at: Option<String>,
    /// Since when its own view shows it; null where it is stored and waits for what it builds on.
    #[schema(required, format = DateTime)]
    pub applied_at: Option<String>,
}

/// Related paths.
#[derive(ToSchema)]
pub struct Links {
    /// This document.
    #[schema(rename = "self")]
    pub own: String,
    /// Its history.
    #[schema(nullable = false)]
    pub history: Option<String>,
    /// Its list.
    #[schema(nullable = false)]
    pub collection: Option<String>,
}

/// A document or fact by kind and id.
#[derive(ToSchema)]
pub struct RecordReference {
    /// Singular: `incident`.
    pub kind: String,
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
}

/// One step of a document's history.
#[derive(ToSchema)]
pub struct HistoryEntry {
    /// The version after this step, as this node arrived at it.
    pub version: String,
    /// When this node took it in.
    #[schema(format = DateTime)]
    pub at: String,
    /// When its author wrote it, by the author's clock.
    #[schema(format = DateTime)]
    pub made_at: String,
    /// Who; null where the node itself did.
    #[schema(required)]
    pub author: Option<String>,
    /// Node on which it was written.
    pub node: String,
    /// That node's name.
    #[schema(required)]
    pub node_name: Option<String>,
    /// Whether the document was deleted after it.
    pub deleted: bool,
    /// What it changed, by field.
    pub changes: Vec<HistoryChange>,
}

/// One field that a step changed.
#[derive(ToSchema)]
pub struct HistoryChange {
    /// Name of the field.
    pub field: String,
    /// Value before.
    pub from: Value,
    /// Value after.
    pub to: Value,
}

/// Steps, newest first.
#[derive(ToSchema)]
pub struct HistoryPage {
    /// The steps.
    pub items: Vec<HistoryEntry>,
    /// Cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}

/// Data of an event of `GET /v1/events`.
#[derive(ToSchema)]
pub struct ChangeEvent {
    /// Singular: `incident`.
    pub kind: String,
    /// Id of what changed; empty for dead letters, of which many change together.
    pub id: String,
    /// Its version afterwards; empty for what has none.
    pub version: String,
}

/// Something that two people or nodes did and that a person must settle.
#[derive(ToSchema)]
pub struct Conflict {
    /// The same on every node.
    #[schema(format = "uuid")]
    pub id: String,
    /// What kind of conflict; `field` is one register with several values.
    pub kind: ConflictKind,
    /// The documents it is about.
    pub documents: Vec<ConflictDocument>,
    /// The field, where it is about one.
    #[schema(required)]
    pub field: Option<String>,
    /// In words.
    pub summary: String,
    /// What stands against each other.
    pub values: Vec<ConflictValue>,
    /// Whether somebody settled it.
    pub state: ConflictState,
    /// What can be chosen.
    pub choices: Vec<ConflictChoice>,
    /// How it was settled; null while it is open.
    #[schema(required)]
    pub resolution: Option<ConflictResolved>,
}

/// A document that a conflict is about.
#[derive(ToSchema)]
pub struct ConflictDocument {
    /// Singular: `incident`; null where only a newer version knows it.
    #[schema(required)]
    pub kind: Option<String>,
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Its path.
    #[schema(required)]
    pub href: Option<String>,
}

/// How a conflict was settled.
#[derive(ToSchema)]
pub struct ConflictResolved {
    /// The value that stands.
    pub value: Value,
    /// Who chose it; null where a node did.
    #[schema(required)]
    pub author: Option<String>,
    /// Where.
    #[schema(required)]
    pub node: Option<String>,
    /// That node's name.
    #[schema(required)]
    pub node_name: Option<String>,
    /// When, by the clock of its author.
    #[schema(required, format = DateTime)]
    pub at: Option<String>,
}

/// Kinds of conflict.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ConflictKind {
    /// A register with several values.
    Field,
    /// One resource committed twice.
    DoubleCommit,
    /// More went out than was there.
    NegativeStock,
    /// More people than places.
    OverCapacity,
    /// States that exclude each other.
    ContradictingState,
    /// Deleted on one side, edited on the other.
    DeletedWhileEdited,
    /// The same thing recorded twice.
    Duplicate,
}

/// State of a conflict.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ConflictState {
    /// Nobody settled it.
    Open,
    /// Settled.
    Resolved,
}

/// One of the values.
#[derive(ToSchema)]
pub struct ConflictValue {
    /// Id of the choice that takes this value.
    pub choice: String,
    /// The value itself.
    pub value: Value,
    /// Who set it; null where a node did.
    #[schema(required)]
    pub author: Option<String>,
    /// Where.
    #[schema(required)]
    pub node: Option<String>,
    /// That node's name.
    #[schema(required)]
    pub node_name: Option<String>,
    /// When, by the clock of its author.
    #[schema(required, format = DateTime)]
    pub at: Option<String>,
}

/// A value that can be chosen.
#[derive(ToSchema)]
pub struct ConflictChoice {
    /// Send it as `choice`.
    pub id: String,
    /// In words.
    pub label: String,
}

/// Conflicts.
#[derive(ToSchema)]
pub struct ConflictPage {
    /// The conflicts.
    pub items: Vec<Conflict>,
    /// Cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}

/// How to settle a conflict: one of the two.
#[derive(ToSchema)]
pub struct ConflictResolution {
    /// Id of a choice.
    #[schema(nullable = false)]
    pub choice: Option<String>,
    /// Another value, as the field takes it.
    #[schema(value_type = Value, required = false)]
    pub value: Option<Value>,
}

/// A channel of a device, with its readings.
#[derive(ToSchema)]
pub struct Series {
    /// Id: of its names, so that it is the same on every node.
    pub id: String,
    /// Name of the device.
    pub device: String,
    /// Channel of the device.
    pub channel: String,
    /// UCUM unit.
    #[schema(required)]
    pub unit: Option<String>,
    /// How many readings came, those that are no longer kept included; where only other nodes heard it, as many as the one
    /// of them says that heard most.
    pub count: u64,
    /// The newest that this node heard.
    #[schema(required)]
    pub last: Option<SeriesValue>,
    /// The other nodes that heard it, by what they say, those that heard most first; at most 16.
    pub heard_by: Vec<HeardBy>,
}

/// What a node, this one or another, knows of a device from hearing it.
#[derive(ToSchema)]
pub struct DeviceHeardBy {
    /// The node.
    pub node: String,
    /// Its name.
    #[schema(required)]
    pub name: Option<String>,
    /// Whether it is this node.
    pub here: bool,
    /// When it said so; null for this node, whose word is from now.
    #[schema(required, format = DateTime)]
    pub said_at: Option<String>,
    /// When it heard the device last.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// Whether the device was there when it said so; null where it did not know.
    #[schema(required)]
    pub online: Option<bool>,
    /// Charge of the device's battery in percent.
    #[schema(required)]
    pub battery_pct: Option<f64>,
    /// From when that is.
    #[schema(required, format = DateTime)]
    pub battery_at: Option<String>,
    /// Strength of the device's signal there, in dBm.
    #[schema(required)]
    pub rssi_dbm: Option<f64>,
    /// From when that is.
    #[schema(required, format = DateTime)]
    pub rssi_at: Option<String>,
}

/// What another node says that it heard of a series, in whole quarters of an hour.
#[derive(ToSchema)]
pub struct HeardBy {
    /// The node.
    pub node: String,
    /// Its name.
    #[schema(required)]
    pub name: Option<String>,
    /// When the first quarter of an hour with readings begins.
    #[schema(format = DateTime)]
    pub from: String,
    /// When the last one ends.
    #[schema(format = DateTime)]
    pub to: String,
    /// Readings in all of them.
    pub count: u64,
    /// The last one; null where it is too old to be known.
    #[schema(required)]
    pub last: Option<QuarterSaid>,
}

/// The readings of a quarter of an hour.
#[derive(ToSchema)]
pub struct QuarterSaid {
    /// When it begins.
    #[schema(format = DateTime)]
    pub at: String,
    /// The least of them.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// The greatest of them.
    pub max: f64,
    /// How many.
    pub count: u64,
}

/// Whose data an answer is.
#[derive(ToSchema)]
pub struct ReadingsSource {
    /// The node.
    pub node: String,
    /// Its name.
    #[schema(required)]
    pub name: Option<String>,
    /// Whether it is this node.
    pub here: bool,
    /// When the first of its points begins.
    #[schema(format = DateTime)]
    pub from: String,
    /// When the last of them ends.
    #[schema(format = DateTime)]
    pub to: String,
    /// How many of the points are its.
    pub points: u64,
}

/// A value at a time.
#[derive(ToSchema)]
pub struct SeriesValue {
    /// When it was measured, else received.
    #[schema(format = DateTime)]
    pub at: String,
    /// The value, as the channel's calibration says.
    pub value: f64,
    /// As it came.
    pub raw: f64,
    /// The calibration that was applied; null for none.
    #[schema(required)]
    pub calibration: Option<String>,
    /// How long ago that was, in seconds.
    pub age_s: i64,
    /// Whether it is to be doubted: its device has missed three of the intervals at which it is expected to send, or is
    /// gone. Null where nobody has said how often it sends.
    #[schema(required)]
    pub stale: Option<bool>,
    /// What is to be known about it besides its value.
    pub flags: Vec<ReadingFlag>,
}

/// Series.
#[derive(ToSchema)]
pub struct SeriesPage {
    /// The series.
    pub items: Vec<Series>,
    /// Cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}

/// Readings of one series, oldest first.
#[derive(ToSchema)]
pub struct Readings {
    /// Id of the series.
    pub series: String,
    /// As asked for: `raw`, `1m`, `15m` or `1h`.
    pub resolution: String,
    /// More lie in the range than the limit allows; these are the newest.
    pub truncated: bool,
    /// Each is `[at, value]`, or `[at, min, mean, max, count]` of the time that begins at `at`; `at` in RFC 3339.
    #[schema(value_type = Vec<Vec<Value>>)]
    pub points: Vec<Value>,
    /// Only of raw readings, and where the device states how often it sends: each is `[from, to]`, the readings between
    /// which others were expected.
    #[schema(value_type = Vec<(String, String)>, required = false)]
    pub gaps: Option<Vec<Value>>,
    /// Whose readings or buckets these are, the node that gave most first. Of each bucket's time the node that heard most
    /// is shown, never a sum.
    #[schema(required = false)]
    pub sources: Option<Vec<ReadingsSource>>,
    /// Only with `times=all`: for each point `[received_at, device_time]`, the latter as the device said it, whether or not
    /// that can be true; null where it said nothing.
    #[schema(value_type = Vec<(String, Option<String>)>, required = false)]
    pub times: Option<Vec<Value>>,
    /// Only of raw readings: for each point, in words, what is to be known about it besides its value. Left out where there
    /// is nothing about any of them, unless `times=all` is asked for.
    #[schema(required = false)]
    pub flags: Option<Vec<Vec<ReadingFlag>>>,
    /// `calibrated` where a calibration was applied to some of them, else `raw`.
    pub values: String,
    /// The calibrations that were applied, by the time from which they are valid.
    pub calibrations: Vec<AppliedCalibration>,
    /// How many of the points are raw although calibrated ones were asked for: none of the calibrations was valid then.
    pub uncalibrated: u64,
    /// Some value lies beyond the points that its curve was measured at.
    pub extrapolated: bool,
    /// Only of rollups: a curve that bends was applied to some least, greatest and mean, because the readings themselves
    /// are no longer kept.
    pub approximate: bool,
}

/// What is to be known about a reading besides its value.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum ReadingFlag {
    /// Another value with the same time is stored too; both are kept, and both say so.
    Contradicts,
    /// Its source doubts it: a decoder's script gave it with warnings. Rules do not look at it.
    Suspect,
    /// It came as a copy that a broker kept for whoever subscribes (RETAIN). Rules do not look at it.
    Retained,
    /// It came in a message that was sent again, and was not there yet.
    Redelivered,
    /// Its device was not approved when it came: rules did not look at it, and it is in no minutes, quarters and hours.
    Unapproved,
    /// Rules did not look at it: it is suspect or retained, or was read long after it came.
    NotNews,
    /// Only with `times=all`: the device stated a time that cannot be true, so that its receipt counts.
    AbsurdClock,
}

/// A calibration that was applied to readings.
#[derive(ToSchema)]
pub struct AppliedCalibration {
    /// Id of its document.
    pub id: String,
    /// To readings from this time on; null for all.
    #[schema(format = DateTime, required)]
    pub valid_from: Option<String>,
}

/// Which values are answered.
#[derive(ToSchema)]
pub enum Values {
    /// As their calibrations say.
    #[schema(rename = "calibrated")]
    Calibrated,
    /// As they came.
    #[schema(rename = "raw")]
    Raw,
}

/// How fine readings are answered.
#[derive(ToSchema)]
pub enum Resolution {
    /// Every reading.
    #[schema(rename = "raw")]
    Raw,
    /// One row a minute.
    #[schema(rename = "1m")]
    OneMinute,
    /// One row a quarter of an hour.
    #[schema(rename = "15m")]
    FifteenMinutes,
    /// One row an hour.
    #[schema(rename = "1h")]
    OneHour,
}

/// A message that could not be taken in, with its bytes and the reason.
#[derive(ToSchema)]
pub struct DeadLetter {
    /// Id on this node.
    pub id: String,
    /// Where it came from.
    pub source: String,
    /// Its topic.
    #[schema(required)]
    pub topic: Option<String>,
    /// Name and version of the decoder that refused it; null where there was none.
    #[schema(required)]
    pub decoder: Option<String>,
    /// Why it was not taken in.
    pub reason: String,
    /// The same as a stable name.
    pub code: String,
    /// When it came.
    #[schema(format = DateTime)]
    pub received_at: String,
    /// Its bytes.
    #[schema(format = Byte)]
    pub payload_base64: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When the node tries again by itself; null where the cause does not pass by itself.
    #[schema(required, format = DateTime)]
    pub retry_at: Option<String>,
    /// What became of it.
    pub state: DeadLetterState,
}

/// What became of a dead letter.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DeadLetterState {
    /// Nobody has looked after it.
    Open,
    /// It was taken in after all.
    Replayed,
    /// Somebody said that it is of no use.
    Discarded,
}

/// What one request did with many dead letters.
#[derive(ToSchema)]
pub struct DeadLettersSettled {
    /// So many were read, or given up.
    pub settled: u64,
    /// So many were tried and still cannot be read.
    pub failed: u64,
    /// While it is there, more of them are: the cursor of the next request.
    #[schema(required)]
    pub next: Option<String>,
}

/// Dead letters.
#[derive(ToSchema)]
pub struct DeadLetterPage {
    /// The dead letters.
    pub items: Vec<DeadLetter>,
    /// Cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}

/// Name and password.
#[derive(ToSchema)]
pub struct SignIn {
    /// Name of the user.
    pub username: String,
    /// The password.
    #[schema(format = Password)]
    pub password: String,
}

/// A session of the page.
#[derive(ToSchema)]
pub struct Session {
    /// Who is signed in.
    pub user: SessionUser,
    /// Send it as X-CSRF-Token with every write.
    pub csrf_token: String,
}

/// Who is signed in.
#[derive(ToSchema)]
pub struct SessionUser {
    /// Id of the user.
    #[schema(required, format = "uuid")]
    pub id: Option<String>,
    /// Name.
    pub name: String,
    /// Role.
    pub role: String,
}

/// A form (RFC 6749): `grant_type` says which of the other fields it needs.
#[derive(ToSchema)]
pub struct TokenRequest {
    /// Which grant.
    pub grant_type: GrantType,
    /// For `password`.
    #[schema(nullable = false)]
    pub username: Option<String>,
    /// For `password`.
    #[schema(nullable = false, format = Password)]
    pub password: Option<String>,
    /// For `refresh_token`.
    #[schema(nullable = false)]
    pub refresh_token: Option<String>,
    /// For `client_credentials`, unless sent as HTTP Basic.
    #[schema(nullable = false)]
    pub client_id: Option<String>,
    /// For `client_credentials`, unless sent as HTTP Basic.
    #[schema(nullable = false, format = Password)]
    pub client_secret: Option<String>,
    /// Accepted and without effect: rights follow from the user's role.
    #[schema(nullable = false)]
    pub scope: Option<String>,
}

/// Grants.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum GrantType {
    /// Name and password of a user.
    Password,
    /// A refresh token of an earlier answer.
    RefreshToken,
    /// A program with its own user.
    ClientCredentials,
}

/// A token (RFC 6749 §5.1).
#[derive(ToSchema)]
pub struct Token {
    /// Send it as `Authorization: Bearer …`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    /// For a new access token; not given to `client_credentials`.
    #[schema(nullable = false)]
    pub refresh_token: Option<String>,
}

/// Why there is no token (RFC 6749 §5.2).
#[derive(ToSchema)]
pub struct TokenError {
    /// `invalid_request`, `invalid_client`, `invalid_grant` or `unsupported_grant_type`.
    pub error: String,
    /// In words.
    pub error_description: String,
}

//! `/v1/rules/test`: what a rule would have done, and `/v1/rules/{id}/state`: what one sees now. Rules themselves are
//! documents like others.

use super::ApiState;
use super::extract::{JsonObject, PathId, Signed};
use super::problem::Problem;
use super::query::{LIST_LIMIT_MAX, QueryParameters};
use super::records::page_answer;
use crate::app::rules::RuleStanding;
use crate::app::rules::trial::TestRange;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::FieldError;
use serde_json::{Map, Value};

pub use shapes::{RuleSeenPage, RuleState, RuleTest, RuleTestResult};

/// Shapes that only the OpenAPI document reads: the node reads and answers JSON.
#[allow(dead_code)]
mod shapes {
    use serde_json::Value;
    use utoipa::ToSchema;

    /// A rule and a range of time.
    #[derive(ToSchema)]
    pub struct RuleTest {
        /// A rule as it would be sent to `/v1/rules`.
        #[schema(value_type = Object)]
        pub rule: Value,
        /// Not before this time; a week before `to` where nothing is said.
        #[schema(format = DateTime)]
        pub from: Option<String>,
        /// Not after this time; now where nothing is said.
        #[schema(format = DateTime)]
        pub to: Option<String>,
        /// Whether the rule's value over that time is wanted, too; it is not where nothing is said.
        pub values: Option<bool>,
    }

    /// What a rule would have done.
    #[derive(ToSchema)]
    pub struct RuleTestResult {
        /// How often it would have opened an incident.
        pub fired: u64,
        /// Those incidents, oldest first.
        pub firings: Vec<RuleFiring>,
        /// Readings that were evaluated.
        pub readings: u64,
        /// Readings that the rule does not look at: their device was not approved when they came, they were no news, or
        /// their unit does not convert into the rule's.
        pub passed_over: u64,
        /// Series that the rule looks at.
        pub series: u64,
        /// The range that was looked at.
        #[schema(format = DateTime)]
        pub from: String,
        /// Its end.
        #[schema(format = DateTime)]
        pub to: String,
        /// Something was left out: the oldest of more than 500,000 readings, series past the 200th, firings past the
        /// 1,000th.
        pub truncated: bool,
        /// The value that the rule looks at over that time, where it was asked for and the rule has one: none is made of
        /// silence. The first 12 are told, those farthest beyond the level first.
        #[schema(required = false)]
        pub values: Option<Vec<RuleCurve>>,
    }

    /// The value of a rule over time, of one series or device.
    #[derive(ToSchema)]
    pub struct RuleCurve {
        /// Name of the device.
        pub device: String,
        /// Channel of the device; for an expression, the name of its value.
        pub channel: String,
        /// For how long each point stands, in seconds.
        pub width_s: u64,
        /// Each is `[at, min, mean, max, count]` of the values in the time that begins at `at`; `at` in RFC 3339.
        #[schema(value_type = Vec<Vec<Value>>)]
        pub points: Vec<Value>,
    }

    /// How a rule stands over one series or device.
    #[derive(ToSchema)]
    #[schema(rename_all = "lowercase")]
    pub enum RuleState {
        /// It has raised and not cleared.
        Raised,
        /// Beyond its level, but not for long enough, or while it is silenced.
        Pending,
        /// Nothing is beyond its level.
        Clear,
    }

    /// What a rule sees now of one series or device.
    #[derive(ToSchema)]
    pub struct RuleSeen {
        /// Name of the device; of the virtual device, where an expression names its inputs' devices.
        pub device: String,
        /// Channel of the device; for an expression, the name of its value.
        pub channel: String,
        /// Id of the series; null for a device as a whole, and for an expression.
        #[schema(required)]
        pub series: Option<String>,
        /// How the rule stands.
        pub state: RuleState,
        /// The value that the rule looks at. Null before there is one, while an input of an expression is too old, and
        /// after a start of the node until the next reading (of an expression and of silence it is known at once).
        #[schema(required)]
        pub value: Option<f64>,
        /// Unit of the value in UCUM, where it is known.
        #[schema(required)]
        pub unit: Option<String>,
        /// When the reading was measured that changed the value last, else when it was received; null after a start of the
        /// node until there is one.
        #[schema(required, format = DateTime)]
        pub at: Option<String>,
        /// When that reading was received.
        #[schema(required, format = DateTime)]
        pub received_at: Option<String>,
        /// Since when it is beyond the level; null where it is not.
        #[schema(required, format = DateTime)]
        pub since: Option<String>,
        /// The worst value since then; null where it has not raised.
        #[schema(required)]
        pub peak: Option<RulePeak>,
        /// The incident that it opened; null where it has not raised.
        #[schema(required)]
        pub incident: Option<String>,
        /// Of an expression, what its inputs give; else empty.
        pub inputs: Vec<RuleInputSeen>,
    }

    /// What an input of an expression gives now.
    #[derive(ToSchema)]
    pub struct RuleInputSeen {
        /// What the formula calls it.
        pub name: String,
        /// What was taken of its channel; null before the first reading.
        #[schema(required)]
        pub value: Option<f64>,
        /// When the reading behind it was received.
        #[schema(required, format = DateTime)]
        pub received_at: Option<String>,
        /// Whether it is new enough to count.
        pub counts: bool,
    }

    /// What a rule sees now.
    #[derive(ToSchema)]
    pub struct RuleSeenPage {
        /// What is raised first, then what is pending, then what is clear; by name within each.
        pub items: Vec<RuleSeen>,
        /// Cursor of the next page; null at the end.
        #[schema(required)]
        pub next: Option<String>,
        /// This node's position in its readings.
        pub since: String,
    }

    /// An incident that would have been.
    #[derive(ToSchema)]
    pub struct RuleFiring {
        /// Name of the device.
        pub device: String,
        /// Channel of the device.
        pub channel: String,
        /// Its title.
        pub title: String,
        /// Its severity at the end.
        pub severity: String,
        /// When it would have been raised.
        #[schema(format = DateTime)]
        pub raised_at: String,
        /// The worst value.
        pub peak: RulePeak,
        /// When it would have cleared; null where it had not by the end of the range.
        #[schema(required, format = DateTime)]
        pub cleared_at: Option<String>,
        /// How often it would have come back within `reopen_s`.
        pub reopened: u64,
    }

    /// The value that was farthest past the rule's level.
    #[derive(ToSchema)]
    pub struct RulePeak {
        /// When it was measured, else received.
        #[schema(format = DateTime)]
        pub at: String,
        /// The value, as the rule sees it.
        pub value: f64,
    }
}

/// Evaluate a rule over stored readings. Nothing is changed by it; two run at once.
#[utoipa::path(
    post, path = "/v1/rules/test", tag = "rules", operation_id = "test_rule",
    request_body = RuleTest,
    responses((status = 200, description = "What it would have done.", body = RuleTestResult)),
)]
pub async fn test(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut body: JsonObject,
) -> Result<Json<Value>, Problem> {
    let mut errors = Vec::new();
    let rule = match body.members.remove("rule") {
        Some(Value::Object(rule)) => rule,
        Some(_) | None => {
            errors.push(FieldError::new("/rule", "must be a rule, as an object"));
            Map::new()
        }
    };
    let from_ms = time_ms(&mut body, "from", &mut errors);
    let to_ms = time_ms(&mut body, "to", &mut errors);
    let values = match body.members.remove("values") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(values)) => values,
        Some(_) => {
            errors.push(FieldError::new("/values", "must be true or false"));
            false
        }
    };
    body.finish(errors)?;
    let range = TestRange {
        from_ms,
        to_ms,
        values,
    };
    Ok(Json(api.app.test_rule(&caller, &rule, range).await?))
}

/// What a rule sees now, of each series or device that it looks at.
#[utoipa::path(
    get, path = "/v1/rules/{id}/state", tag = "rules", operation_id = "get_rule_state",
    params(
        ("id" = String, Path),
        ("state" = Option<RuleState>, Query, description = "Only those that stand so."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page.", body = RuleSeenPage)),
)]
pub async fn state(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let only = query
        .text("state")
        .map(|word| word.parse::<RuleStanding>())
        .transpose()
        .map_err(|()| {
            Problem::invalid_parameter("state", "expected one of raised, pending, clear")
        })?;
    let cursor = query.text("cursor");
    let limit = query.limit(LIST_LIMIT_MAX)?;
    query.finish(&["state", "limit", "cursor"])?;
    let page = api
        .app
        .rule_state(&caller, &id, only, cursor.as_deref(), limit)
        .await?;
    Ok(page_answer(page))
}

fn time_ms(body: &mut JsonObject, name: &str, errors: &mut Vec<FieldError>) -> Option<i64> {
    let given = body.members.remove(name).filter(|value| !value.is_null())?;
    let at = given
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if at.is_none() {
        errors.push(FieldError::new(
            &format!("/{name}"),
            "must be a time as in 2026-11-20T13:45:00Z (RFC 3339)",
        ));
    }
    at.map(|at| at.as_millisecond())
}

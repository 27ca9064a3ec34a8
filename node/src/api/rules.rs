//! `/v1/rules/test`: what a rule would have done. Rules themselves are documents like others.

use super::ApiState;
use super::extract::{JsonObject, Signed};
use super::problem::Problem;
use axum::Json;
use axum::extract::State;
use domain::FieldError;
use serde_json::{Map, Value};

pub use shapes::{RuleTest, RuleTestResult};

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
        /// Readings that the rule does not look at: their device was not approved when they came, or their unit does not
        /// convert into the rule's.
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
    body.finish(errors)?;
    Ok(Json(
        api.app.test_rule(&caller, &rule, from_ms, to_ms).await?,
    ))
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

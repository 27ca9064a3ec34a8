//! The fields of a virtual sensor.

use serde_json::{Map, Value};

use super::super::formula::{Formula, name_fault};
use super::super::measure::{Expression, Function, Input};
use crate::schema::FieldError;

/// Inputs of one virtual sensor.
pub(crate) const INPUTS_MAX: usize = 16;
/// How old a virtual sensor's inputs may be where nothing is said: four times the quarter of an hour in which slow
/// sensors send.
const FRESH_S: i64 = 3600;

/// The field `expression` with what `match` says beside it; `errors` gets what does not fit.
pub(super) fn expression(
    fields: &Map<String, Value>,
    errors: &mut Vec<FieldError>,
) -> Option<Expression> {
    let expression = fields.get("expression")?.as_object()?;
    let before = errors.len();
    let part = |name: &str| {
        let of_match = fields.get("match").and_then(|value| value.get(name));
        of_match.and_then(Value::as_str).unwrap_or_default()
    };
    if part("channel").contains('*') {
        errors.push(FieldError::new(
            "/match/channel",
            "names the value that the expression gives, so it may not contain *",
        ));
    }
    let mut names = Vec::new();
    let mut inputs = Vec::new();
    let given = expression.get("inputs").and_then(Value::as_array)?;
    for (index, input) in given.iter().enumerate() {
        let pointer = format!("/expression/inputs/{index}");
        let of = |name: &str| input.get(name).and_then(Value::as_str);
        let (Some(name), Some(channel)) = (of("name"), of("channel")) else {
            errors.push(FieldError::new(&pointer, "needs name and channel"));
            continue;
        };
        if let Some(detail) = name_fault(name) {
            errors.push(FieldError::new(&format!("{pointer}/name"), detail));
        } else if names.contains(&name) {
            errors.push(FieldError::new(
                &format!("{pointer}/name"),
                "is there twice",
            ));
        }
        if of("device").is_some() && part("device").contains('*') {
            errors.push(FieldError::new(
                &format!("{pointer}/device"),
                "needs a match.device without *: one sensor is computed from devices that are named",
            ));
        }
        for (name, text) in [("device", of("device")), ("channel", Some(channel))] {
            if text.is_some_and(|text| text.contains('*')) {
                errors.push(FieldError::new(
                    &format!("{pointer}/{name}"),
                    "names one, so it may not contain *",
                ));
            }
        }
        let unit = of("unit").map(str::trim).filter(|unit| !unit.is_empty());
        let same_series =
            |input: &&Input| input.device.as_deref() == of("device") && input.channel == channel;
        if let Some(other) = inputs.iter().find(same_series)
            && other.unit.as_deref() != unit
        {
            errors.push(FieldError::new(
                &format!("{pointer}/unit"),
                "must be that of the other input of this channel",
            ));
        }
        names.push(name);
        inputs.push(Input {
            name: name.to_owned(),
            device: of("device").map(str::to_owned),
            channel: channel.to_owned(),
            unit: unit.map(str::to_owned),
            function: function(input, &pointer, errors)?,
        });
    }
    if inputs.is_empty() || inputs.len() > INPUTS_MAX {
        errors.push(FieldError {
            pointer: "/expression/inputs".into(),
            detail: format!("must be 1 to {INPUTS_MAX}"),
        });
    }
    let text = expression.get("formula").and_then(Value::as_str)?;
    let formula = match Formula::parse(text, &names) {
        Ok(formula) => formula,
        Err(detail) => {
            errors.push(FieldError::new("/expression/formula", &detail));
            return None;
        }
    };
    let fresh_s = expression.get("fresh_s").and_then(Value::as_i64);
    (errors.len() == before).then(|| Expression {
        formula,
        inputs,
        fresh_ms: fresh_s.unwrap_or(FRESH_S).saturating_mul(1000),
    })
}

fn function(input: &Value, pointer: &str, errors: &mut Vec<FieldError>) -> Option<Function> {
    let word = input.get("function").and_then(Value::as_str);
    let window_s = input.get("window_s").and_then(Value::as_i64);
    let windowed: Option<fn(i64) -> Function> = match word.unwrap_or("last") {
        "rise" => Some(Function::Rise),
        "min" => Some(Function::Min),
        "max" => Some(Function::Max),
        "mean" => Some(Function::Mean),
        _ => None,
    };
    let pointer = |part: &str| format!("{pointer}/{part}");
    match (windowed, window_s) {
        (Some(function), Some(seconds)) if seconds > 0 => {
            return Some(function(seconds.saturating_mul(1000)));
        }
        (Some(_), _) => {
            errors.push(FieldError::new(
                &pointer("window_s"),
                "is needed with this function",
            ));
            return None;
        }
        (None, Some(_)) => errors.push(FieldError::new(
            &pointer("window_s"),
            "belongs to rise, min, max and mean",
        )),
        (None, None) => {}
    }
    match word.unwrap_or("last") {
        "last" => Some(Function::Last),
        "nowcast_aqi_pm25" => Some(Function::NowcastAqiPm25),
        "nowcast_aqi_pm10" => Some(Function::NowcastAqiPm10),
        _ => {
            errors.push(FieldError::new(
                &pointer("function"),
                "is not known to this version",
            ));
            None
        }
    }
}

//! Reading requests: bodies, query parameters and the headers that writes carry, each with its bound.
//!
//! Invariant: nothing that a client sent is silently ignored. A query parameter that no handler knows, a second value
//! for one name and a media type that nobody asked for are answered with the name of what is wrong.

use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use domain::FieldError;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::app::{BoundingBox, Caller, IdempotencyKey};

/// A request body may hold 64 KiB: twice the 32 KiB that one edit may hold, so that an edit which is too large gets the
/// answer that says so, and small enough that every request in flight fits a Raspberry Pi's memory.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// An Idempotency-Key may hold 128 bytes: room for a UUID with a prefix; it is stored for 7 days.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// Items of one list page (DESIGN §8).
pub const LIST_LIMIT_MAX: u32 = 500;

/// The caller that the gate (`api::gate`) let through.
///
/// A handler that takes it cannot run without one: where the gate did not put it, the answer is a fault, not data.
#[derive(Debug, Clone)]
pub struct Signed(pub Caller);

impl<S: Sync> FromRequestParts<S> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Signed>().cloned().ok_or_else(|| {
            Problem::fault("this route needs a caller and the gate let it through without one")
        })
    }
}

/// Where the request came from; `None` in a test that has no connection.
#[derive(Debug, Clone, Copy)]
pub struct Remote(pub Option<IpAddr>);

impl Remote {
    /// Reads it from the connection. Headers that a proxy may set are not believed: anyone can set them.
    pub fn of(parts: &Parts) -> Self {
        let address = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip().to_canonical());
        Remote(address)
    }

    /// The address to count attempts under; where there is none, the unspecified one.
    pub fn address(self) -> IpAddr {
        self.0
            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
    }
}

impl<S: Sync> FromRequestParts<S> for Remote {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Remote::of(parts))
    }
}

/// A JSON object as it came, with the hash of its bytes.
#[derive(Debug)]
pub struct JsonObject {
    /// The members, unchecked: the domain's check gives pointers for what does not fit.
    pub members: Map<String, Value>,
    /// BLAKE3 of the body's bytes.
    pub body_hash: [u8; 32],
}

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let media = media_type(&parts.headers);
        if !matches!(
            media.as_deref(),
            Some("application/json" | "application/merge-patch+json")
        ) {
            return Err(Problem::media_type("application/json"));
        }
        let bytes = read_body(&parts.headers, body).await?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|e| Problem::unreadable(format!("the body is not JSON: {e}")))?;
        match value {
            Value::Object(members) => Ok(JsonObject {
                members,
                body_hash: *blake3::hash(&bytes).as_bytes(),
            }),
            other => Err(Problem::invalid(vec![FieldError {
                pointer: String::new(),
                detail: format!("expected an object, found {}", type_name(&other)),
            }])),
        }
    }
}

impl JsonObject {
    /// Takes a string that must be there.
    pub fn take_string(&mut self, name: &str, errors: &mut Vec<FieldError>) -> String {
        let pointer = format!("/{name}");
        match self.members.remove(name) {
            Some(Value::String(text)) => return text,
            Some(other) => errors.push(FieldError {
                pointer,
                detail: format!("expected a string, found {}", type_name(&other)),
            }),
            None => errors.push(FieldError {
                pointer,
                detail: "is required".into(),
            }),
        }
        String::new()
    }

    /// Names what nobody took.
    pub fn finish(self, mut errors: Vec<FieldError>) -> Result<(), Problem> {
        errors.extend(self.members.keys().map(|name| FieldError {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            detail: "unknown field".into(),
        }));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(errors))
        }
    }
}

/// The fields of an `application/x-www-form-urlencoded` body, in order.
#[derive(Debug)]
pub struct FormFields(pub Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for FormFields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if media_type(&parts.headers).as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(Problem::media_type("application/x-www-form-urlencoded"));
        }
        let bytes = read_body(&parts.headers, body).await?;
        axum::Form::<Vec<(String, String)>>::from_request(
            Request::from_parts(parts, Body::from(bytes)),
            state,
        )
        .await
        .map(|form| FormFields(form.0))
        .map_err(|_| Problem::unreadable("the form cannot be read"))
    }
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(Problem::body_too_large(BODY_BYTES_MAX));
    }
    axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|error| {
            let too_large = std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("length limit exceeded"));
            if too_large {
                Problem::body_too_large(BODY_BYTES_MAX)
            } else {
                Problem::unreadable("the body ended early")
            }
        })
}

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The query parameters of one request, taken one by one; what is left over is refused by name.
#[derive(Debug)]
pub struct QueryParameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::unreadable("the query string cannot be read"))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::invalid_parameter(name, "is given twice"));
            }
        }
        Ok(QueryParameters(pairs))
    }
}

impl QueryParameters {
    /// Takes a parameter as it is; an empty value is one that is not given.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(at).1).filter(|value| !value.is_empty())
    }

    /// Takes `limit`, 1..=`max`.
    pub fn limit(&mut self, max: u32) -> Result<Option<u32>, Problem> {
        let Some(text) = self.text("limit") else {
            return Ok(None);
        };
        match text.parse::<u32>() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(Some(limit)),
            _ => Err(Problem::invalid_parameter(
                "limit",
                format!("expected a whole number from 1 to {max}"),
            )),
        }
    }

    /// Takes a moment in RFC 3339 as milliseconds since 1970 UTC.
    pub fn time_ms(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        // A client that forgot to encode the plus of an offset sends a space there.
        let text = text.replace(' ', "+");
        text.parse::<jiff::Timestamp>()
            .map(|at| Some(at.as_millisecond()))
            .map_err(|_| {
                Problem::invalid_parameter(
                    name,
                    "expected a time such as 2026-05-04T12:30:00Z (RFC 3339)",
                )
            })
    }

    /// Takes `at`, a moment that a node can have been running at.
    pub fn at_wall_ms(&mut self) -> Result<Option<u64>, Problem> {
        let at_ms = self.time_ms("at")?;
        at_ms
            .map(|ms| {
                u64::try_from(ms)
                    .map_err(|_| Problem::invalid_parameter("at", "expected a time after 1970"))
            })
            .transpose()
    }

    /// Takes `bbox=minlon,minlat,maxlon,maxlat` in degrees; minlon > maxlon crosses the antimeridian.
    pub fn bounding_box(&mut self) -> Result<Option<BoundingBox>, Problem> {
        let Some(text) = self.text("bbox") else {
            return Ok(None);
        };
        let wrong = |detail: &str| Problem::invalid_parameter("bbox", detail);
        let edges: Vec<f64> = text
            .split(',')
            .filter_map(|part| part.trim().parse().ok())
            .collect();
        let [min_lon, min_lat, max_lon, max_lat] = edges[..] else {
            return Err(wrong("expected four numbers: minlon,minlat,maxlon,maxlat"));
        };
        if text.split(',').count() != 4 {
            return Err(wrong("expected four numbers: minlon,minlat,maxlon,maxlat"));
        }
        if !(-180.0..=180.0).contains(&min_lon) || !(-180.0..=180.0).contains(&max_lon) {
            return Err(wrong("a longitude lies between -180 and 180"));
        }
        if !(-90.0..=90.0).contains(&min_lat)
            || !(-90.0..=90.0).contains(&max_lat)
            || min_lat > max_lat
        {
            return Err(wrong(
                "latitudes lie between -90 and 90, the southern one first",
            ));
        }
        Ok(Some(BoundingBox {
            min_lon,
            min_lat,
            max_lon,
            max_lat,
        }))
    }

    /// Takes `include=deleted`.
    pub fn include_deleted(&mut self) -> Result<bool, Problem> {
        match self.text("include").as_deref() {
            None => Ok(false),
            Some("deleted") => Ok(true),
            Some(_) => Err(Problem::invalid_parameter(
                "include",
                "the only value is: deleted",
            )),
        }
    }

    /// Refuses what nobody took, with what would have been understood.
    pub fn finish(self, known: &[&str]) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let detail = match known {
            [] => "unknown parameter: this path takes none".to_owned(),
            known => format!("unknown parameter; known here: {}", known.join(", ")),
        };
        Err(Problem::invalid(
            self.0
                .into_iter()
                .map(|(name, _)| FieldError {
                    pointer: format!("?{name}"),
                    detail: detail.clone(),
                })
                .collect(),
        ))
    }
}

/// The version that the writer saw, from `If-Match: "<version>"` (RFC 9110 §13.1.1); `None` where nothing is said.
///
/// A weak tag or `*` names no version that an edit could be merged from, so both are refused.
pub fn if_match(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let wrong = |detail: &str| Problem::unreadable(format!("If-Match: {detail}"));
    if values.next().is_some() {
        return Err(wrong("send one header with one version"));
    }
    let value = value
        .to_str()
        .map_err(|_| wrong("expected \"<version>\""))?
        .trim();
    if value == "*" {
        return Err(wrong(
            "* names no version; send the version you read, in double quotes",
        ));
    }
    if value.starts_with("W/") {
        return Err(wrong(
            "a weak tag names no version; send the version you read, in double quotes",
        ));
    }
    match value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(version) if !version.is_empty() && !version.contains('"') => {
            Ok(Some(version.to_owned()))
        }
        _ => Err(wrong(
            "expected one version in double quotes, as the ETag of the document shows it",
        )),
    }
}

/// The `Idempotency-Key` of a write, with the body it came with; `route` is method and path.
pub fn idempotency_key(
    headers: &HeaderMap,
    route: String,
    body_hash: [u8; 32],
) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Problem::unreadable(format!(
            "Idempotency-Key: expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
        )));
    }
    Ok(Some(IdempotencyKey {
        key: key.to_owned(),
        route,
        body_hash,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            header::HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )])
    }

    #[test]
    fn if_match_takes_one_strong_version_and_explains_the_rest() {
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(
            if_match(&headers("if-match", "\"abc\""))
                .unwrap()
                .as_deref(),
            Some("abc")
        );
        for wrong in ["*", "W/\"abc\"", "abc", "\"\"", "\"a\", \"b\""] {
            assert!(if_match(&headers("if-match", wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_box_over_the_antimeridian_is_taken_and_a_crooked_one_is_not() {
        let parse = |text: &str| QueryParameters(vec![("bbox".into(), text.into())]).bounding_box();
        assert_eq!(parse("170,-20,-170,20").unwrap().unwrap().max_lon, -170.0);
        for wrong in [
            "1,2,3",
            "1,2,3,4,5",
            "1,x,3,4",
            "0,50,10,40",
            "-181,0,0,1",
            "0,0,0,NaN",
            "0,0,inf,1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_named_with_what_is_known() {
        let left = QueryParameters(vec![("limt".into(), "5".into())]);
        let problem = format!("{:?}", left.finish(&["limit"]).unwrap_err());
        assert!(
            problem.contains("?limt") && problem.contains("limit"),
            "{problem}"
        );
    }

    #[test]
    fn a_time_with_an_offset_is_read_and_its_unencoded_plus_forgiven() {
        let parse = |text: &str| QueryParameters(vec![("at".into(), text.into())]).at_wall_ms();
        assert_eq!(parse("1970-01-01T01:00:01 01:00").unwrap(), Some(1_000));
        assert!(parse("yesterday").is_err());
        assert!(parse("1960-01-01T00:00:00Z").is_err());
    }
}

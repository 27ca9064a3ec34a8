//! Reading requests: callers, paths, bodies and the headers that writes carry, each with its bound.
//!
//! Invariant: nothing that a client sent is silently ignored: a field that nobody takes and a media type that nobody
//! asked for are answered with what is wrong.

use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, OriginalUri, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use domain::FieldError;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::app::{AppError, Caller, IdempotencyKey};

/// A request body may hold 64 KiB: twice the 32 KiB that one edit may hold, so that an edit which is too large gets the
/// answer that says so, and small enough that every request in flight fits a Raspberry Pi's memory.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// One edit may hold 32 KiB, the size of a log entry (DESIGN §2).
pub const EDIT_BYTES_MAX: usize = 32 * 1024;

/// An Idempotency-Key may hold 128 bytes: room for a UUID with a prefix; it is stored for 7 days.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

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

/// The `{id}` of a path.
#[derive(Debug)]
pub struct PathId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(id)| PathId(id))
            .map_err(|_| Problem::unreadable("the id in the path is not UTF-8"))
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

/// Path and headers of a write.
#[derive(Debug)]
pub struct Head {
    /// As it came, ids and all.
    pub path: String,
    /// Every header.
    pub headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Head {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, state).await?;
        Ok(Head {
            path: uri.path().to_owned(),
            headers: parts.headers.clone(),
        })
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
    /// The members as an edit of a document: 413 where no log entry could hold them, whatever the fields say.
    pub fn into_edit(self) -> Result<Map<String, Value>, Problem> {
        // Written anew, so that escapes and blanks do not count.
        let bytes = serde_json::to_vec(&self.members).map_or(usize::MAX, |text| text.len());
        if bytes > EDIT_BYTES_MAX {
            return Err(AppError::TooLarge {
                bytes,
                max_bytes: EDIT_BYTES_MAX,
            }
            .into());
        }
        Ok(self.members)
    }

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
}

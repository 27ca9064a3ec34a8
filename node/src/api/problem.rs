//! How the API says no: `application/problem+json` (RFC 9457), one shape for every error.
//!
//! Invariant: every answer of 400 and above that a handler, an extractor or the router itself gives is made here, except
//! those of `POST /oauth/token`, whose shape RFC 6749 fixes. The text of a fault's cause goes to the log and never to
//! the caller.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::FieldError;
use serde_json::{Value, json};

use crate::app::AppError;

/// Where a problem's `type` begins; it ends in the code. `.invalid` never resolves (RFC 2606): the URI is a name.
pub const TYPE_BASE: &str = "https://muster.invalid/problems/";

/// Media type of every error body.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One refusal, ready to be sent.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem whose `type` ends in `code`; `title` is the same for every problem of that code.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Problem {
            status,
            code,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// 400: the request could not be read.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "unreadable",
            "The request cannot be read",
            detail,
        )
    }

    /// 422: it was read and does not fit; each error points at its place (RFC 6901).
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.pointer.is_empty() => one.detail.clone(),
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} places do not fit: see errors", many.len()),
        };
        let mut problem = Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "The request does not fit",
            detail,
        );
        problem.errors = errors;
        problem
    }

    /// 422 for one query parameter; its pointer is `/name`, into the parameters as one object.
    pub fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Problem::invalid(vec![FieldError {
            pointer: format!("/{name}"),
            detail: detail.into(),
        }])
    }

    /// 401 with the challenge that RFC 6750 asks for.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Sign in first",
            detail,
        )
    }

    /// 404 of a path that names nothing.
    pub fn no_such_path(path: &str) -> Self {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is nothing here",
            format!("no such path: {path}"),
        )
    }

    /// 413 of a request body over `max_bytes`.
    pub fn body_too_large(max_bytes: usize) -> Self {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The request is too large",
            format!("a request body may hold {max_bytes} bytes"),
        )
    }

    /// 415.
    pub fn media_type(expected: &str) -> Self {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "The media type is not understood",
            format!("send the body with Content-Type: {expected}"),
        )
    }

    /// 503 with Retry-After.
    pub fn busy(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "This node is busy",
            detail,
        )
        .retry_after(retry_after_s)
    }

    /// 500; `detail` must hold nothing that only the log may show.
    pub fn fault(detail: impl Into<String>) -> Self {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "fault",
            "This node has a fault",
            detail,
        )
    }

    /// Says when another attempt makes sense.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("{TYPE_BASE}{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            body["errors"] = self
                .errors
                .iter()
                .map(|e| json!({ "pointer": e.pointer, "detail": e.detail }))
                .collect();
        }
        body
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        let detail = error.to_string();
        let new = |status, code, title| Problem::new(status, code, title, detail.as_str());
        match &error {
            AppError::Unauthenticated(_) => Problem::unauthenticated(detail),
            AppError::Forbidden { .. } => {
                new(StatusCode::FORBIDDEN, "forbidden", "You may not do this")
            }
            AppError::NotFound { .. } => {
                new(StatusCode::NOT_FOUND, "not-found", "There is nothing here")
            }
            AppError::Gone { .. } => new(StatusCode::GONE, "gone", "It was deleted"),
            AppError::Invalid(errors) => Problem::invalid(errors.clone()),
            AppError::Unreadable(_) => Problem::unreadable(detail),
            AppError::VersionMissing => new(
                StatusCode::PRECONDITION_REQUIRED,
                "version-missing",
                "Say which version you edited",
            ),
            AppError::VersionUnknown(_) => new(
                StatusCode::CONFLICT,
                "version-unknown",
                "This node does not know that version yet",
            ),
            AppError::VersionStale(_) => new(
                StatusCode::PRECONDITION_FAILED,
                "version-stale",
                "It was changed in the meantime",
            ),
            AppError::Conflict(_) => {
                new(StatusCode::CONFLICT, "conflict", "Its state forbids this")
            }
            AppError::IdempotencyReused => new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key belongs to another request",
            ),
            AppError::TooLarge { .. } => new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "edit-too-large",
                "The edit is too large",
            ),
            AppError::NotYet(_) => new(StatusCode::NOT_IMPLEMENTED, "not-yet", "Not yet"),
            AppError::DiskFull => new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk-full",
                "The disk of this node is full",
            ),
            AppError::Busy { retry_after_s } => Problem::busy(detail, *retry_after_s),
            AppError::TooMany { retry_after_s } => new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-attempts",
                "Too many attempts",
            )
            .retry_after(*retry_after_s),
            AppError::WritesStopped(_) => new(
                StatusCode::CONFLICT,
                "own-log-longer",
                "This node must not write",
            ),
            AppError::Fault { context, source } => {
                tracing::error!(context, cause = %chain(source.as_ref()), "request failed");
                Problem::fault(format!("{context} failed; the node's log has the cause"))
            }
        }
    }
}

/// An error with its causes, outermost first.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"muster\""),
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_error_names_its_place_and_a_fault_hides_its_cause() {
        let invalid = Problem::invalid(vec![FieldError {
            pointer: "/title".into(),
            detail: "is required".into(),
        }]);
        assert_eq!(
            invalid.body(),
            json!({
                "type": "https://muster.invalid/problems/invalid",
                "title": "The request does not fit",
                "status": 422,
                "detail": "/title: is required",
                "errors": [{ "pointer": "/title", "detail": "is required" }],
            })
        );
        let fault: Problem = AppError::Fault {
            context: "read the list",
            source: "secret path /x".into(),
        }
        .into();
        assert!(!fault.body().to_string().contains("secret"));
    }

    #[test]
    fn every_error_of_the_app_has_its_status_and_code() {
        let id = || "7".to_owned();
        let errors = [
            AppError::Unauthenticated("sign in"),
            AppError::Forbidden {
                role: "guest".into(),
                action: "edit",
                what: "incidents".into(),
            },
            AppError::NotFound {
                what: "incident",
                id: id(),
            },
            AppError::Gone {
                what: "incident",
                id: id(),
            },
            AppError::Invalid(vec![FieldError {
                pointer: "/title".into(),
                detail: "is required".into(),
            }]),
            AppError::Unreadable("not JSON".into()),
            AppError::VersionMissing,
            AppError::VersionUnknown("v1".into()),
            AppError::VersionStale("the decoders"),
            AppError::Conflict("resolved already".into()),
            AppError::IdempotencyReused,
            AppError::TooLarge {
                bytes: 40_000,
                max_bytes: 32_768,
            },
            AppError::NotYet("rollups"),
            AppError::DiskFull,
            AppError::Busy { retry_after_s: 2 },
            AppError::TooMany { retry_after_s: 7 },
            AppError::WritesStopped("a longer log was seen".into()),
            AppError::Fault {
                context: "read",
                source: "x".into(),
            },
        ];
        let table: String = errors
            .into_iter()
            .map(|error| {
                let problem = Problem::from(error);
                let retry = problem
                    .retry_after_s
                    .map(|s| format!(" after {s} s"))
                    .unwrap_or_default();
                format!(
                    "{} {}{retry}: {}\n",
                    problem.status.as_u16(),
                    problem.code,
                    problem.detail
                )
            })
            .collect();
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_busy_node_says_when_to_come_back() {
        let response = Problem::from(AppError::TooMany { retry_after_s: 7 }).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
    }
}

//! Who may pass: the one place that turns a cookie or a bearer token into a caller.
//!
//! Invariant: what is not listed as open needs a caller; a path that nobody thought of is closed. A write that is
//! authenticated by the cookie alone also needs the session's CSRF token, because a browser sends cookies by itself.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use subtle::ConstantTimeEq;

use super::ApiState;
use super::extract::{Remote, Signed};
use super::problem::Problem;

/// The header that proves that a write comes from our page.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// What a path asks of its visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Open,
    /// Anyone on this machine, elsewhere a caller.
    LoopbackOrSigned,
    /// A caller.
    Signed,
}

/// Paths of the program; everything else belongs to the page, whose files hold no data and are open.
const PROGRAM_PATHS: [&str; 7] = [
    "/v1",
    "/session",
    "/oauth",
    "/health",
    "/metrics",
    "/openapi.json",
    "/docs",
];

/// Whether a path belongs to the program rather than to the page.
pub fn is_program_path(path: &str) -> bool {
    PROGRAM_PATHS.iter().any(|root| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The access rule of DESIGN §8, by method and raw path.
pub fn access(method: &Method, path: &str) -> Access {
    match path {
        "/session" if method == Method::POST => Access::Open,
        "/oauth/token" | "/health/live" | "/health/ready" | "/openapi.json" | "/docs" => {
            Access::Open
        }
        "/metrics" => Access::LoopbackOrSigned,
        _ if path.starts_with("/docs/") => Access::Open,
        _ if is_program_path(path) => Access::Signed,
        _ => Access::Open,
    }
}

/// Lets a request through with its caller, or answers 401 or 403.
pub async fn gate(State(api): State<ApiState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let needed = match access(&parts.method, parts.uri.path()) {
        Access::Open => false,
        Access::LoopbackOrSigned => !comes_from_this_machine(&parts),
        Access::Signed => true,
    };
    if needed {
        match caller(&api, &parts).await {
            Ok(signed) => parts.extensions.insert(signed),
            Err(problem) => return problem.into_response(),
        };
    }
    next.run(Request::from_parts(parts, body)).await
}

/// A proxy on this machine brings strangers in over loopback; its forwarding header gives it away.
fn comes_from_this_machine(parts: &Parts) -> bool {
    let forwarded = parts.headers.contains_key("x-forwarded-for")
        || parts.headers.contains_key(header::FORWARDED);
    !forwarded
        && Remote::of(parts)
            .0
            .is_some_and(|address| address.is_loopback())
}

async fn caller(api: &ApiState, parts: &Parts) -> Result<Signed, Problem> {
    if let Some(token) = bearer_token(&parts.headers)? {
        return Ok(Signed(api.app.caller_from_bearer(token).await?));
    }
    let Some(session) = session_token(api, &parts.headers) else {
        return Err(Problem::unauthenticated(
            "send Authorization: Bearer with a token from POST /oauth/token, or sign in with POST /session",
        ));
    };
    let (caller, csrf_token) = api.app.session_caller(&session).await?;
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        let given = parts
            .headers
            .get(CSRF_HEADER)
            .map(|value| value.as_bytes())
            .unwrap_or_default();
        if !bool::from(given.ct_eq(csrf_token.as_bytes())) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "csrf",
                "The CSRF token does not fit",
                "a write with the session cookie needs the header X-CSRF-Token with the csrf_token of GET /session",
            ));
        }
    }
    Ok(Signed(caller))
}

/// The session cookie's value.
pub fn session_token(api: &ApiState, headers: &HeaderMap) -> Option<String> {
    CookieJar::from_headers(headers)
        .get(&api.cookie_name)
        .map(|cookie| cookie.value().to_owned())
}

fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
        {
            Ok(Some(token.trim()))
        }
        _ => Err(Problem::unauthenticated(
            "expected Authorization: Bearer <token>",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_listed_is_closed_and_the_page_is_open() {
        let rule = |method: Method, path: &str| access(&method, path);
        assert_eq!(rule(Method::POST, "/session"), Access::Open);
        assert_eq!(rule(Method::GET, "/session"), Access::Signed);
        assert_eq!(rule(Method::GET, "/v1/something-new"), Access::Signed);
        assert_eq!(rule(Method::GET, "/v1"), Access::Signed);
        assert_eq!(rule(Method::GET, "/oauth/secrets"), Access::Signed);
        assert_eq!(rule(Method::GET, "/metrics"), Access::LoopbackOrSigned);
        assert_eq!(rule(Method::GET, "/metrics/x"), Access::Signed);
        assert_eq!(rule(Method::GET, "/incidents/1"), Access::Open);
        assert_eq!(rule(Method::GET, "/v1x"), Access::Open);
    }
}

//! `/session`: the page signs in with a cookie, because EventSource sends no headers.
//!
//! Invariant: the cookie is out of the page's reach (HttpOnly) and of other sites' (SameSite=Strict); its name carries
//! the node's id, because browsers share cookies between the ports of one host and several nodes may run on one.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::ApiState;
use super::dto;
use super::extract::{JsonObject, Remote};
use super::gate::session_token;
use super::problem::Problem;
use crate::app::Caller;

/// Sign in.
#[utoipa::path(
    post, path = "/session", tag = "session", operation_id = "sign_in",
    request_body = dto::SignIn,
    responses((status = 200, description = "Signed in; the cookie is set.", body = dto::Session)),
)]
pub async fn sign_in(
    State(api): State<ApiState>,
    remote: Remote,
    mut body: JsonObject,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let username = body.take_string("username", &mut errors);
    let password = body.take_string("password", &mut errors);
    body.finish(errors)?;
    let signed_in = api
        .app
        .sign_in(&username, password, remote.address())
        .await?;
    let cookie = set_cookie(&api, &signed_in.session_token, SESSION_COOKIE_AGE_S);
    Ok((
        cookie,
        Json(session_json(&signed_in.caller, &signed_in.csrf_token)),
    )
        .into_response())
}

/// The browser may keep the cookie longer than any session lasts without use: the node decides, not the browser.
const SESSION_COOKIE_AGE_S: u32 = 30 * 86_400;

/// Who is signed in, and the CSRF token.
#[utoipa::path(
    get, path = "/session", tag = "session", operation_id = "get_session",
    responses((status = 200, description = "The session of the cookie.", body = dto::Session)),
)]
pub async fn current(
    State(api): State<ApiState>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let token = session_token(&api, &headers)
        .ok_or_else(|| Problem::unauthenticated("there is no session cookie"))?;
    let (caller, csrf_token) = api.app.session_caller(&token).await?;
    Ok(Json(session_json(&caller, &csrf_token)))
}

/// Sign out.
#[utoipa::path(
    delete, path = "/session", tag = "session", operation_id = "sign_out",
    responses((status = 204, description = "Signed out.")),
)]
pub async fn sign_out(
    State(api): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(token) = session_token(&api, &headers) {
        api.app.sign_out(&token).await?;
    }
    Ok((StatusCode::NO_CONTENT, set_cookie(&api, "", 0)).into_response())
}

/// `token` is base64url, so it needs no quoting (RFC 6265 §4.1.1).
fn set_cookie(api: &ApiState, token: &str, age_s: u32) -> [(header::HeaderName, String); 1] {
    let name = &api.cookie_name;
    [(
        header::SET_COOKIE,
        format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}"),
    )]
}

fn session_json(caller: &Caller, csrf_token: &str) -> Value {
    json!({
        "user": {
            "id": caller.user_id.map(|id| uuid::Uuid::from_bytes(id).to_string()),
            "name": caller.name,
            "role": caller.role,
        },
        "csrf_token": csrf_token,
    })
}

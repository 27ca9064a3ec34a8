//! `POST /oauth/token`: bearer tokens for programs (RFC 6749 §4.3, §4.4, §6; errors §5.2).
//!
//! Invariant: the answer is never stored by anyone on the way, and errors have the shape that OAuth clients read.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::ApiState;
use super::dto;
use super::extract::{FormFields, Remote};
use super::problem::Problem;
use crate::app::AppError;
use crate::app::auth::TokenRequest;

/// Get a token.
#[utoipa::path(
    post, path = "/oauth/token", tag = "session", operation_id = "get_token",
    request_body(content = dto::TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token.", body = dto::Token),
        (status = 400, description = "No token, and why.", body = dto::TokenError),
        (status = 401, description = "The client is not known.", body = dto::TokenError),
    ),
)]
pub async fn token(
    State(api): State<ApiState>,
    remote: Remote,
    headers: HeaderMap,
    form: FormFields,
) -> Result<Response, Problem> {
    let request = match parse(form, &headers) {
        Ok(request) => request,
        Err((error, description)) => {
            return Ok(refusal(StatusCode::BAD_REQUEST, error, description));
        }
    };
    let of_client = matches!(request, TokenRequest::ClientCredentials { .. });
    match api.app.token(request, remote.address()).await {
        Ok(reply) => {
            let mut body = json!({
                "access_token": reply.access_token,
                "token_type": "Bearer",
                "expires_in": reply.expires_in_s,
            });
            if let Some(refresh_token) = reply.refresh_token {
                body["refresh_token"] = refresh_token.into();
            }
            Ok(never_stored(Json(body).into_response()))
        }
        Err(AppError::Unauthenticated(why)) if of_client => {
            let mut response = refusal(StatusCode::UNAUTHORIZED, "invalid_client", why);
            let challenge = HeaderValue::from_static("Basic realm=\"muster\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
            Ok(response)
        }
        Err(AppError::Unauthenticated(why)) => {
            Ok(refusal(StatusCode::BAD_REQUEST, "invalid_grant", why))
        }
        // RFC 6749 has no word for these; a problem with its status and Retry-After says more than a wrong word.
        Err(other) => Err(other.into()),
    }
}

type Refusal = (&'static str, &'static str);

fn parse(FormFields(fields): FormFields, headers: &HeaderMap) -> Result<TokenRequest, Refusal> {
    let mut seen = std::collections::BTreeMap::new();
    for (name, value) in fields {
        // RFC 6749 §3.2: parameters without a value are as if left out, repeated ones are refused, unknown ignored.
        if !value.is_empty() && seen.insert(name, value).is_some() {
            return Err(("invalid_request", "a parameter is given twice"));
        }
    }
    let mut need = |name: &str, or: &'static str| seen.remove(name).ok_or(("invalid_request", or));
    match need("grant_type", "grant_type is missing")?.as_str() {
        "password" => Ok(TokenRequest::Password {
            username: need("username", "username is missing")?,
            password: need("password", "password is missing")?,
        }),
        "refresh_token" => Ok(TokenRequest::Refresh {
            refresh_token: need("refresh_token", "refresh_token is missing")?,
        }),
        "client_credentials" => {
            let (client_id, client_secret) = match basic_credentials(headers)? {
                Some(pair) => pair,
                None => (
                    need("client_id", "client_id is missing")?,
                    need("client_secret", "client_secret is missing")?,
                ),
            };
            Ok(TokenRequest::ClientCredentials {
                client_id,
                client_secret,
            })
        }
        _ => Err((
            "unsupported_grant_type",
            "known: password, refresh_token, client_credentials",
        )),
    }
}

/// HTTP Basic (RFC 7617), whose parts are form-encoded first (RFC 6749 §2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, String)>, Refusal> {
    let Some(value) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
    else {
        return Ok(None);
    };
    let wrong = ("invalid_request", "the Authorization header cannot be read");
    let (scheme, encoded) = value.split_once(' ').ok_or(wrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong);
    }
    let bytes = data_encoding::BASE64
        .decode(encoded.trim().as_bytes())
        .map_err(|_| wrong)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong)?;
    let (id, secret) = text.split_once(':').ok_or(wrong)?;
    Ok(Some((form_decoded(id), form_decoded(secret))))
}

/// Undoes form encoding; what is not encoded stays as it is, because many clients do not encode.
fn form_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex).ok());
        match escaped {
            Some(byte) => {
                out.extend(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn refusal(status: StatusCode, error: &str, description: &str) -> Response {
    never_stored(
        (
            status,
            Json(json!({ "error": error, "error_description": description })),
        )
            .into_response(),
    )
}

/// RFC 6749 §5.1.
fn never_stored(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> FormFields {
        FormFields(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn client_credentials_come_in_the_form_or_as_basic() {
        let mut headers = HeaderMap::new();
        let grant = ("grant_type", "client_credentials");
        assert!(
            parse(
                form(&[grant, ("client_id", "a"), ("client_secret", "b")]),
                &headers
            )
            .is_ok()
        );
        assert_eq!(
            parse(form(&[grant]), &headers).err().unwrap().0,
            "invalid_request"
        );
        // "gate way:p%3Aw" as a client that encodes, sends it
        let basic = format!("Basic {}", data_encoding::BASE64.encode(b"gate+way:p%3Aw"));
        headers.insert(header::AUTHORIZATION, basic.parse().unwrap());
        let Ok(TokenRequest::ClientCredentials {
            client_id,
            client_secret,
        }) = parse(form(&[grant]), &headers)
        else {
            panic!("expected credentials")
        };
        assert_eq!(
            (client_id.as_str(), client_secret.as_str()),
            ("gate way", "p:w")
        );
    }

    #[test]
    fn a_wrong_grant_and_a_repeated_parameter_have_their_own_words() {
        let headers = HeaderMap::new();
        assert_eq!(
            parse(form(&[("grant_type", "magic")]), &headers)
                .err()
                .unwrap()
                .0,
            "unsupported_grant_type"
        );
        let twice = form(&[
            ("grant_type", "password"),
            ("username", "a"),
            ("username", "b"),
        ]);
        assert_eq!(parse(twice, &headers).err().unwrap().0, "invalid_request");
    }
}

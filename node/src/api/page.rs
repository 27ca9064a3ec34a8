//! The responders' page, built from web-ui/ and carried inside the program.
//!
//! Invariant: an unknown path of the page answers with index.html (the page has its own router), an unknown file does
//! not: a missing script must fail as a 404, not as HTML that does not parse.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::gate::is_program_path;
use super::problem::Problem;

/// A debug build reads the folder when asked; a release build carries it (build.rs watches it).
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web-ui/dist"]
#[allow_missing = true]
struct Files;

/// Shown by a program that was built before the page was.
const NOT_BUILT: &str = include_str!("page_missing.html");

/// Answers whatever no route of the program claims.
pub async fn fallback(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if is_program_path(path) {
        return Problem::no_such_path(path).into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        let mut response = Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This path does not take that method",
            "the page's paths take GET and HEAD",
        )
        .into_response();
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
        return response;
    }
    let name = path.trim_start_matches('/');
    if !name.is_empty() && name != "index.html" {
        if let Some(file) = Files::get(name) {
            return file_answer(name, file, &headers);
        }
        let last = name.rsplit('/').next().unwrap_or_default();
        if name.starts_with("assets/") || last.contains('.') {
            return Problem::no_such_path(path).into_response();
        }
    }
    match Files::get("index.html") {
        Some(index) => file_answer("index.html", index, &headers),
        None => (
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "no-store"),
            ],
            NOT_BUILT,
        )
            .into_response(),
    }
}

/// Files under assets/ carry the hash of their content in their name, so they never change; the rest is asked for
/// again each time and answered 304 where it is the same.
fn file_answer(name: &str, file: rust_embed::EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!(
        "\"{}\"",
        data_encoding::HEXLOWER.encode(&file.metadata.sha256_hash()[..16])
    );
    let caching = if name.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let unchanged = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| {
            known
                .split(',')
                .any(|one| one.trim().trim_start_matches("W/") == tag)
        });
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    let mime = if mime.type_() == "text" {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_string()
    };
    let head = [
        (header::CONTENT_TYPE, mime),
        (header::CACHE_CONTROL, caching.to_owned()),
        (header::ETAG, tag),
    ];
    if unchanged {
        (StatusCode::NOT_MODIFIED, head).into_response()
    } else {
        (head, file.data).into_response()
    }
}

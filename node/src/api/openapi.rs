//! The OpenAPI document: generated from the routes themselves, kept as node/openapi.json, served at /openapi.json.
//!
//! Invariant: node/openapi.json equals what this program generates (a test compares them), because the page's types and
//! other people's clients are made from it.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi::path::{
    Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, ClientCredentials, Flow, Http, HttpAuthScheme, OAuth2, Password, Scopes,
    SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, Header as ResponseHeader, RefOr, Required, Schema};

use super::ApiState;
use super::extract::IDEMPOTENCY_KEY_BYTES_MAX;
use super::gate::{Access, access};
use super::problem::MEDIA_TYPE;
use super::{dto, schema};

/// The head of the document; paths are added by the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Muster",
        description = "One node of a Muster operation. It answers from its own copy: what it has not heard of yet is \
                       not there. Errors are application/problem+json (RFC 9457)."
    ),
    components(schemas(
        dto::Problem,
        dto::ProblemError,
        dto::DeviceHeardBy,
        dto::Location,
        dto::OpenConflict,
        dto::SeenBy,
        dto::Links,
        dto::RecordReference,
        dto::Resolution,
        dto::Values,
        dto::HistoryEntry,
        dto::HistoryPage,
        dto::ChangeEvent,
    ))
)]
struct Base;

/// The document to which routes add their paths.
pub fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// Adds what every operation has: who may call it and how errors look.
pub fn finish(
    mut document: utoipa::openapi::OpenApi,
    cookie_name: &str,
) -> utoipa::openapi::OpenApi {
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http({
            let mut http = Http::new(HttpAuthScheme::Bearer);
            http.description = Some("The access_token of POST /oauth/token.".into());
            http
        }),
    );
    components.add_security_scheme(
        "oauth2",
        SecurityScheme::OAuth2(OAuth2::new([
            Flow::Password(Password::with_refresh_url(
                "/oauth/token",
                Scopes::new(),
                "/oauth/token",
            )),
            Flow::ClientCredentials(ClientCredentials::new("/oauth/token", Scopes::new())),
        ])),
    );
    components.add_security_scheme(
        "session",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
            cookie_name,
            "The page's cookie. Writes also need the header X-CSRF-Token.",
        ))),
    );
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            match access(&method, path) {
                Access::Open => operation.security = Some(vec![]),
                needed => {
                    let mut ways: Vec<SecurityRequirement> = ["bearer", "oauth2", "session"]
                        .map(|name| SecurityRequirement::new(name, Vec::<String>::new()))
                        .into();
                    if needed == Access::LoopbackOrSigned {
                        ways.insert(0, SecurityRequirement::default());
                    }
                    operation.security = Some(ways);
                }
            }
            let errors = ResponseBuilder::new()
                .description("It did not happen; the problem says why.")
                .content(MEDIA_TYPE, Content::new(Some(schema::reference("Problem"))))
                .build();
            operation
                .responses
                .responses
                .entry("default".into())
                .or_insert_with(|| RefOr::T(errors));
        }
    }
    document
}

/// The operations of a path that this API uses, with their methods.
pub fn operations(
    item: &mut PathItem,
) -> impl Iterator<Item = (axum::http::Method, &mut Operation)> {
    use axum::http::Method;
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The document as it is served and kept: pretty, with a final line break.
pub fn to_text(document: &utoipa::openapi::OpenApi) -> String {
    let mut text = document
        .to_pretty_json()
        .expect("an OpenAPI document is plain data that serialises");
    text.push('\n');
    text
}

/// `GET /openapi.json`
pub async fn serve(State(api): State<ApiState>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        api.openapi.to_string(),
    )
}

/// Headers that answers carry.
#[derive(Debug, Clone, Copy)]
pub enum Header {
    /// The document's version, quoted.
    ETag,
    /// Where the new document is.
    Location,
}

/// An operation under a tag.
pub fn operation(tag: &str, id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .tag(tag)
        .operation_id(Some(id))
        .summary(Some(summary))
}

/// A JSON answer with a schema.
pub fn json_response(text: &str, schema: RefOr<Schema>, headers: &[Header]) -> Response {
    let mut response = ResponseBuilder::new()
        .description(text)
        .content("application/json", Content::new(Some(schema)));
    for header in headers {
        let (name, description) = match header {
            Header::ETag => (
                "ETag",
                "The version, in double quotes: send it back in If-Match.",
            ),
            Header::Location => ("Location", "Path of the document."),
        };
        let mut value = ResponseHeader::new(ObjectBuilder::new().schema_type(Type::String).build());
        value.description = Some(description.into());
        response = response.header(name, value);
    }
    response.build()
}

/// An answer without a body.
pub fn empty_response(text: &str) -> Response {
    ResponseBuilder::new().description(text).build()
}

/// A JSON body that must be there.
pub fn json_body(schema: RefOr<Schema>) -> RequestBody {
    RequestBodyBuilder::new()
        .content("application/json", Content::new(Some(schema)))
        .required(Some(Required::True))
        .build()
}

/// `{id}` of a path.
pub fn id_parameter() -> Parameter {
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::Custom("uuid".into()))),
        ))
        .build()
}

/// An optional query parameter of type string.
pub fn query_parameter(name: &str, text: &str) -> Parameter {
    text_parameter(name, text, ObjectBuilder::new())
}

/// An optional query parameter that is a moment in RFC 3339.
pub fn time_parameter(name: &str, text: &str) -> Parameter {
    let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    text_parameter(name, text, ObjectBuilder::new().format(Some(format)))
}

/// An optional query parameter that is one of `words`.
pub fn word_parameter(name: &str, text: &str, words: &[&str]) -> Parameter {
    text_parameter(
        name,
        text,
        ObjectBuilder::new().enum_values(Some(words.iter().copied())),
    )
}

/// An optional query parameter whose text has a shape.
pub fn pattern_parameter(name: &str, text: &str, pattern: &str) -> Parameter {
    text_parameter(name, text, ObjectBuilder::new().pattern(Some(pattern)))
}

fn text_parameter(name: &str, text: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(text))
        .schema(Some(schema.schema_type(Type::String)))
        .build()
}

/// `limit`.
pub fn limit_parameter(max: u32) -> Parameter {
    ParameterBuilder::new()
        .name("limit")
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some("How many at most; 50 where nothing is said."))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(max as usize)),
        ))
        .build()
}

/// `If-Match`.
pub fn if_match_parameter(required: bool) -> Parameter {
    let schema = ObjectBuilder::new().pattern(Some("^\"[!#-~]+\"$"));
    header_parameter(
        "If-Match",
        required,
        "The version that you read, in double quotes.",
        schema,
    )
}

/// `Idempotency-Key`.
pub fn idempotency_parameter() -> Parameter {
    let schema =
        ObjectBuilder::new().pattern(Some(format!("^[!-~]{{1,{IDEMPOTENCY_KEY_BYTES_MAX}}}$")));
    header_parameter(
        "Idempotency-Key",
        false,
        "Sent again with the same key and body within 7 days, the write happens once and its answer is the same.",
        schema,
    )
}

fn header_parameter(name: &str, required: bool, text: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(if required {
            Required::True
        } else {
            Required::False
        })
        .description(Some(text))
        .schema(Some(schema.schema_type(Type::String)))
        .build()
}

/// The whole document of this program, without a running node.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut router = super::routes();
    let mut document = finish(router.to_openapi(), super::COOKIE_NAME_EXAMPLE);
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.license = None;
    document
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `UPDATE_OPENAPI=1 cargo test -p node openapi` writes the file anew.
    #[test]
    fn the_kept_openapi_document_is_what_the_routes_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let generated = to_text(&document());
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &generated).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == generated,
            "node/openapi.json is not what the routes say: run UPDATE_OPENAPI=1 cargo test -p node openapi"
        );
    }

    #[test]
    fn every_reference_names_a_component_and_every_operation_has_its_own_id() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "no schema {name}"
            );
        }
        let mut ids: Vec<&str> = text
            .split("\"operationId\":\"")
            .skip(1)
            .map(|part| part.split('"').next().unwrap())
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}

//! How the node says no.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, send};

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem_with_its_code() {
    let node = Node::start().await;
    let incident = node.incident("Dam").await;
    let path = format!("/v1/incidents/{}", incident.id());
    let nowhere = "/v1/incidents/01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e";
    let json_body = |method: Method, path: &str, text: &str| {
        node.signed(method, path)
            .header("content-type", "application/json")
            .body(text.to_owned())
    };
    let table = [
        (
            "unknown path",
            node.signed(Method::GET, "/v1/nothing"),
            404,
            "not-found",
        ),
        (
            "unknown id",
            node.signed(Method::GET, nowhere),
            404,
            "not-found",
        ),
        (
            "not an id",
            node.signed(Method::GET, "/v1/incidents/1"),
            404,
            "not-found",
        ),
        (
            "id in a foreign encoding",
            node.signed(Method::GET, "/v1/incidents/%ff"),
            400,
            "unreadable",
        ),
        (
            "wrong method",
            node.signed(Method::PUT, &path),
            405,
            "method-not-allowed",
        ),
        (
            "wrong method on the page",
            node.anonymous(Method::POST, "/"),
            405,
            "method-not-allowed",
        ),
        (
            "no media type",
            node.signed(Method::POST, "/v1/incidents").body("{}"),
            415,
            "media-type",
        ),
        (
            "not JSON",
            json_body(Method::POST, "/v1/incidents", "{\"title\":"),
            400,
            "unreadable",
        ),
        (
            "not UTF-8",
            json_body(Method::POST, "/v1/incidents", "").body(b"{\"title\":\"\xff\"}".to_vec()),
            400,
            "unreadable",
        ),
        (
            "not an object",
            json_body(Method::POST, "/v1/incidents", "[]"),
            422,
            "invalid",
        ),
        (
            "missing field",
            json_body(Method::POST, "/v1/incidents", "{}"),
            422,
            "invalid",
        ),
        (
            "body too large",
            json_body(
                Method::POST,
                "/v1/incidents",
                &format!("{{\"title\":\"{}\"}}", "x".repeat(70_000)),
            ),
            413,
            "body-too-large",
        ),
        (
            "no version",
            json_body(Method::PATCH, &path, "{\"title\":\"x\"}"),
            428,
            "version-missing",
        ),
        (
            "weak version",
            json_body(Method::PATCH, &path, "{}").header("if-match", "W/\"a\""),
            400,
            "unreadable",
        ),
        (
            "any version",
            json_body(Method::PATCH, &path, "{}").header("if-match", "*"),
            400,
            "unreadable",
        ),
        (
            "unknown version",
            json_body(Method::PATCH, &path, "{\"title\":\"x\"}").header("if-match", "\"nope\""),
            409,
            "version-unknown",
        ),
        (
            "limit too large",
            node.signed(Method::GET, "/v1/incidents?limit=501"),
            422,
            "invalid",
        ),
        (
            "unknown filter",
            node.signed(Method::GET, "/v1/incidents?stat=active"),
            422,
            "invalid",
        ),
        (
            "foreign cursor",
            node.signed(Method::GET, "/v1/incidents?cursor=zzz"),
            422,
            "invalid",
        ),
        (
            "crooked box",
            node.signed(Method::GET, "/v1/incidents?bbox=1,2,3"),
            422,
            "invalid",
        ),
        (
            "no time",
            node.signed(Method::GET, "/v1/incidents?at=noon"),
            422,
            "invalid",
        ),
        (
            "facts have no PATCH",
            json_body(
                Method::PATCH,
                "/v1/notes/01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e",
                "{}",
            ),
            405,
            "method-not-allowed",
        ),
        (
            "unknown conflict",
            node.signed(
                Method::GET,
                "/v1/conflicts/01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e",
            ),
            404,
            "not-found",
        ),
        (
            "no token",
            node.anonymous(Method::GET, "/v1/status"),
            401,
            "unauthenticated",
        ),
        (
            "dead token",
            node.anonymous(Method::GET, "/v1/status").bearer_auth("x"),
            401,
            "unauthenticated",
        ),
        (
            "no scheme",
            node.anonymous(Method::GET, "/v1/status")
                .header("authorization", "x"),
            401,
            "unauthenticated",
        ),
    ];
    for (what, request, status, code) in table {
        let answer = send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text);
        assert_eq!(answer.code(), code, "{what}: {}", answer.text);
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{what}"
        );
        assert_eq!(answer.body["status"], status, "{what}");
        assert!(
            answer.body["title"].is_string() && answer.body["detail"].is_string(),
            "{what}"
        );
        if status == 401 {
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer realm=\"muster\"",
                "{what}"
            );
        }
        if status == 405 {
            assert!(
                answer.header("allow").contains("GET"),
                "{what}: {:?}",
                answer.headers
            );
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_pointed_at_place_by_place() {
    let node = Node::start().await;
    let body = json!({
        "title": 5,
        "severity": "bad",
        "location": { "lat": 91, "lon": 0 },
        "peak": { "at": "2026-01-01T00:00:00Z", "value": 1 },
        "a/b": 1,
    });
    let answer = node.post("/v1/incidents", body).await.expect(422);
    let mut pointers = answer.pointers();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        ["/a~1b", "/location/lat", "/peak", "/severity", "/title"]
    );

    let answer = node.get("/v1/incidents?limit=0").await.expect(422);
    assert_eq!(answer.pointers(), ["/limit"]);
    let answer = node.get("/v1/status?verbose=1").await.expect(422);
    assert_eq!(answer.pointers(), ["/verbose"]);

    let incident = node.incident("Dam").await;
    let path = format!("/v1/incidents/{}", incident.id());
    let answer = node
        .patch(
            &path,
            incident.version(),
            json!({ "title": null, "color": "red" }),
        )
        .await
        .expect(422);
    let mut pointers = answer.pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/color", "/title"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_not_given_out_is_pointed_at_wherever_one_is_taken() {
    let node = Node::start().await;
    let incident = node.incident("Dam").await;
    let resource = json!({ "name": "Boat" });
    let device = json!({ "name": "gauge-1", "state": "approved" });
    let rule = json!({
        "name": "High water", "match": { "device": "gauge-*", "channel": "level" },
        "raise_above": 3.5, "clear_below": 3.0, "incident": { "title": "{device}" },
    });
    let calibration = json!({
        "device": "gauge-1", "channel": "level", "curve": { "scale": 2.0, "offset": 0.5 },
        "valid_from": "2026-01-01T00:00:00Z",
    });
    let mut ids = BTreeMap::from([("incidents", incident.id().to_owned())]);
    for (plural, body) in [
        ("resources", resource),
        ("devices", device),
        ("rules", rule),
        ("calibrations", calibration),
    ] {
        let created = node.post(&format!("/v1/{plural}"), body).await.expect(201);
        ids.insert(plural, created.id().to_owned());
    }
    let assignment = json!({ "resource": ids["resources"], "incident": incident.id() });
    let assignment = node.post("/v1/assignments", assignment).await.expect(201);
    ids.insert("assignments", assignment.id().to_owned());

    let document = node.get("/openapi.json").await.expect(200).body;
    let takes_a_cursor = |operation: &Value| {
        let parameters = operation["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "cursor"))
    };
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let plural = path.split('/').nth(2).unwrap_or_default();
        let id = ids.get(plural).map_or("", String::as_str);
        for (method, _) in operations
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, operation)| takes_a_cursor(operation))
        {
            let all = if method == "post" { "&all=true" } else { "" };
            let path = format!("{}?cursor=elsewhere{all}", path.replace("{id}", id));
            let method = method.to_uppercase().parse::<Method>().unwrap();
            let request = node.signed(method, &path).json(&json!({}));
            let answer = send(request).await;
            assert_eq!(answer.status.as_u16(), 422, "{path}: {}", answer.text);
            assert_eq!(answer.pointers(), ["/cursor"], "{path}");
            tried += 1;
        }
    }
    assert!(tried >= 20, "only {tried} operations were found");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_no_entry_can_hold_is_refused_as_too_large() {
    let node = Node::start().await;
    let too_large = json!({ "title": "Dam", "description": "d".repeat(40_000) });
    let answer = node
        .post("/v1/incidents", too_large.clone())
        .await
        .expect(413);
    assert_eq!(answer.code(), "edit-too-large");
    let incident = node.incident("Dam").await;
    let path = format!("/v1/incidents/{}", incident.id());
    let answer = node
        .patch(&path, incident.version(), too_large)
        .await
        .expect(413);
    assert_eq!(answer.code(), "edit-too-large");
    // A field has its own, smaller bound, and then it is the field that is named.
    let body = json!({ "description": "d".repeat(21_000) });
    let answer = node
        .patch(&path, incident.version(), body)
        .await
        .expect(422);
    assert_eq!(answer.pointers(), ["/description"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_the_headers_that_keep_a_browser_strict() {
    let node = Node::start().await;
    for path in ["/", "/v1/status", "/nowhere.js", "/health/live"] {
        let answer = send(node.anonymous(Method::GET, path)).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("script-src 'self' 'unsafe"),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
    }
    let answer = node.get("/v1/status").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_answers_its_own_paths_and_lost_files_are_not_html() {
    let node = Node::start().await;
    for path in ["/", "/incidents/01935f2e", "/devices"] {
        let answer = send(node.anonymous(Method::GET, path)).await.expect(200);
        assert!(
            answer.header("content-type").starts_with("text/html"),
            "{path}"
        );
        assert!(answer.text.contains("<html"), "{path}");
    }
    for path in [
        "/assets/lost.js",
        "/favicon.lost",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
    ] {
        let answer = send(node.anonymous(Method::GET, path)).await;
        assert_eq!(answer.status.as_u16(), 404, "{path}: {}", answer.text);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_health_figures_and_the_interface() {
    let node = Node::start().await;
    send(node.anonymous(Method::GET, "/health/live"))
        .await
        .expect(200);
    send(node.anonymous(Method::GET, "/health/ready"))
        .await
        .expect(200);
    node.get("/v1/incidents").await.expect(200);
    let figures = send(node.anonymous(Method::GET, "/metrics"))
        .await
        .expect(200);
    assert!(
        figures.text.contains("muster_http_requests_total{"),
        "{}",
        figures.text
    );
    assert!(
        figures.text.contains("route=\"/v1/incidents\""),
        "{}",
        figures.text
    );
    let through_proxy = node
        .anonymous(Method::GET, "/metrics")
        .header("x-forwarded-for", "203.0.113.7");
    send(through_proxy).await.expect(401);
    let interface = send(node.anonymous(Method::GET, "/openapi.json"))
        .await
        .expect(200);
    assert_eq!(interface.body["openapi"], "3.1.0");
    let docs = send(node.anonymous(Method::GET, "/docs/"))
        .await
        .expect(200);
    assert!(docs.text.contains("swagger"), "{}", docs.text);
    node.stop().await;
}

/// Every route of the OpenAPI document, asked without a token: what answers is open, the rest is closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_can_reach_is_a_printed_table() {
    let node = Node::start().await;
    let interface = send(node.anonymous(Method::GET, "/openapi.json"))
        .await
        .expect(200)
        .body;
    let mut table = String::new();
    for (path, item) in interface["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_none() {
                continue;
            }
            let real = path.replace("{id}", "01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            // A proxy's header: a stranger elsewhere, not someone on this machine.
            let request = node
                .anonymous(method.clone(), &real)
                .header("x-forwarded-for", "203.0.113.7");
            let status = send(request).await.status.as_u16();
            let word = if status == 401 { "closed" } else { "open" };
            table.push_str(&format!("{word:6} {method:6} {path}\n"));
        }
    }
    insta::assert_snapshot!("strangers", table);
    node.stop().await;
}

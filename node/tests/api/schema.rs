//! What the node answers is what its OpenAPI document says, member by member.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, send};

/// Checks `value` against a schema; every difference is a line.
fn differences(document: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return differences(
            document,
            &document["components"]["schemas"][name],
            value,
            at,
            out,
        );
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| {
            let mut wrong = Vec::new();
            differences(document, choice, value, at, &mut wrong);
            wrong.is_empty()
        });
        if !fits {
            out.push(format!("{at}: {value} fits none of the choices"));
        }
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    // Every integer is a number (JSON Schema, validation 6.1.1).
    let allowed = types.contains(&found) || found == "integer" && types.contains(&"number");
    if !allowed {
        out.push(format!("{at}: {found}, expected {types:?}"));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        out.push(format!("{at}: {value} is none of the words"));
    }
    match value {
        Value::Object(members) => {
            for name in schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !members.contains_key(name) {
                    out.push(format!("{at}/{name}: missing"));
                }
            }
            for (name, member) in members {
                match schema["properties"].get(name) {
                    Some(property) => {
                        differences(document, property, member, &format!("{at}/{name}"), out)
                    }
                    None if schema["additionalProperties"].is_object() => {
                        differences(
                            document,
                            &schema["additionalProperties"],
                            member,
                            &format!("{at}/{name}"),
                            out,
                        );
                    }
                    None if schema["properties"].is_object() => {
                        out.push(format!("{at}/{name}: not described"))
                    }
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                let of_item = schema["prefixItems"].get(n).unwrap_or(&schema["items"]);
                differences(document, of_item, item, &format!("{at}/{n}"), out);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_shape_that_the_openapi_document_gives_them() {
    let node = Node::start().await;
    let document = send(node.anonymous(Method::GET, "/openapi.json"))
        .await
        .expect(200)
        .body;
    let incident = node
        .post(
            "/v1/incidents",
            json!({ "title": "Dam", "location": { "lat": 1, "lon": 2.5 }, "tags": ["a"], "description": "x" }),
        )
        .await
        .expect(201);
    let path = format!("/v1/incidents/{}", incident.id());
    node.patch(&path, incident.version(), json!({ "title": "A" }))
        .await
        .expect(200);
    let merged = node
        .patch(&path, incident.version(), json!({ "title": "B" }))
        .await
        .expect(200);
    let conflict = merged.body["conflicts"][0]["conflict"]
        .as_str()
        .unwrap()
        .to_owned();
    let resource = node
        .post("/v1/resources", json!({ "name": "Boat" }))
        .await
        .expect(201);
    let assignment = json!({ "resource": resource.id(), "incident": incident.id() });
    let assignment = node.post("/v1/assignments", assignment).await.expect(201);
    let rule = json!({
        "name": "High water", "match": { "device": "gauge-*", "channel": "level" },
        "raise_above": 3.5, "clear_below": 3.0, "incident": { "title": "{device}: {value}" },
    });
    let rule = node.post("/v1/rules", rule).await.expect(201);
    let device = node
        .post(
            "/v1/devices",
            json!({ "name": "gauge-1", "state": "approved" }),
        )
        .await
        .expect(201);
    let note = node
        .post("/v1/notes", json!({ "text": "Seen" }))
        .await
        .expect(201);

    let asked = [
        ("Incident", path.clone()),
        ("IncidentPage", "/v1/incidents".to_owned()),
        ("HistoryPage", format!("{path}/history")),
        ("Conflict", format!("/v1/conflicts/{conflict}")),
        ("ConflictPage", "/v1/conflicts".to_owned()),
        ("Resource", format!("/v1/resources/{}", resource.id())),
        ("Assignment", format!("/v1/assignments/{}", assignment.id())),
        ("Rule", format!("/v1/rules/{}", rule.id())),
        ("Device", format!("/v1/devices/{}", device.id())),
        ("Note", format!("/v1/notes/{}", note.id())),
        ("NotePage", "/v1/notes".to_owned()),
        ("SeriesPage", "/v1/series".to_owned()),
        ("DeadLetterPage", "/v1/dead-letters".to_owned()),
        ("Status", "/v1/status".to_owned()),
        ("PeerPage", "/v1/peers".to_owned()),
        ("SyncFaultPage", "/v1/sync-faults".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (name, path) in asked {
        let answer = node.get(&path).await.expect(200);
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "no schema {name}");
        differences(&document, schema, &answer.body, name, &mut wrong);
    }
    let refused = node.post("/v1/incidents", json!({})).await.expect(422);
    differences(
        &document,
        &document["components"]["schemas"]["Problem"],
        &refused.body,
        "Problem",
        &mut wrong,
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    node.stop().await;
}

//! Rules of every kind over HTTP, and their test run.

use serde_json::{Value, json};

use crate::harness::Node;

fn rule(more: Value) -> Value {
    let mut rule = json!({
        "name": "rule", "match": { "device": "gauge-*", "channel": "level" },
        "incident": { "title": "{device}: {value}" },
    });
    let (all, more) = (rule.as_object_mut().unwrap(), more.as_object().unwrap());
    all.extend(more.clone());
    rule
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_every_kind_comes_back_as_it_was_written() {
    let node = Node::start().await;
    let levels = |more: Value| {
        let mut fields = json!({ "raise_above": 4.0, "clear_below": 3.0 });
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fields
    };
    for fields in [
        levels(json!({ "kind": "threshold", "reopen_s": 0, "unit": "m" })),
        levels(json!({ "kind": "rate", "window_s": 900, "for_s": 30, "hold_s": 60 })),
        json!({ "kind": "no_data", "after_s": 3600 }),
        levels(
            json!({ "kind": "deviation", "window_s": 86_400, "spread_min": 0.1, "either_way": true }),
        ),
        levels(json!({ "kind": "sta_lta", "sta_s": 0.5, "lta_s": 30.0 })),
        levels(json!({
            "kind": "expression", "match": { "device": "camp", "channel": "heat_index" },
            "expression": {
                "formula": "heat_index(t, rh)", "fresh_s": 600,
                "inputs": [
                    { "name": "t", "channel": "temperature", "unit": "Cel", "function": "mean", "window_s": 300 },
                    { "name": "rh", "channel": "humidity" },
                ],
            },
            "severities": [{ "level": 41.0, "severity": "severe" }, { "level": 54.0, "severity": "extreme" }],
            "silence": [{ "daily_from": "22:00", "daily_to": "06:00", "days": "sat sun", "offset": "+01:00" }],
        })),
    ] {
        let made = node
            .post("/v1/rules", rule(fields.clone()))
            .await
            .expect(201);
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(&made.body[name], value, "{name}");
        }
    }
    // A list is one value: a patch replaces it whole, and null takes it away.
    let made = node
        .post(
            "/v1/rules",
            rule(levels(
                json!({ "severities": [{ "level": 5, "severity": "severe" }] }),
            )),
        )
        .await
        .expect(201);
    let path = format!("/v1/rules/{}", made.id());
    let patch = json!({ "severities": [{ "level": 9, "severity": "extreme" }] });
    let patched = node
        .patch(&path, made.version(), patch.clone())
        .await
        .expect(200);
    assert_eq!(
        patched.body["severities"],
        json!([{ "level": 9.0, "severity": "extreme" }])
    );
    let patch = json!({ "severities": null, "kind": "rate" });
    let refused = node
        .patch(&path, patched.version(), patch)
        .await
        .expect(422);
    assert_eq!(refused.body["errors"][0]["pointer"], "/window_s");
    let patch = json!({ "severities": null, "kind": "rate", "window_s": 60 });
    let patched = node
        .patch(&path, patched.version(), patch)
        .await
        .expect(200);
    assert_eq!(patched.body["severities"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_run_answers_without_a_single_reading_and_names_what_does_not_fit() {
    let node = Node::start().await;
    let run = json!({ "rule": rule(json!({ "raise_above": 4, "clear_below": 3 })) });
    let told = node.post("/v1/rules/test", run).await.expect(200);
    assert_eq!(
        (&told.body["fired"], &told.body["firings"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(
        (&told.body["series"], &told.body["truncated"]),
        (&json!(0), &json!(false))
    );
    for (body, pointer) in [
        (json!({}), "/rule"),
        (json!({ "rule": rule(json!({})) }), "/rule/raise_above"),
        (
            json!({ "rule": rule(json!({ "kind": "no_data", "after_s": 60 })), "from": "yesterday" }),
            "/from",
        ),
        (
            json!({ "rule": rule(json!({ "kind": "no_data", "after_s": 60 })), "until": 1 }),
            "/until",
        ),
    ] {
        let refused = node.post("/v1/rules/test", body).await.expect(422);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer);
    }
    let listed = node.get("/v1/rules").await.expect(200);
    assert_eq!(listed.body["items"], json!([]), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_sees_is_a_list_like_others() {
    let node = Node::start().await;
    let made = node
        .post(
            "/v1/rules",
            rule(json!({ "raise_above": 4.0, "clear_below": 3.0 })),
        )
        .await
        .expect(201);
    let path = format!("/v1/rules/{}/state", made.body["id"].as_str().unwrap());
    let page = node.get(&path).await.expect(200);
    assert_eq!(page.body["items"], json!([]));
    for wrong in ["state=red", "cursor=7", "limit=0", "colour=red"] {
        let refused = node.get(&format!("{path}?{wrong}")).await;
        assert!(
            [400, 422].contains(&refused.status.as_u16()),
            "{wrong}: {}",
            refused.status
        );
    }
    node.get("/v1/rules/0194f0c8-0000-7000-8000-000000000000/state")
        .await
        .expect(404);
}

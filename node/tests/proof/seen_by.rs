//! Every document and fact that the API shows says who has it.

use domain::{FactKind, Kind};
use node::app::{Caller, ListQuery, RecordKind};
use serde_json::{Value, json};

use super::pair::{Node, Pair, object, until};

/// One of every kind that the API serves: users have no routes, because their documents hold password hashes.
async fn one_of_each(node: &Node) -> Vec<(RecordKind, Value)> {
    let mut made = Vec::new();
    for kind in Kind::all().filter(|kind| *kind != Kind::User) {
        let record = RecordKind::Document(kind);
        let id = |of: Kind| {
            let of = RecordKind::Document(of);
            let found = made.iter().find(|(kind, _): &&(_, Value)| *kind == of);
            found.map(|(_, value)| value["id"].clone())
        };
        let fields = match kind {
            Kind::Incident => json!({ "title": "Dam" }),
            Kind::Resource => json!({ "name": "Boat" }),
            Kind::Assignment => {
                json!({ "resource": id(Kind::Resource), "incident": id(Kind::Incident) })
            }
            Kind::Device => json!({ "name": "gauge-1", "state": "approved" }),
            Kind::Rule => json!({
                "name": "High water", "match": { "device": "gauge-*", "channel": "level" },
                "raise_above": 3.5, "clear_below": 3.0, "incident": { "title": "{device}: {value}" },
            }),
            Kind::Calibration => json!({
                "device": "gauge-1", "channel": "level", "curve": { "offset": -0.2 },
            }),
            other => panic!("say here how a {other:?} is made"),
        };
        made.push((record, node.create(record, fields).await));
    }
    for kind in FactKind::all() {
        let record = RecordKind::Fact(kind);
        let fields = match kind {
            FactKind::Note => json!({ "text": "Seen" }),
            FactKind::Message => json!({ "text": "Come in", "to": "truck" }),
            other => panic!("say here how a {other:?} is made"),
        };
        made.push((record, node.create(record, fields).await));
    }
    made
}

/// Whether a document says that the truck has stored and applied it, and nobody else.
fn is_with_truck(shown: &Value, pair: &Pair) -> bool {
    let [seen] = &shown["seen_by"].as_array().unwrap()[..] else {
        return false;
    };
    let time = |name: &str| {
        seen[name]
            .as_str()
            .is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok())
    };
    seen["node"] == json!(pair.truck.app.node_id().to_string())
        && seen["name"] == "Truck"
        && time("stored_at")
        && time("applied_at")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_document_and_fact_says_who_has_it_wherever_it_is_shown() {
    let pair = Pair::meet().await;
    let caller = Caller::socket();
    let made = one_of_each(&pair.hq).await;
    for (kind, created) in &made {
        assert!(created["seen_by"].is_array(), "{kind:?} when created");
        let id = created["id"].as_str().unwrap();
        until("the truck has stored and applied it", async || {
            is_with_truck(&pair.hq.get(*kind, id).await, &pair).then_some(())
        })
        .await;
        let listed = pair.hq.app.list(&caller, *kind, ListQuery::default()).await;
        let listed = listed.unwrap().items;
        let item = listed.iter().find(|item| item["id"] == created["id"]);
        assert!(is_with_truck(item.unwrap(), &pair), "{kind:?} in its list");
    }
    // An edit makes it another version, which the truck has not yet when the answer is written.
    for (kind, created) in &made {
        let RecordKind::Document(kind) = kind else {
            continue;
        };
        let (id, version) = (created["id"].as_str().unwrap(), created["version"].as_str());
        let name = if *kind == Kind::Incident {
            "title"
        } else {
            "name"
        };
        let fields = match kind {
            Kind::Assignment => json!({ "state": "committed" }),
            Kind::Device => json!({ "state": "disabled" }),
            Kind::Calibration => json!({ "note": "Other" }),
            _ => json!({ name: "Other" }),
        };
        let app = &pair.hq.app;
        let edited = app
            .patch(&caller, *kind, id, version, object(fields), None)
            .await;
        assert!(
            edited.unwrap()["seen_by"].is_array(),
            "{kind:?} when edited"
        );
    }
    pair.part().await;
}

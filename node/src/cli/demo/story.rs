//! What happens in the demo, chapter by chapter. Every sentence with a number in it is measured; every promise is
//! checked, and one that does not hold is an error.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::node::{Background, DemoNode, background, command};
use super::relay::Relay;

/// Index of each node in the list.
const HQ: usize = 0;
const TRUCK: usize = 1;
const BOAT: usize = 2;

/// The flood is short, so that nobody waits long: the first gauge passes 4 m after a third of it, and every gauge is
/// back below 3 m before its end.
const FLOOD_S: u64 = 30;

/// Messages a second, all 19 sensors together.
const RATE: u64 = 60;

/// What a person waits for at most; a loaded Raspberry Pi needs some of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waiting looks this often.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Story {
    began: Instant,
}

impl Story {
    pub(super) fn begin() -> Story {
        Story {
            began: Instant::now(),
        }
    }

    /// One sentence with the time since the beginning before it.
    pub(super) fn say(&self, sentence: &str) {
        for (index, line) in sentence.lines().enumerate() {
            if index == 0 {
                println!("{:>6.1} s  {line}", self.began.elapsed().as_secs_f64());
            } else {
                println!("          {line}");
            }
        }
    }

    /// Chapter one: three nodes become one operation.
    pub(super) async fn start(
        &self,
        dir: &Path,
        password: &str,
        nodes: &mut Vec<DemoNode>,
    ) -> anyhow::Result<()> {
        self.say("Headquarters founds an operation.");
        let hq_dir = dir.join("hq");
        command(
            &hq_dir,
            &[
                "init",
                "--name",
                "HQ",
                "--role",
                "hq",
                "--operation",
                "River valley flood",
            ],
            &[("MUSTER_ADMIN_PASSWORD", password)],
        )
        .await?;
        nodes.push(DemoNode::start("HQ", hq_dir, Relay::start().await?, None).await?);

        for (name, place) in [("Truck", "truck"), ("Boat", "boat")] {
            let invite = command(
                &nodes[HQ].dir,
                &["invite", "--role", "field", "--json"],
                &[],
            )
            .await?;
            let invite: Value = serde_json::from_str(&invite)?;
            let code = invite["code"]
                .as_str()
                .context("the invitation holds no code")?;
            let node_dir = dir.join(place);
            command(&node_dir, &["join", code, "--name", name], &[]).await?;
            self.say(&format!("HQ invites, {name} joins with the code."));
            // Field nodes know each other too, so that they can go on without headquarters.
            let peer = nodes
                .get(TRUCK)
                .map(|truck| format!("{}@{}", truck.id, truck.relay.address()));
            nodes.push(DemoNode::start(name, node_dir, Relay::start().await?, peer).await?);
        }
        for node in nodes.iter_mut() {
            let deadline = Instant::now() + PATIENCE;
            // The user is a document that has to arrive first.
            while let Err(error) = node.sign_in(password).await {
                if Instant::now() > deadline {
                    return Err(error.context(format!("sign in at {}", node.name)));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        let all = &*nodes;
        until("the three nodes are connected", || async {
            Ok((connected(all).await? == vec![2, 2, 2]).then_some(()))
        })
        .await?;
        self.say("All three are connected, each through a UDP relay that this program can cut:");
        for node in all {
            println!(
                "            {:<6} page {}  relay {}",
                node.name,
                node.page(),
                node.relay.address()
            );
        }
        Ok(())
    }

    /// The chapters after it: the flood, the cut, the edits apart, the way back to one picture.
    pub(super) async fn flood(&self, dir: &Path, nodes: &[DemoNode]) -> anyhow::Result<()> {
        self.make_rule(nodes).await?;
        let mqtt = nodes[TRUCK].addresses.mqtt.to_string();
        let (rate, duration) = (RATE.to_string(), FLOOD_S.to_string());
        let words = [
            "simulate",
            "--mqtt",
            &mqtt,
            "--rate",
            &rate,
            "--duration",
            &duration,
        ];
        let mut sensors = background(&nodes[TRUCK].dir, &words, &dir.join("sensors.log"))?;
        self.say(&format!(
            "Rain. 19 sensors publish {RATE} readings a second to Truck over MQTT; the rivers rise."
        ));
        let incident = self.first_incident(nodes).await?;

        let before = self.cut(nodes).await?;
        let path = format!("/v1/incidents/{incident}");
        self.edit_apart(nodes, &path).await?;
        self.flood_goes_on(nodes, &mut sensors).await?;
        let swallowed: u64 = nodes.iter().map(|node| node.relay.swallowed()).sum();
        ensure!(passed(nodes) == before, "packets passed the cut relays");
        self.say(&format!(
            "Since the cut the relays let 0 packets pass and swallowed {swallowed}."
        ));

        self.heal(nodes).await?;
        self.compare(nodes).await?;
        let conflict = self.conflict(nodes, &incident).await?;
        self.choose(nodes, &conflict, &path).await
    }

    async fn make_rule(&self, nodes: &[DemoNode]) -> anyhow::Result<()> {
        let rule = json!({
            "name": "High water",
            "match": { "device": "river-*", "channel": "level" },
            "raise_above": 4.0, "clear_below": 3.0,
            "incident": {
                "title": "High water at {device}: {value} m", "category": "Met", "severity": "moderate",
            },
        });
        let rule = nodes[HQ].post("/v1/rules", rule).await?;
        let id = rule["id"].as_str().context("the rule has no id")?;
        let path = format!("/v1/rules/{id}");
        until("the rule reaches Truck", || async {
            Ok(nodes[TRUCK].get(&path).await.ok())
        })
        .await?;
        self.say("HQ makes a rule: a river above 4 m opens an incident. It has reached Truck, where the gauges are.");
        Ok(())
    }

    /// Waits for the first incident on the node that hears the sensors, then on the others.
    async fn first_incident(&self, nodes: &[DemoNode]) -> anyhow::Result<String> {
        let first = until("the rule opens an incident", || async {
            let list = nodes[TRUCK].get("/v1/incidents?limit=1").await?;
            Ok(list["items"].get(0).cloned())
        })
        .await?;
        let opened = Instant::now();
        let id = first["id"]
            .as_str()
            .context("the incident has no id")?
            .to_owned();
        self.say(&format!(
            "Truck's rule opens the incident “{}”.",
            text(&first["title"])
        ));
        let path = format!("/v1/incidents/{id}");
        for node in [&nodes[BOAT], &nodes[HQ]] {
            until("the incident arrives", || async {
                Ok(node.get(&path).await.ok())
            })
            .await?;
            self.say(&format!(
                "{} has it over QUIC, {} ms after it was seen at Truck.",
                node.name,
                opened.elapsed().as_millis()
            ));
        }
        Ok(id)
    }

    /// Cuts every link; answers how many packets had passed by then.
    async fn cut(&self, nodes: &[DemoNode]) -> anyhow::Result<u64> {
        for node in nodes {
            node.relay.cut();
        }
        // A packet that was on its way through a relay at that moment is still counted.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = passed(nodes);
        self.say(&format!(
            "THE LINKS ARE CUT, all of them, after {before} packets."
        ));
        Ok(before)
    }

    async fn edit_apart(&self, nodes: &[DemoNode], path: &str) -> anyhow::Result<()> {
        nodes[TRUCK]
            .edit(path, json!({ "severity": "extreme", "status": "active" }))
            .await?;
        self.say("At Truck somebody sets the severity to extreme and the status to active.");
        nodes[HQ]
            .edit(path, json!({ "severity": "minor", "description": "Boats are ready at the north depot." }))
            .await?;
        self.say(
            "At HQ, which cannot know, somebody sets the severity to minor and adds a description.",
        );
        nodes[BOAT]
            .post(
                "/v1/incidents",
                json!({
                    "title": "Mill bridge is under water", "category": "Transport", "severity": "severe",
                    "location": { "lat": 46.0569, "lon": 14.5058 },
                }),
            )
            .await?;
        self.say("Boat reports an incident of its own: a bridge is under water.");
        let digests = digests(nodes).await?;
        ensure!(
            digests[HQ] != digests[TRUCK] && digests[TRUCK] != digests[BOAT],
            "the pictures do not differ"
        );
        Ok(())
    }

    /// The nodes notice that they are alone, and the flood passes meanwhile.
    async fn flood_goes_on(
        &self,
        nodes: &[DemoNode],
        sensors: &mut Background,
    ) -> anyhow::Result<()> {
        until("the nodes notice that the links are down", || async {
            Ok((connected(nodes).await? == vec![0, 0, 0]).then_some(()))
        })
        .await?;
        let peers = command(&nodes[TRUCK].dir, &["peers"], &[]).await?;
        self.say(&format!(
            "Every node knows that it is alone. `muster peers` at Truck:\n{}",
            peers.trim_end()
        ));
        let ended = tokio::time::timeout(PATIENCE, sensors.ended()).await;
        ensure!(
            ended.context("the sensors go on for too long")??.success(),
            "the sensors failed: see sensors.log"
        );
        until("Truck evaluates its last readings", || async {
            let status = nodes[TRUCK].status().await?;
            Ok((status["rules_behind"] == json!(0)).then_some(()))
        })
        .await?;
        let (truck, hq) = (nodes[TRUCK].export().await?, nodes[HQ].export().await?);
        let readings = nodes[TRUCK].status().await?["readings"].clone();
        self.say(&format!(
            "The flood has passed. Truck, alone, took {readings} readings and has {} incidents; HQ knows of {}.",
            truck.len(),
            hq.len()
        ));
        ensure!(
            truck.len() > hq.len(),
            "Truck opened no incident while it was alone"
        );
        Ok(())
    }

    async fn heal(&self, nodes: &[DemoNode]) -> anyhow::Result<()> {
        let healed = Instant::now();
        for node in nodes {
            node.relay.heal();
        }
        self.say("THE LINKS ARE BACK.");
        // Looked at here, and not with `until`, to tell apart finding each other and exchanging.
        let mut first_link = None;
        let deadline = Instant::now() + PATIENCE;
        let agreed = loop {
            let mut statuses = Vec::new();
            for node in nodes {
                statuses.push(node.status().await?);
            }
            if first_link.is_none() && statuses.iter().any(is_connected) {
                first_link = Some(healed.elapsed());
            }
            if let Some(digest) = agreement(&statuses) {
                break digest;
            }
            if Instant::now() > deadline {
                bail!(
                    "the three nodes did not agree within {} s",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(LOOK).await;
        };
        let took = healed.elapsed();
        let linked = first_link.unwrap_or(took);
        self.say(&format!(
            "All three agree {:.1} s after that: {:.1} s until two nodes had found each other again, {:.0} ms to exchange.",
            took.as_secs_f64(),
            linked.as_secs_f64(),
            (took - linked).as_secs_f64() * 1_000.0
        ));
        for node in nodes {
            println!("            {:<6} digest {agreed}", node.name);
        }
        Ok(())
    }

    async fn compare(&self, nodes: &[DemoNode]) -> anyhow::Result<()> {
        let first = nodes[HQ].export().await?;
        for node in &nodes[TRUCK..] {
            let other = node.export().await?;
            ensure!(
                other == first,
                "the incidents exported from {} differ from those of HQ",
                node.name
            );
        }
        let bytes = serde_json::to_vec(&first)?.len();
        self.say(&format!(
            "Exported over HTTP, the {} incidents ({bytes} bytes) are equal on all three, field by field\n\
             (but for seen_by, in which each node says what it knows of the others' copies).",
            first.len()
        ));
        Ok(())
    }

    /// The conflict that must now be listed on every node, under the same id.
    async fn conflict(&self, nodes: &[DemoNode], incident: &str) -> anyhow::Result<Value> {
        let query = format!("/v1/conflicts?state=open&document={incident}");
        let mut found: Vec<Value> = Vec::new();
        for node in nodes {
            let list = node.get(&query).await?;
            let items = list["items"].as_array().context("a list without items")?;
            let [conflict] = items.as_slice() else {
                bail!(
                    "{} lists {} conflicts instead of one",
                    node.name,
                    items.len()
                );
            };
            found.push(conflict.clone());
        }
        ensure!(
            found.iter().all(|conflict| conflict == &found[0]),
            "the nodes show different conflicts"
        );
        let values: Vec<String> = found[0]["values"]
            .as_array()
            .context("a conflict without values")?
            .iter()
            .map(|value| {
                format!(
                    "{} ({} at {})",
                    text(&value["value"]),
                    text(&value["author"]),
                    text(&value["node_name"])
                )
            })
            .collect();
        self.say(&format!(
            "Nothing was overwritten: all three list one conflict, {} is {}.",
            text(&found[0]["field"]),
            values.join(" or ")
        ));
        Ok(found.swap_remove(0))
    }

    async fn choose(&self, nodes: &[DemoNode], conflict: &Value, path: &str) -> anyhow::Result<()> {
        let choice = conflict["choices"]
            .as_array()
            .and_then(|choices| {
                choices
                    .iter()
                    .find(|choice| choice["label"] == json!("extreme"))
            })
            .context("extreme is none of the choices")?;
        let id = text(&conflict["id"]);
        nodes[BOAT]
            .post(
                &format!("/v1/conflicts/{id}/resolve"),
                json!({ "choice": choice["id"] }),
            )
            .await?;
        until("the choice reaches every node", || async {
            for node in nodes {
                let incident = node.get(path).await?;
                if incident["severity"] != json!("extreme") || incident["conflicts"] != json!([]) {
                    return Ok(None);
                }
            }
            agreement_of(nodes).await
        })
        .await?;
        let incident = nodes[HQ].get(path).await?;
        ensure!(
            incident["status"] == json!("active") && incident["description"] != json!(""),
            "an edit of another field was lost"
        );
        self.say("Somebody on Boat chooses extreme; that stands on every node, beside Truck's status and HQ's description.");
        self.compare(nodes).await
    }
}

/// Looks until there is an answer.
async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()
            .await
            .with_context(|| format!("waiting until {what}"))?
        {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s until {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn connected(nodes: &[DemoNode]) -> anyhow::Result<Vec<usize>> {
    let mut counts = Vec::new();
    for node in nodes {
        counts.push(node.connected().await?);
    }
    Ok(counts)
}

async fn digests(nodes: &[DemoNode]) -> anyhow::Result<Vec<String>> {
    let mut digests = Vec::new();
    for node in nodes {
        digests.push(text(&node.status().await?["heads_digest"]));
    }
    Ok(digests)
}

async fn agreement_of(nodes: &[DemoNode]) -> anyhow::Result<Option<String>> {
    let mut statuses = Vec::new();
    for node in nodes {
        statuses.push(node.status().await?);
    }
    Ok(agreement(&statuses))
}

/// The digest that all have, where all have the same and nothing is pending (DESIGN §8).
fn agreement(statuses: &[Value]) -> Option<String> {
    let digest = &statuses.first()?["heads_digest"];
    statuses
        .iter()
        .all(|status| &status["heads_digest"] == digest && status["pending"] == json!(0))
        .then(|| text(digest))
}

fn is_connected(status: &Value) -> bool {
    status["peers"]
        .as_array()
        .is_some_and(|peers| peers.iter().any(|peer| peer["state"] == json!("connected")))
}

fn passed(nodes: &[DemoNode]) -> u64 {
    nodes.iter().map(|node| node.relay.passed()).sum()
}

/// A string without its quotes; anything else as JSON.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_agree_when_digests_are_equal_and_nothing_is_pending() {
        let status =
            |digest: &str, pending: u64| json!({ "heads_digest": digest, "pending": pending });
        assert_eq!(
            agreement(&[status("a", 0), status("a", 0)]).as_deref(),
            Some("a")
        );
        assert_eq!(agreement(&[status("a", 0), status("b", 0)]), None);
        assert_eq!(agreement(&[status("a", 0), status("a", 1)]), None);
    }
}

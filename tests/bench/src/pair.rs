//! Two nodes of one operation, as real processes: HQ and a field node that joined with an invitation, with a counting
//! relay as the only way between them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;

use crate::api::Api;
use crate::child::{self, Node};
use crate::relay::Relay;

/// How long anything here may take before the bench says that it is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// HQ and a field node.
pub struct Pair {
    pub hq: Node,
    pub field: Node,
    pub hq_api: Api,
    pub field_api: Api,
    pub relay: Relay,
}

impl Pair {
    /// Founds, invites, joins and starts both; returns when they are connected and agree.
    ///
    /// # Errors
    /// Any of that fails.
    pub async fn start(directory: &Path) -> anyhow::Result<Pair> {
        let relay = Relay::start()?;
        let hq_dir = directory.join("hq");
        let hq = Node::start(&hq_dir, &["--advertise", &relay.address.to_string()])?;
        relay.lead(hq.sync)?;
        let field_dir = directory.join("field");
        child::join(&hq_dir, &field_dir, "Field")?;
        let field = Node::start(&field_dir, &["--no-found"])?;
        let hq_api = Api::sign_in(hq.http).await?;
        let field_api = sign_in(&field).await?;
        let pair = Pair {
            hq,
            field,
            hq_api,
            field_api,
            relay,
        };
        pair.until_level().await?;
        Ok(pair)
    }

    /// Cuts the link and starts the field node anew, so that neither end holds a connection.
    ///
    /// # Errors
    /// It does not start again.
    pub async fn part(self) -> anyhow::Result<Pair> {
        let Pair {
            hq,
            field,
            hq_api,
            relay,
            ..
        } = self;
        relay.cut();
        let field_dir = field.data_dir.clone();
        field.stop();
        let field = Node::start(&field_dir, &["--no-found"])?;
        let field_api = sign_in(&field).await?;
        Ok(Pair {
            hq,
            field,
            hq_api,
            field_api,
            relay,
        })
    }

    /// Waits until both have committed, applied and acknowledged all that the other has, and answers when that was
    /// seen.
    ///
    /// The list of peers is in memory and cheap; the digest costs a look at every document, so it is asked for only
    /// when nobody is behind any more, and what it takes does not count: what is acknowledged has been committed and
    /// applied. The answer is late by one look at most, about 10 ms.
    ///
    /// # Errors
    /// A node does not answer, or it takes two minutes.
    pub async fn until_level(&self) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let level = is_level(&self.hq_api).await? && is_level(&self.field_api).await?;
            let looked = Instant::now();
            if level && self.agree().await? {
                return Ok(looked);
            }
            if Instant::now() > deadline {
                let peers = (
                    self.hq_api.get("/v1/peers").await?,
                    self.field_api.get("/v1/peers").await?,
                );
                bail!("the nodes do not agree: {} and {}", peers.0, peers.1);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Equal digests, nothing waiting.
    async fn agree(&self) -> anyhow::Result<bool> {
        let (hq, field) = (
            self.hq_api.get("/v1/status").await?,
            self.field_api.get("/v1/status").await?,
        );
        Ok(hq["heads_digest"] == field["heads_digest"]
            && hq["pending"] == json!(0)
            && field["pending"] == json!(0))
    }
}

/// The other node is connected and lacks nothing.
async fn is_level(api: &Api) -> anyhow::Result<bool> {
    let peers = api.get("/v1/peers").await?;
    Ok(peers["items"].as_array().is_some_and(|items| {
        items
            .iter()
            .any(|peer| peer["state"] == json!("connected") && peer["behind_entries"] == json!(0))
    }))
}

/// The users come with the first exchange: until then nobody can sign in.
pub async fn sign_in(node: &Node) -> anyhow::Result<Api> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Api::sign_in(node.http).await {
            Ok(api) => return Ok(api),
            Err(error) if Instant::now() > deadline => return Err(error),
            // Wrong passwords slow down the next attempts, so there are few.
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

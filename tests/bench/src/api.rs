//! A node's HTTP API with a token, as any other program would use it.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::child::ADMIN_PASSWORD;

/// A number that a node shows at `/metrics`, by its whole name with labels; 0 before it was first counted.
///
/// # Errors
/// The node does not answer.
pub async fn metric(http: SocketAddr, name: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("http://{http}/metrics"))
        .await?
        .error_for_status()?
        .text()
        .await?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.map_or(Ok(0.0), str::parse)?)
}

/// Signed in as `admin`.
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    /// Gets a token.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub async fn sign_in(http: SocketAddr) -> anyhow::Result<Api> {
        let client = reqwest::Client::builder().tcp_nodelay(true).build()?;
        let base = format!("http://{http}");
        let form = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", ADMIN_PASSWORD),
        ];
        let answer = client
            .post(format!("{base}/oauth/token"))
            .form(&form)
            .send()
            .await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        let Some(token) = body["access_token"].as_str() else {
            bail!("no token ({status}): {body}");
        };
        Ok(Api {
            client,
            token: token.to_owned(),
            base,
        })
    }

    /// GET of a path such as `/v1/series?limit=500`.
    ///
    /// # Errors
    /// Anything but a 2xx with JSON.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .send()
            .await?;
        answer
            .error_for_status()
            .with_context(|| path.to_owned())?
            .json()
            .await
            .with_context(|| path.to_owned())
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// Anything but a 2xx with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self
            .client
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("POST {path}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// PATCH of the version that the caller has seen.
    ///
    /// # Errors
    /// Anything but a 2xx with JSON.
    pub async fn patch(&self, path: &str, version: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self
            .client
            .patch(format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .header("if-match", format!("\"{version}\""))
            .json(body)
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("PATCH {path}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// An answer that goes on, such as the events.
    ///
    /// # Errors
    /// Anything but a 2xx.
    pub async fn stream(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        let request = self
            .client
            .get(format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        request
            .send()
            .await?
            .error_for_status()
            .with_context(|| path.to_owned())
    }

    /// All pages of a list.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{joint}limit=500{cursor}")).await?;
            if let Some(found) = page["items"].as_array_mut() {
                items.append(found);
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }
}

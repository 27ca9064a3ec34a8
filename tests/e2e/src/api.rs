//! A client of one node's HTTP API.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::PASSWORD;

/// The node gives up on a request after 30 s.
const REQUEST_MAX: Duration = Duration::from_secs(35);

/// Signed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
    token: String,
}

/// An answer that may be a refusal.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// `null` where there is no body.
    pub body: Value,
}

impl Api {
    /// Gets a token with the password that every test uses.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub async fn sign_in(http: SocketAddr) -> anyhow::Result<Api> {
        Api::sign_in_as(http, "admin", PASSWORD).await
    }

    /// Gets a token for somebody.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub async fn sign_in_as(http: SocketAddr, user: &str, password: &str) -> anyhow::Result<Api> {
        let client = reqwest::Client::builder()
            .timeout(REQUEST_MAX)
            .no_proxy()
            .build()?;
        let mut api = Api {
            base: format!("http://{http}"),
            client,
            token: String::new(),
        };
        let form = [
            ("grant_type", "password"),
            ("username", user),
            ("password", password),
        ];
        let answer = api
            .client
            .post(format!("{}/oauth/token", api.base))
            .form(&form)
            .send()
            .await?;
        let answer = read(answer).await?;
        let token = answer.body["access_token"]
            .as_str()
            .with_context(|| format!("no token: {answer:?}"))?;
        token.clone_into(&mut api.token);
        Ok(api)
    }

    /// A request with the token, for what the shorthands below do not say.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token)
    }

    /// Sends `request` and reads the answer, whatever its status.
    ///
    /// # Errors
    /// No answer came.
    pub async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        read(request.send().await?).await
    }

    /// # Errors
    /// No answer in the 200s.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.ask(self.request(Method::GET, path)).await?;
        answer.success().with_context(|| format!("GET {path}"))
    }

    /// `None` for 404.
    ///
    /// # Errors
    /// Any other refusal.
    pub async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let answer = self.ask(self.request(Method::GET, path)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer
            .success()
            .map(Some)
            .with_context(|| format!("GET {path}"))
    }

    /// # Errors
    /// No answer in the 200s.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer = self
            .ask(self.request(Method::POST, path).json(&body))
            .await?;
        answer.success().with_context(|| format!("POST {path}"))
    }

    /// PATCH from the version `version`.
    ///
    /// # Errors
    /// No answer in the 200s.
    pub async fn patch(&self, path: &str, version: &str, fields: Value) -> anyhow::Result<Value> {
        let request = self
            .request(Method::PATCH, path)
            .header("if-match", format!("\"{version}\""))
            .json(&fields);
        self.ask(request)
            .await?
            .success()
            .with_context(|| format!("PATCH {path}"))
    }

    /// PATCH from the version that the node shows now.
    ///
    /// # Errors
    /// No answer in the 200s.
    pub async fn edit(&self, path: &str, fields: Value) -> anyhow::Result<Value> {
        let seen = self.get(path).await?;
        self.patch(
            path,
            seen["version"].as_str().context("no version")?,
            fields,
        )
        .await
    }

    /// Every item of a list, page by page.
    ///
    /// # Errors
    /// No answer in the 200s.
    pub async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self
                .get(&format!("{path}{separator}limit=500{cursor}"))
                .await?;
            items.append(
                page["items"]
                    .as_array_mut()
                    .context("a list without items")?,
            );
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// All documents of a kind by id, as every node must show them: without `seen_by`, which is this node's own.
    ///
    /// # Errors
    /// No answer in the 200s.
    pub async fn export(&self, plural: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = self.all(&format!("/v1/{plural}")).await?;
        for item in &mut all {
            item.as_object_mut()
                .context("an item that is no object")?
                .remove("seen_by");
        }
        all.sort_by_key(|item| item["id"].to_string());
        Ok(all)
    }

    /// # Errors
    /// No answer in the 200s.
    pub async fn approve(&self, device: &str) -> anyhow::Result<Value> {
        self.post(
            "/v1/devices",
            json!({ "name": device, "state": "approved" }),
        )
        .await
    }
}

impl Answer {
    /// # Errors
    /// The status is not in the 200s; the error holds what the node said.
    pub fn success(self) -> anyhow::Result<Value> {
        if !self.status.is_success() {
            bail!("{}: {}", self.status, self.body);
        }
        Ok(self.body)
    }

    /// The code at the end of a problem's type (RFC 9457).
    pub fn problem(&self) -> &str {
        self.body["type"]
            .as_str()
            .and_then(|uri| uri.rsplit('/').next())
            .unwrap_or_default()
    }
}

async fn read(response: Response) -> anyhow::Result<Answer> {
    let status = response.status();
    let text = response.text().await?;
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).with_context(|| format!("unreadable answer {text:?}"))?
    };
    Ok(Answer { status, body })
}

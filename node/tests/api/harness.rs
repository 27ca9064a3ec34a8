//! A node of its own for each test: a fresh data directory, the real store, the real API on a real socket.

use std::net::SocketAddr;
use std::sync::Arc;

use node::app::founding::{Founding, found};
use node::app::ingest::{Delivery, Message, SessionKey};
use node::app::{App, KeySource, OpenConfig};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The admin's password in every test.
pub const PASSWORD: &str = "correct horse battery";

/// A running node.
pub struct Node {
    pub app: Arc<App>,
    pub address: SocketAddr,
    pub client: reqwest::Client,
    /// Bearer token of the admin.
    pub token: String,
    closing: CancellationToken,
    _dir: TempDir,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The last part of a problem's `type`.
    pub fn code(&self) -> &str {
        self.body["type"]
            .as_str()
            .and_then(|kind| kind.rsplit('/').next())
            .unwrap_or_default()
    }

    /// The pointers of a problem.
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["pointer"].as_str())
            .collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The answer, if it has that status; fails the test with the answer's text otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    pub fn id(&self) -> &str {
        self.body["id"].as_str().expect("an answer with an id")
    }

    pub fn version(&self) -> &str {
        self.body["version"]
            .as_str()
            .expect("an answer with a version")
    }
}

impl Node {
    /// Founds and starts one, and signs a program in as its admin.
    pub async fn start() -> Node {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let founding = Founding {
            name: "alpha".into(),
            role: "hq".parse().expect("a role"),
            title: "Flood".into(),
        };
        found(dir.path(), &KeySource::DataDir, founding)
            .await
            .expect("found an operation");
        let app = App::open(OpenConfig::new(dir.path(), KeySource::DataDir))
            .await
            .expect("open the node");
        app.ensure_admin(Some(PASSWORD.into()))
            .await
            .expect("an admin");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("its address");
        let closing = CancellationToken::new();
        tokio::spawn(node::api::serve(
            listener,
            Arc::clone(&app),
            node::api::RequestPlaces::default(),
            closing.clone(),
        ));
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let mut node = Node {
            app,
            address,
            client,
            token: String::new(),
            closing,
            _dir: dir,
        };
        node.token = node
            .password_token("admin", PASSWORD)
            .await
            .expect(200)
            .body["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        node
    }

    pub async fn stop(self) {
        self.closing.cancel();
        self.app.shutdown().await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request without a caller.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// A request of the admin.
    pub fn signed(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.signed(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.signed(Method::POST, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, version: &str, body: Value) -> Answer {
        let quoted = format!("\"{version}\"");
        send(
            self.signed(Method::PATCH, path)
                .header("if-match", quoted)
                .json(&body),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.signed(Method::DELETE, path)).await
    }

    /// Publishes as sensors on this machine do; returns when it is on the disk.
    pub async fn publish(&self, messages: &[(&str, &[u8])]) {
        let (mut session, _) = self.app.ingest().session(SessionKey {
            source: "mqtt".into(),
            client_id: None,
            clean: true,
        });
        for (topic, payload) in messages {
            session.message(Message {
                topic,
                payload,
                delivery: Delivery::AtMostOnce,
                kept: false,
            });
        }
        let mut submitted = session.submit(true).expect("messages to store");
        submitted.committed().await.expect("a store");
    }

    pub async fn incident(&self, title: &str) -> Answer {
        self.post("/v1/incidents", json!({ "title": title }))
            .await
            .expect(201)
    }

    pub async fn token_request(&self, form: &[(&str, &str)]) -> Answer {
        send(self.anonymous(Method::POST, "/oauth/token").form(form)).await
    }

    pub async fn password_token(&self, username: &str, password: &str) -> Answer {
        let form = [
            ("grant_type", "password"),
            ("username", username),
            ("password", password),
        ];
        self.token_request(&form).await
    }

    /// Signs in as the page does: the cookie and the CSRF token.
    pub async fn session(&self) -> (HeaderValue, String) {
        let body = json!({ "username": "admin", "password": PASSWORD });
        let answer = send(self.anonymous(Method::POST, "/session").json(&body))
            .await
            .expect(200);
        let cookie = answer
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        let csrf = answer.body["csrf_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        (HeaderValue::try_from(cookie).expect("a cookie"), csrf)
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the node answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a whole body");
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer {
        status,
        headers,
        body,
        text,
    }
}

//! Shapes of brokers, for the OpenAPI document.

use utoipa::ToSchema;

/// Where the connection with a broker stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum BrokerState {
    /// An attempt is being made.
    Connecting,
    /// It is there.
    Connected,
    /// It failed a moment ago; the next attempt follows soon.
    Waiting,
    /// It failed too often: no attempt for a minute.
    Open,
    /// One attempt after that minute.
    HalfOpen,
}

/// A broker that this node listens to.
#[derive(ToSchema)]
pub struct Broker {
    /// As the configuration calls it.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Where the connection stands.
    pub state: BrokerState,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// Why the last one did.
    #[schema(required)]
    pub last_error: Option<String>,
    /// Since when the connection is there.
    #[schema(required, format = DateTime)]
    pub connected_since: Option<String>,
    /// When the next attempt is made.
    #[schema(required, format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// Messages since the node started.
    pub messages: u64,
}

/// Brokers.
#[derive(ToSchema)]
pub struct BrokerPage {
    /// The brokers, by name.
    pub items: Vec<Broker>,
    /// Always null: every broker is in one page.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}

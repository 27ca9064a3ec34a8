//! Shapes of what is said to devices.

use serde_json::Value;
use utoipa::ToSchema;

/// What a device signs in with.
#[derive(ToSchema)]
pub struct DeviceCredentials {
    /// The device's name.
    pub username: String,
    /// Shown this once.
    pub password: String,
}

/// Who publishes and subscribes for many devices: a gateway, a program. (Accounts of devices stand with the devices.)
#[derive(ToSchema)]
pub struct MqttAccount {
    /// What it signs in with.
    pub name: String,
    /// Topic filters that it may publish under.
    pub publish: Vec<String>,
    /// Topic filters that it may subscribe to.
    pub subscribe: Vec<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// One page of accounts.
#[derive(ToSchema)]
pub struct MqttAccountPage {
    /// By name.
    pub items: Vec<MqttAccount>,
    /// Cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position in arrival order.
    pub since: String,
}

/// An account to make.
#[derive(ToSchema)]
pub struct NewMqttAccount {
    /// 1 to 128 bytes without control characters, and no other account's.
    pub name: String,
    /// Topic filters that it may publish under, such as `muster/v1/+/level`; at most 32, none where nothing is said.
    #[schema(required = false)]
    pub publish: Vec<String>,
    /// Topic filters that it may subscribe to; at most 32, none where nothing is said.
    #[schema(required = false)]
    pub subscribe: Vec<String>,
}

/// What a gateway signs in with.
#[derive(ToSchema)]
pub struct MqttAccountCredentials {
    /// The account's name.
    pub username: String,
    /// Shown this once.
    pub password: String,
    /// Topic filters that it may publish under.
    pub publish: Vec<String>,
    /// Topic filters that it may subscribe to.
    pub subscribe: Vec<String>,
}

/// Something that a device is to do.
#[derive(ToSchema)]
pub struct NewDeviceCommand {
    /// Any JSON, at most 8 KiB: the device knows what it means.
    pub payload: Value,
    /// Seconds after which nobody wants it any more; 3,600 where nothing is said.
    #[schema(minimum = 1, maximum = 2_592_000, nullable = false)]
    pub expires_s: Option<u64>,
}

/// How far a command has come.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DeviceCommandState {
    /// No connection of the device has taken it yet.
    Queued,
    /// The device's connection has taken it.
    Sent,
    /// The device says that it has done it.
    Acknowledged,
    /// The device says that it could not.
    Failed,
    /// Its time was over before the device said anything.
    Expired,
}

/// A command.
#[derive(ToSchema)]
pub struct DeviceCommand {
    /// The device answers with it.
    pub id: String,
    /// Name of the device.
    pub device: String,
    /// As it was given.
    pub payload: Value,
    /// How far it has come.
    pub state: DeviceCommandState,
    /// What the device said about it.
    #[schema(required)]
    pub detail: Option<String>,
    /// Who gave it.
    pub created_by: String,
    /// When.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it is over.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// When its state changed last.
    #[schema(format = DateTime)]
    pub changed_at: String,
}

/// What a device said about itself.
#[derive(ToSchema)]
pub struct ReportedState {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// JSON, or text where it was none.
    pub state: Value,
}

/// One page of commands.
#[derive(ToSchema)]
pub struct DeviceCommandPage {
    /// Newest first.
    pub items: Vec<DeviceCommand>,
    /// Cursor of the next page.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position in arrival order.
    pub since: String,
    /// What the device last said about itself on `state` that was no answer to a command.
    #[schema(required)]
    pub reported: Option<ReportedState>,
}

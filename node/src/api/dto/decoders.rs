//! Shapes of decoders, for the OpenAPI document.

use serde_json::Value;
use utoipa::ToSchema;

/// Where a decoder comes from.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum DecoderOrigin {
    /// Part of the program.
    BuiltIn,
    /// muster.toml.
    Configuration,
    /// Added here.
    Api,
}

/// A decoder.
#[derive(ToSchema)]
pub struct Decoder {
    /// Where it comes from.
    pub origin: DecoderOrigin,
    /// How dead letters and figures call it.
    pub name: String,
    /// Tells what decodes: the format's revision and a hash over the entry.
    pub version: String,
    /// Its topic filter.
    pub topic: String,
    /// As it is configured; null for what is built in.
    #[schema(required, value_type = Option<Object>)]
    pub entry: Option<Value>,
    /// Why it is not in use: it was added here and does not fit beside the configuration of now. Null for one that is.
    #[schema(required)]
    pub problem: Option<String>,
}

/// Decoders.
#[derive(ToSchema)]
pub struct DecoderPage {
    /// The decoders in the order in which they are asked.
    pub items: Vec<Decoder>,
    /// Always null: every decoder is in one page.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
    /// Of the list of those that were added here: another list, another version.
    pub version: String,
}

/// The decoders that are to be there, beside those of the configuration.
#[derive(ToSchema)]
pub struct DecoderEntries {
    /// Each with `topic` (a filter with + and #), `format` (plain, json, senml-json, senml-cbor, chirpstack, zigbee2mqtt,
    /// tasmota, meshtastic, script or ignore) and the format's options.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
}

/// A message to try.
#[derive(ToSchema)]
pub struct DecoderTrial {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    #[schema(format = Byte)]
    pub payload_base64: String,
}

/// What was read from a message.
#[derive(ToSchema)]
pub struct DecodedMessage {
    /// Which decoder read it.
    pub decoder: String,
    /// What it says, device by device.
    pub devices: Vec<DecodedDevice>,
    /// Members that hold nothing that is kept.
    pub skipped: u32,
    /// What the decoder's script says against the values, at most 8 texts of 300 characters. Where there is any, the values
    /// are stored as `suspect`, and rules do not look at them.
    pub warnings: Vec<String>,
    /// Why a message of the format says nothing about any device.
    #[schema(required)]
    pub noise: Option<String>,
}

/// What a message says about one device.
#[derive(ToSchema)]
pub struct DecodedDevice {
    /// Its name.
    pub device: String,
    /// Its values.
    pub readings: Vec<DecodedReading>,
    /// 0 to 100.
    #[schema(required)]
    pub battery_pct: Option<f64>,
    /// At the gateway that hears it best.
    #[schema(required)]
    pub rssi_dbm: Option<f64>,
    /// Its signal over the noise there.
    #[schema(required)]
    pub snr_db: Option<f64>,
    /// Its firmware's version.
    #[schema(required)]
    pub firmware: Option<String>,
    /// What it calls itself.
    #[schema(required)]
    pub label: Option<String>,
    /// Whether it is said to be there.
    #[schema(required)]
    pub online: Option<bool>,
    /// Words.
    pub texts: Vec<String>,
}

/// One value.
#[derive(ToSchema)]
pub struct DecodedReading {
    /// Its channel.
    pub channel: String,
    /// The value.
    pub value: f64,
    /// Its unit, a UCUM code where it is known.
    #[schema(required)]
    pub unit: Option<String>,
    /// The device's own time.
    #[schema(required, format = DateTime)]
    pub at: Option<String>,
}

//! A payload of any kind, taken apart by a script of the user's.

use serde::{Deserialize, Serialize};

use crate::script::{Script, ScriptInput, ScriptSource};
use crate::table::template::Template;
use crate::{DecodeError, Decoded, Decoder, Message};

/// Options of the format `script`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserScriptOptions {
    /// Name of the device; `{2}` is the topic's second level.
    pub device: String,
    pub script: ScriptSource,
    /// What the script sees as `input.fPort`.
    #[serde(default = "first_port")]
    pub f_port: u8,
}

fn first_port() -> u8 {
    1
}

pub(crate) struct UserScript {
    pub(crate) device: Template,
    pub(crate) script: Script,
    pub(crate) f_port: u8,
}

impl Decoder for UserScript {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let mut decoded = Decoded::default();
        let device = decoded.device(&self.device.fill("device", message.topic)?)?;
        let output = self.script.run(&ScriptInput {
            bytes: message.payload,
            f_port: self.f_port,
            received_ms: message.received_ms,
        })?;
        output.add_to(&mut decoded, device, None)?;
        Ok(decoded)
    }

    fn takes_time(&self) -> bool {
        true
    }
}

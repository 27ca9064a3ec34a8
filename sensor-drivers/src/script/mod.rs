//! Decoders that users write, in JavaScript with the signature of ChirpStack v4 and The Things Stack v3:
//!
//! ```js
//! function decodeUplink(input) { // { bytes: [1, 2], fPort: 1, recvTime: Date, variables: { … } }
//!   return { data: { level: input.bytes[0] / 10 }, warnings: [], errors: [] };
//! }
//! ```
//!
//! Invariants:
//! - A script sees its input and nothing else: no modules, no files, no network, no clock, no chance. The same bytes,
//!   variables and time of receipt give the same result on every node, also when a dead letter is replayed.
//! - It has [`MEMORY_BYTES_MAX`], [`STACK_BYTES_MAX`], [`BUDGET_STEPS`] and, where the host lends a clock, [`WALL_MAX`].
//!   Past any of them it ends with a [`DecodeError`] of its own, and the process goes on.
//! - Nothing survives a message: each has a runtime of its own (it costs about a millisecond; uplinks come by the
//!   second), so that no script can leave anything behind for the next message or break the engine for good.
//!
//! QuickJS asks whether to stop after every 10,000 steps of JavaScript, and its builtins are one step each. Those that
//! could loop without end are bounded, and those that work on much are metered (`guard.js`); some hundred microseconds
//! remain for the worst of the others (listing an object of 9,000 members), so that a script written to abuse them can
//! hold its thread for some seconds (3.5 s here) before it is stopped. Scripts come from whoever configures the node; they
//! belong on a thread for slow work all the same, see [`Decoder::takes_time`](crate::Decoder::takes_time).

mod sandbox;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decoded::DeviceAt;
use crate::formats::add_leaves;
use crate::tree::Value;
use crate::{DecodeError, Decoded, Quality};

/// Longest script in bytes; those of the largest collections (Milesight, Dragino) have 10 to 40 KiB.
pub const SCRIPT_BYTES_MAX: usize = 64 * 1024;

/// Longest payload that a script gets; LoRaWAN carries 242 bytes, and each byte is a number of 16 bytes in a script.
pub const INPUT_BYTES_MAX: usize = 8 * 1024;

/// What a script may allocate, with the engine's own 200 KiB and its compiled form.
pub const MEMORY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Stack for a script: an eighth of what the threads of the runtime have.
pub const STACK_BYTES_MAX: usize = 256 * 1024;

/// Steps (iterations, calls, elements that builtins go through) that a script may take for one message; the heaviest
/// published decoders take some 5,000. About 50 ms here.
pub const BUDGET_STEPS: u64 = 2_000_000;

/// How long a script may take by the clock that the host lends: for a machine so slow that the steps take too long.
pub const WALL_MAX: Duration = Duration::from_millis(250);

/// Longest array that builtins work on.
const ARRAY_LENGTH_MAX: u32 = 16 * 1024;

/// Variables of one script, and the longest of them in bytes.
pub const VARIABLES_MAX: usize = 64;
pub const VARIABLE_BYTES_MAX: usize = 1024;

/// A script as it is configured: the text itself, or a file that the host reads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptSource {
    /// The script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it stands, relative to the configuration; this crate opens no files, see
    /// [`DecoderConfig::script_mut`](crate::DecoderConfig::script_mut).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What the script sees as `input.variables`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// What the host lends to scripts.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScriptHost {
    /// Time since some moment, never backwards; for [`WALL_MAX`]. Without it only steps count.
    pub monotonic: Option<fn() -> Duration>,
}

/// A script that has been compiled once and found to have `decodeUplink`.
pub struct Script {
    source: String,
    variables: BTreeMap<String, String>,
    host: ScriptHost,
    /// [`MEMORY_BYTES_MAX`], but where a test starves it.
    memory_bytes_max: usize,
}

/// What one message gives to a script.
#[derive(Debug, Clone, Copy)]
pub struct ScriptInput<'a> {
    pub bytes: &'a [u8],
    pub f_port: u8,
    /// ms since 1970; also what the script's clock says.
    pub received_ms: i64,
}

/// What a script returned.
#[derive(Debug, PartialEq)]
pub(crate) struct ScriptOutput {
    data: Value<'static>,
    /// What it warns of: at most [`WARNINGS_MAX`](crate::WARNINGS_MAX), each cut.
    warnings: Vec<String>,
}

impl Script {
    /// Checks a script: its size, that it compiles, that it defines `decodeUplink`.
    ///
    /// # Errors
    /// What a person has to change.
    pub fn new(
        source: &str,
        variables: &BTreeMap<String, String>,
        host: ScriptHost,
    ) -> Result<Self, String> {
        if source.len() > SCRIPT_BYTES_MAX {
            return Err(format!(
                "the script has {} bytes, at most {SCRIPT_BYTES_MAX} are allowed",
                source.len()
            ));
        }
        let too_long = |text: &str| text.len() > VARIABLE_BYTES_MAX;
        if variables.len() > VARIABLES_MAX
            || variables.iter().any(|(k, v)| too_long(k) || too_long(v))
        {
            return Err(format!(
                "a script has at most {VARIABLES_MAX} variables of {VARIABLE_BYTES_MAX} bytes"
            ));
        }
        let script = Self {
            source: source.to_owned(),
            variables: variables.clone(),
            host,
            memory_bytes_max: MEMORY_BYTES_MAX,
        };
        sandbox::check(&script).map_err(|error| error.to_string())?;
        Ok(script)
    }

    /// Runs it for one message, in the calling thread, for [`WALL_MAX`] at most.
    ///
    /// # Errors
    /// One of the `Script…` errors.
    pub(crate) fn run(&self, input: &ScriptInput<'_>) -> Result<ScriptOutput, DecodeError> {
        if input.bytes.len() > INPUT_BYTES_MAX {
            return Err(DecodeError::MessageTooLarge {
                bytes: input.bytes.len(),
            });
        }
        sandbox::run(self, input)
    }
}

impl ScriptOutput {
    /// Makes every number and boolean of `data` a value.
    pub(crate) fn add_to(
        &self,
        decoded: &mut Decoded,
        device: DeviceAt,
        time_ms: Option<i64>,
    ) -> Result<(), DecodeError> {
        add_leaves(decoded, device, &self.data, time_ms, &|_| None)?;
        if !self.warnings.is_empty() {
            decoded.warnings.clone_from(&self.warnings);
            for report in &mut decoded.devices {
                report
                    .samples
                    .iter_mut()
                    .for_each(|s| s.quality = Quality::Suspect);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

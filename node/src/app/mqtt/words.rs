//! Words that the packets of MQTT and what is made of them share.
//!
//! Invariant: nothing here leans on the rest of the node, so that a fuzzer can take the packets apart without it.

/// How a message was published (§4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Zero,
    One { packet_id: u16, dup: bool },
    Two { packet_id: u16 },
}

impl Qos {
    /// 0, 1 or 2.
    pub fn level(self) -> u8 {
        match self {
            Qos::Zero => 0,
            Qos::One { .. } => 1,
            Qos::Two { .. } => 2,
        }
    }
}

/// A client's last words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    /// As on the wire, without delay, expiry and identifiers.
    pub properties: Vec<u8>,
    pub expiry_s: Option<u32>,
    pub delay_s: u32,
}

//! A subscription as it was granted, and as it is stored.

/// A subscription as granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) struct Grant {
    pub(in crate::app) qos: u8,
    /// Not what this session published itself.
    pub(in crate::app) no_local: bool,
    /// Keep the RETAIN flag as published.
    pub(in crate::app) retain_as_published: bool,
    /// 0: none.
    pub(in crate::app) identifier: u32,
}

impl Grant {
    /// Options as on the wire (MQTT 5 §3.8.3.1); retain handling is of the SUBSCRIBE alone.
    pub(in crate::app) fn options(self) -> u8 {
        self.qos | u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3
    }

    pub(in crate::app) fn from_options(options: u8, identifier: u32) -> Self {
        Grant {
            qos: (options & 0b11).min(2),
            no_local: options & 0b100 != 0,
            retain_as_published: options & 0b1000 != 0,
            identifier,
        }
    }
}

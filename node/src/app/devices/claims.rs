//! Which devices have an account of their own.
//!
//! Such a name belongs to its account: nobody speaks for it by leaving the account out. It is asked for each message of
//! whoever has no account, so asking takes no lock and allocates nothing; a change, which is rare, copies all names.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Names of devices with an account. Cheap to clone; bounded by the number of accounts.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Claims(Arc<ArcSwap<HashSet<Box<str>>>>);

impl Claims {
    pub(in crate::app) fn has(&self, device: &str) -> bool {
        let names = self.0.load();
        !names.is_empty() && names.contains(device)
    }

    /// These have one from now on, and no others.
    pub(in crate::app) fn set(&self, devices: impl Iterator<Item = Box<str>>) {
        self.0.store(Arc::new(devices.collect()));
    }
}

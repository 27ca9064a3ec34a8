//! Names that stand beside ids: users from their documents, nodes from their grants.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use sync_engine::{NodeId, Trust};
use uuid::Uuid;

use super::present::Names;

/// The names that this node knows.
pub(in crate::app) struct NameBook {
    users: RwLock<HashMap<Uuid, String>>,
    trust: Arc<ArcSwap<Trust>>,
}

impl NameBook {
    pub(in crate::app) fn new(trust: Arc<ArcSwap<Trust>>) -> Self {
        NameBook {
            users: RwLock::default(),
            trust,
        }
    }

    /// A user's document came or changed. As many as there are users in the operation.
    pub(in crate::app) fn set_user(&self, id: Uuid, name: &str) {
        self.users.write().insert(id, name.to_owned());
    }
}

impl Names for NameBook {
    fn user(&self, id: Uuid) -> String {
        self.users
            .read()
            .get(&id)
            .cloned()
            .unwrap_or_else(|| format!("user {id}"))
    }

    fn node(&self, id: &str) -> Option<String> {
        let id: NodeId = id.parse().ok()?;
        self.trust.load().grant(id).map(|grant| grant.name.clone())
    }
}

//! Accounts follow the documents of their devices: one that is disabled ends its connections, one that is deleted loses
//! its account.
//!
//! Documents come from people here and from other nodes, so what counts is what they say, not how that came. Signing in
//! is refused from the commit on ([`Mqtt::authenticate`]); what is open is ended here, soon after it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Mqtt;
use crate::app::devices::Standing;
use crate::app::{App, AppError, Caller};

/// After a removal that could not be stored: a full disk is not empty again sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Does so until `stop`.
pub(in crate::app) fn keep_accounts(
    app: Arc<App>,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let rounds = async {
            loop {
                match app.end_barred().await {
                    Ok(()) => app.devices.barred().notified().await,
                    Err(error) => {
                        tracing::warn!(%error, "accounts of deleted devices wait to be removed");
                        tokio::time::sleep(AGAIN_AFTER).await;
                    }
                }
            }
        };
        let _ = stop.run_until_cancelled(rounds).await;
    })
}

impl App {
    async fn end_barred(&self) -> Result<(), AppError> {
        for (device, standing) in self.mqtt.barred_devices() {
            self.mqtt.end_owner(&device);
            if standing != Standing::Deleted {
                continue;
            }
            self.note_audit(
                &Caller::node(),
                "device.credentials.revoke",
                json!({ "device": device, "because": "the device was deleted" }),
            )
            .await?;
            self.mqtt
                .remove_account(&device, |account| account.device.is_some())
                .await?;
        }
        Ok(())
    }
}

impl Mqtt {
    /// Devices that have an account and may not sign in.
    fn barred_devices(&self) -> Vec<(String, Standing)> {
        let devices = self.account_devices();
        devices
            .into_iter()
            .map(|device| {
                let standing = self.0.devices.standing(&device);
                (device, standing)
            })
            .filter(|(_, standing)| standing.is_barred())
            .collect()
    }
}

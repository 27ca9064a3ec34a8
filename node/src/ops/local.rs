//! What whoever owns the data directory can ask of the node: the same requests whether it runs (they come over
//! `muster.sock`) or not (the command opens the directory and calls [`handle`] itself).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::inspect::LogQuery;
use crate::app::readings::{AllOf, DeadLetterFilter, SettleDeadLetters};
use crate::app::{App, AppError, Caller, RecordKind};

/// One request of the command line.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum LocalRequest {
    /// `muster status`
    Status,
    /// `muster peers`
    Peers,
    /// `muster invite`
    Invite {
        /// Role of the node to come.
        role: String,
        /// Its organisation.
        organisation: Option<String>,
        /// How long the code is good for, seconds.
        ttl_s: u64,
    },
    /// `muster sync`
    Sync {
        /// A node id, the beginning of one, or a name; everyone where nothing is said.
        peer: Option<String>,
        /// Wait until nothing is left to send or fetch.
        wait: bool,
        /// Give up after so many seconds.
        timeout_s: u64,
    },
    /// `muster rebuild`
    Rebuild,
    /// `muster user add`
    UserAdd {
        /// Sign-in name.
        name: String,
        /// Role.
        role: String,
        /// Password in clear: the socket is 0600 and local.
        password: String,
    },
    /// `muster user passwd`
    UserPasswd {
        /// Sign-in name.
        name: String,
        /// New password.
        password: String,
    },
    /// `muster user list`
    UserList,
    /// `muster mqtt account add`
    MqttAccountAdd {
        /// User name.
        name: String,
        /// Topic filters.
        publish: Vec<String>,
        /// Topic filters.
        subscribe: Vec<String>,
    },
    /// `muster mqtt account passwd`
    MqttAccountPassword {
        /// User name.
        name: String,
    },
    /// `muster mqtt account list`
    MqttAccountList,
    /// `muster mqtt account remove`
    MqttAccountRemove {
        /// User name.
        name: String,
    },
    /// `muster dlq list`
    DlqList {
        /// Only such letters.
        #[serde(default)]
        filter: DeadLetterFilter,
        /// At most so many.
        limit: u32,
    },
    /// `muster dlq show`
    DlqShow {
        /// Letter id.
        id: String,
    },
    /// `muster dlq replay`
    DlqReplay {
        /// Letter id.
        id: String,
    },
    /// `muster dlq discard`
    DlqDiscard {
        /// Letter id.
        id: String,
    },
    /// `muster dlq replay|discard --all …`
    DlqSettle {
        /// Which of the two.
        action: SettleDeadLetters,
        /// Of which letters.
        which: AllOf,
    },
    /// `muster faults list`
    FaultsList {
        /// At most so many.
        limit: u32,
    },
    /// `muster faults seen`
    FaultsSeen {
        /// Id of the newest one that somebody has looked at.
        id: String,
    },
    /// `muster log inspect`
    LogInspect(LogQuery),
    /// `muster export readings`, one day of it
    ExportReadings {
        /// A UTC day: 2026-11-20.
        day: String,
        /// The directory, an absolute path.
        out: std::path::PathBuf,
        /// Replace a file that is there.
        again: bool,
    },
    /// Approves devices by name (`muster simulate` does so before it publishes).
    ApproveDevices {
        /// Device names.
        names: Vec<String>,
    },
}

/// The answer: a value, or an error in words for a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalResponse {
    /// Done.
    Ok(Value),
    /// Not done, and why.
    Error(String),
}

impl LocalResponse {
    /// The value, or the error's words.
    pub fn into_result(self) -> Result<Value, String> {
        match self {
            LocalResponse::Ok(value) => Ok(value),
            LocalResponse::Error(message) => Err(message),
        }
    }
}

/// Carries out one request with the rights of the data directory's owner.
pub async fn handle(app: &Arc<App>, request: LocalRequest) -> LocalResponse {
    match carry_out(app, request).await {
        Ok(value) => LocalResponse::Ok(value),
        Err(error) => LocalResponse::Error(in_words(&error)),
    }
}

async fn carry_out(app: &Arc<App>, request: LocalRequest) -> Result<Value, AppError> {
    let caller = Caller::socket();
    match request {
        LocalRequest::Status => app.status().await,
        LocalRequest::Peers => app
            .peers(&caller)
            .await
            .map(|page| json!({ "items": page.items })),
        LocalRequest::Invite {
            role,
            organisation,
            ttl_s,
        } => {
            app.invite(&caller, &role, organisation, Duration::from_secs(ttl_s))
                .await
        }
        LocalRequest::Sync {
            peer,
            wait,
            timeout_s,
        } => {
            app.sync_now(&caller, peer, wait, Duration::from_secs(timeout_s))
                .await
        }
        LocalRequest::Rebuild => app.rebuild(&caller).await,
        LocalRequest::UserAdd {
            name,
            role,
            password,
        } => app.add_user(&caller, &name, password, &role).await,
        LocalRequest::UserPasswd { name, password } => app
            .set_password(&caller, &name, password)
            .await
            .map(|()| json!({ "changed": name })),
        LocalRequest::UserList => app
            .list_users(&caller)
            .await
            .map(|items| json!({ "items": items })),
        LocalRequest::MqttAccountAdd {
            name,
            publish,
            subscribe,
        } => {
            app.add_mqtt_account(&caller, &name, publish, subscribe)
                .await
        }
        LocalRequest::MqttAccountPassword { name } => app.renew_mqtt_password(&caller, &name).await,
        LocalRequest::MqttAccountList => app
            .list_mqtt_accounts(&caller)
            .map(|items| json!({ "items": items })),
        LocalRequest::MqttAccountRemove { name } => app
            .remove_mqtt_account(&caller, &name)
            .await
            .map(|()| json!({ "removed": name })),
        LocalRequest::DlqList { filter, limit } => app
            .list_dead_letters(&caller, filter, None, Some(limit))
            .await
            .map(|page| json!({ "items": page.items, "next": page.next })),
        LocalRequest::DlqShow { id } => app.get_dead_letter(&caller, &id).await,
        LocalRequest::DlqReplay { id } => app.replay_dead_letter(&caller, &id).await,
        LocalRequest::DlqDiscard { id } => app.discard_dead_letter(&caller, &id).await,
        LocalRequest::DlqSettle { action, which } => {
            app.settle_dead_letters(&caller, action, which).await
        }
        LocalRequest::FaultsList { limit } => app
            .sync_faults(&caller, None, Some(limit))
            .await
            .map(|page| json!({ "items": page.items, "next": page.next })),
        LocalRequest::FaultsSeen { id } => app.see_sync_faults(&caller, &id).await,
        LocalRequest::LogInspect(query) => app.inspect_log(&caller, query).await,
        LocalRequest::ExportReadings { day, out, again } => {
            app.export_readings(&caller, &day, &out, again).await
        }
        LocalRequest::ApproveDevices { names } => {
            for name in &names {
                let mut fields = Map::new();
                fields.insert("name".into(), json!(name));
                fields.insert("state".into(), json!("approved"));
                app.create(
                    &caller,
                    RecordKind::Document(domain::Kind::Device),
                    fields,
                    None,
                )
                .await?;
            }
            Ok(json!({ "approved": names }))
        }
    }
}

/// An error as the command line prints it: field errors are listed, causes follow their context.
fn in_words(error: &AppError) -> String {
    match error {
        AppError::Invalid(errors) => errors
            .iter()
            .map(|error| {
                format!(
                    "{}: {}",
                    error.pointer.trim_start_matches('/'),
                    error.detail
                )
            })
            .collect::<Vec<_>>()
            .join("; "),
        other => {
            let mut words = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                words.push_str(": ");
                words.push_str(&cause.to_string());
                source = cause.source();
            }
            words
        }
    }
}

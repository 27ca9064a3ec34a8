//! Who may publish and subscribe: one account a device, and gateways with topic patterns.
//!
//! Secrets are made here, shown once and kept as a keyed hash: they have 160 random bits, so that nobody can guess one,
//! and checking one costs a microsecond instead of the tenth of a second that people's passwords need.
//!
//! Invariants: an account that is removed, or given a new secret, ends its connections; so does a device's that is
//! disabled or deleted ([`super::barred`]), and nobody signs in with it. Every change is in the audit record.

use std::collections::HashMap;

use data_encoding::BASE32_NOPAD;
use domain::permissions::{Action, Subject};
use domain::{FieldError, Kind, RecordId};
use serde_json::{Value, json};
use store::{MqttAccount, MqttChange};
use subtle::ConstantTimeEq;
use sync_engine::ObjectId;

use super::Mqtt;
use super::rights::Rights;
use super::topics::check_filter;
use crate::app::clock::rfc3339;
use crate::app::present::RowView;
use crate::app::{App, AppError, Caller, RecordKind};

/// Accounts of one node: every device it keeps names of could not have one; ten thousand are a large operation.
pub const ACCOUNTS_MAX: usize = 10_000;
/// Patterns of a gateway, each way.
const PATTERNS_MAX: usize = 32;
/// Longest name of an account.
const NAME_BYTES_MAX: usize = 128;
/// 160 bits: 32 letters and digits.
const SECRET_BYTES: usize = 20;

const DEVICES: Subject = Subject::Document(Kind::Device);

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The name or the secret is wrong; which of them is not said.
    Secret,
    /// Both are right, and the device is disabled or deleted.
    Barred,
}

pub(super) struct Accounts {
    by_name: HashMap<String, MqttAccount>,
    key: [u8; 32],
}

impl Accounts {
    pub(super) fn restore(accounts: Vec<MqttAccount>, secret: &[u8]) -> Self {
        Accounts {
            by_name: accounts
                .into_iter()
                .map(|account| (account.name.clone(), account))
                .collect(),
            key: blake3::derive_key("muster 2026-11 secrets of MQTT accounts", secret),
        }
    }

    fn hash(&self, name: &str, secret: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(secret);
        *hasher.finalize().as_bytes()
    }
}

impl Mqtt {
    /// Whose connection it is.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn authenticate(&self, name: &str, secret: &[u8]) -> Result<Rights, Denied> {
        let accounts = self.0.accounts.read();
        // The same work whether the account is there or not.
        let hash = accounts.hash(name, secret);
        let account = accounts.by_name.get(name);
        let expected = account.map_or([0; 32], |account| account.secret_hash);
        match account {
            Some(account) if bool::from(hash.ct_eq(&expected)) => {
                let device = account.device.as_deref();
                if device.is_some_and(|device| self.0.devices.standing(device).is_barred()) {
                    return Err(Denied::Barred);
                }
                Ok(Rights::of(account))
            }
            _ => Err(Denied::Secret),
        }
    }

    /// Says which devices have an account. Under the lock of the accounts, so that of two changes the later counts.
    pub(super) fn claim_devices(&self) {
        let accounts = self.0.accounts.write();
        let devices = accounts
            .by_name
            .values()
            .filter_map(|account| account.device.as_deref());
        self.0.devices.claims().set(devices.map(Box::from));
    }

    /// Devices that have an account.
    pub(super) fn account_devices(&self) -> Vec<String> {
        let accounts = self.0.accounts.read();
        let devices = accounts.by_name.values();
        devices
            .filter_map(|account| account.device.clone())
            .collect()
    }

    /// What a session may do that belongs to the account of that name, or to nobody; `None` where there is no such
    /// account any more.
    pub(super) fn rights_of(&self, owner: &str) -> Option<Rights> {
        if owner.is_empty() {
            return Some(Rights::Anyone);
        }
        let accounts = self.0.accounts.read();
        accounts.by_name.get(owner).map(Rights::of)
    }

    /// Puts an account in the place of one of this name that `may_replace` allows; answers its secret.
    async fn put_account(
        &self,
        mut account: MqttAccount,
        may_replace: impl Fn(&MqttAccount) -> bool,
    ) -> Result<String, AppError> {
        let secret = BASE32_NOPAD.encode(&rand::random::<[u8; SECRET_BYTES]>());
        {
            let accounts = self.0.accounts.read();
            match accounts.by_name.get(&account.name) {
                Some(before) if !may_replace(before) => {
                    return Err(AppError::Conflict(format!(
                        "there is an account {} already",
                        account.name
                    )));
                }
                None if accounts.by_name.len() >= ACCOUNTS_MAX => {
                    return Err(AppError::Conflict(format!(
                        "there are {ACCOUNTS_MAX} accounts, as many as this node keeps: remove some"
                    )));
                }
                _ => {}
            }
            account.secret_hash = accounts.hash(&account.name, secret.as_bytes());
        }
        self.write(vec![MqttChange::Account(account.clone())])
            .await?;
        let name = account.name.clone();
        let before = self
            .0
            .accounts
            .write()
            .by_name
            .insert(name.clone(), account);
        self.claim_devices();
        // Its document may have been deleted meanwhile.
        self.0.devices.barred().notify_one();
        if before.is_some() {
            self.end_owner(&name);
        }
        Ok(secret)
    }

    pub(super) async fn remove_account(
        &self,
        name: &str,
        is_meant: impl Fn(&MqttAccount) -> bool,
    ) -> Result<bool, AppError> {
        let found = self
            .0
            .accounts
            .read()
            .by_name
            .get(name)
            .is_some_and(is_meant);
        if found {
            self.write(vec![MqttChange::AccountRemoved {
                name: name.to_owned(),
            }])
            .await?;
            self.0.accounts.write().by_name.remove(name);
            self.claim_devices();
            self.end_owner(name);
        }
        Ok(found)
    }
}

impl App {
    /// Makes a device's credentials, new ones in the place of old: `{"username","password"}`. The password is never
    /// shown again.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Conflict` where a gateway has the name, a fault of the store.
    pub async fn make_device_credentials(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, DEVICES)?;
        let device = self.device_name(caller, id).await?;
        self.note_audit(
            caller,
            "device.credentials",
            json!({ "device": device.clone() }),
        )
        .await?;
        let account = MqttAccount {
            name: device.clone(),
            device: Some(device.clone()),
            secret_hash: [0; 32],
            publish: Vec::new(),
            subscribe: Vec::new(),
            created_ms: self.mqtt.now_ms(),
        };
        let password = self
            .mqtt
            .put_account(account, |before| before.device.as_ref() == Some(&device))
            .await?;
        Ok(json!({ "username": device, "password": password }))
    }

    /// Takes a device's credentials away and ends its connections.
    ///
    /// # Errors
    /// `NotFound` where the device or its credentials are not there, `Forbidden`, a fault of the store.
    pub async fn revoke_device_credentials(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(), AppError> {
        self.authorise(caller, Action::Administer, DEVICES)?;
        let device = match self.device_name(caller, id).await {
            // The account of a deleted one goes by itself; whoever asks for it need not wait for that.
            Err(AppError::Gone { .. }) => self.deleted_device_name(id).await?,
            named => named?,
        };
        self.note_audit(
            caller,
            "device.credentials.revoke",
            json!({ "device": device.clone() }),
        )
        .await?;
        let removed = self
            .mqtt
            .remove_account(&device, |account| account.device.as_ref() == Some(&device))
            .await?;
        if removed {
            Ok(())
        } else {
            Err(AppError::NotFound {
                what: "credentials of device",
                id: id.to_owned(),
            })
        }
    }

    /// Makes a gateway's account: `{"username","password","publish","subscribe"}`.
    ///
    /// # Errors
    /// `Invalid` with pointers, `Conflict` where the name is taken, `Forbidden`, a fault of the store.
    pub async fn add_mqtt_account(
        &self,
        caller: &Caller,
        name: &str,
        publish: Vec<String>,
        subscribe: Vec<String>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        check_gateway(name, &publish, &subscribe)?;
        self.note_audit(
            caller,
            "mqtt.account.add",
            json!({ "name": name, "publish": publish, "subscribe": subscribe }),
        )
        .await?;
        let account = MqttAccount {
            name: name.to_owned(),
            device: None,
            secret_hash: [0; 32],
            publish: publish.clone(),
            subscribe: subscribe.clone(),
            created_ms: self.mqtt.now_ms(),
        };
        let password = self.mqtt.put_account(account, |_| false).await?;
        Ok(
            json!({ "username": name, "password": password, "publish": publish, "subscribe": subscribe }),
        )
    }

    /// Every account, of devices too: `{"name","device","publish","subscribe","created_at"}`, by name.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn list_mqtt_accounts(&self, caller: &Caller) -> Result<Vec<Value>, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let accounts = self.mqtt.0.accounts.read();
        let mut listed: Vec<&MqttAccount> = accounts.by_name.values().collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let value = |account: &&MqttAccount| {
            json!({
                "name": account.name,
                "device": account.device,
                "publish": account.publish,
                "subscribe": account.subscribe,
                "created_at": rfc3339(account.created_ms),
            })
        };
        Ok(listed.iter().map(value).collect())
    }

    /// Removes an account and ends its connections.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a fault of the store.
    pub async fn remove_mqtt_account(&self, caller: &Caller, name: &str) -> Result<(), AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        self.note_audit(caller, "mqtt.account.remove", json!({ "name": name }))
            .await?;
        if self.mqtt.remove_account(name, |_| true).await? {
            Ok(())
        } else {
            Err(AppError::NotFound {
                what: "MQTT account",
                id: name.to_owned(),
            })
        }
    }

    async fn deleted_device_name(&self, id: &str) -> Result<String, AppError> {
        let not_found = || AppError::NotFound {
            what: "device",
            id: id.to_owned(),
        };
        let record: RecordId = id.parse().map_err(|_| not_found())?;
        let code = Kind::Device.spec().code;
        let row = self
            .read(move |reader| reader.get_document(Some(code), &ObjectId(record.0), None))
            .await?;
        let view: Option<RowView> = row.and_then(|row| serde_json::from_str(&row.view).ok());
        view.as_ref()
            .and_then(|view| view.fields.get("name")?.as_str())
            .map(str::to_owned)
            .ok_or_else(not_found)
    }

    /// The name of a device that has a document or was heard.
    pub(super) async fn device_name(&self, caller: &Caller, id: &str) -> Result<String, AppError> {
        let device = self
            .get(caller, RecordKind::Document(Kind::Device), id, None)
            .await?;
        match device.get("name").and_then(Value::as_str) {
            Some(name) => Ok(name.to_owned()),
            None => Err(AppError::NotFound {
                what: "device",
                id: id.to_owned(),
            }),
        }
    }
}

fn check_gateway(name: &str, publish: &[String], subscribe: &[String]) -> Result<(), AppError> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: String, detail: String| errors.push(FieldError { pointer, detail });
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        wrong(
            "/name".into(),
            format!("expected 1 to {NAME_BYTES_MAX} bytes without control characters"),
        );
    }
    for (field, patterns) in [("publish", publish), ("subscribe", subscribe)] {
        if patterns.len() > PATTERNS_MAX {
            wrong(
                format!("/{field}"),
                format!("at most {PATTERNS_MAX} patterns"),
            );
        }
        for (number, pattern) in patterns.iter().enumerate() {
            if check_filter(pattern).is_err() || pattern.contains('\n') {
                wrong(
                    format!("/{field}/{number}"),
                    "expected a topic filter of MQTT, such as muster/v1/+/level or buoys/#".into(),
                );
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(AppError::Invalid(errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_no_filters_are_named() {
        let patterns = |text: &str| vec![text.to_owned()];
        let Err(AppError::Invalid(errors)) = check_gateway("g", &patterns("a#"), &[]) else {
            panic!("accepted");
        };
        assert_eq!(errors[0].pointer, "/publish/0");
        assert!(check_gateway("", &[], &[]).is_err());
        assert!(check_gateway("g", &patterns("a/#"), &patterns("b")).is_ok());
    }
}

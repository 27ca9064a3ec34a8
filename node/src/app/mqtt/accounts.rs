//! Who may publish and subscribe: one account a device, and gateways with topic patterns.
//!
//! Secrets are made here, shown once and kept as a keyed hash: they have 160 random bits, so that nobody can guess one,
//! and checking one costs a microsecond instead of the tenth of a second that people's passwords need.
//!
//! Invariants: an account that is removed, or given a new secret, ends its connections; so does a device's that is
//! disabled or deleted ([`super::barred`]), and nobody signs in with it. Every change is in the audit record.

mod gateways;

use std::collections::HashMap;

use data_encoding::BASE32_NOPAD;
use domain::permissions::{Action, Subject};
use domain::{Kind, RecordId};
use serde_json::{Value, json};
use store::{MqttAccount, MqttChange};
use subtle::ConstantTimeEq;
use sync_engine::ObjectId;

use super::Mqtt;
use super::rights::Rights;
use crate::app::present::RowView;
use crate::app::{App, AppError, Caller, RecordKind, to_its_end};

/// Accounts of one node: every device it keeps names of could not have one; ten thousand are a large operation.
pub const ACCOUNTS_MAX: usize = 10_000;
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

    /// Such accounts, by name.
    fn accounts_by_name(&self, such: impl Fn(&MqttAccount) -> bool) -> Vec<MqttAccount> {
        let accounts = self.0.accounts.read();
        let such = accounts.by_name.values().filter(|account| such(account));
        let mut such: Vec<MqttAccount> = such.cloned().collect();
        such.sort_by(|a, b| a.name.cmp(&b.name));
        such
    }

    fn gateway(&self, name: &str) -> Option<MqttAccount> {
        let accounts = self.0.accounts.read();
        let found = accounts.by_name.get(name);
        found.filter(|account| account.device.is_none()).cloned()
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

    /// Puts an account where `may_take` allows it, which sees what is there under its name; answers its secret. It is done
    /// to its end, whether or not anybody still waits: an account that is on the disk is one that can sign in.
    async fn put_account(
        &self,
        account: MqttAccount,
        may_take: impl FnOnce(Option<&MqttAccount>) -> Result<(), AppError> + Send + 'static,
    ) -> Result<String, AppError> {
        let mqtt = self.clone();
        to_its_end("put an MQTT account", mqtt.put(account, may_take)).await
    }

    async fn put(
        self,
        mut account: MqttAccount,
        may_take: impl FnOnce(Option<&MqttAccount>) -> Result<(), AppError> + Send,
    ) -> Result<String, AppError> {
        let _changing = self.0.changing_accounts.lock().await;
        let secret = BASE32_NOPAD.encode(&rand::random::<[u8; SECRET_BYTES]>());
        {
            let accounts = self.0.accounts.read();
            let before = accounts.by_name.get(&account.name);
            may_take(before)?;
            if before.is_none() && accounts.by_name.len() >= ACCOUNTS_MAX {
                return Err(AppError::Conflict(format!(
                    "there are {ACCOUNTS_MAX} accounts, as many as this node keeps: remove some"
                )));
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

    /// Removes the account of that name, if it is the one that is meant; answers whether it was. Done to its end, too.
    pub(super) async fn remove_account(
        &self,
        name: &str,
        is_meant: impl Fn(&MqttAccount) -> bool + Send + 'static,
    ) -> Result<bool, AppError> {
        let (mqtt, name) = (self.clone(), name.to_owned());
        let removal = async move {
            let _changing = mqtt.0.changing_accounts.lock().await;
            let found = mqtt
                .0
                .accounts
                .read()
                .by_name
                .get(&name)
                .is_some_and(is_meant);
            if found {
                mqtt.write(vec![MqttChange::AccountRemoved { name: name.clone() }])
                    .await?;
                mqtt.0.accounts.write().by_name.remove(&name);
                mqtt.claim_devices();
                mqtt.end_owner(&name);
            }
            Ok(found)
        };
        to_its_end("remove an MQTT account", removal).await
    }
}

/// The answer to whoever wants a name that is another's.
fn taken(name: &str) -> AppError {
    AppError::Conflict(format!("there is an account {name} already"))
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
            .put_account(account, move |before| match before {
                Some(gateway) if gateway.device.is_none() => Err(taken(&gateway.name)),
                _ => Ok(()),
            })
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
            .remove_account(&device, |account| account.device.is_some())
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

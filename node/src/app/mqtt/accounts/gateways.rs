//! Accounts of gateways: who publishes and subscribes for many devices. What the API, the page and `muster mqtt account` do.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use domain::FieldError;
use domain::permissions::Action;
use serde_json::{Value, json};
use store::MqttAccount;

use super::super::topics::check_filter;
use super::{DEVICES, taken};
use crate::app::clock::rfc3339;
use crate::app::types::{cursor_of, limit_of};
use crate::app::{App, AppError, Caller, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page};

/// Patterns of a gateway, each way.
const PATTERNS_MAX: usize = 32;
/// Longest name of an account.
const NAME_BYTES_MAX: usize = 128;

impl App {
    /// Makes a gateway's account: `{"username","password","publish","subscribe"}`. The password is never shown again.
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
        self.authorise(caller, Action::Administer, DEVICES)?;
        check_gateway(name, &publish, &subscribe)?;
        let detail = json!({ "name": name, "publish": publish, "subscribe": subscribe });
        self.note_audit(caller, "mqtt.account.add", detail).await?;
        let account = MqttAccount {
            name: name.to_owned(),
            device: None,
            secret_hash: [0; 32],
            publish,
            subscribe,
            created_ms: self.mqtt.now_ms(),
        };
        let free = |before: Option<&MqttAccount>| match before {
            None => Ok(()),
            Some(before) => Err(taken(&before.name)),
        };
        let password = self.mqtt.put_account(account.clone(), free).await?;
        Ok(credentials(&account, &password))
    }

    /// Gives a gateway's account a new password, and ends its connections: the answer of [`App::add_mqtt_account`].
    ///
    /// # Errors
    /// `NotFound` where no gateway has that name, `Forbidden`, a fault of the store.
    pub async fn renew_mqtt_password(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, DEVICES)?;
        let account = self.mqtt.gateway(name).ok_or_else(|| no_account(name))?;
        let detail = json!({ "name": name });
        self.note_audit(caller, "mqtt.account.password", detail)
            .await?;
        // Removed meanwhile, it does not come back; nor is anything taken from another that has the name by now.
        let seen = account.clone();
        let is_there = move |before: Option<&MqttAccount>| match before {
            Some(before) if is_same(before, &seen) => Ok(()),
            _ => Err(no_account(&seen.name)),
        };
        let password = self.mqtt.put_account(account.clone(), is_there).await?;
        Ok(credentials(&account, &password))
    }

    /// Every account, of devices too: `{"name","device","publish","subscribe","created_at"}`, by name.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn list_mqtt_accounts(&self, caller: &Caller) -> Result<Vec<Value>, AppError> {
        self.authorise(caller, Action::Administer, DEVICES)?;
        let accounts = self.mqtt.accounts_by_name(|_| true);
        let with_device = |account: &MqttAccount| {
            let mut value = account_value(account);
            value["device"] = json!(account.device);
            value
        };
        Ok(accounts.iter().map(with_device).collect())
    }

    /// Those of gateways, a page at a time: `{"name","publish","subscribe","created_at"}`, by name.
    ///
    /// # Errors
    /// `Forbidden`, a limit or cursor that does not fit.
    pub fn list_gateways(
        &self,
        caller: &Caller,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Administer, DEVICES)?;
        let after = cursor_of::<NameCursor>(cursor.as_deref())?;
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let mut accounts = self.mqtt.accounts_by_name(|account| {
            account.device.is_none() && after.as_ref().is_none_or(|after| account.name > after.0)
        });
        accounts.truncate(limit + 1);
        let since = self.event_position().to_string();
        let cursor = |account: &MqttAccount| NameCursor(account.name.clone()).to_string();
        Ok(Page::cut(accounts, limit, since, cursor, |account| {
            account_value(&account)
        }))
    }

    /// Removes an account, a device's too, and ends its connections.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a fault of the store.
    pub async fn remove_mqtt_account(&self, caller: &Caller, name: &str) -> Result<(), AppError> {
        self.remove_such_account(caller, name, |_| true).await
    }

    /// Removes a gateway's account and ends its connections. A device's is not found: it is revoked with its device.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a fault of the store.
    pub async fn remove_gateway(&self, caller: &Caller, name: &str) -> Result<(), AppError> {
        let is_gateway = |account: &MqttAccount| account.device.is_none();
        self.remove_such_account(caller, name, is_gateway).await
    }

    async fn remove_such_account(
        &self,
        caller: &Caller,
        name: &str,
        is_meant: impl Fn(&MqttAccount) -> bool + Send + 'static,
    ) -> Result<(), AppError> {
        self.authorise(caller, Action::Administer, DEVICES)?;
        let detail = json!({ "name": name });
        self.note_audit(caller, "mqtt.account.remove", detail)
            .await?;
        match self.mqtt.remove_account(name, is_meant).await? {
            true => Ok(()),
            false => Err(no_account(name)),
        }
    }
}

/// The name of the last account of a page, in hexadecimal digits: any text is a name, and not any text is a cursor.
struct NameCursor(String);

impl fmt::Display for NameCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(self.0.as_bytes()))
    }
}

impl FromStr for NameCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let name = HEXLOWER.decode(text.as_bytes()).map_err(|_| ())?;
        String::from_utf8(name).map(NameCursor).map_err(|_| ())
    }
}

/// Whether it is still that account, whatever its password: what a gateway may do changes with a new account only.
fn is_same(account: &MqttAccount, seen: &MqttAccount) -> bool {
    account.device == seen.device && account.created_ms == seen.created_ms
}

fn no_account(name: &str) -> AppError {
    AppError::NotFound {
        what: "MQTT account",
        id: name.to_owned(),
    }
}

fn credentials(account: &MqttAccount, password: &str) -> Value {
    json!({
        "username": account.name,
        "password": password,
        "publish": account.publish,
        "subscribe": account.subscribe,
    })
}

/// Never the secret, nor its hash.
fn account_value(account: &MqttAccount) -> Value {
    json!({
        "name": account.name,
        "publish": account.publish,
        "subscribe": account.subscribe,
        "created_at": rfc3339(account.created_ms),
    })
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

//! `muster mqtt account`: who may publish and subscribe, besides devices.

use serde_json::Value;

use super::args::{Mqtt, MqttAccount, MqttAccountCommand, MqttCommand};
use super::local::{ask, show};
use super::{Place, print};
use crate::ops::local::LocalRequest;

pub(super) async fn mqtt(place: &Place, args: Mqtt) -> anyhow::Result<()> {
    let MqttCommand::Account(MqttAccount { command }) = args.command;
    match command {
        MqttAccountCommand::Add {
            name,
            publish,
            subscribe,
        } => {
            let request = LocalRequest::MqttAccountAdd {
                name,
                publish,
                subscribe,
            };
            let value = ask(place, request).await?;
            show(place, &value, |value| {
                format!("added {}", credentials(value))
            })
        }
        MqttAccountCommand::Passwd { name } => {
            let value = ask(place, LocalRequest::MqttAccountPassword { name }).await?;
            show(place, &value, |value| {
                format!("changed {}", credentials(value))
            })
        }
        MqttAccountCommand::List => {
            let value = ask(place, LocalRequest::MqttAccountList).await?;
            show(place, &value, accounts)
        }
        MqttAccountCommand::Remove { name } => {
            let value = ask(place, LocalRequest::MqttAccountRemove { name }).await?;
            show(place, &value, |value| {
                format!("removed {}\n", print::word(&value["removed"]))
            })
        }
    }
}

fn credentials(value: &Value) -> String {
    format!(
        "{}\npassword {}\nIt is not shown again.\n",
        print::word(&value["username"]),
        print::word(&value["password"])
    )
}

fn accounts(value: &Value) -> String {
    let patterns = |value: &Value| {
        let patterns: Vec<String> = value
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(print::word)
            .collect();
        patterns.join(" ")
    };
    let rows: Vec<Vec<String>> = value["items"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|account| {
            vec![
                print::word(&account["name"]),
                print::word(&account["device"]),
                patterns(&account["publish"]),
                patterns(&account["subscribe"]),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no accounts\n".into();
    }
    print::table(&["name", "device", "publishes", "subscribes"], &rows)
}

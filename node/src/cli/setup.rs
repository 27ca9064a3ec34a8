//! `muster init` and `muster join`: how a data directory comes to hold a node.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use zeroize::Zeroizing;

use super::args::{Init, Join};
use super::{Place, print};
use crate::app::founding::{self, Founding};
use crate::app::{App, KeySource, OpenConfig};

/// Where the database key comes from: `--key-file` or the configuration's, `MUSTER_PASSPHRASE`, else the data directory.
pub(super) fn key_source(place: &Place, configured: Option<&std::path::Path>) -> KeySource {
    if let Some(file) = place.key_file.as_deref().or(configured) {
        return KeySource::File(file.to_owned());
    }
    match std::env::var("MUSTER_PASSPHRASE") {
        Ok(passphrase) => KeySource::Passphrase(Zeroizing::new(passphrase)),
        Err(_) => KeySource::DataDir,
    }
}

/// Says once that the key lies beside the data that it protects.
pub(super) fn warn_of_key_beside_data(place: &Place, key: &KeySource) {
    if matches!(key, KeySource::DataDir) {
        eprintln!(
            "muster: warning: the database key lies beside the data in {}: whoever takes the disk reads everything. \
             Use --key-file or MUSTER_PASSPHRASE where that matters.",
            place.data_dir.display()
        );
    }
}

pub(super) async fn init(place: &Place, args: Init) -> anyhow::Result<()> {
    let key = key_source(place, None);
    warn_of_key_beside_data(place, &key);
    let founded = found(place, key, args.name, &args.role, args.operation).await?;
    if place.json {
        print::json(&json!({
            "node_id": founded.node_id,
            "operation": founded.operation,
            "admin_password": founded.admin_password.as_ref().map(|password| password.as_str()),
        }))
    } else {
        print::text(&format!(
            "founded in {}\nnode {}\nstart it with `muster run`\n",
            place.data_dir.display(),
            founded.node_id
        ))?;
        announce_password(founded.admin_password.as_deref().map(String::as_str));
        Ok(())
    }
}

/// What `init` and a first `run` have to tell.
pub(super) struct Founded {
    pub(super) node_id: String,
    pub(super) operation: String,
    pub(super) admin_password: Option<Zeroizing<String>>,
}

pub(super) async fn found(
    place: &Place,
    key: KeySource,
    name: String,
    role: &str,
    title: String,
) -> anyhow::Result<Founded> {
    founding::found(
        &place.data_dir,
        &key,
        Founding {
            name,
            role: role.parse()?,
            title,
        },
    )
    .await
    .with_context(|| format!("found an operation in {}", place.data_dir.display()))?;
    let app = App::open(OpenConfig::new(&place.data_dir, key)).await?;
    let wanted = std::env::var("MUSTER_ADMIN_PASSWORD").ok();
    let admin = app.ensure_admin(wanted).await;
    let founded = Founded {
        node_id: app.node_id().to_string(),
        operation: app.operation_id().to_string(),
        admin_password: None,
    };
    app.shutdown().await;
    Ok(Founded {
        admin_password: admin?.map(Zeroizing::new),
        ..founded
    })
}

/// The generated password goes to standard error, once, and nowhere else.
pub(super) fn announce_password(password: Option<&str>) {
    if let Some(password) = password {
        eprintln!("muster: sign in as `admin` with this password (shown only now): {password}");
    }
}

pub(super) async fn join(place: &Place, args: Join) -> anyhow::Result<()> {
    let key = key_source(place, None);
    warn_of_key_beside_data(place, &key);
    let timeout = Duration::from_secs(args.timeout);
    let joined = founding::join(&place.data_dir, &key, &args.code, args.name, timeout).await?;
    if place.json {
        print::json(&json!({
            "node_id": joined.node_id.to_string(),
            "operation": joined.operation.to_string(),
            "title": joined.title,
            "inviter": joined.inviter_name,
        }))
    } else {
        print::text(&format!(
            "joined {} through {}\nnode {}\nstart it with `muster run`\n",
            joined.title, joined.inviter_name, joined.node_id
        ))
    }
}

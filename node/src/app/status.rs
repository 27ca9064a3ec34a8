//! How this node stands: what it holds, whom it reaches, and a digest that two nodes share when they agree.

use domain::permissions::{Action, Subject};
use serde_json::{Value, json};

use super::dead_letters::OPEN_WARN;
use super::founding::role_name;
use super::proof::unseen_value;
use super::{App, AppError, Caller, Page};

impl App {
    /// Whether the node can take requests: its store answers.
    pub fn is_ready(&self) -> bool {
        !self.stop.is_cancelled() && self.store.read(|reader| reader.newest_commit()).is_ok()
    }

    /// The status as DESIGN §8 describes it.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn status(&self) -> Result<Value, AppError> {
        let digest = self.digest().await?;
        let (counts, unapplied, sync_faults) = self
            .read(|reader| {
                Ok((
                    reader.count_by_kind()?,
                    reader.unapplied()?,
                    reader.unseen_sync_faults()?,
                ))
            })
            .await?;
        let open_dead_letters = self.open_dead_letters().await?;
        let documents: u64 = counts.iter().map(|(_, count)| count).sum();
        let stopped = self.writes_stopped.load_full();
        Ok(json!({
            "node_id": self.me.node.to_string(),
            "name": self.me.name,
            "role": role_name(self.me.role),
            "operation": { "id": self.me.operation.to_string(), "title": self.me.title },
            "incarnation": self.me.incarnation.to_string(),
            "software": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.clock.uptime_ms() / 1_000,
            "documents": documents,
            "readings": self.store.readings().count(),
            "dead_letters": open_dead_letters,
            "storage": self.storage.value(),
            "warnings": Alarming {
                open_dead_letters,
                dropped_dead_letters: self.store.readings().dead_letters_dropped(),
                unfit_decoders: self.decoders.now().unfit().count(),
                brokers_out_of_reach: self.brokers.out_of_reach(),
            }.warnings(),
            "heads_digest": digest,
            "digests": { "shared": digest },
            "pending": unapplied.waiting + unapplied.held,
            "quarantined": unapplied.quarantined,
            "sync_faults": unseen_value(sync_faults),
            "rules_behind": self.rules.behind(),
            "writes_stopped": stopped.as_deref(),
            "addresses": self.addresses.get(),
            "mqtt_tls_sha256": self.mqtt.tls_fingerprint(),
            "brokers": self.brokers.values(),
            "peers": self.peer_values().await?,
        }))
    }

    /// The other nodes.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn peers(&self, caller: &Caller) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Node)?;
        Ok(Page {
            items: self.peer_values().await?,
            next: None,
            since: self.event_position().to_string(),
        })
    }
}

/// What may be worth a warning.
#[derive(Default)]
struct Alarming {
    open_dead_letters: u64,
    dropped_dead_letters: u64,
    unfit_decoders: usize,
    /// Name, and why.
    brokers_out_of_reach: Vec<(String, Option<String>)>,
}

impl Alarming {
    /// What somebody should look after, by a stable code and in words.
    fn warnings(&self) -> Vec<Value> {
        let mut warnings = Vec::new();
        let mut warn =
            |code: &str, detail: String| warnings.push(json!({ "code": code, "detail": detail }));
        let (open, dropped) = (self.open_dead_letters, self.dropped_dead_letters);
        for (broker, why) in &self.brokers_out_of_reach {
            let why = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
            warn(
                "broker",
                format!("broker {broker} cannot be reached, and its sensors are not heard{why}"),
            );
        }
        if open >= OPEN_WARN {
            warn(
                "dead-letters",
                format!("{open} messages of sensors could not be read: see `muster dlq list`"),
            );
        }
        if dropped > 0 {
            warn(
                "dead-letters-dropped",
                format!(
                    "{dropped} messages that could not be read had to make room for others since the node started: \
                     replay or discard what `muster dlq list` shows"
                ),
            );
        }
        if self.unfit_decoders > 0 {
            let unfit = self.unfit_decoders;
            warn(
                "decoders-unfit",
                format!(
                    "decoders that were added on this node and do not fit beside its muster.toml any more: {unfit}. \
                     They are not in use: change or remove them under Sources and decoders, or with `PUT /v1/decoders`"
                ),
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_well_warns_of_nothing() {
        let well = Alarming {
            open_dead_letters: OPEN_WARN - 1,
            ..Alarming::default()
        };
        assert!(well.warnings().is_empty());
    }

    #[test]
    fn each_thing_that_somebody_should_look_after_is_a_warning_of_its_own() {
        let alarming = Alarming {
            open_dead_letters: OPEN_WARN,
            dropped_dead_letters: 1,
            unfit_decoders: 2,
            brokers_out_of_reach: vec![
                ("city".into(), Some("connection refused".into())),
                ("harbour".into(), None),
            ],
        };
        let warnings = alarming.warnings();
        let codes: Vec<_> = warnings.iter().map(|warning| &warning["code"]).collect();
        assert_eq!(
            codes,
            [
                "broker",
                "broker",
                "dead-letters",
                "dead-letters-dropped",
                "decoders-unfit"
            ]
        );
        assert_eq!(
            warnings[0]["detail"],
            "broker city cannot be reached, and its sensors are not heard: connection refused"
        );
        assert_eq!(
            warnings[4]["detail"],
            "decoders that were added on this node and do not fit beside its muster.toml any more: 2. They are not in use: \
             change or remove them under Sources and decoders, or with `PUT /v1/decoders`"
        );
    }
}

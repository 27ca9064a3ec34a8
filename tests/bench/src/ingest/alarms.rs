//! A reading that a rule waits for: from publishing it until somebody who listens sees the incident.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::load::{self, Version};
use crate::api::Api;
use crate::live::listen;

/// An alarm that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen of alarms.
#[derive(Debug, Default)]
pub struct Seen {
    /// From publishing to the event at a client that listens (SSE).
    pub events_ms: Vec<f64>,
    /// From publishing to the answer that shows the incident.
    pub answers_ms: Vec<f64>,
}

/// Devices that have never sent, each good for one alarm, and their rule.
///
/// # Errors
/// The node refuses.
pub async fn prepare(api: &Api, alarms: u32) -> anyhow::Result<()> {
    for alarm in 0..alarms {
        let device = json!({"name": device(alarm), "state": "approved"});
        api.post("/v1/devices", &device).await?;
    }
    let rule = json!({
        "name": "alarm", "match": {"device": "alarm-*", "channel": "level"}, "kind": "threshold",
        "raise_above": 100.0, "clear_below": 90.0, "for_s": 0, "hold_s": 0,
        "incident": {"title": "{device}: {value}", "category": "Met", "severity": "severe"},
    });
    api.post("/v1/rules", &rule).await?;
    Ok(())
}

/// Raises `alarms` spread over `duration`.
///
/// # Errors
/// One is not acknowledged, or nobody hears of it.
pub async fn raise(
    api: &Api,
    mqtt: SocketAddr,
    alarms: u32,
    duration: Duration,
) -> anyhow::Result<Seen> {
    let mut stream = load::connect(mqtt, "alarms", Version::V3).await?;
    let mut events = listen(api.stream("/v1/events").await?);
    let mut seen = Seen::default();
    let began = Instant::now();
    for alarm in 0..alarms {
        let due = duration * (2 * alarm + 1) / (2 * alarms);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        // What others did meanwhile.
        while events.try_recv().is_ok() {}
        let published = Instant::now();
        publish(&mut stream, alarm).await?;
        loop {
            let event = tokio::time::timeout(PATIENCE, events.recv()).await;
            let event = event.with_context(|| format!("alarm {alarm}: no event"))?;
            event.context("the event stream ended")?;
            let heard = published.elapsed();
            let path = format!("/v1/incidents?device={}", device(alarm));
            let found = api.get(&path).await?;
            if found["items"]
                .as_array()
                .is_some_and(|items| !items.is_empty())
            {
                seen.events_ms.push(heard.as_secs_f64() * 1_000.0);
                seen.answers_ms
                    .push(published.elapsed().as_secs_f64() * 1_000.0);
                break;
            }
        }
        let mut puback = [0; 4];
        stream.read_exact(&mut puback).await?;
        ensure!(puback[..2] == [0x40, 2], "{puback:?} instead of a PUBACK");
    }
    Ok(seen)
}

async fn publish(stream: &mut TcpStream, alarm: u32) -> anyhow::Result<()> {
    let topic = format!("muster/v1/{}/level", device(alarm));
    let payload = br#"{"v":142.5,"u":"cm"}"#;
    let length = 2 + topic.len() + 2 + payload.len();
    let mut packet = vec![0x32, u8::try_from(length)?];
    packet.extend(u16::try_from(topic.len())?.to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend([0, 1]);
    packet.extend(payload);
    Ok(stream.write_all(&packet).await?)
}

fn device(alarm: u32) -> String {
    format!("alarm-{alarm}")
}

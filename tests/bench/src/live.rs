//! How soon a commit on one node can be seen through the API of a connected one.
//!
//! A PATCH goes to HQ; a client of the field node listens to its events (SSE), and gets the document when its event
//! comes. It is visible when that answer shows the version that HQ gave. The clock runs from sending the PATCH, so the
//! edit, its commit and two HTTP exchanges are part of the figure.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Effort;
use crate::documents;
use crate::pair::Pair;
use crate::report::{Reach, Report, percentile};

/// Samples: enough that the 99th percentile is not a single one.
const SAMPLES: usize = 1_000;

/// Between two samples, so that each finds idle nodes and none is grouped with the one before.
const PAUSE: Duration = Duration::from_millis(5);

/// A sample that takes longer means that it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Documents that are edited in turn.
const DOCUMENTS: usize = 50;

/// # Errors
/// A node does not start, or a change never arrives.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let samples = if effort.quick { SAMPLES / 5 } else { SAMPLES };
    let directory = tempfile::tempdir()?;
    let pair = Pair::start(directory.path()).await?;
    let mut documents = documents::create(&pair.hq_api, DOCUMENTS).await?;
    pair.until_level().await?;
    let mut events = listen(pair.field_api.stream("/v1/events").await?);

    let (mut from_request, mut from_answer, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..samples {
        tokio::time::sleep(PAUSE).await;
        let document = &mut documents[sample % DOCUMENTS];
        let path = format!("/v1/incidents/{}", document.id);
        let fields = json!({ "title": format!("Water in the cellar, seen {sample}") });
        let asked = Instant::now();
        // Both clients at once: the event may be there before the answer.
        let patch = async {
            let answer = pair.hq_api.patch(&path, &document.version, &fields).await?;
            anyhow::Ok((answer, Instant::now()))
        };
        let seen = async {
            loop {
                let event = tokio::time::timeout(PATIENCE, events.recv())
                    .await
                    .with_context(|| format!("sample {sample}: no event"))?
                    .context("the event stream ended")?;
                if event["id"] == json!(document.id) {
                    let shown = pair.field_api.get(&path).await?;
                    return anyhow::Ok((shown, Instant::now()));
                }
            }
        };
        let ((answer, answered), (shown, visible)) = tokio::try_join!(patch, seen)?;
        if shown["version"] != answer["version"] {
            bail!(
                "the event of sample {sample} came before its version: {shown} instead of {answer}"
            );
        }
        document.version = answer["version"].as_str().unwrap_or_default().to_owned();
        from_request.push(ms(visible.duration_since(asked)));
        from_answer.push(ms(visible.saturating_duration_since(answered)));
        answers.push(ms(answered.duration_since(asked)));
    }

    let mut report = Report::default();
    for (what, values, reach_ms) in [
        (
            "PATCH sent on one node → visible on the other",
            &from_request,
            Some(50.0),
        ),
        (
            "PATCH answered on one node → visible on the other",
            &from_answer,
            None,
        ),
        ("PATCH answered", &answers, None),
    ] {
        let (p50, p99) = (percentile(values, 50.0), percentile(values, 99.0));
        for (name, value) in [("p50", p50), ("p99", p99)] {
            let (what, shown) = (format!("{what}, {name}"), format!("{value:.1} ms"));
            match reach_ms {
                Some(bound) => {
                    let target = format!("{bound} ms");
                    report.judged(what, shown, value, Reach::AtMost(bound), target);
                }
                None => report.row(what, shown),
            }
        }
        report.line(json!({
            "measurement": what,
            "samples": samples,
            "p50_ms": p50,
            "p99_ms": p99,
            "max_ms": percentile(values, 100.0),
        }));
    }
    report.note("Visible: an SSE client of the other node got the event, and its GET showed the new version.");
    Ok(report)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Reads server-sent events and passes on their data.
pub fn listen(mut stream: reqwest::Response) -> mpsc::Receiver<Value> {
    // One sample is under way at a time; more than that is the noise of the joining.
    let (sender, receiver) = mpsc::channel(1_024);
    tokio::spawn(async move {
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = stream.chunk().await {
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else {
                    continue;
                };
                if let Ok(event) = serde_json::from_slice::<Value>(data)
                    && sender.send(event).await.is_err()
                {
                    return;
                }
            }
        }
    });
    receiver
}

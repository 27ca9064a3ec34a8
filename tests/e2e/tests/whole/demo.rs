//! `muster demo`: the story holds, and nothing of it stays behind.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use e2e::node::{muster, signal};
use e2e::wait::until;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// The story takes some 40 s, most of it the flood and the time until nodes notice a cut.
const STORY_MAX: Duration = Duration::from_secs(180);

/// Processes that have `place` in their command line.
fn processes_in(place: &Path) -> anyhow::Result<Vec<String>> {
    let place = place.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        // A process may end while we look.
        let Ok(command) = std::fs::read(entry?.path().join("cmdline")) else {
            continue;
        };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&place) {
            found.push(command);
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_tells_the_whole_story_and_leaves_nothing_running() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let dir = place.path().join("demo");
    let mut demo = muster(&["demo", "--exit", "--dir"]);
    demo.arg(&dir);
    let output = tokio::time::timeout(STORY_MAX, demo.output())
        .await
        .context("the demo did not end")??;
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{story}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for chapter in [
        "opens the incident",
        "Boat has it over QUIC",
        "THE LINKS ARE CUT",
        "disconnected  HQ",
        "let 0 packets pass",
        "All three agree",
        "are equal on all three",
        "all three list one conflict",
        "three nodes, one picture",
    ] {
        assert!(story.contains(chapter), "no {chapter:?} in:\n{story}");
    }
    assert_eq!(processes_in(&dir)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_ended_early_ends_its_nodes() -> anyhow::Result<()> {
    for end in ["TERM", "KILL"] {
        let place = tempfile::tempdir()?;
        let dir = place.path().join("demo");
        let mut demo = muster(&["demo", "--dir"]);
        let mut demo = demo.arg(&dir).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(demo.stdout.take().context("piped")?).lines();
        let raining = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains("Rain.") {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("it ended before the rain")
        };
        tokio::time::timeout(STORY_MAX, raining)
            .await
            .context("no rain")??;
        until(
            "three nodes, the sensors and the demo itself run",
            || async { Ok((processes_in(&dir)?.len() == 5).then_some(())) },
        )
        .await?;
        signal(demo.id().context("it runs")?, end).await?;
        let status = tokio::time::timeout(STORY_MAX, demo.wait())
            .await
            .context("it did not end")??;
        assert_eq!(status.success(), end == "TERM", "{status}");
        until("nothing of it runs", || async {
            Ok(processes_in(&dir)?.is_empty().then_some(()))
        })
        .await
        .context(end)?;
    }
    Ok(())
}

#[tokio::test]
async fn the_demo_does_not_touch_a_directory_with_something_in_it() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    std::fs::write(place.path().join("mine"), "")?;
    let output = muster(&["demo", "--exit", "--dir"])
        .arg(place.path())
        .output()
        .await?;
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("not empty"), "{words}");
    Ok(())
}

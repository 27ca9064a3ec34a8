//! SIGKILL at random moments under load: nothing that was acknowledged is missing afterwards.

use std::time::Duration;

use anyhow::Context as _;
use e2e::load::Load;
use e2e::node::{Node, agree, muster};
use e2e::{rounds, views};
use tokio::sync::watch;

/// Work on both nodes until one of them or both are killed; who is killed changes from round to round.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_readings_and_edits_survive_kill_9() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let mut truck = Node::join(&place.path().join("truck"), "Truck", &hq).await?;
    let (at_hq, at_truck) = (hq.api().await?, truck.api().await?);
    let mut loads = Some((
        Load::new("hq", &at_hq, 1).await?,
        Load::new("truck", &at_truck, 2).await?,
    ));

    for round in 0..rounds("E2E_KILLS", 10) {
        let (stop, stopped) = watch::channel(false);
        let (of_hq, of_truck) = loads.take().context("the loads come back")?;
        let of_hq = tokio::spawn(of_hq.run(hq.addresses(), hq.api().await?, stopped.clone()));
        let of_truck = tokio::spawn(of_truck.run(truck.addresses(), truck.api().await?, stopped));
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..900))).await;
        let (kill_hq, kill_truck) =
            [(false, true), (true, false), (true, true)][round as usize % 3];
        if kill_hq {
            hq.kill().await?;
        }
        if kill_truck {
            truck.kill().await?;
        }
        let _ = stop.send(true);
        let (mut of_hq, mut of_truck) = (of_hq.await?, of_truck.await?);
        if kill_hq {
            hq.start().await?;
        }
        if kill_truck {
            truck.start().await?;
        }
        of_hq
            .check(&hq.api().await?, false)
            .await
            .with_context(|| format!("HQ, round {round}"))?;
        of_truck
            .check(&truck.api().await?, false)
            .await
            .with_context(|| format!("truck, round {round}"))?;
        eprintln!("round {round}: {}", of_hq.tally() + of_truck.tally());
        loads = Some((of_hq, of_truck));
    }

    let (mut of_hq, mut of_truck) = loads.context("the loads come back")?;
    assert!(
        of_hq.tally().edits > 0 && of_truck.tally().readings > 0,
        "no load, no test"
    );
    agree(&[&hq, &truck]).await?;
    let (at_hq, at_truck) = (hq.api().await?, truck.api().await?);
    of_hq.check(&at_hq, true).await?;
    of_truck.check(&at_truck, true).await?;
    // Entries that were acknowledged to the peer that sent them are there too.
    of_hq.check_documents(&at_truck, true).await?;
    of_truck.check_documents(&at_hq, true).await?;
    assert_eq!(
        at_hq.export("incidents").await?,
        at_truck.export("incidents").await?
    );
    for node in [&mut hq, &mut truck] {
        rebuild_changes_nothing(node).await?;
    }
    Ok(())
}

/// A crash while a node is founded or joins leaves a directory that can be tried again, or that is finished.
#[tokio::test(flavor = "multi_thread")]
async fn founding_and_joining_can_be_cut_off_and_tried_again() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let mut founded = 0;
    for round in 0..rounds("E2E_KILLS", 10) {
        let mut node = Node::at(&place.path().join(format!("truck-{round}")), "Truck").await?;
        let code = hq.invite().await?;
        let join = ["join", &code, "--name", "Truck"];
        let init = ["init", "--name", "Truck"];
        let words = if round % 2 == 0 { &init[..] } else { &join[..] };
        let mut begun = muster(words);
        begun
            .arg("--data-dir")
            .arg(&node.dir)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut begun = begun.spawn()?;
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..200))).await;
        begun.kill().await?;

        let again = node.command(words).await?;
        let finished = again.code == Some(1) && again.stderr.contains("already");
        assert!(again.code == Some(0) || finished, "{words:?}: {again:?}");
        founded += u32::from(again.code == Some(0));
        node.start()
            .await
            .with_context(|| format!("{words:?} in round {round}"))?;
        if round % 2 == 1 {
            agree(&[&hq, &node]).await?;
        }
        // Whenever it was cut off, there is somebody who can sign in.
        let users = node.command(&["user", "list", "--json"]).await?.json()?;
        assert_eq!(
            users["items"].as_array().map(Vec::len),
            Some(1),
            "{words:?}: {users}"
        );
        node.stop().await?;
    }
    eprintln!("{founded} were cut off in time");
    Ok(())
}

/// `muster rebuild` gives the same digest and the same rows, whether or not the node runs.
pub async fn rebuild_changes_nothing(node: &mut Node) -> anyhow::Result<()> {
    node.stop().await?;
    let before = views::dump(&node.dir)?;
    assert!(!before.is_empty());
    let digest = node.status().await?["heads_digest"].clone();

    let rebuilt = node.command(&["rebuild", "--json"]).await?.json()?;
    assert_eq!(
        rebuilt["heads_digest"], digest,
        "after a rebuild of {} at rest",
        node.name
    );
    same_rows(&before, &views::dump(&node.dir)?);

    node.start().await?;
    let rebuilt = node.command(&["rebuild", "--json"]).await?.json()?;
    assert_eq!(
        rebuilt["heads_digest"], digest,
        "after a rebuild of {} at work",
        node.name
    );
    node.stop().await?;
    same_rows(&before, &views::dump(&node.dir)?);
    Ok(())
}

/// The first difference says more than two dumps.
fn same_rows(before: &[String], after: &[String]) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
}

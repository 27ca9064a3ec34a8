//! Power cuts under load, on a real file system: nothing that was acknowledged is missing afterwards.
//!
//! The same harness is turned against two nodes that are made to cheat, to show that it would notice.

use std::time::Duration;

use anyhow::Context as _;
use e2e::disk::Ext4;
use e2e::load::Load;
use e2e::node::{Node, agree};
use e2e::rounds;
use e2e::skip::skipped;
use tokio::sync::watch;

use super::kills::rebuild_changes_nothing;

/// What came of cutting the power again and again.
enum Outcome {
    /// No rights to mount here.
    NotRun,
    /// The program is a release build, which no switch can make cheat.
    Honest,
    AllThere,
    Lost(anyhow::Error),
}

/// Cuts the power of a field node `cuts` times while it takes in readings, edits, and entries from an HQ that has a
/// better disk.
async fn cut_power(cuts: u32, environment: &[(&str, &str)]) -> anyhow::Result<Outcome> {
    let place = tempfile::tempdir()?;
    let Some(disk) = Ext4::make(place.path())? else {
        return Ok(Outcome::NotRun);
    };
    let hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let mut truck = Node::join(&disk.path().join("truck"), "Truck", &hq).await?;
    truck.stop().await?;
    truck.environment = environment
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    truck.start().await?;
    if !environment.is_empty() && !truck.log_tail().contains("fault injection") {
        return Ok(Outcome::Honest);
    }
    let at_hq = hq.api().await?;
    let mut of_hq = Load::new("hq", &at_hq, 0).await?;
    let mut of_truck = Load::new("truck", &truck.api().await?, 3).await?;

    for cut in 0..cuts {
        let (stop, stopped) = watch::channel(false);
        let at_work = (
            tokio::spawn(of_hq.run(hq.addresses(), at_hq.clone(), stopped.clone())),
            tokio::spawn(of_truck.run(truck.addresses(), truck.api().await?, stopped)),
        );
        tokio::time::sleep(Duration::from_millis(rand::random_range(200..1_200))).await;
        let cutter = disk.arm()?;
        // The node lives on for some milliseconds. What it says in them, to sensors, people or HQ, nobody may hear: it
        // would have been dead (see `Ext4`).
        let _ = stop.send(true);
        truck.relay.cut();
        hq.relay.cut();
        cutter.cut()?;
        truck.kill().await?;
        (of_hq, of_truck) = (at_work.0.await?, at_work.1.await?);
        disk.power_up()?;
        truck.relay.heal();
        hq.relay.heal();
        let survived = async {
            truck.start().await?;
            of_truck.check(&truck.api().await?, false).await
        };
        if let Err(error) = survived.await {
            return Ok(Outcome::Lost(error.context(format!("after cut {cut}"))));
        }
        eprintln!("cut {cut}: {}", of_hq.tally() + of_truck.tally());
    }

    let all = async {
        agree(&[&hq, &truck]).await?;
        let at_truck = truck.api().await?;
        of_truck.check(&at_truck, true).await?;
        of_truck.check_documents(&at_hq, true).await?;
        of_hq.check_documents(&at_truck, true).await
    };
    if let Err(error) = all.await {
        return Ok(Outcome::Lost(error));
    }
    rebuild_changes_nothing(&mut truck).await?;
    Ok(Outcome::AllThere)
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_readings_and_edits_survive_power_cuts() -> anyhow::Result<()> {
    match cut_power(rounds("E2E_CUTS", 8), &[]).await? {
        Outcome::NotRun => skipped(
            "mount-rights",
            "acknowledged_readings_and_edits_survive_power_cuts",
        ),
        Outcome::AllThere | Outcome::Honest => {}
        Outcome::Lost(error) => return Err(error.context("something acknowledged was lost")),
    }
    Ok(())
}

/// A node that cheats must be found out within this many cuts.
const CUTS_TO_FIND_OUT: u32 = 20;

async fn is_found_out(test: &str, switch: &str) -> anyhow::Result<()> {
    match cut_power(CUTS_TO_FIND_OUT, &[(switch, "1")])
        .await
        .context(switch.to_owned())?
    {
        Outcome::NotRun => skipped("mount-rights", test),
        Outcome::Honest => skipped("debug-build", test),
        Outcome::AllThere => {
            panic!("{CUTS_TO_FIND_OUT} power cuts did not show that {switch} loses data")
        }
        Outcome::Lost(error) => eprintln!("found out, as it must be: {error:#}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_synchronise_its_disk_is_found_out() -> anyhow::Result<()> {
    is_found_out(
        "a_node_that_does_not_synchronise_its_disk_is_found_out",
        "MUSTER_TEST_SYNCHRONOUS_OFF",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_acknowledges_before_the_commit_is_found_out() -> anyhow::Result<()> {
    is_found_out(
        "a_node_that_acknowledges_before_the_commit_is_found_out",
        "MUSTER_TEST_ACK_BEFORE_COMMIT",
    )
    .await
}

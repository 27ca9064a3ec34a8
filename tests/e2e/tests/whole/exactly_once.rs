//! Kills and power cuts while ten connections publish as fast as the node takes it: every acknowledged reading is stored
//! once and evaluated once, counted for each reading.
//!
//! The same harness is turned against nodes that are made to err, to show that it would notice.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::disk::Ext4;
use e2e::flood::{Counted, Flood, Tally, Until, count_evaluated};
use e2e::node::Node;
use e2e::rounds;
use e2e::skip::skipped;
use tokio::sync::watch;

/// After so many rounds the evaluations are counted, so that a fault is known to lie in the last of them.
const ROUNDS_A_COUNT: u32 = 10;

/// A node that errs must be found out within so many rounds.
const ROUNDS_TO_FIND_OUT: u32 = 20;

/// Room for two hundred rounds of any machine; what is not used takes nothing.
const DISK_MEBIBYTES: u64 = 4 * 1024;

/// How the node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Kill,
    PowerCut,
}

/// What came of it.
enum Outcome {
    /// No rights to mount here.
    NotRun,
    /// The program is a release build, which no switch can make err.
    Honest,
    AllOnce(Tally, Counted),
    Fault {
        error: anyhow::Error,
        /// The end of the node's log.
        log: String,
    },
}

/// A node in the flood.
struct Exercise {
    node: Node,
    disk: Option<Ext4>,
}

impl Exercise {
    /// `None` where the disk cannot be had.
    async fn begin(
        place: &Path,
        death: Death,
        switch: Option<&str>,
    ) -> anyhow::Result<Option<Exercise>> {
        let (disk, dir) = match death {
            Death::Kill => (None, place.join("node")),
            Death::PowerCut => {
                let Some(disk) = Ext4::of_mebibytes(place, DISK_MEBIBYTES)? else {
                    return Ok(None);
                };
                let dir = disk.path().join("node");
                (Some(disk), dir)
            }
        };
        let mut node = Node::found(&dir, "HQ").await?;
        if let Some(switch) = switch {
            node.stop().await?;
            node.environment = vec![(switch.to_owned(), "1".to_owned())];
            node.start().await?;
        }
        Ok(Some(Exercise { node, disk }))
    }

    /// One life of the node, its end, and its return.
    async fn round(&mut self, mut flood: Flood) -> anyhow::Result<Flood> {
        let before = flood.tally();
        let api = self.node.api().await?;
        flood.prepare(&api).await?;
        let (stop, stopped) = watch::channel(false);
        let at_work = tokio::spawn(flood.run(self.node.addresses(), Until::End, stopped));
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..700))).await;
        match &self.disk {
            None => {
                self.node.kill().await?;
                let _ = stop.send(true);
            }
            Some(disk) => {
                let cutter = disk.arm()?;
                // The node lives on for some milliseconds, in which it would have been dead: nobody may hear it.
                let _ = stop.send(true);
                cutter.cut()?;
                self.node.kill().await?;
            }
        }
        let lasted = began.elapsed();
        let mut flood = at_work.await?;
        if let Some(disk) = &self.disk {
            disk.power_up()?;
        }
        self.node.start().await?;
        flood.check(&self.node.api().await?).await?;
        let came = flood.tally().readings - before.readings;
        eprintln!(
            "{came} readings in {} ms, {} ms until they were found again; {} in all",
            lasted.as_millis(),
            (began.elapsed() - lasted).as_millis(),
            flood.tally()
        );
        Ok(flood)
    }

    /// Sends what was under way again and looks through everything.
    async fn end(&mut self, flood: Flood) -> anyhow::Result<(Tally, Counted)> {
        let (_open, never) = watch::channel(false);
        let settling = flood.run(self.node.addresses(), Until::Settled, never);
        let mut flood = settling.await;
        flood.check_all(&self.node.api().await?).await?;
        let counted = count_evaluated(&mut self.node).await?;
        Ok((flood.tally(), counted))
    }
}

/// `rounds` lives of one node. `switch` makes it err.
async fn exercise(death: Death, rounds: u32, switch: Option<&str>) -> anyhow::Result<Outcome> {
    let place = tempfile::tempdir()?;
    let Some(mut exercise) = Exercise::begin(place.path(), death, switch).await? else {
        return Ok(Outcome::NotRun);
    };
    if switch.is_some() && !exercise.node.log_tail().contains("fault injection") {
        return Ok(Outcome::Honest);
    }
    let mut flood = Flood::new(&exercise.node.api().await?).await?;
    for round in 0..rounds {
        match exercise.round(flood).await {
            Ok(back) => flood = back,
            Err(error) => return Ok(fault(&exercise, round, error)),
        }
        // A node that is made to err is counted each time, to be found out soon.
        let counts = switch.is_some() || (round + 1) % ROUNDS_A_COUNT == 0;
        if counts && let Err(error) = count_evaluated(&mut exercise.node).await {
            return Ok(fault(&exercise, round, error));
        }
    }
    match exercise.end(flood).await {
        Ok((tally, counted)) => Ok(Outcome::AllOnce(tally, counted)),
        Err(error) => Ok(fault(&exercise, rounds, error)),
    }
}

fn fault(exercise: &Exercise, round: u32, error: anyhow::Error) -> Outcome {
    Outcome::Fault {
        error: error.context(format!("round {round}")),
        log: exercise.node.log_tail(),
    }
}

async fn each_once(test: &str, death: Death, rounds: u32) -> anyhow::Result<()> {
    match exercise(death, rounds, None).await? {
        Outcome::NotRun => skipped("mount-rights", test),
        Outcome::Honest => {}
        Outcome::AllOnce(acknowledged, counted) => {
            eprintln!(
                "{rounds} × {death:?}: {acknowledged} acknowledged, 0 lost, 0 twice; {} stored, {} evaluated, each once",
                counted.stored, counted.evaluated
            );
            assert!(
                acknowledged.readings > 0 && acknowledged.pulses > 0,
                "no load, no test"
            );
        }
        Outcome::Fault { error, log } => {
            return Err(error.context(format!("the node's log:\n{log}")));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reading_of_a_flood_is_stored_and_evaluated_once_through_kills() -> anyhow::Result<()>
{
    each_once(
        "each_reading_of_a_flood_is_stored_and_evaluated_once_through_kills",
        Death::Kill,
        rounds("E2E_KILLS", 5),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reading_of_a_flood_is_stored_and_evaluated_once_through_power_cuts()
-> anyhow::Result<()> {
    each_once(
        "each_reading_of_a_flood_is_stored_and_evaluated_once_through_power_cuts",
        Death::PowerCut,
        rounds("E2E_CUTS", 5),
    )
    .await
}

async fn is_found_out(test: &str, death: Death, switch: &str) -> anyhow::Result<()> {
    match exercise(death, ROUNDS_TO_FIND_OUT, Some(switch))
        .await
        .context(switch.to_owned())?
    {
        Outcome::NotRun => skipped("mount-rights", test),
        Outcome::Honest => skipped("debug-build", test),
        Outcome::AllOnce(..) => panic!("{ROUNDS_TO_FIND_OUT} rounds did not show {switch}"),
        Outcome::Fault { error, .. } => eprintln!("found out, as it must be: {error:#}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_flood_a_disk_that_is_not_synchronised_is_found_out() -> anyhow::Result<()> {
    is_found_out(
        "in_a_flood_a_disk_that_is_not_synchronised_is_found_out",
        Death::PowerCut,
        "MUSTER_TEST_SYNCHRONOUS_OFF",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_flood_acknowledgements_before_the_commit_are_found_out() -> anyhow::Result<()> {
    is_found_out(
        "in_a_flood_acknowledgements_before_the_commit_are_found_out",
        Death::Kill,
        "MUSTER_TEST_ACK_BEFORE_COMMIT",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_flood_a_second_evaluation_is_found_out() -> anyhow::Result<()> {
    is_found_out(
        "in_a_flood_a_second_evaluation_is_found_out",
        Death::Kill,
        "MUSTER_TEST_EVALUATES_AGAIN",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_flood_a_cursor_that_is_ahead_of_its_effects_is_found_out() -> anyhow::Result<()> {
    is_found_out(
        "in_a_flood_a_cursor_that_is_ahead_of_its_effects_is_found_out",
        Death::Kill,
        "MUSTER_TEST_CURSOR_BEFORE_EFFECTS",
    )
    .await
}

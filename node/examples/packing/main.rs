//! What changes cost on the wire, and the samples that the dictionary of packed runs is trained with.
//!
//! `cargo run --release -p node --example packing` prints the figures. `scripts/train-dictionary.sh` has it write
//! samples and trains a dictionary with them; a retrained one is another dictionary and needs the next number on the
//! wire: see `sync/engine/src/dictionary/README.md`.

mod world;

use std::path::Path;

use anyhow::{Context as _, bail};
use domain::Kind;
use node::app::codec::DocumentCodec;
use sync_engine::{Knows, Lane, PackedStream, RUN_BYTES_MAX, Run};
use world::{Words, World};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => figures(),
        ["samples", directory] => samples(Path::new(directory)),
        _ => bail!("say nothing for the figures, or `samples DIRECTORY`"),
    }
}

/// Documents in the world that the figures come from.
const DOCUMENTS: usize = 1_000;

fn figures() -> anyhow::Result<()> {
    let mut world = World::new(u64::MAX, 2, Words::Figures);
    let documents: Vec<usize> = (0..DOCUMENTS)
        .map(|n| world.create(0, kind_of(n)))
        .collect();
    for number in documents {
        world.change(1, number);
    }
    println!(
        "{DOCUMENTS} documents of all kinds made at one node, each changed once at another, one commit a change;"
    );
    println!(
        "bytes per entry, frames whole: plain, packed, packed with references to the other node's log\n"
    );
    for lane in [Lane::Life, Lane::Coordination] {
        for (site, what) in [(0, "created"), (1, "changed")] {
            let log = world.log_of(site, lane);
            for (entries, how) in [
                (1, "alone"),
                (32, "runs of 32"),
                (usize::MAX, "runs of 64 KiB"),
            ] {
                let runs = world.runs(&log, entries, RUN_BYTES_MAX);
                let plain: usize = runs.iter().map(|run| run.encode().len()).sum();
                let without = packed_bytes(&world, &runs, false)?;
                let with = packed_bytes(&world, &runs, true)?;
                let count = runs.iter().map(|run| run.entries.len()).sum::<usize>() as f64;
                let each = |bytes: usize| bytes as f64 / count;
                println!(
                    "{lane:>12}  {what}  {how:<14}  {:6.1}  {:6.1}  {:6.1}",
                    each(plain),
                    each(without),
                    each(with)
                );
            }
        }
    }
    Ok(())
}

fn kind_of(n: usize) -> Kind {
    let kinds: Vec<Kind> = Kind::all().collect();
    // Every other document is an incident: they have a lane of their own.
    if n.is_multiple_of(2) {
        Kind::Incident
    } else {
        kinds[n / 2 % kinds.len()]
    }
}

/// Packs and unpacks runs on one stream; gives their bytes.
fn packed_bytes(world: &World, runs: &[Run], references: bool) -> anyhow::Result<usize> {
    let codec = DocumentCodec;
    let lane = runs.first().map_or(Lane::Life, |run| run.log.lane);
    let (mut sender, mut receiver) = (PackedStream::new(lane), PackedStream::new(lane));
    let mut total = 0;
    for run in runs {
        let knows = Knows {
            places: &|name| world.places.get(&name.hash).copied(),
            covered: &|_| references,
        };
        let bytes = sender
            .pack(run, &codec, &knows)
            .context("a sample does not pack")?;
        total += bytes.len();
        let again = receiver.unpack(&bytes, &codec, run.prev, &|place| world.name(place))?;
        anyhow::ensure!(again == *run, "a sample comes back as another");
    }
    Ok(total)
}

/// Bodies of each length that occurs: mostly of lone changes, which gain most.
fn samples(directory: &Path) -> anyhow::Result<()> {
    const WORLDS: u64 = 40;
    const DOCUMENTS: usize = 60;
    std::fs::create_dir_all(directory).context("make the directory for samples")?;
    let mut written = 0;
    for seed in 0..WORLDS {
        let mut world = World::new(seed, 3, Words::Samples);
        let documents: Vec<usize> = (0..DOCUMENTS)
            .map(|n| world.create(n % 3, kind_of(n)))
            .collect();
        for round in 0..3 {
            for number in &documents {
                world.change((number + round) % 3, *number);
            }
        }
        for lane in [Lane::Life, Lane::Coordination] {
            for site in 0..3 {
                let log = world.log_of(site, lane);
                for entries in [1, 2, 32] {
                    for (n, run) in world.runs(&log, entries, RUN_BYTES_MAX).iter().enumerate() {
                        let knows = Knows {
                            places: &|name| world.places.get(&name.hash).copied(),
                            covered: &|_| n % 4 != 0,
                        };
                        let body = PackedStream::body(run, &DocumentCodec, &knows)
                            .context("a sample does not pack")?;
                        std::fs::write(directory.join(format!("{written:06}")), body)
                            .context("write a sample")?;
                        written += 1;
                    }
                }
            }
        }
    }
    println!("{written} samples in {}", directory.display());
    Ok(())
}

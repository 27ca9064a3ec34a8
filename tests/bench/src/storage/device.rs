//! ext4 on a loop device of its own, so that what is written to the block device can be counted: data, journal and all.
//!
//! Invariant: what was mounted is unmounted when the value goes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Sectors of the kernel's counters, whatever those of the device are (Documentation/block/stat.rst).
const SECTOR_BYTES: u64 = 512;

pub struct Device {
    at: PathBuf,
    /// `loop3`
    name: String,
}

impl Device {
    /// `None` where this process may not mount.
    ///
    /// # Errors
    /// Something else does not work.
    pub fn make(place: &Path, name: &str, mebibytes: u64) -> anyhow::Result<Option<Device>> {
        let (image, at) = (place.join(format!("{name}.img")), place.join(name));
        std::fs::create_dir(&at)?;
        std::fs::File::create(&image)?.set_len(mebibytes << 20)?;
        // Without lazy initialisation, which would go on writing while it is measured.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-E", options]).arg(&image);
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "ext4", "-o", "loop"])
            .arg(&image)
            .arg(&at);
        if run(&mut make).is_err() || run(&mut mount).is_err() {
            return Ok(None);
        }
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let device = mounts
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, rest)| rest.split(' ').next().map(Path::new) == Some(&at))
            .map(|(device, _)| device.trim_start_matches("/dev/").to_owned());
        // Unmounted even where its name is not found.
        let mut made = Device {
            at,
            name: String::new(),
        };
        made.name = device.context("what was mounted is not in /proc/mounts")?;
        Ok(Some(made))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Written to it so far, once everything is.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn written_bytes(&self) -> anyhow::Result<u64> {
        run(Command::new("sync").arg("--file-system").arg(&self.at))?;
        let path = format!("/sys/block/{}/stat", self.name);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let sectors = text.split_whitespace().nth(6).context("sectors written")?;
        Ok(sectors.parse::<u64>()? * SECTOR_BYTES)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Lazily, so that a file that is still open cannot keep it; the loop device goes with it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

//! Disks that fail: an ext4 whose power is cut, and a small one that fills up. Both need the rights of root.
//!
//! Invariant: what was mounted is unmounted when the value goes, however the test ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

/// ext4 in a file, on a loop device.
///
/// [`Cutter::cut`] does to it what a power cut does: what the kernel has not written by then is gone (the kernel's
/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: the file system stops, its journal is not flushed). Unlike a power cut it leaves
/// the processor running, and an fsync that is under way at that moment may report success for what is lost: on Linux
/// 6.18, a program that does nothing but append, fdatasync and tell was wrong about its last record in 16 of 200 cuts. So
/// whoever counts acknowledgements must stop counting before the cut.
#[derive(Debug)]
pub struct Ext4 {
    image: PathBuf,
    at: PathBuf,
}

impl Ext4 {
    /// Room for a minute of readings, and small enough for any temporary directory.
    ///
    /// # Errors
    /// See [`Ext4::of_mebibytes`].
    pub fn make(place: &Path) -> anyhow::Result<Option<Ext4>> {
        Ext4::of_mebibytes(place, 256)
    }

    /// `None` where this process may not mount, or a program for it is missing. The file is sparse: it takes what was
    /// written.
    ///
    /// # Errors
    /// Something else does not work.
    pub fn of_mebibytes(place: &Path, mebibytes: u64) -> anyhow::Result<Option<Ext4>> {
        let disk = Ext4 {
            image: place.join("disk.img"),
            at: place.join("disk"),
        };
        std::fs::create_dir(&disk.at)?;
        std::fs::File::create(&disk.image)?.set_len(mebibytes << 20)?;
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&disk.image)
            .output();
        if !made.is_ok_and(|output| output.status.success()) || disk.mount().is_err() {
            return Ok(None);
        }
        Ok(Some(disk))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Gets everything ready, so that the power goes at the very moment of [`Cutter::cut`].
    ///
    /// # Errors
    /// Perl is missing, or the disk is not there.
    pub fn arm(&self) -> anyhow::Result<Cutter> {
        // Perl, because an ioctl would need unsafe code here, and because building Muster needs Perl anyway.
        const SHUTDOWN: &str = r#"
            $| = 1;
            open(my $root, "<", $ARGV[0]) or die "open: $!\n";
            my $no_log_flush = pack("L", 2);
            print "armed\n";
            <STDIN>;
            ioctl($root, 0x8004587d, $no_log_flush) or die "FS_IOC_SHUTDOWN: $!\n";
        "#;
        let mut perl = Command::new("perl")
            .args(["-e", SHUTDOWN])
            .arg(&self.at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start perl")?;
        let mut armed = [0; 6];
        perl.stdout
            .as_mut()
            .context("piped")?
            .read_exact(&mut armed)
            .context("perl is not ready")?;
        Ok(Cutter { perl })
    }

    /// The power is back: unmounts, and mounts what is on the disk. Nothing on it may be open.
    ///
    /// # Errors
    /// The disk cannot be mounted any more.
    pub fn power_up(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.at))?;
        self.mount()
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop"])
            .arg(&self.image)
            .arg(&self.at))
    }
}

/// The hand on the switch.
#[derive(Debug)]
pub struct Cutter {
    perl: Child,
}

impl Cutter {
    /// From now on nothing reaches the disk, and what had not reached it never will.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(mut self) -> anyhow::Result<()> {
        self.perl.stdin.take().context("piped")?.write_all(b"\n")?;
        let status = self.perl.wait()?;
        ensure!(status.success(), "the power could not be cut: {status}");
        Ok(())
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        unmount(&self.at);
    }
}

/// A small file system in memory.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    ///
    /// # Errors
    /// Something else does not work.
    pub fn make(place: &Path, mebibytes: u32) -> anyhow::Result<Option<SmallDisk>> {
        let at = place.join("small");
        std::fs::create_dir(&at)?;
        let size = format!("size={mebibytes}m");
        let mounted = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&at));
        Ok(mounted.is_ok().then_some(SmallDisk { at }))
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Takes all the space that is left.
    ///
    /// # Errors
    /// Something other than the end of the space stops it.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())?;
        // Down to the last page.
        for chunk in [64 << 10, 4 << 10, 1] {
            let bytes = vec![0_u8; chunk];
            loop {
                match file.write(&bytes) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The file is not there.
    pub fn free(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.filler()).context("free the disk")
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.at);
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

/// Lazily, so that a process that still has a file open (a failing test's) cannot keep it mounted.
fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(at).output();
}

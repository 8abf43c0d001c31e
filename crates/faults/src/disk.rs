//! A file system of its own in a file, mounted by loop: it can lose its power, and it can be small.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Failure, run};

/// How long a file system may be in use by processes that were killed.
const BUSY: Duration = Duration::from_secs(10);

/// A mounted ext4; unmounted when dropped.
pub struct LoopDisk {
    /// What stands for the disk itself.
    pub image: PathBuf,
    /// Where it is mounted.
    pub folder: PathBuf,
    power_cut: PathBuf,
    mounted: bool,
}

impl LoopDisk {
    /// Makes one of so many bytes, as files below `folder`.
    pub fn new(folder: &Path, bytes: u64) -> Result<Self, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::Skipped("mounting a file system needs root".to_owned()));
        }
        let (image, mount, power_cut) = (folder.join("disk.img"), folder.join("disk"), folder.join("power_cut"));
        std::fs::create_dir_all(&mount).map_err(Failure::at(&mount))?;
        compile("power_cut.c", &power_cut, &[])?;
        let mut disk = Self { image, folder: mount, power_cut, mounted: false };
        disk.format(bytes).map_err(|failure| Failure::Skipped(failure.to_string()))?;
        Ok(disk)
    }

    /// Empties it.
    pub fn format(&mut self, bytes: u64) -> Result<(), Failure> {
        self.unmount()?;
        // A new file each time, so that the old one's blocks are given back.
        let _ = std::fs::remove_file(&self.image);
        let file = std::fs::File::create(&self.image).map_err(Failure::at(&self.image))?;
        file.set_len(bytes).map_err(Failure::at(&self.image))?;
        run("mkfs.ext4", &[OsStr::new("-q"), OsStr::new("-F"), OsStr::new("-m0"), self.image.as_os_str()])?;
        self.mount()
    }

    /// Mounts it; a file system that lost its power replays its journal.
    pub fn mount(&mut self) -> Result<(), Failure> {
        run("mount", &[OsStr::new("-o"), OsStr::new("loop"), self.image.as_os_str(), self.folder.as_os_str()])?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it.
    pub fn unmount(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        while self.mounted {
            match run("umount", &[self.folder.as_os_str()]) {
                // Whoever was killed gives its files back in its own time.
                Err(_) if began.elapsed() < BUSY => std::thread::sleep(Duration::from_millis(50)),
                unmounted => {
                    unmounted?;
                    self.mounted = false;
                }
            }
        }
        Ok(())
    }

    /// Takes the power away: what is not on the disk is gone, and every call fails from now on.
    pub fn cut(&self) -> Result<(), Failure> {
        let program = self.power_cut.to_string_lossy().into_owned();
        run(&program, &[self.folder.as_os_str()])
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // The server may hold it a moment longer: then it goes as soon as it is free.
        if self.mounted && self.unmount().is_err() {
            let _ = run("umount", &[OsStr::new("-l"), self.folder.as_os_str()]);
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

/// Compiles a C file of this crate; any machine that links Rust programs has a C compiler.
pub fn compile(source: &str, to: &Path, flags: &[&str]) -> Result<(), Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("native").join(source);
    let mut arguments: Vec<&OsStr> = flags.iter().map(OsStr::new).collect();
    arguments.extend([OsStr::new("-O2"), OsStr::new("-o"), to.as_os_str(), source.as_os_str(), OsStr::new("-ldl")]);
    run("cc", &arguments)
}

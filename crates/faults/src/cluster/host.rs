//! A host: a namespace with an address, a disk, a clock, and a process.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::{Pid, Signal, kill_process};

use super::network;
use crate::error::{Failure, run};

/// How long a server may take to end when it is asked to.
const END: Duration = Duration::from_secs(60);
/// Port of every broker.
pub const BROKER_PORT: u16 = 10911;
/// Bytes that a full disk has left.
const LEFT: u64 = 64 << 10;

/// How a host's process is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A host; its process is killed when it is dropped.
pub struct Host {
    /// Its number, from 1.
    pub number: usize,
    folder: PathBuf,
    program: Program,
    process: Option<Child>,
    /// Its disk is small and of its own.
    has_own_disk: bool,
    /// The library that sets its wall clock off.
    clock: Option<PathBuf>,
}

impl Host {
    /// One that keeps what it has below `folder`. A `disk` of so many bytes can be filled; with the library that
    /// `clock.c` is compiled to, its clock can be set.
    pub fn new(
        number: usize,
        folder: &Path,
        program: Program,
        disk: Option<u64>,
        clock: Option<&Path>,
    ) -> Result<Self, Failure> {
        let folder = folder.join(network::name(number));
        let clock = clock.map(Path::to_owned);
        let host = Self { number, folder, program, process: None, has_own_disk: disk.is_some(), clock };
        let data = host.data();
        std::fs::create_dir_all(&data).map_err(Failure::at(&data))?;
        host.step_clock(0)?;
        if let Some(bytes) = disk {
            let size = format!("size={bytes}");
            let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(OsStr::new);
            run("mount", &[&arguments[..], &[data.as_os_str()]].concat())?;
        }
        Ok(host)
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        network::address(self.number)
    }

    /// Where its broker is reached.
    pub fn broker(&self) -> SocketAddr {
        (self.address(), BROKER_PORT).into()
    }

    /// Folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What its processes wrote to their outputs.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Starts the process; it is not waited for until it is ready.
    pub fn start(&mut self) -> Result<(), Failure> {
        let log = self.log();
        let output = OpenOptions::new().create(true).append(true).open(&log).map_err(Failure::at(&log))?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network::name(self.number)]).arg(&self.program.path);
        // What has a default place has it there.
        command.args(&self.program.arguments).env("HOME", &self.folder);
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", clock).env("CLOCK_STEP", self.folder.join("step"));
        }
        command.env("APOGEE_LOG", std::env::var("APOGEE_LOG").unwrap_or_else(|_| "info".to_owned()));
        // What is meant for the harness, such as Ctrl-C, does not go to the hosts.
        command.process_group(0).stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// Whether a process is there, paused or not.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// How the process ended, when nobody asked it to.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok().flatten()?;
        self.process = None;
        Some(status)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.process.as_ref().and_then(|process| Pid::from_raw(process.id() as i32)) {
            // It may have ended by itself: that is found elsewhere.
            let _ = kill_process(pid, signal);
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }

    /// Ends the process as an operator does.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        let deadline = Instant::now() + END;
        while let Some(process) = &mut self.process {
            if process.try_wait()?.is_some() {
                self.process = None;
            } else if Instant::now() > deadline {
                let text = format!("host {} did not stop within {} s", self.number, END.as_secs());
                return Err(Failure::Start(text));
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// SIGSTOP: the process is there and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sets the wall clock off by so many milliseconds; no clock that only goes forward.
    pub fn step_clock(&self, ms: i64) -> Result<(), Failure> {
        // Another file in its place, so that nobody reads half of it.
        let (new, file) = (self.folder.join("step.new"), self.folder.join("step"));
        std::fs::write(&new, ms.to_string()).map_err(Failure::at(&new))?;
        std::fs::rename(&new, &file).map_err(Failure::at(&file))
    }

    fn ballast(&self) -> PathBuf {
        self.data().join("ballast")
    }

    /// Takes nearly all the room that the disk has left.
    pub fn fill_disk(&self) -> Result<(), Failure> {
        if !self.has_own_disk {
            return Err(Failure::Tool(format!("host {} has no disk of its own to fill", self.number)));
        }
        let ballast = self.ballast();
        let disk = statvfs(self.data()).map_err(|error| Failure::at(&self.data())(error.into()))?;
        let free = (disk.f_bavail * disk.f_frsize).saturating_sub(LEFT);
        let file = std::fs::File::create(&ballast).map_err(Failure::at(&ballast))?;
        match fallocate(&file, FallocateFlags::empty(), 0, free) {
            // The server was quicker: then it is full already.
            Ok(()) | Err(rustix::io::Errno::NOSPC) => Ok(()),
            Err(error) => Err(Failure::at(&ballast)(error.into())),
        }
    }

    /// Gives the room back.
    pub fn free_disk(&self) -> Result<(), Failure> {
        match std::fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::at(&self.ballast())(error)),
            _ => Ok(()),
        }
    }

    /// Removes a part of its data, or all with "". The process must not be there.
    pub fn wipe(&self, part: &str) -> Result<(), Failure> {
        let folder = self.data().join(part);
        for entry in std::fs::read_dir(&folder).map_err(Failure::at(&folder))? {
            let path = entry?.path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(Failure::at(&path))?;
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        if self.has_own_disk {
            let _ = run("umount", &[OsStr::new("-l"), self.data().as_os_str()]);
        }
    }
}

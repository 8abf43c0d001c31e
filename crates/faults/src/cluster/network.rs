//! The network between the hosts: a namespace for each, and a switch of our own (`native/switch.c`) that carries the
//! packets from one to the other, or does not.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::disk::compile;
use crate::error::{Failure, run};

/// Number of the host that the clients are on: the namespace of the harness itself.
pub const CLIENTS: usize = 0;

/// Bytes of the largest packet: large ones cost the machine less.
const MTU: u32 = 9_000;

/// What becomes of the packets from one host to another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Link {
    /// None arrives.
    pub is_cut: bool,
    /// How long each takes.
    pub delay: Duration,
    /// Up to so much longer.
    pub jitter: Duration,
    /// So many in a million do not arrive.
    pub loss: u32,
    /// Bytes per second; 0: no limit.
    pub rate: u64,
}

/// The hosts' namespaces, and what connects them. All of it ends with the harness at the latest: `tests/cluster/run` gives
/// it namespaces of its own.
pub struct Network {
    hosts: usize,
    /// `None`: the kernel's bridge.
    switch: Option<Switch>,
}

struct Switch {
    process: Child,
    rules: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Name of a host's namespace and of its device.
pub fn name(host: usize) -> String {
    format!("h{host}")
}

/// Address of a host.
pub fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, if host == CLIENTS { 100 } else { host as u8 })
}

fn ip(arguments: &str) -> Result<(), Failure> {
    run("ip", &arguments.split(' ').map(OsStr::new).collect::<Vec<_>>())
}

impl Network {
    /// Connects so many hosts and the clients. `folder` is for the switch's program.
    pub fn start(folder: &Path, hosts: usize, seed: u64) -> Result<Self, Failure> {
        let program = folder.join("switch");
        compile("switch.c", &program, &[])?;
        let mut command = Command::new(&program);
        command.arg(seed.to_string());
        for host in 0..=hosts {
            command.arg(format!("{}={}", name(host), address(host)));
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(rules), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Failure::Tool("the switch has no input or output".to_owned()));
        };
        let mut switch = Switch { process, rules, answers: BufReader::new(answers) };
        switch.hear("ready")?;
        Self { hosts, switch: Some(switch) }.with_hosts()
    }

    /// The same by a bridge of the kernel, for measurements: nothing can be broken.
    pub fn without_faults(hosts: usize) -> Result<Self, Failure> {
        ip("link add bridge type bridge")?;
        ip("link set bridge up")?;
        for host in 0..=hosts {
            let device = name(host);
            ip(&format!("link add {device} type veth peer name to-{device}"))?;
            ip(&format!("link set to-{device} mtu {MTU} master bridge up"))?;
        }
        Self { hosts, switch: None }.with_hosts()
    }

    /// Gives each host a namespace with its device; the clients keep that of the harness.
    fn with_hosts(self) -> Result<Self, Failure> {
        for host in 0..=self.hosts {
            let (device, address) = (name(host), address(host));
            let within = if host == CLIENTS { String::new() } else { format!("-n {device} ") };
            if host != CLIENTS {
                ip(&format!("netns add {device}"))?;
                ip(&format!("link set {device} netns {device}"))?;
            }
            ip(&format!("{within}address add {address}/24 dev {device}"))?;
            ip(&format!("{within}link set {device} mtu {MTU} up"))?;
            ip(&format!("{within}link set lo up"))?;
        }
        Ok(self)
    }

    /// Decides about the packets from one host to another.
    pub fn set(&mut self, from: usize, to: usize, link: Link) -> Result<(), Failure> {
        let Some(switch) = &mut self.switch else {
            return Err(Failure::Tool("this network was made for measurements: it cannot be broken".to_owned()));
        };
        let Link { is_cut, delay, jitter, loss, rate } = link;
        let (delay, jitter) = (delay.as_micros(), jitter.as_micros());
        writeln!(switch.rules, "{from} {to} {} {delay} {jitter} {loss} {rate}", u8::from(is_cut))?;
        switch.rules.flush()?;
        switch.hear("ok")
    }

    /// The same for all pairs of different hosts.
    pub fn set_all(&mut self, link: Link) -> Result<(), Failure> {
        for from in 0..=self.hosts {
            for to in (0..=self.hosts).filter(|to| *to != from) {
                self.set(from, to, link)?;
            }
        }
        Ok(())
    }
}

impl Switch {
    fn hear(&mut self, expected: &str) -> Result<(), Failure> {
        let mut said = String::new();
        self.answers.read_line(&mut said)?;
        if said.trim() == expected { Ok(()) } else { Err(Failure::Tool(format!("the switch said {said:?}"))) }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(Switch { mut process, rules, answers }) = self.switch.take() {
            // It ends with its input, and its devices with it.
            drop((rules, answers));
            let _ = process.wait();
        } else {
            for host in 0..=self.hosts {
                let _ = ip(&format!("link delete to-{}", name(host)));
            }
            let _ = ip("link delete bridge");
        }
        for host in 1..=self.hosts {
            let _ = ip(&format!("netns delete {}", name(host)));
        }
    }
}

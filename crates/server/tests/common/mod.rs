//! The real binary, started on free ports with a folder of its own, and a raw peer to talk to it.
#![allow(dead_code)] // Each test file uses a part of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    GetMaxOffsetRequestHeader, PullMessageRequestHeader, PullMessageResponseHeader, RpcFields,
    SendMessageRequestHeader, SendMessageResponseHeader,
};
use apogee_wire::{Command, frame};
use bytes::{Bytes, BytesMut};
use tempfile::TempDir;

pub mod batch;
pub mod cluster;
pub mod controller;
pub mod group;
pub mod http;
pub mod lite;
pub mod mqadmin;
pub mod oracle;
pub mod pop;

/// How long anything may take before a test counts it as never.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The path of the binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_apogee"))
}

/// A running `apogee server`; killed when dropped.
pub struct Server {
    child: Child,
    pub namesrv: SocketAddr,
    pub broker: SocketAddr,
    /// What it printed when it was ready.
    pub ready: String,
    pub data: PathBuf,
    _folder: Option<TempDir>,
}

impl Server {
    /// Starts with a folder of its own.
    pub fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let mut server = Self::start_in(&data, settings);
        server._folder = Some(folder);
        server
    }

    /// Starts on a folder, which stays behind.
    pub fn start_in(data: &Path, settings: &[&str]) -> Self {
        Self::start_with(data, settings, &[])
    }

    /// Starts on a folder, with variables in its environment.
    pub fn start_with(data: &Path, settings: &[&str], environment: &[(&str, String)]) -> Self {
        Self::start_on([0, 0], data, settings, environment)
    }

    /// Starts on a folder, with the ports of another that has ended.
    pub fn start_in_place_of(namesrv: SocketAddr, broker: SocketAddr, data: &Path) -> Self {
        Self::start_on([namesrv.port(), broker.port()], data, &[], &[])
    }

    fn start_on(ports: [u16; 2], data: &Path, settings: &[&str], environment: &[(&str, String)]) -> Self {
        let mut process = if oracle::is_wanted() {
            oracle::process(ports, data, settings)
        } else {
            let mut process = Process::new(binary());
            process.args(["server", "--host", "127.0.0.1", "--bind", "127.0.0.1"]);
            let [namesrv, broker] = ports.map(|port| port.to_string());
            process.args(["--namesrv-port", &namesrv, "--broker-port", &broker, "--data"]).arg(data);
            // Many run at a time.
            process.args(["--set", "metricsPromExporterPort=0"]);
            process.args(settings.iter().flat_map(|setting| ["--set", setting]));
            process
        };
        process.envs(environment.iter().map(|(name, value)| (name, value)));
        process.env("APOGEE_LOG", "error");
        let mut child = process.stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut ready = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut ready).expect("a line");
        assert!(ready.contains("ready"), "no ready line but {ready:?}");
        let after = |word: &str| -> SocketAddr {
            let rest = ready.split(word).nth(1).unwrap_or_else(|| panic!("no {word:?} in {ready:?}"));
            let address = rest.split([',', ' ', '\n']).next().unwrap_or_default();
            address.parse().unwrap_or_else(|_| panic!("no address after {word:?} in {ready:?}"))
        };
        let (namesrv, broker) = (after("name server "), after("broker "));
        Self { child, namesrv, broker, ready, data: data.to_owned(), _folder: None }
    }

    /// Ends it as an operator does; returns how it ended.
    pub fn stop(self) -> ExitStatus {
        self.stop_by("-TERM")
    }

    /// Ends it by a signal; returns how it ended.
    pub fn stop_by(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        wait(&mut self.child)
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.end();
    }

    /// With all processes of it, where there are several.
    fn end(&mut self) {
        if oracle::is_wanted() {
            oracle::kill(&mut self.child);
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: &str) {
        let status = Process::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory in use, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// How often its threads have gone to sleep, and so woke up.
    pub fn sleeps(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the process runs");
        let of = |thread: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        };
        threads.filter_map(of).sum()
    }

    pub fn connect(&self) -> Peer {
        Peer::connect(self.broker)
    }

    pub fn connect_namesrv(&self) -> Peer {
        Peer::connect(self.namesrv)
    }

    /// Asserts that it still does its work for others.
    pub fn assert_serving(&self) {
        let mut peer = self.connect();
        let answer = peer.send("StillServing", 0, b"x", "");
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Somebody who speaks neither the protocol nor TLS.
pub fn stranger() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Until the other side closes it; it may do so at any time.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    address
}

/// Waits for a process's end, for as long as a test waits for anything.
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().expect("killed");
            panic!("the process did not end by itself");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One connection, driven by hand.
pub struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
    opaque: i32,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        Self { stream, buffer: BytesMut::new(), opaque: 0 }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Whether the bytes could be written.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn request(&mut self, mut command: Command) -> i32 {
        self.opaque += 1;
        command.opaque = self.opaque;
        self.write(&frame::to_bytes(&command));
        self.opaque
    }

    /// Answers a question of the server.
    pub fn reply(&mut self, question: &Command, body: Vec<u8>) {
        let answer = Command::response_to(question, response::SUCCESS).with_body(body);
        self.write(&frame::to_bytes(&answer));
    }

    /// The next frame, whatever it is.
    pub fn read(&mut self) -> Command {
        self.try_read().expect("a frame, not the end of the connection")
    }

    /// The next frame; `None` when the server closed the connection.
    pub fn try_read(&mut self) -> Option<Command> {
        let mut command = Command::default();
        loop {
            if frame::decode(&mut self.buffer, &mut command, frame::MAX_FRAME).expect("a frame") {
                return Some(command);
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// The next frame, if one comes within a time.
    pub fn read_within(&mut self, patience: Duration) -> Option<Command> {
        let deadline = Instant::now() + patience;
        let mut command = Command::default();
        let frame = loop {
            if frame::decode(&mut self.buffer, &mut command, frame::MAX_FRAME).expect("a frame") {
                break Some(command);
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("set");
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => break None,
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(_) if Instant::now() >= deadline => break None,
                Err(_) => {}
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).expect("set");
        frame
    }

    /// Sends a request and reads until its response; what the server asks meanwhile is passed over.
    pub fn call(&mut self, command: Command) -> Command {
        let opaque = self.request(command);
        loop {
            let answer = self.read();
            if answer.is_response() && answer.opaque == opaque {
                return answer;
            }
        }
    }

    /// Sends a pull that finds nothing, and returns once it is parked: the requests of a connection are
    /// handled in their order.
    pub fn park(&mut self, pull: Command) -> i32 {
        let opaque = self.request(pull);
        let header = GetMaxOffsetRequestHeader { topic: "T", queue_id: 0, committed: None, rpc: RpcFields::default() };
        self.call(Command::request(request::GET_MAX_OFFSET).with_header(&header));
        opaque
    }

    pub fn send(&mut self, topic: &str, queue: i32, body: &[u8], properties: &str) -> Command {
        self.call(send_request(topic, queue, body, properties))
    }

    /// Sends and returns the queue offset that the message got.
    pub fn send_ok(&mut self, topic: &str, queue: i32, body: &[u8], properties: &str) -> i64 {
        let answer = self.send(topic, queue, body, properties);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        answer.header::<SendMessageResponseHeader>().expect("a header").queue_offset
    }

    pub fn pull(&mut self, pull: Pull) -> (Command, Option<i64>) {
        let answer = self.call(pull.command());
        let next = answer.header::<PullMessageResponseHeader>().ok().map(|header| header.next_begin_offset);
        (answer, next)
    }
}

/// A request to send one message, in the form official clients use.
pub fn send_request(topic: &str, queue: i32, body: &[u8], properties: &str) -> Command {
    let mut command = Command::request(request::SEND_MESSAGE_V2).with_body(Bytes::copy_from_slice(body));
    send_header(topic, queue, properties).encode_v2(&mut command.fields);
    command
}

pub fn send_header<'a>(topic: &'a str, queue_id: i32, properties: &'a str) -> SendMessageRequestHeader<'a> {
    SendMessageRequestHeader {
        producer_group: "P",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(properties),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        batch: Some(false),
        max_reconsume_times: None,
        broker_name: None,
        rpc: RpcFields::default(),
    }
}

/// A pull with a subscription of its own, so that no heartbeat has to come before it.
#[derive(Clone)]
pub struct Pull<'a> {
    pub topic: &'a str,
    pub queue: i32,
    pub offset: i64,
    pub tags: &'a str,
    /// Milliseconds to wait for a message; 0: answer at once.
    pub suspend: i64,
}

impl<'a> Pull<'a> {
    pub fn of(topic: &'a str, queue: i32, offset: i64) -> Self {
        Self { topic, queue, offset, tags: "*", suspend: 0 }
    }

    pub fn command(&self) -> Command {
        const SUSPEND: i32 = 2;
        const SUBSCRIPTION: i32 = 4;
        let sys_flag = if self.suspend > 0 { SUSPEND | SUBSCRIPTION } else { SUBSCRIPTION };
        Command::request(request::PULL_MESSAGE).with_header(&PullMessageRequestHeader {
            consumer_group: "C",
            topic: self.topic,
            lite_topic: None,
            queue_id: self.queue,
            queue_offset: self.offset,
            max_msg_nums: 32,
            sys_flag,
            commit_offset: 0,
            suspend_timeout_millis: self.suspend,
            subscription: Some(self.tags),
            sub_version: 0,
            expression_type: Some("TAG"),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
            rpc: RpcFields::default(),
        })
    }
}

//! Starting and stopping servers.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_base::clock::{Clock, SystemClock};
use apogee_base::disk::{Disk, RealDisk};
use apogee_base::settings::{Settings, properties};
use apogee_broker::Node;
use apogee_broker::settings::BrokerSettings;
use apogee_controller::{Controller, ControllerSettings};
use apogee_namesrv::NameServer;
use apogee_namesrv::settings::NamesrvSettings;
use clap::CommandFactory;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::address::{check_reachable, default_host};
use crate::args::{BrokerArgs, Cli, Command, Common, NamesrvArgs, ServerArgs};
use crate::cluster::Cluster;
use crate::controller::{self, Embedded, read_both, read_changes};
use crate::doctor;
use crate::logging::Logging;
use crate::outside::{HealthPort, Outside};

/// How long connections may take to accept what is queued for them when a server stops.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long the ready line waits for a name server to know the broker.
const REGISTRATION: Duration = Duration::from_secs(3);

/// Whatever a server could not start or stop for; its text is shown to the operator.
pub type Failure = Box<dyn std::error::Error>;

/// Does what the command line says; a server does it until it is told to stop.
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    match command {
        Command::Server(args) => server(args, started)?,
        Command::Namesrv(args) => namesrv(args, started)?,
        Command::Broker(args) => broker(args, started)?,
        Command::Controller(args) => crate::controller::controller(args, started)?,
        Command::Admin(args) => return Ok(apogee_cli::run(args, false)),
        Command::MqAdmin(args) => return Ok(apogee_cli::run(args, true)),
        Command::Doctor(args) => return Ok(apogee_doctor::run(args)),
        Command::Top(args) => return Ok(apogee_cli::top(args)),
        Command::Produce(args) => return Ok(apogee_cli::produce(args)),
        Command::Consume(args) => return Ok(apogee_cli::consume(args)),
        Command::Bench(args) => return Ok(apogee_bench::run(args)),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "apogee", &mut script);
            print(&String::from_utf8_lossy(&script))?;
        }
        Command::Pages { folder } => crate::pages::write(&mut Cli::command(), &folder)
            .map_err(|error| format!("cannot write pages to {}: {error}", folder.display()))?,
        Command::Store { command } => return crate::store::run(command),
    }
    Ok(ExitCode::SUCCESS)
}

fn server(args: ServerArgs, started: Instant) -> Result<(), Failure> {
    let data = args.data.clone();
    let cluster = Cluster::of(&args)?;
    let bind = args.bind.or_else(|| cluster.as_ref()?.bind()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut controller = cluster.as_ref().map(|cluster| cluster.controller(&args, bind));
    let mut namesrv = NamesrvSettings {
        listen_port: args.namesrv_port,
        bind_address: bind.to_string(),
        kv_config_path: text(&data.join("namesrv/kvConfig.json")),
        config_store_path: text(&data.join("namesrv/namesrv.properties")),
        ..NamesrvSettings::default()
    };
    let mut broker = BrokerSettings {
        listen_port: args.broker_port,
        bind_address: bind.to_string(),
        store_path_root_dir: text(&data.join("store")),
        ..match &cluster {
            Some(cluster) => cluster.broker(&args),
            None => BrokerSettings {
                broker_ip1: args.host.unwrap_or_else(|| default_host().to_string()),
                ..BrokerSettings::default()
            },
        }
    };
    // A key may belong to one of the servers, or to several.
    let mut without_effect = Vec::new();
    for pair in &args.common.set {
        let of_controller = controller.as_mut().map(|controller| controller.set_pair(pair));
        let mut set = [Some(broker.set_pair(pair)), Some(namesrv.set_pair(pair)), of_controller].into_iter().flatten();
        let first = set.next().unwrap_or(Ok(None));
        let best = set.fold(first, |best, next| match (&best, &next) {
            (Ok(None), _) | (_, Err(_)) | (Ok(Some(_)), Ok(Some(_))) => best,
            _ => next,
        });
        without_effect.extend(best?);
    }
    // What was changed while the name server ran has the last word; the broker does so by itself.
    let changed = PathBuf::from(&namesrv.config_store_path);
    if changed.exists() {
        namesrv.read_file(&changed)?;
    }
    if let Some(controller) = &mut controller {
        read_changes(controller, None)?;
    }
    if namesrv.enable_controller_in_namesrv {
        return Err("enableControllerInNamesrv is for `apogee namesrv`; here, --cluster gives a controller".into());
    }
    if args.common.print_settings {
        let controller = controller.map(|controller| controller.describe()).unwrap_or_default();
        return print(&format!("{}{controller}{}", namesrv.describe(), broker.describe()));
    }
    let logging = Logging::start();
    report_without_effect(&without_effect);
    runtime()?.block_on(async {
        let signals = Signals::listen()?;
        let (clock, disk) = seams();
        disk.create_folder(&data.join("namesrv"))
            .map_err(|error| format!("cannot create {}: {error}", data.display()))?;
        let namesrv = NameServer::start(namesrv, Arc::clone(&clock), Arc::clone(&disk))?;
        let namesrv_port = namesrv.local_addr().port();
        let controller = match controller {
            Some(settings) => Some(Controller::start(settings, Arc::clone(&clock), Arc::clone(&disk)).await?),
            None => {
                let reachable = if bind.is_unspecified() { "127.0.0.1".to_owned() } else { bind.to_string() };
                broker.namesrv_addr = format!("{reachable}:{namesrv_port}");
                None
            }
        };
        let broker = Node::start(broker, clock, disk, memory())?;
        let outside = open_outside(&broker, names(None, &args.common, METRICS_PORT), Some(&namesrv)).await?;
        broker.wait_registered(REGISTRATION).await;
        let (host, _) = broker.advertised().rsplit_once(':').unwrap_or((broker.advertised(), ""));
        let role = broker.role().map(|role| format!(" ({role})")).unwrap_or_default();
        ready(&format!(
            "apogee server ready in {} ms: name server {host}:{namesrv_port}, broker {}{role}, data {}",
            started.elapsed().as_millis(),
            broker.advertised(),
            data.display(),
        ))?;
        tracing::info!("clients are told to reach the broker at {}; --host ADDRESS changes that", broker.advertised());
        tokio::spawn(check_reachable(broker.advertised().to_owned()));
        tokio::spawn(doctor::attend(broker.observer(), dialled(broker.local_addr()), Some(namesrv.asked())));
        let levels = || vec![namesrv.settings().log_level, broker.settings().log_level];
        let elects = controller.as_ref().map(Controller::health);
        let meanwhile = async {
            tokio::join!(logging.follow(levels), controller::send_clients_on(&namesrv, elects));
        };
        signals.wait_for_end(meanwhile).await;
        outside.stop().await;
        broker.stop(PATIENCE).await?;
        if let Some(controller) = controller {
            controller.stop(PATIENCE).await;
        }
        namesrv.stop(PATIENCE).await;
        Ok(())
    })
}

fn namesrv(args: NamesrvArgs, started: Instant) -> Result<(), Failure> {
    let mut settings = NamesrvSettings::default();
    if let Some(file) = &args.config {
        settings.config_store_path = text(file);
    }
    let mut elects = ControllerSettings::default();
    let without_effect = read_both(&mut settings, &mut elects, args.config.as_deref(), &args.common)?;
    if let Some(port) = args.port {
        settings.listen_port = port;
    }
    // What was changed while it ran may be kept elsewhere than in the file of the command line.
    let changed = PathBuf::from(&settings.config_store_path);
    if args.config.as_ref() != Some(&changed) && changed.exists() {
        settings.read_file(&changed)?;
    }
    let has_controller = settings.enable_controller_in_namesrv;
    if has_controller {
        read_changes(&mut elects, None)?;
    }
    if args.common.print_settings {
        let elects = if has_controller { elects.describe() } else { String::new() };
        return print(&format!("{}{elects}", settings.describe()));
    }
    let logging = Logging::start();
    report_without_effect(&without_effect);
    runtime()?.block_on(async {
        let signals = Signals::listen()?;
        let (clock, disk) = seams();
        if let Some(folder) = Path::new(&settings.kv_config_path).parent() {
            disk.create_folder(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        }
        let namesrv = NameServer::start(settings, Arc::clone(&clock), Arc::clone(&disk))?;
        let controller = Embedded::start(has_controller, elects, clock, disk).await?;
        let settings = namesrv.settings();
        let pages = controller.pages(vec![namesrv.health()]);
        let endpoint = controller::outside(&settings.bind_address, settings.health_port, pages).await?;
        ready(&format!(
            "apogee namesrv ready in {} ms: name server {}{}",
            started.elapsed().as_millis(),
            namesrv.local_addr(),
            controller.shown()
        ))?;
        tokio::spawn(doctor::attend_names(namesrv.asked()));
        let levels = || std::iter::once(namesrv.settings().log_level).chain(controller.log_level()).collect();
        let elects = controller.health();
        let meanwhile = async {
            tokio::join!(logging.follow(levels), controller::send_clients_on(&namesrv, elects));
        };
        signals.wait_for_end(meanwhile).await;
        drop(endpoint);
        controller.stop().await;
        namesrv.stop(PATIENCE).await;
        Ok(())
    })
}

fn broker(args: BrokerArgs, started: Instant) -> Result<(), Failure> {
    let mut settings = BrokerSettings::default();
    let without_effect = read(&mut settings, args.config.as_deref(), &args.common)?;
    // As upstream has it, what the command line and the environment say counts for less than the file.
    if let Some(addresses) = args.namesrv.filter(|_| settings.namesrv_addr.is_empty()) {
        settings.namesrv_addr = addresses;
    }
    if settings.broker_ip1.is_empty() {
        settings.broker_ip1 = default_host().to_string();
    }
    if args.common.print_settings {
        return print(&settings.describe());
    }
    let logging = Logging::start();
    report_without_effect(&without_effect);
    if settings.namesrv_addr.is_empty() {
        tracing::warn!(
            "no name server is set: no client will find this broker; give one with -n ADDRESS or namesrvAddr"
        );
    }
    runtime()?.block_on(async {
        let signals = Signals::listen()?;
        let (clock, disk) = seams();
        let (name, store) = (settings.broker_name.clone(), settings.store_path_root_dir.clone());
        let registers = !settings.namesrv_addr.is_empty();
        let broker = Node::start(settings, clock, disk, memory())?;
        let is_asked_for = names(args.config.as_deref(), &args.common, METRICS_PORT);
        let outside = open_outside(&broker, is_asked_for, None).await?;
        if registers {
            broker.wait_registered(REGISTRATION).await;
        }
        let milliseconds = started.elapsed().as_millis();
        ready(&format!(
            "apogee broker ready in {milliseconds} ms: broker {} ({name}), data {store}",
            broker.advertised()
        ))?;
        tokio::spawn(check_reachable(broker.advertised().to_owned()));
        tokio::spawn(doctor::attend(broker.observer(), dialled(broker.local_addr()), None));
        signals.wait_for_end(logging.follow(|| vec![broker.settings().log_level])).await;
        outside.stop().await;
        broker.stop(PATIENCE).await?;
        Ok(())
    })
}

/// The key whose default gives way to whoever has the port.
const METRICS_PORT: &str = "metricsPromExporterPort";

/// Whether the operator has set a key himself.
fn names(file: Option<&Path>, common: &Common, key: &str) -> bool {
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let in_file = properties::parse(&text).iter().any(|entry| entry.key == key);
    in_file || common.set.iter().any(|pair| pair.split_once('=').is_some_and(|(name, _)| name.trim() == key))
}

/// Lets out what others than clients see of a broker, and of the name server in the same process.
async fn open_outside(broker: &Node, is_asked_for: bool, namesrv: Option<&NameServer>) -> Result<Outside, Failure> {
    let (settings, mut outside) = (broker.settings(), Outside::default());
    outside.metrics(&settings, is_asked_for, broker.metrics(), broker.health()).await?;
    let mut health = vec![broker.health()];
    health.extend(namesrv.map(NameServer::health));
    outside.health(HealthPort { port: settings.health_port, bind: &settings.bind_address, health }).await?;
    Ok(outside)
}

/// Reads the file, then what the command line sets. Returns keys without effect.
pub fn read<S: Settings>(settings: &mut S, file: Option<&Path>, common: &Common) -> Result<Vec<String>, Failure> {
    let mut without_effect = match file {
        Some(file) => settings.read_file(file)?,
        None => Vec::new(),
    };
    for pair in &common.set {
        without_effect.extend(settings.set_pair(pair)?);
    }
    Ok(without_effect)
}

/// Where this process reaches a server of its own.
fn dialled(listens: SocketAddr) -> String {
    let loopback: IpAddr = if listens.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let ip = if listens.ip().is_unspecified() { loopback } else { listens.ip() };
    SocketAddr::new(ip, listens.port()).to_string()
}

pub fn report_without_effect(keys: &[String]) {
    if !keys.is_empty() {
        tracing::warn!(
            keys = keys.join(", "),
            "these settings have no effect here: what they set does not exist in Apogee"
        );
    }
}

pub fn seams() -> (Arc<dyn Clock>, Arc<dyn Disk>) {
    (Arc::new(SystemClock), Arc::new(RealDisk))
}

/// Bytes of memory that this process may use: the machine's, or what its control group allows.
fn memory() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let limit = number("/sys/fs/cgroup/memory.max").unwrap_or(u64::MAX);
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
        kilobytes.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    });
    // A system that doesn't tell is taken for a small one.
    machine.unwrap_or(4 << 30).min(limit)
}

pub fn runtime() -> Result<Runtime, Failure> {
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(workers).enable_all().thread_name("apogee").build()?)
}

/// Says on standard output that clients can come.
pub fn ready(line: &str) -> Result<(), Failure> {
    print(&format!("{line}\n"))
}

pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Nobody reads: not a reason to end.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// What an operator ends a server by. Listened to before the server says that it is ready: who waits for
/// that word may send one right after it.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Result<Self, Failure> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn one(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for SIGTERM or SIGINT, and does `meanwhile`; a second one ends the process at once.
    pub async fn wait_for_end(mut self, meanwhile: impl Future<Output = ()>) {
        tokio::select! {
            () = self.one() => {}
            () = meanwhile => self.one().await,
        }
        tracing::info!("stopping; a second signal ends it at once");
        tokio::spawn(async move {
            self.one().await;
            std::process::exit(130);
        });
    }
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

//! Starting a controller, alone or inside a name server.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_base::settings::{Effect, LogLevel, SettingError, Settings, properties};
use apogee_controller::{Controller, ControllerSettings};
use apogee_exporter::http::{Endpoint, Pages};
use apogee_namesrv::{NameServer, NamesrvSettings};
use apogee_telemetry::Health;

use crate::args::{Common, ControllerArgs};
use crate::logging::Logging;
use crate::run::{Failure, PATIENCE, Signals, print, read, ready, report_without_effect, runtime, seams, text};

/// Seconds without a leader of the controllers after which a machine counts as cut off; an election takes less.
const ALONE_S: u64 = 3;
/// Seconds between two times that clients are sent on.
const SENT_ON_EVERY_S: u64 = 10;

/// `apogee controller`, until it is told to stop.
pub fn controller(args: ControllerArgs, started: Instant) -> Result<(), Failure> {
    let mut settings = ControllerSettings::default();
    if let Some(file) = &args.config {
        settings.config_store_path = text(file);
    }
    let without_effect = read(&mut settings, args.config.as_deref(), &args.common)?;
    read_changes(&mut settings, args.config.as_deref())?;
    if args.common.print_settings {
        return print(&settings.describe());
    }
    let logging = Logging::start();
    report_without_effect(&without_effect);
    runtime()?.block_on(async {
        let signals = Signals::listen()?;
        let (clock, disk) = seams();
        let store = settings.store_path();
        let controller = Controller::start(settings, clock, disk).await?;
        let settings = controller.settings().clone();
        let pages = Pages { metrics: Some(controller.metrics()), health: vec![controller.health()] };
        let endpoint = outside(&settings.bind_address, settings.health_port, pages).await?;
        ready(&format!(
            "apogee controller ready in {} ms: controller {}, data {store}",
            started.elapsed().as_millis(),
            controller.local_addr(),
        ))?;
        signals.wait_for_end(logging.follow(|| vec![controller.settings().log_level])).await;
        drop(endpoint);
        controller.stop(PATIENCE).await;
        Ok(())
    })
}

/// The controller of a name server, where its settings want one.
pub struct Embedded(Option<Controller>);

impl Embedded {
    /// Starts it if `enableControllerInNamesrv` says so.
    pub async fn start(
        wanted: bool,
        settings: ControllerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, Failure> {
        Ok(Self(if wanted { Some(Controller::start(settings, clock, disk).await?) } else { None }))
    }

    /// Where it listens, for the ready line.
    pub fn shown(&self) -> String {
        self.0.as_ref().map(|controller| format!(", controller {}", controller.local_addr())).unwrap_or_default()
    }

    /// What is logged of it.
    pub fn log_level(&self) -> Option<LogLevel> {
        self.0.as_ref().map(|controller| controller.settings().log_level)
    }

    /// Its metrics, and its health beside that of the others.
    pub fn pages(&self, others: Vec<Arc<dyn Health>>) -> Pages {
        let health = others.into_iter().chain(self.health()).collect();
        Pages { metrics: self.0.as_ref().map(Controller::metrics), health }
    }

    /// What tells whether it is well.
    pub fn health(&self) -> Option<Arc<dyn Health>> {
        self.0.as_ref().map(Controller::health)
    }

    /// Ends it.
    pub async fn stop(self) {
        if let Some(controller) = self.0 {
            controller.stop(PATIENCE).await;
        }
    }
}

/// Sends the clients of a name server to the others while `elects`, the controller beside it, hears no leader: this
/// machine is cut off from most others then, and who it knows as a master may be one no longer. Clients stay with a name
/// server as long as it answers, so their connections are closed. Whoever reaches no other one comes back, and is served.
pub async fn send_clients_on(namesrv: &NameServer, elects: Option<Arc<dyn Health>>) {
    let Some(elects) = elects else { return };
    let mut alone_s = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Err(reason) = elects.ready() else {
            alone_s = 0;
            continue;
        };
        alone_s += 1;
        if alone_s % SENT_ON_EVERY_S == ALONE_S {
            let clients = namesrv.send_on("this name server is cut off from the controllers");
            tracing::warn!(
                clients,
                reason,
                "what this name server knows may be old: its clients are to ask another one"
            );
        }
    }
}

/// Reads a name server's file and command line, which may name keys of the controller inside it, too. Returns keys
/// without effect.
pub fn read_both(
    namesrv: &mut NamesrvSettings,
    controller: &mut ControllerSettings,
    file: Option<&Path>,
    common: &Common,
) -> Result<Vec<String>, Failure> {
    let mut without_effect = Vec::new();
    if let Some(file) = file {
        let shown = file.display();
        let content = std::fs::read_to_string(file).map_err(|error| format!("{shown}: cannot be read: {error}"))?;
        for entry in properties::parse(&content) {
            let set = set_both(namesrv, controller, &entry.key, &entry.value);
            if set.map_err(|error| format!("{shown}:{}: {error}", entry.line))? == Effect::None {
                without_effect.push(entry.key);
            }
        }
    }
    for pair in &common.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| SettingError::NotAPair(pair.clone()))?;
        if set_both(namesrv, controller, key.trim(), value.trim())? == Effect::None {
            without_effect.push(key.trim().to_owned());
        }
    }
    Ok(without_effect)
}

/// A key may belong to the name server, to the controller, or to both.
fn set_both(
    namesrv: &mut NamesrvSettings,
    controller: &mut ControllerSettings,
    key: &str,
    value: &str,
) -> Result<Effect, SettingError> {
    // Each keeps changes in a file of its own.
    if key == "configStorePath" {
        return namesrv.set(key, value);
    }
    match (namesrv.set(key, value), controller.set(key, value)) {
        (Ok(Effect::Set), _) | (_, Ok(Effect::Set)) => Ok(Effect::Set),
        (Ok(Effect::None), _) | (_, Ok(Effect::None)) => Ok(Effect::None),
        // The one that knows the key says what is wrong with its value.
        (Err(SettingError::Unknown { .. }), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// What was changed while a controller ran, where that is kept elsewhere than in the file of the command line.
pub fn read_changes(settings: &mut ControllerSettings, file: Option<&Path>) -> Result<(), Failure> {
    let changed = Path::new(&settings.config_store_path).to_owned();
    if file != Some(&changed) && changed.exists() {
        settings.read_file(&changed)?;
    }
    Ok(())
}

/// Answers about metrics and health over HTTP, where a port is set.
pub async fn outside(bind: &str, port: u16, pages: Pages) -> Result<Option<Endpoint>, Failure> {
    if port == 0 {
        return Ok(None);
    }
    let ip: IpAddr = bind.parse().map_err(|_| format!("bindAddress={bind} is not an IP address"))?;
    let address = SocketAddr::new(ip, port);
    let endpoint = Endpoint::start(address, pages).await.map_err(|error| {
        format!("cannot listen on {address} for questions about health: {error}; choose another healthPort")
    })?;
    tracing::info!("health is at http://{}/health/ready", endpoint.local_addr());
    Ok(Some(endpoint))
}

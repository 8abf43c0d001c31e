//! One run of a scenario: a cluster, its clients, and the steps that scenarios are made of.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_base::rng::Rng;
use apogee_client::Client;
use apogee_client::admin::TopicConfig;
use tokio::runtime::Runtime;

use super::clients::{Clients, TOPICS};
use super::history::{History, Sending};
use super::host::Host;
use super::network::{CLIENTS, Link, Network, address};
use super::shape::Shape;
use crate::disk::compile;
use crate::error::Failure;

/// How long a cluster may take to take its first message.
const STARTS: Duration = Duration::from_secs(90);
/// After that long without a write in spite of what is promised, a run goes on without having seen one.
const GIVES_UP: Duration = Duration::from_secs(60);
/// How often conditions are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The cluster.
    pub shape: Shape,
    /// Settings of its servers.
    pub settings: Vec<String>,
    /// Bytes of a small disk of each host's own; `None`: the machine's.
    pub disk: Option<u64>,
    /// The server's binary.
    pub binary: PathBuf,
    /// Where the hosts keep what they have.
    pub folder: PathBuf,
    /// Decides everything that chance decides.
    pub seed: u64,
    /// How long nothing is broken between two faults.
    pub calm: Duration,
    /// The network and the clocks are the machine's own, which cost less and cannot be broken.
    pub measures: bool,
}

/// How long it took until a write was promised again.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// After what.
    pub fault: String,
    /// By any client.
    pub any: Duration,
    /// By a client with default settings.
    pub usual: Duration,
}

/// A run under way.
pub struct Run {
    /// As asked for.
    pub setup: Setup,
    /// Chance.
    pub rng: Rng,
    /// The hosts, the first of which has number 1; their processes end before the network does.
    pub hosts: Vec<Host>,
    /// What connects them.
    pub network: Network,
    /// What the clients were told.
    pub history: Arc<History>,
    /// What was done, with the time.
    pub events: Vec<String>,
    /// How long it took until writes went on.
    pub recoveries: Vec<Recovery>,
    /// What must not be.
    pub findings: Vec<String>,
    /// Figures of the scenario's own.
    pub figures: Vec<(String, String)>,
    /// While they work.
    clients: Option<Clients>,
    /// What is asynchronous runs on it.
    pub runtime: Runtime,
}

impl Run {
    /// Makes the network and the hosts; nothing runs on them yet.
    pub fn new(setup: Setup) -> Result<Self, Failure> {
        std::fs::create_dir_all(&setup.folder).map_err(Failure::at(&setup.folder))?;
        let count = setup.shape.hosts();
        let network = match setup.measures {
            true => Network::without_faults(count)?,
            false => Network::start(&setup.folder, count, setup.seed)?,
        };
        let clock = setup.folder.join("clock.so");
        if !setup.measures {
            compile("clock.c", &clock, &["-shared", "-fPIC"])?;
        }
        let mut hosts = Vec::new();
        for number in 1..=count {
            let data = setup.folder.join(super::network::name(number)).join("data");
            let program = setup.shape.program(&setup.binary, number, &data, &setup.settings);
            let disk = setup.disk.filter(|_| setup.shape.brokers().contains(&number));
            hosts.push(Host::new(number, &setup.folder, program, disk, Some(&*clock).filter(|_| !setup.measures))?);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self {
            rng: Rng::new(setup.seed),
            network,
            hosts,
            history: Arc::default(),
            events: Vec::new(),
            recoveries: Vec::new(),
            findings: Vec::new(),
            figures: Vec::new(),
            clients: None,
            runtime,
            setup,
        })
    }

    /// Starts the cluster and waits until it takes messages; then starts the clients.
    pub fn begin(setup: Setup) -> Result<Self, Failure> {
        let mut run = Self::new(setup)?;
        for number in 1..=run.hosts.len() {
            run.start(number)?;
        }
        run.make_topics()?;
        let (names, seed) = (run.setup.shape.name_servers(), run.setup.seed);
        let clients = run.runtime.block_on(async { Clients::start(&names, &run.history, seed) });
        run.clients = Some(clients.map_err(|error| Failure::Tool(error.to_string()))?);
        run.event("the clients begin");
        let since = run.history.now();
        if !run.wait(STARTS, |run| run.history.first_promise_after(since, |_| true).is_some()) {
            let failure = format!("no message was taken within {} s; {}", STARTS.as_secs(), run.why());
            return Err(Failure::Start(failure));
        }
        run.in_step()?;
        run.know_topics()?;
        Ok(run)
    }

    /// Notes what is done.
    pub fn event(&mut self, text: impl Into<String>) {
        let text = format!("{:>9.3} s  {}", self.history.now().as_secs_f64(), text.into());
        if std::env::var_os("CLUSTER_TRACE").is_some() {
            crate::session::note(&format!("  {text}\n"));
        }
        self.events.push(text);
    }

    /// Notes what must not be.
    pub fn finding(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.event(format!("FINDING: {text}"));
        self.findings.push(text);
    }

    /// Notes a figure of the scenario's own.
    pub fn figure(&mut self, name: &str, value: impl Into<String>) {
        self.figures.push((name.to_owned(), value.into()));
    }

    /// The host with a number.
    pub fn host(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number - 1]
    }

    /// Waits for a condition; whether it came.
    pub fn wait(&mut self, patience: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if holds(self) {
                return true;
            }
            self.look_for_ends();
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A process that ended by itself is a finding.
    fn look_for_ends(&mut self) {
        for number in 1..=self.hosts.len() {
            if let Some(status) = self.host(number).ended() {
                self.finding(format!("the process of host {number} ended by itself: {status}"));
            }
        }
    }

    /// Makes the topics, once there is somebody to make them.
    pub fn make_topics(&mut self) -> Result<(), Failure> {
        let names = self.setup.shape.name_servers();
        let runtime = self.runtime.handle().clone();
        let mut last = String::new();
        let made = self.wait(STARTS, |_| {
            let topics = TOPICS.map(|(topic, queues)| TopicConfig::new(topic, queues));
            let made = runtime.block_on(async {
                let client = Client::new(&names).map_err(|error| error.to_string())?;
                let made = async {
                    client.admin().put_topics(&topics).await?;
                    Ok::<_, apogee_client::Error>(client.admin().topic_configs(TOPICS[0].0).await?.len())
                };
                let made = made.await;
                client.close().await;
                match made {
                    Ok(0) => Err("there is no master yet".to_owned()),
                    made => made.map_err(|error| error.to_string()),
                }
            });
            last = made.as_ref().err().cloned().unwrap_or_default();
            made.is_ok()
        });
        match made {
            true => Ok(()),
            false => Err(Failure::Start(format!("no topic was made within {} s: {last}", STARTS.as_secs()))),
        }
    }

    /// Nothing is broken for about the time that is asked for.
    pub fn calm(&mut self) {
        let most = self.setup.calm.as_millis() as u64;
        self.pass(most / 2..most.max(1) * 3 / 2);
    }

    /// So many milliseconds pass.
    pub fn pass(&mut self, ms: Range<u64>) {
        let patience = Duration::from_millis(self.rng.within(ms));
        self.wait(patience, |_| false);
    }

    /// The host that promised last.
    pub fn master(&mut self) -> usize {
        let sends = self.history.sends();
        let last = sends.iter().filter(|sending| sending.acknowledged().is_some()).max_by_key(|sending| sending.ended);
        let by = last.and_then(|sending| match sending.outcome {
            super::history::Outcome::Acknowledged { by, .. } => Some(by),
            _ => None,
        });
        self.setup.shape.brokers().find(|host| Some(address(*host)) == by).unwrap_or(1)
    }

    /// A host with a broker that is not the one given.
    pub fn other_than(&mut self, host: usize) -> usize {
        let others: Vec<usize> = self.setup.shape.brokers().filter(|other| *other != host).collect();
        *self.rng.pick(&others)
    }

    /// Starts a host's process.
    pub fn start(&mut self, host: usize) -> Result<(), Failure> {
        self.event(format!("host {host} is started"));
        self.host(host).start()
    }

    /// `kill -9` of a host's process.
    pub fn kill(&mut self, host: usize) {
        self.event(format!("host {host} is killed"));
        self.host(host).kill();
    }

    /// A pause of a host's process.
    pub fn pause(&mut self, host: usize) {
        self.event(format!("host {host} is paused"));
        self.host(host).pause();
    }

    /// Its end.
    pub fn resume(&mut self, host: usize) {
        self.event(format!("host {host} goes on"));
        self.host(host).resume();
    }

    /// Cuts what goes from each of some hosts to each of others.
    pub fn cut(&mut self, from: &[usize], to: &[usize]) -> Result<(), Failure> {
        self.event(format!("packets from hosts {from:?} to {to:?} are lost"));
        for &from in from {
            for &to in to {
                self.network.set(from, to, Link { is_cut: true, ..Link::default() })?;
            }
        }
        Ok(())
    }

    /// The network is whole and quick again.
    pub fn mend(&mut self) -> Result<(), Failure> {
        self.event("the network is whole");
        self.network.set_all(Link::default())
    }

    /// All hosts but one, and not the clients.
    pub fn rest(&self, host: usize) -> Vec<usize> {
        (CLIENTS + 1..=self.hosts.len()).filter(|other| *other != host).collect()
    }

    /// Waits until a message is promised that is sent from now on, to a client of each kind; notes how long it takes. Longer
    /// than `within` for either is a finding.
    pub fn writes_go_on(&mut self, after: &str, within: Duration) {
        let since = self.history.now();
        self.writes_go_on_since(since, after, within);
    }

    /// The same from a moment on.
    pub fn writes_go_on_since(&mut self, since: Duration, after: &str, within: Duration) {
        let usual = |sending: &Sending| sending.copies > 1;
        self.wait(GIVES_UP.max(within), |run| {
            run.history.first_promise_after(since, usual).is_some()
                && run.history.first_promise_after(since, |sending| !usual(sending)).is_some()
        });
        let first = |only: &dyn Fn(&Sending) -> bool| self.history.first_promise_after(since, only);
        let (any, usual) = (first(&|_| true), first(&usual));
        match (any, usual) {
            (Some((any, by)), Some((usual, _))) => {
                let (any, usual) = (any - since, usual - since);
                let text = format!("writes go on with {by} after {} ms", any.as_millis());
                self.event(format!("{text}, with default settings after {} ms", usual.as_millis()));
                if usual > within {
                    let ms = [any, usual, within].map(|time| time.as_millis());
                    let text =
                        format!("after {after} writes went on after {} ms, with default settings {}", ms[0], ms[1]);
                    self.finding(format!("{text}; {} are promised", ms[2]));
                }
                self.recoveries.push(Recovery { fault: after.to_owned(), any, usual });
            }
            _ => {
                let why = self.why();
                self.finding(format!("after {after} writes did not go on within {} s; {why}", GIVES_UP.as_secs()));
            }
        }
    }

    /// What the clients were told last, for people.
    fn why(&self) -> String {
        let mut refusals: Vec<_> = self.history.refusals().into_iter().collect();
        refusals.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = refusals.iter().take(3).map(|(reason, count)| format!("{count} times {reason}"));
        format!("sends failed: {}", shown.collect::<Vec<_>>().join("; "))
    }

    /// Ends or starts the producers.
    pub fn produce(&mut self, on: bool) {
        self.event(if on { "the producers begin again" } else { "the producers end" });
        let Some(clients) = &mut self.clients else { return };
        self.runtime.block_on(async {
            match on {
                true => clients.produce(),
                false => clients.stop_producing().await,
            }
        });
    }

    /// Has the consumers leave, and the producers end.
    pub fn leave(&mut self) {
        if let Some(clients) = self.clients.take() {
            self.runtime.block_on(clients.leave());
        }
    }
}

//! What commands stand on: the administration, and whoever sits in front of it.

use std::io::{self, BufRead, IsTerminal, Write};

use apogee_client::{Admin, Client, ClientBuilder};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::CliError;
use crate::report::Report;
use crate::run;

/// How a question about what cannot be undone is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// With yes.
    Given,
    /// By whoever sits at the terminal; without one it is not given.
    Asked,
    /// By whoever sits at the terminal; without one it is given: upstream's scripts know no `--yes`.
    Scripts,
}

/// What a command is given.
pub struct Context {
    /// All brokers and name servers.
    pub admin: Admin,
    builder: ClientBuilder,
    client: Client,
    consent: Consent,
    json: bool,
}

impl Context {
    pub(crate) fn new(builder: ClientBuilder, consent: Consent, json: bool) -> Result<Self, CliError> {
        let client = builder.clone().build()?;
        Ok(Self { admin: client.admin(), builder, client, consent, json })
    }

    /// For commands that send or read messages.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// For commands whose client is to be otherwise, in what `change` does to it.
    pub fn client_with(&self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client, CliError> {
        Ok(change(self.builder.clone()).build()?)
    }

    /// The administration of the broker at an address, or of a cluster's brokers.
    pub fn targets(&self, broker: Option<&str>, cluster: Option<&str>) -> Result<Admin, CliError> {
        match (broker, cluster) {
            (Some(broker), _) => Ok(self.admin.broker(broker.trim())),
            (None, Some(cluster)) => Ok(self.admin.cluster(cluster.trim())),
            (None, None) => Err(CliError::usage("give a broker (-b ADDRESS) or a cluster (-c NAME)")),
        }
    }

    /// Prints what was found so far: for commands that go on until they are ended, or find more than memory holds. JSON
    /// takes one line each time.
    pub fn tell(&self, report: &Report) -> Result<(), CliError> {
        run::tell(report, self.json)
    }

    /// Asks before what cannot be undone; `what` says what is lost, and where.
    pub async fn confirm(&self, what: &str) -> Result<(), CliError> {
        let refused = || CliError::Unconfirmed(what.to_owned());
        match self.consent {
            Consent::Given => return Ok(()),
            _ if io::stdin().is_terminal() => {}
            Consent::Scripts => return Ok(()),
            Consent::Asked => return Err(refused()),
        }
        let question = format!("{what}. Go on? [y/N] ");
        let answer = tokio::task::spawn_blocking(move || -> io::Result<String> {
            let mut answer = String::new();
            let mut error = io::stderr();
            error.write_all(question.as_bytes())?;
            error.flush()?;
            io::stdin().lock().read_line(&mut answer)?;
            Ok(answer)
        });
        let answer = answer.await.map_err(|_| refused())?.map_err(|source| CliError::file("cannot ask", source))?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(refused()),
        }
    }

    /// A bar of so many steps for what takes long; on no terminal there is none.
    pub fn progress(&self, steps: u64, what: &'static str) -> ProgressBar {
        let target = match self.json {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left");
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_message(what);
        style.map_or(bar.clone(), |style| bar.with_style(style))
    }
}

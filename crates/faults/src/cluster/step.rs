//! Who is in step, and who leads the controllers.

use std::time::Duration;

use apogee_client::Client;
use apogee_client::admin::Controllers;

use super::clients::TOPICS;
use super::network::address;
use super::run::Run;
use super::shape::BROKER;
use crate::error::Failure;

/// How long machines may take to be in step again.
const IN_STEP: Duration = Duration::from_secs(90);
impl Run {
    /// Waits until every machine that has a broker has what is promised, by the controllers' word or by the log's ends.
    pub fn in_step(&mut self) -> Result<(), Failure> {
        let hosts = self.hosts.iter().filter(|host| self.setup.shape.brokers().contains(&host.number));
        let up = hosts.filter(|host| host.is_up()).count();
        let (mut last, mut goal) = (String::new(), None);
        let began = self.history.now();
        let reached = self.wait(IN_STEP, |run| match run.members(&mut goal) {
            Ok(members) if members >= up => true,
            Ok(members) => {
                last = format!("{members} of {up} are");
                false
            }
            Err(error) => {
                last = error;
                false
            }
        });
        match reached {
            true => {
                let took = self.history.now() - began;
                self.event(format!("all {up} are in step after {} ms", took.as_millis()));
            }
            false => self.finding(format!("not all are in step within {} s: {last}", IN_STEP.as_secs())),
        }
        Ok(())
    }

    /// How many brokers are in step; without controllers, how many have what the first `goal` found.
    fn members(&self, goal: &mut Option<i64>) -> Result<usize, String> {
        let Some(controllers) = self.setup.shape.controllers() else {
            let brokers = self.setup.shape.brokers().filter(|number| self.hosts[number - 1].is_up());
            let ends: Vec<i64> = brokers.map(|number| self.log_end(number)).collect::<Result<_, _>>()?;
            let goal = *goal.get_or_insert(ends.iter().max().copied().unwrap_or(0));
            return Ok(ends.iter().filter(|end| **end >= goal).count());
        };
        self.ask(&controllers, async |controllers| {
            let replicas = controllers.replicas(&[BROKER]).await?;
            Ok(replicas.get(BROKER).map_or(0, |set| set.in_step.len()))
        })
    }

    /// The host that leads the controllers.
    pub fn controller_leader(&mut self) -> Result<usize, Failure> {
        let controllers = self.setup.shape.controllers().unwrap_or_default();
        let told = self.ask(&controllers, async |controllers| Ok(controllers.state().await?.leader_address));
        let leader = told.map_err(Failure::Start)?;
        let host = (1..=self.hosts.len()).find(|host| leader.split(':').next() == Some(&address(*host).to_string()));
        host.ok_or_else(|| Failure::Start(format!("the controllers say that {leader:?} leads them")))
    }

    /// Asks one controller after the other, until one answers: each may be cut off.
    fn ask<T>(
        &self,
        controllers: &str,
        question: impl AsyncFn(Controllers) -> Result<T, apogee_client::Error>,
    ) -> Result<T, String> {
        self.runtime.block_on(async {
            let client = Client::new(self.setup.shape.name_servers()).map_err(|error| error.to_string())?;
            let mut last = String::new();
            for controller in controllers.split(';') {
                let asked = async { question(client.admin().controllers(controller)?).await };
                match asked.await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = error.to_string(),
                }
            }
            Err(last)
        })
    }

    /// Waits until each broker knows the topics: slaves take them over every few seconds.
    pub fn know_topics(&mut self) -> Result<(), Failure> {
        let known = self.wait(IN_STEP, |run| {
            run.setup.shape.brokers().all(|number| {
                let broker = run.hosts[number - 1].broker().to_string();
                run.runtime.block_on(async {
                    let Ok(client) = Client::new(run.setup.shape.name_servers()) else { return false };
                    let admin = client.admin().broker(broker);
                    let mut knows = true;
                    for (topic, _) in TOPICS {
                        knows &= admin.topic_configs(topic).await.is_ok_and(|configs| !configs.is_empty());
                    }
                    knows
                })
            })
        });
        match known {
            true => Ok(()),
            false => Err(Failure::Start(format!("not all brokers know the topics after {} s", IN_STEP.as_secs()))),
        }
    }

    /// Where the log of a host's broker ends, in bytes.
    pub fn log_end(&self, number: usize) -> Result<i64, String> {
        let broker = self.hosts[number - 1].broker().to_string();
        let asked = self.runtime.block_on(async {
            let client = Client::new(self.setup.shape.name_servers())?;
            client.admin().broker(broker).broker_states().await
        });
        let states = asked.map_err(|error| format!("host {number}: {error}"))?;
        states.first().map(|state| state.value.log_end).ok_or_else(|| format!("host {number} tells nothing"))
    }
}

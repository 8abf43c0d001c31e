//! What is counted of a controller.

use std::sync::atomic::Ordering;

use apogee_telemetry::{Family, Metrics, Scope};

use crate::server::Shared;

impl Metrics for Shared {
    fn scopes(&self) -> Vec<Scope> {
        let now_ms = self.clock.now_ms();
        let (mut without_master, mut alive, mut replicas, mut in_sync) = (0, 0, 0, 0);
        let groups = self.state.read();
        for group in groups.iter() {
            without_master += usize::from(group.master().is_none());
            alive += self.liveness().alive(group.name(), now_ms).len();
            replicas += group.replicas().count();
            in_sync += group.in_sync().len();
        }
        let (term, applied) = self.consensus.progress();
        let gauge = |name: &'static str, help, number: f64| Family::gauge(name, "", help).of(number);
        let leads = f64::from(u8::from(self.consensus.is_leader()));
        let families = vec![
            gauge("apogee_controller_leads", "1: this controller leads the others.", leads),
            gauge("apogee_controller_term", "Terms of leadership there were.", term as f64),
            gauge("apogee_controller_applied", "Entries of the replicated log that are applied.", applied as f64),
            gauge("apogee_controller_groups", "Groups of brokers.", groups.len() as f64),
            gauge("apogee_controller_groups_without_master", "Groups that have no master.", without_master as f64),
            gauge("apogee_controller_replicas", "Brokers that are registered.", replicas as f64),
            gauge("apogee_controller_replicas_in_sync", "Brokers in the in-sync set of their group.", in_sync as f64),
            gauge("apogee_controller_replicas_alive", "Brokers that this controller hears from.", alive as f64),
            Family::counter("apogee_controller_elections_total", "Masters that were elected, by this controller.")
                .of(self.elections.load(Ordering::Relaxed) as f64),
        ];
        vec![Scope { name: "apogee-controller", labels: Vec::new(), families }]
    }

    fn exporter_scopes(&self) -> Vec<Scope> {
        Vec::new()
    }
}

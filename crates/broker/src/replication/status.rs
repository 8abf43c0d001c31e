//! What can be seen of copies.

use std::collections::BTreeSet;

use apogee_replication::{Meter, Progress, SlaveStatus};
use apogee_wire::bodies::{HAClientRuntimeInfo, HAConnectionRuntimeInfo, HARuntimeInfo};

use super::{Replication, master};
use crate::broker::Broker;

/// What a slave knows of its copy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copying {
    /// Where the master sends its log from, while there is a connection.
    master: Option<String>,
    /// Whether the master has sent anything on it: then it is of the same group.
    is_accepted: bool,
    /// End of the master's log, as far as it was told.
    known_end: i64,
    /// When the master was last heard, in milliseconds since 1970.
    heard_ms: i64,
    meter: Meter,
}

impl Copying {
    pub(super) fn begins(&mut self, master: &str, end: i64) {
        self.master = Some(master.to_owned());
        self.known_end = self.known_end.max(end);
    }

    pub(super) fn ends(&mut self) {
        (self.master, self.is_accepted) = (None, false);
    }

    pub(super) fn came(&mut self, now_ms: i64, offset: i64, bytes: usize) {
        self.known_end = self.known_end.max(offset + bytes as i64);
        self.meter.add(now_ms, bytes as i64);
        self.heard(now_ms);
    }

    pub(super) fn heard(&mut self, now_ms: i64) {
        (self.is_accepted, self.heard_ms) = (true, now_ms);
    }
}

impl Broker {
    /// Why a slave serves no pulls, if so.
    pub(crate) fn unread(&self) -> Option<&'static str> {
        if !self.settings.load().slave_read_enable {
            return Some("slaveReadEnable=false on this slave");
        }
        let why = "this slave has just started, and its master has not confirmed yet what is in its log";
        (!self.replication.is_sure()).then_some(why)
    }

    /// A master's slaves, and how far they are; none on a slave.
    pub(crate) fn slaves(&self) -> Vec<SlaveStatus> {
        let Some(mut leader) = self.replication.leader() else { return Vec::new() };
        leader.written(master::safe_end(self));
        leader.slaves(self.now())
    }

    /// How a slave's copy goes on, as far as the slave knows; `None` on a master, and while no master sends its log.
    pub(crate) fn copy_progress(&self) -> Option<Progress> {
        if self.replication.leader.is_some() {
            return None;
        }
        let copying = self.replication.copying();
        if !copying.is_accepted {
            return None;
        }
        let behind = (copying.known_end - self.store.log_max_offset()).max(0);
        Some(Progress { behind, rate: copying.meter.rate(self.now()) })
    }

    /// The replicas in sync that the controller is known to have; `None` without one, and on a slave.
    pub(crate) fn in_sync(&self) -> Option<BTreeSet<i64>> {
        self.replication.leader()?.in_sync().cloned()
    }

    /// The answer to `GET_BROKER_HA_STATUS`.
    pub(crate) fn ha_status(&self) -> HARuntimeInfo {
        let master = self.replication.leader.is_some();
        let end = self.store.log_max_offset();
        let slaves = self.slaves();
        let in_sync = slaves.iter().filter(|slave| slave.in_sync).count();
        HARuntimeInfo {
            master,
            master_commit_log_max_offset: if master { end } else { 0 },
            in_sync_slave_nums: in_sync as i32,
            ha_connection_info: slaves.iter().map(connection).collect(),
            ha_client_runtime_info: if master {
                HAClientRuntimeInfo::default()
            } else {
                self.replication.client(end, self.now())
            },
        }
    }
}

impl Replication {
    fn client(&self, end: i64, now_ms: i64) -> HAClientRuntimeInfo {
        let copying = self.copying();
        HAClientRuntimeInfo {
            last_read_timestamp: copying.heard_ms,
            last_write_timestamp: copying.heard_ms,
            master_addr: copying.master.clone(),
            master_flush_offset: copying.known_end,
            max_offset: end,
            transferred_byte_in_second: copying.meter.rate(now_ms),
        }
    }
}

fn connection(slave: &SlaveStatus) -> HAConnectionRuntimeInfo {
    HAConnectionRuntimeInfo {
        addr: Some(slave.address.clone()),
        diff: slave.progress.behind,
        in_sync: slave.in_sync,
        slave_ack_offset: slave.acked,
        transfer_from_where: slave.acked.max(slave.from),
        transferred_byte_in_second: slave.progress.rate,
    }
}

//! How much groups read of messages that are on disk only (upstream `ColdDataCgCtrService`).
//!
//! A group that goes through old messages takes the disk from all others. What each may read in a window of time
//! has a limit where an administrator set one, and for all groups where `coldDataFlowControlEnable` is on. A pull
//! beyond it is held until the next window.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::names;
use apogee_wire::bodies::{ColdDataFlow, ColdDataFlowCtrInfo};
use apogee_wire::codes::response;

use crate::durable::DurableTable;
use crate::error::BrokerError;
use crate::persist::{JsonFile, PersistError};
use crate::settings::BrokerSettings;

/// Milliseconds of a window.
const WINDOW_MS: i64 = 5_000;
/// A group that has read nothing cold for so many milliseconds is forgotten.
const FORGET_MS: i64 = 60_000;
/// Groups that may have a limit of their own.
const MOST_LIMITS: usize = 10_000;

/// See the module.
pub(crate) struct ColdReads {
    /// Bytes in a window by group, as administrators set them.
    limits: DurableTable<BTreeMap<String, i64>>,
    flows: Mutex<Flows>,
}

#[derive(Default)]
struct Flows {
    /// When the window began.
    began_ms: i64,
    /// Bytes of all groups in the window.
    total: i64,
    groups: HashMap<String, ColdDataFlow>,
}

impl ColdReads {
    /// Reads the limits.
    pub fn open(file: JsonFile) -> Result<Self, PersistError> {
        let limits = DurableTable::open(file, "groups read cold messages without limits of their own")?;
        Ok(Self { limits, flows: Mutex::default() })
    }

    /// Sets limits of groups, in bytes of a window; all or none.
    pub fn limit(&self, given: impl IntoIterator<Item = (String, String)>) -> Result<(), BrokerError> {
        let refused = |remark: String| BrokerError::new(response::INVALID_PARAMETER, remark);
        let checked = given.into_iter().map(|(group, limit)| {
            names::check_group(&group)?;
            let bytes = limit.trim().parse().ok().filter(|bytes| *bytes > 0);
            let error = || refused(format!("limit `{limit}` of group[{group}] is no number of bytes above 0"));
            Ok((group.clone(), bytes.ok_or_else(error)?))
        });
        let checked = checked.collect::<Result<Vec<(String, i64)>, BrokerError>>()?;
        self.limits.change(|limits| {
            limits.extend(checked);
            if limits.len() > MOST_LIMITS {
                return Err(refused(format!("{MOST_LIMITS} groups have limits of cold reads: remove some before")));
            }
            Ok(())
        })
    }

    /// Takes a group's own limit away.
    pub fn unlimit(&self, group: &str) -> Result<(), BrokerError> {
        self.limits.change(|limits| {
            limits.remove(group);
            Ok(())
        })
    }

    /// Lets a group read up to so many bytes, or says how long to wait before it is asked again.
    pub fn begin(&self, group: &str, bytes: i64, settings: &BrokerSettings, now_ms: i64) -> Result<(), Duration> {
        let for_all = settings.cold_data_flow_control_enable && !names::is_system_group(group);
        let own = self.limits.get().get(group).copied();
        let limit = own.or(for_all.then_some(settings.cg_cold_read_threshold));
        let total = for_all.then_some(settings.global_cold_read_threshold);
        let mut flows = self.flows(now_ms);
        let read = flows.groups.get(group).map_or(0, |flow| flow.cold_acc);
        if limit.is_some_and(|limit| read >= limit) || total.is_some_and(|limit| flows.total >= limit) {
            return Err(Duration::from_millis((flows.began_ms + WINDOW_MS - now_ms).clamp(1, WINDOW_MS) as u64));
        }
        flows.add(group, bytes, now_ms);
        Ok(())
    }

    /// What was read is known: so many bytes more, or less, than were asked for.
    pub fn end(&self, group: &str, difference: i64, now_ms: i64) {
        self.flows(now_ms).add(group, difference, now_ms);
    }

    /// What was read in this window, and the limits.
    pub fn info(&self, settings: &BrokerSettings, now_ms: i64) -> ColdDataFlowCtrInfo {
        let flows = self.flows(now_ms);
        ColdDataFlowCtrInfo {
            runtime_table: flows.groups.iter().map(|(group, flow)| (group.clone(), flow.clone())).collect(),
            config_table: BTreeMap::clone(&self.limits.get()),
            cg_cold_read_threshold: settings.cg_cold_read_threshold,
            global_cold_read_threshold: settings.global_cold_read_threshold,
            global_acc: flows.total,
        }
    }

    /// The window of a time; a new one when the last is over.
    fn flows(&self, now_ms: i64) -> MutexGuard<'_, Flows> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is put back begins one, too.
        if !(flows.began_ms..flows.began_ms + WINDOW_MS).contains(&now_ms) {
            (flows.began_ms, flows.total) = (now_ms, 0);
            flows.groups.retain(|_, flow| now_ms - flow.last_cold_read_time_mills < FORGET_MS);
            flows.groups.values_mut().for_each(|flow| flow.cold_acc = 0);
        }
        flows
    }
}

impl Flows {
    fn add(&mut self, group: &str, bytes: i64, now_ms: i64) {
        let flow = match self.groups.get_mut(group) {
            Some(flow) => flow,
            None => {
                let new = ColdDataFlow { create_time_mills: now_ms, ..ColdDataFlow::default() };
                self.groups.entry(group.to_owned()).or_insert(new)
            }
        };
        flow.last_cold_read_time_mills = now_ms;
        // What is given back may have been taken in the window before.
        flow.cold_acc = flow.cold_acc.saturating_add(bytes).max(0);
        self.total = self.total.saturating_add(bytes).max(0);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use apogee_base::disk::{Disk, SimDisk};

    use super::*;

    fn open(disk: &SimDisk) -> ColdReads {
        disk.create_folder(Path::new("/c")).unwrap();
        ColdReads::open(JsonFile::new(Arc::new(disk.clone()), "/c/l.json".into())).unwrap()
    }

    fn limits(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(group, limit)| ((*group).to_owned(), (*limit).to_owned())).collect()
    }

    #[test]
    fn a_group_reads_what_its_limit_allows_in_each_window() {
        let (disk, settings) = (SimDisk::new(1), BrokerSettings::default());
        let cold = open(&disk);
        cold.limit(limits(&[("G", "100")])).unwrap();
        disk.crash();
        let cold = open(&disk);
        for now in [10_000, 15_000] {
            assert_eq!(cold.begin("G", 90, &settings, now), Ok(()));
            cold.end("G", -60, now);
            assert_eq!(cold.begin("G", 90, &settings, now + 1), Ok(()), "30 were read");
            assert_eq!(cold.begin("G", 90, &settings, now + 1_000), Err(Duration::from_secs(4)));
            assert_eq!(cold.begin("H", 1_000_000, &settings, now + 1_000), Ok(()), "nobody limits the others");
        }
        let info = cold.info(&settings, 16_000);
        assert_eq!((info.runtime_table["G"].cold_acc, info.global_acc), (120, 1_000_120));
        assert_eq!(info.runtime_table["G"].create_time_mills, 10_000);
        cold.unlimit("G").unwrap();
        assert_eq!(cold.begin("G", 1, &settings, 16_001), Ok(()));
        assert!(cold.info(&settings, 80_000).runtime_table.is_empty(), "they have read nothing for a minute");
    }

    #[test]
    fn where_it_is_on_all_groups_are_limited_alone_and_together() {
        let settings = BrokerSettings {
            cold_data_flow_control_enable: true,
            cg_cold_read_threshold: 100,
            global_cold_read_threshold: 150,
            ..BrokerSettings::default()
        };
        let cold = open(&SimDisk::new(1));
        cold.limit(limits(&[("Own", "1000")])).unwrap();
        assert!(cold.begin("G", 100, &settings, 10_000).is_ok());
        assert!(cold.begin("G", 1, &settings, 10_000).is_err());
        assert!(cold.begin("H", 50, &settings, 10_000).is_ok());
        assert!(cold.begin("H", 1, &settings, 10_000).is_err(), "50 of its 100, but 150 of all");
        assert!(cold.begin("Own", 1, &settings, 10_000).is_err());
        assert!(cold.begin("CID_RMQ_SYS_TRANS", 1, &settings, 10_000).is_ok(), "the broker's own are not held");
        assert!(cold.begin("H", 1, &settings, 9_000).is_ok(), "the clock was put back: another window");
    }

    #[test]
    fn limits_that_make_no_sense_are_refused_as_a_whole() {
        let cold = open(&SimDisk::new(1));
        for wrong in [("G", "0"), ("G", "-1"), ("G", "many"), ("G", ""), ("a b", "1")] {
            assert!(cold.limit(limits(&[("Right", "1"), wrong])).is_err(), "{wrong:?}");
        }
        assert!(cold.info(&BrokerSettings::default(), 1).config_table.is_empty());
    }
}

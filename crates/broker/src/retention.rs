//! Old files of the log: when they go, and what is done as the disk fills up (upstream
//! `CleanCommitLogService`).
//!
//! A file is expired when all its messages are older than `fileReservedTime`. Expired files go at the
//! hour of `deleteWhen`, when an administrator asks for it, and at any time while the disk is used
//! above `diskMaxUsedSpaceRatio`. What is not expired goes only where `cleanFileForciblyEnable` allows
//! it and only while the disk is used above `diskSpaceCleanForciblyRatio`. That, and that messages are
//! refused above `diskSpaceWarningLevelRatio`, needs the room to be less than a few files of the log, too.
//!
//! Invariant: what still waits in the log, for its time or for a decision, is never removed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use apogee_base::date::Date;
use apogee_base::disk::Space;
use apogee_base::settings::{SettingError, Value};
use apogee_store::{Removal, StoreError, new_beginning};

use crate::bell::Bell;
use crate::broker::Broker;
use crate::life::Stage;
use crate::settings::BrokerSettings;

/// How often it is looked how full the disk is.
const LOOK: Duration = Duration::from_secs(1);

/// With room for so many files of the log no message is refused, and none removed that is not expired.
const SPARE_FILES: u64 = 4;

/// Hours of the day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours(u32);

impl Hours {
    /// The hour `hour` of each day, 0 to 23.
    pub const fn at(hour: u32) -> Self {
        Self(1 << hour)
    }

    fn contain(self, now_ms: i64) -> bool {
        self.0 & 1 << Date::of(now_ms).hour != 0
    }
}

impl Value for Hours {
    fn read(key: &'static str, text: &str) -> Result<Self, SettingError> {
        let hour = |hour: &str| hour.trim().parse::<u32>().ok().filter(|hour| *hour < 24);
        let mut hours = text.split(';').filter(|part| !part.trim().is_empty()).map(hour);
        let hours = hours.try_fold(0, |hours, hour| Some(hours | 1 << hour?)).filter(|hours| *hours != 0);
        hours.map(Self).ok_or_else(|| SettingError::Invalid {
            key,
            value: text.to_owned(),
            reason: "accepted are hours of the day, 00 to 23, separated by semicolons".to_owned(),
        })
    }
    fn print(&self) -> String {
        let hours = (0..24).filter(|hour| self.0 & 1 << hour != 0);
        hours.map(|hour| format!("{hour:02}")).collect::<Vec<_>>().join(";")
    }
}

/// How full the disk is, by the limits that are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Enough,
    /// Expired files go at any time.
    Short,
    /// Others go, too, if that is allowed.
    VeryShort,
    /// No message is taken.
    Full,
}

/// See the module.
pub(crate) struct Retention {
    /// Rung when an administrator wants expired files to go, and at the end.
    pub bell: Bell,
    by_hand: AtomicBool,
    state: Mutex<State>,
}

struct State {
    level: Level,
    /// When files were last looked at.
    looked_ms: i64,
    /// What was said to hold files.
    told_held: i64,
}

/// Who needs a part of the log.
struct Held {
    from: i64,
    by: &'static str,
}

impl Default for Retention {
    fn default() -> Self {
        let state = Mutex::new(State { level: Level::Enough, looked_ms: 0, told_held: -1 });
        Self { bell: Bell::default(), by_hand: AtomicBool::new(false), state }
    }
}

impl Retention {
    /// Expired files shall go now, whatever the hour.
    pub fn by_hand(&self) {
        self.by_hand.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Looks at the disk and removes what may go. Returns how long to sleep until the next look.
    pub fn step(&self, broker: &Broker) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (settings, now) = (broker.settings.load(), broker.now());
        let space = match broker.store.disk_space() {
            Ok(space) => space,
            Err(error) => {
                tracing::error!(%error, "how full the disk is cannot be found out; trying again: see whether it is mounted");
                return LOOK;
            }
        };
        let (used, level) = (space.usage() * 100.0, level(&settings, space));
        let refused = (level == Level::Full).then(|| (used as u16, settings.disk_space_warning_level_ratio as u16));
        broker.store.refuse_for_room(refused);
        let rises = level > state.level;
        if level != state.level {
            tell(&settings, level, used);
            state.level = level;
        }
        let by_hand = self.by_hand.swap(false, Ordering::AcqRel);
        let is_time = settings.delete_when.contain(now) || level >= Level::Short;
        let waited = now.abs_diff(state.looked_ms) >= settings.clean_resource_interval;
        if by_hand || rises || (is_time && waited) {
            state.looked_ms = now;
            let forcibly = level >= Level::VeryShort && settings.clean_file_forcibly_enable;
            let removed = remove(broker, &settings, forcibly, by_hand, &mut state);
            let removed = removed.unwrap_or_else(|error| {
                tracing::error!(%error, "old files of the log cannot be removed; trying again: see who owns them and whether the disk failed");
                0
            });
            if removed == 0 && rises {
                let reserved = settings.file_reserved_time;
                tracing::warn!(
                    "no log file can be removed: none is older than fileReservedTime={reserved} hours and free of \
                     messages that wait; give the disk room, or keep messages for less time"
                );
            }
            if removed > 0 && level >= Level::Short {
                return Duration::ZERO;
            }
        }
        LOOK.min(Duration::from_millis(settings.clean_resource_interval))
    }
}

fn level(settings: &BrokerSettings, space: Space) -> Level {
    let used = space.usage() * 100.0;
    // A tenth of a large disk is much room: what costs messages waits until it is little.
    if used > settings.disk_max_used_space_ratio as f64
        && space.free / settings.mapped_file_size_commit_log >= SPARE_FILES
    {
        return Level::Short;
    }
    let limits = [
        (settings.disk_space_warning_level_ratio, Level::Full),
        (settings.disk_space_clean_forcibly_ratio, Level::VeryShort),
        (settings.disk_max_used_space_ratio, Level::Short),
    ];
    limits.into_iter().find(|(limit, _)| used > *limit as f64).map_or(Level::Enough, |(_, level)| level)
}

fn tell(settings: &BrokerSettings, level: Level, used: f64) {
    let used = format!("{used:.1} %");
    let forcibly = settings.clean_file_forcibly_enable;
    match level {
        Level::Enough => tracing::info!(used, "the disk of the store has room again"),
        Level::Short => tracing::warn!(
            used,
            limit = settings.disk_max_used_space_ratio,
            "the disk of the store gets full (diskMaxUsedSpaceRatio): expired log files are removed at any hour"
        ),
        Level::VeryShort if forcibly => tracing::warn!(
            used,
            limit = settings.disk_space_clean_forcibly_ratio,
            "the disk of the store is nearly full (diskSpaceCleanForciblyRatio): the oldest log files are removed, \
             expired or not (cleanFileForciblyEnable)"
        ),
        Level::VeryShort => tracing::warn!(
            used,
            limit = settings.disk_space_clean_forcibly_ratio,
            "the disk of the store is nearly full (diskSpaceCleanForciblyRatio): expired log files are removed; \
             others are kept (cleanFileForciblyEnable=false)"
        ),
        Level::Full => tracing::warn!(
            used,
            limit = settings.disk_space_warning_level_ratio,
            "the disk of the store is full (diskSpaceWarningLevelRatio): messages are refused until there is room; \
             reading goes on"
        ),
    }
}

/// Removes what may go: a batch, or with `by_hand` all. Returns how many files of the log.
fn remove(
    broker: &Broker,
    settings: &BrokerSettings,
    forcibly: bool,
    by_hand: bool,
    state: &mut State,
) -> Result<usize, StoreError> {
    let store = &broker.store;
    let expired = Removal::StoredBefore(broker.now().saturating_sub(settings.file_reserved_ms()));
    let most = if by_hand { usize::MAX } else { settings.delete_file_batch_max };
    // The oldest of what is not expired: one file, and then it is looked whether there is room.
    let wanted = |held: i64| {
        let segments = store.log_segments();
        let beginning = new_beginning(&segments, expired, held, most);
        beginning.or_else(|| forcibly.then(|| new_beginning(&segments, Removal::Any, held, 1)).flatten())
    };
    let Some(wish) = wanted(i64::MAX) else { return Ok(0) };
    let held = held(broker, wish);
    if let Some(held) = held.as_ref().filter(|held| held.from != state.told_held) {
        tracing::warn!(
            by = held.by,
            offset = held.from,
            "old log files are kept, as messages in them still wait to be delivered, decided or copied"
        );
        state.told_held = held.from;
    }
    let removable = store.removable_to(wish)?.min(held.map_or(i64::MAX, |held| held.from));
    let Some(to) = wanted(removable) else { return Ok(0) };
    let mut removed = 0;
    while !broker.life.is_at(Stage::Ended)
        && let Some(begin) = store.remove_oldest(to)?
    {
        removed += 1;
        tracing::info!(forcibly, begin, "the oldest log file is removed; where the log begins now");
        if begin < to {
            std::thread::sleep(Duration::from_millis(settings.delete_commit_log_files_interval));
        }
    }
    if removed > 0 {
        store.trim()?;
        broker.remove_expired_light()?;
    }
    Ok(removed)
}

/// What of the log before `end` is still needed.
fn held(broker: &Broker, end: i64) -> Option<Held> {
    let Broker { store, schedule, transactions, timer, pop, compaction, topics, .. } = broker;
    let holders = [
        schedule.held_from(store).map(|from| Held { from, by: "delay levels" }),
        transactions.held_from(store).map(|from| Held { from, by: "transactions" }),
        timer.held_from(store, end).map(|from| Held { from, by: "timer" }),
        pop.held_from(broker).map(|from| Held { from, by: "popped messages" }),
        compaction.held_from(store, topics).map(|from| Held { from, by: "compaction" }),
    ];
    holders.into_iter().flatten().filter(|held| held.from < end).min_by_key(|held| held.from)
}

#[cfg(test)]
mod tests;

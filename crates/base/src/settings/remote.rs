//! Changes that a peer asks for while a server runs.

use std::collections::BTreeMap;

use super::{Change, Effect, Known, SettingError, Settings, properties};

/// Why a change that a peer asks for is refused, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// It names a path, an address or a command, or stands on the black list.
    #[error("Can not update config in black list. `{0}` can only be changed in the configuration file, by a restart.")]
    Closed(String),
    /// It would take effect at the next start.
    #[error("`{0}` takes effect at the start only: set it in the configuration file and restart the server")]
    AtStart(String),
    /// The request's body cannot be read.
    #[error("the request's body is no text of key=value lines")]
    NoText,
    /// An unknown key, or a value that is not accepted.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// One setting that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Upstream's key.
    pub key: String,
    /// Its value up to now.
    pub before: String,
    /// Its value from now on.
    pub after: String,
}

/// A change that can be made.
#[derive(Debug, Clone)]
pub struct Asked<S> {
    /// The settings as they will be.
    pub settings: S,
    /// What changes; tools that send back all that they read change only this.
    pub changed: Vec<Changed>,
    /// Keys of upstream's that were given another value, and mean nothing here.
    pub without_effect: Vec<String>,
}

impl<S: Settings> Asked<S> {
    /// Checks `key=value` lines, all or none. Closed are keys that are [`Change::Local`] or in [`Settings::local`],
    /// whatever `black_list` (keys, separated by semicolons) says: a peer that could set a path could have files
    /// written where it likes.
    pub fn read(current: &S, black_list: &str, lines: &[u8]) -> Result<Self, ChangeRefused> {
        let entries = properties::parse(std::str::from_utf8(lines).map_err(|_| ChangeRefused::NoText)?);
        let is_listed = |key: &str| black_list.split(';').any(|listed| listed.trim() == key);
        if let Some(entry) = entries.iter().find(|entry| is_listed(&entry.key) || is_local::<S>(&entry.key)) {
            return Err(ChangeRefused::Closed(entry.key.clone()));
        }
        let told = current.all();
        let mut asked = Self { settings: current.clone(), changed: Vec::new(), without_effect: Vec::new() };
        for entry in entries {
            let before = asked.settings.get(&entry.key);
            let effect = asked.settings.set(&entry.key, &entry.value)?;
            let after = asked.settings.get(&entry.key);
            if effect == Effect::None {
                if told.get(&*entry.key).is_none_or(|value| *value != entry.value) {
                    asked.without_effect.push(entry.key);
                }
                continue;
            }
            let (Some(before), Some(after)) = (before, after) else { continue };
            if before == after {
                continue;
            }
            if moment::<S>(&entry.key) != Some(Change::Live) {
                return Err(ChangeRefused::AtStart(entry.key));
            }
            asked.changed.push(Changed { key: entry.key, before, after });
        }
        Ok(asked)
    }

    /// What changes, as lines of a property file have it.
    pub fn lines(&self) -> BTreeMap<String, String> {
        self.changed.iter().map(|changed| (changed.key.clone(), changed.after.clone())).collect()
    }

    /// What is to be said of keys that mean nothing here; `None` when there are none.
    pub fn remark(&self) -> Option<String> {
        let keys = self.without_effect.join(", ");
        (!keys.is_empty()).then(|| format!("without effect, as what they set does not exist here: {keys}"))
    }
}

/// When a change of a setting takes effect; `None` for a key without one.
pub fn moment<S: Settings>(key: &str) -> Option<Change> {
    match S::known(key)? {
        Known::Setting(setting) => Some(setting.change),
        Known::Inert | Known::Pinned(_) => None,
    }
}

fn is_local<S: Settings>(key: &str) -> bool {
    moment::<S>(key) == Some(Change::Local) || S::local().contains(&key)
}

/// For the tests of each table: whatever names a path, an address, a class or a command cannot be set by a peer, also
/// where it means nothing here.
#[doc(hidden)]
pub fn assert_nothing_local_is_open<S: Settings>() {
    const NAMES: [&str; 12] = [
        "path",
        "home",
        "host",
        "bindaddress",
        "brokerip",
        "plugin",
        "provider",
        "strategy",
        "command",
        "port",
        "whitelist",
        "target",
    ];
    let fixed = S::inert().iter().chain(S::pinned()).map(|(key, _)| *key);
    let told = S::default().all();
    let open = |key: &&str| {
        let lower = key.to_lowercase();
        // Support, import and the like are no ports.
        let names = NAMES.iter().any(|name| lower.contains(name) && (*name != "port" || lower.ends_with("port")));
        let is_switch = told.get(key).is_some_and(|value| matches!(&**value, "true" | "false"));
        names && !is_switch && !is_local::<S>(key) && moment::<S>(key) != Some(Change::Restart)
    };
    let open: Vec<_> = S::table().iter().map(|setting| setting.key).chain(fixed).filter(open).collect();
    assert!(open.is_empty(), "a peer may set {open:?}");
}

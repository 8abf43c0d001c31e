//! Typed settings, declared once, read from property files with upstream's keys.
//!
//! A [`settings!`](crate::settings!) table declares each setting with its documentation, key,
//! default, when a change takes effect and its bounds. Of upstream's other keys a table knows
//! which are *inert* (they mean nothing here: accepted, reported once) and which are *pinned*
//! (they would change behaviour that this version doesn't have: any other value is refused).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::nearest::nearest;

mod kept;
pub mod properties;
pub mod remote;
mod value;

pub use kept::{ChangeError, KeptSettings};
pub use value::{LogLevel, Value};

/// When a changed setting takes effect, and who may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At once, also by remote request.
    Live,
    /// At the next start.
    Restart,
    /// At the next start, and never by remote request: it names a path or an address.
    Local,
}

/// One row of a table.
#[derive(Debug)]
pub struct Setting {
    /// Upstream's key.
    pub key: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// When a change takes effect.
    pub change: Change,
    /// The range of accepted numbers as it is written in the table; empty where there is none.
    pub bounds: &'static str,
}

/// What a table says of a key.
#[derive(Debug, Clone, Copy)]
pub enum Known {
    /// A setting.
    Setting(&'static Setting),
    /// A key of upstream without a meaning here.
    Inert,
    /// A key whose one accepted value is given.
    Pinned(&'static str),
}

/// Why a setting was refused; the text says which key and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Nobody knows the key.
    #[error("unknown setting `{key}`{}", suggestion(.nearest))]
    Unknown {
        /// As written.
        key: String,
        /// A known key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// The value is not of the setting's type, or out of bounds.
    #[error("`{key}={value}`: {reason}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// As written.
        value: String,
        /// What is accepted.
        reason: String,
    },
    /// A value that asks for what this version cannot do.
    #[error("`{key}={value}` asks for something this version does not support; only `{key}={accepted}` is accepted")]
    Unsupported {
        /// The setting.
        key: &'static str,
        /// As written.
        value: String,
        /// The one value.
        accepted: &'static str,
    },
    /// `--set` without an equals sign.
    #[error("`{0}` is not of the form key=value")]
    NotAPair(String),
    /// A file that cannot be read, or a line of it that was refused.
    #[error("{file}: {reason}")]
    File {
        /// Path, with the line where there is one.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}

/// A table of settings; implemented by [`settings!`](crate::settings!).
pub trait Settings: Default + Clone + Send + Sync + 'static {
    /// All settings, in the order of their declaration.
    fn table() -> &'static [Setting];
    /// Keys without a meaning here, and upstream's default.
    fn inert() -> &'static [(&'static str, &'static str)];
    /// Keys of which one value is accepted.
    fn pinned() -> &'static [(&'static str, &'static str)];
    /// Keys besides those that are [`Change::Local`] that no remote request may set: they name paths, addresses,
    /// classes or commands of upstream's, and mean nothing here.
    fn local() -> &'static [&'static str];
    /// The value of a setting as text.
    fn get(&self, key: &str) -> Option<String>;
    /// Parses and sets; false when the table has no such setting.
    fn put(&mut self, key: &str, value: &str) -> Result<bool, SettingError>;

    /// What is known of a key.
    fn known(key: &str) -> Option<Known> {
        let pair = |pairs: &'static [(&'static str, &'static str)]| pairs.iter().find(|(known, _)| *known == key);
        let setting = Self::table().iter().find(|setting| setting.key == key).map(Known::Setting);
        let pinned = || pair(Self::pinned()).map(|(_, accepted)| Known::Pinned(accepted));
        setting.or_else(pinned).or_else(|| pair(Self::inert()).map(|_| Known::Inert))
    }

    /// Sets a key of a file, a command line or a request. Says whether the key has an effect.
    fn set(&mut self, key: &str, value: &str) -> Result<Effect, SettingError> {
        if self.put(key, value)? {
            return Ok(Effect::Set);
        }
        let pinned = Self::pinned().iter().find(|(known, _)| *known == key);
        if let Some(&(key, accepted)) = pinned {
            let same = value.eq_ignore_ascii_case(accepted);
            let unsupported = || SettingError::Unsupported { key, value: value.to_owned(), accepted };
            return same.then_some(Effect::Set).ok_or_else(unsupported);
        }
        if Self::inert().iter().any(|(known, _)| *known == key) {
            return Ok(Effect::None);
        }
        let keys = Self::table().iter().map(|setting| setting.key);
        let keys = keys.chain(Self::inert().iter().chain(Self::pinned()).map(|(key, _)| *key));
        Err(SettingError::Unknown { key: key.to_owned(), nearest: nearest(key, keys, 3) })
    }

    /// Reads a property file. Returns the keys that have no effect.
    fn read_file(&mut self, path: &Path) -> Result<Vec<String>, SettingError> {
        let error = |file: String, reason: String| SettingError::File { file, reason };
        let text = std::fs::read_to_string(path)
            .map_err(|io| error(path.display().to_string(), format!("cannot be read: {io}")))?;
        let mut without_effect = Vec::new();
        for entry in properties::parse(&text) {
            match self.set(&entry.key, &entry.value) {
                Ok(Effect::Set) => {}
                Ok(Effect::None) => without_effect.push(entry.key),
                Err(refused) => return Err(error(format!("{}:{}", path.display(), entry.line), refused.to_string())),
            }
        }
        Ok(without_effect)
    }

    /// Applies a `key=value` of the command line. Returns the key if it has no effect.
    fn set_pair(&mut self, pair: &str) -> Result<Option<String>, SettingError> {
        let (key, value) = pair.split_once('=').ok_or_else(|| SettingError::NotAPair(pair.to_owned()))?;
        let effect = self.set(key.trim(), value.trim())?;
        Ok((effect == Effect::None).then(|| key.trim().to_owned()))
    }

    /// All settings as `key -> value`, with the pinned and inert keys at their defaults: what tools
    /// that read a peer's configuration expect to find.
    fn all(&self) -> BTreeMap<&'static str, String> {
        let fixed = Self::inert().iter().chain(Self::pinned()).map(|&(key, value)| (key, value.to_owned()));
        let own = Self::table().iter().filter_map(|setting| Some((setting.key, self.get(setting.key)?)));
        fixed.chain(own).collect()
    }

    /// [`Settings::all`] as `key=value` lines.
    fn lines(&self) -> String {
        self.all().into_iter().map(|(key, value)| format!("{key}={}\n", properties::escape(&value))).collect()
    }

    /// The effective settings with their documentation, as a property file.
    fn describe(&self) -> String {
        let mut text = String::new();
        for setting in Self::table() {
            let value = self.get(setting.key).unwrap_or_default();
            text.push_str(&format!("# {}\n{}={}\n", setting.doc.trim(), setting.key, properties::escape(&value)));
        }
        text
    }
}

/// Settings that can be replaced as a whole while others read them. A reader takes no lock and writes to
/// no memory that others read: each message looks at them.
#[derive(Debug, Default)]
pub struct Live<S>(ArcSwap<S>);

/// Settings as they were at some moment.
pub type Current<S> = Guard<Arc<S>>;

impl<S: Settings> Live<S> {
    /// Begins with these.
    pub fn new(settings: S) -> Self {
        Self(ArcSwap::from_pointee(settings))
    }

    /// The settings of now. To be kept for no longer than a request.
    pub fn load(&self) -> Current<S> {
        self.0.load()
    }

    /// Replaces them.
    pub fn store(&self, settings: S) {
        self.0.store(Arc::new(settings));
    }
}

/// Where upstream keeps a file by default: in the home of the user that runs the server.
pub fn at_home(file: &str) -> String {
    format!("{}/{file}", std::env::var("HOME").unwrap_or_else(|_| ".".into()))
}

/// Whether setting a key did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The setting has the value now.
    Set,
    /// The key means nothing here.
    None,
}

/// Declares a table of settings. A row is
/// `/// doc` `field: type = "key", default, change[, bounds];`
/// where `change` is `Live`, `Restart` or `Local` and `bounds` a range of accepted numbers. After the rows stand the pinned
/// keys, the inert ones and, where there are any, those of both that are [`Settings::local`].
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $struct_doc:literal])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $key:literal, $default:expr, $change:ident $(, $bounds:expr)?;)+
        }
        pinned { $($pinned:literal = $accepted:literal),* $(,)? }
        inert: $inert:expr
        $(; local: $local:expr)?
    ) => {
        $(#[doc = $struct_doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $ty,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::settings::Settings for $name {
            fn table() -> &'static [$crate::settings::Setting] {
                &[$($crate::settings::Setting {
                    key: $key,
                    doc: concat!($($doc),+),
                    change: $crate::settings::Change::$change,
                    bounds: concat!("" $(, stringify!($bounds))?),
                },)+]
            }
            fn inert() -> &'static [(&'static str, &'static str)] {
                $inert
            }
            fn pinned() -> &'static [(&'static str, &'static str)] {
                &[$(($pinned, $accepted)),*]
            }
            fn local() -> &'static [&'static str] {
                let named: [&'static [&'static str]; _] = [$($local,)? &[]];
                named[0]
            }
            fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some($crate::settings::Value::print(&self.$field)),)+
                    _ => None,
                }
            }
            fn put(&mut self, key: &str, text: &str) -> Result<bool, $crate::settings::SettingError> {
                match key {
                    $($key => {
                        let value = <$ty as $crate::settings::Value>::read($key, text)?;
                        $($crate::settings::within($key, text, &value, &$bounds)?;)?
                        self.$field = value;
                    })+
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}

/// Checks a number's bounds; used by [`settings!`](crate::settings!).
pub fn within<T, R>(key: &'static str, text: &str, value: &T, bounds: &R) -> Result<(), SettingError>
where
    T: PartialOrd,
    R: std::ops::RangeBounds<T> + std::fmt::Debug,
{
    if bounds.contains(value) {
        return Ok(());
    }
    let reason = format!("out of bounds; accepted is {bounds:?}");
    Err(SettingError::Invalid { key, value: text.to_owned(), reason })
}

/// For the tests of each table: every key stands in one place, and defaults are within their bounds.
#[doc(hidden)]
pub fn assert_consistent<S: Settings>() {
    let fixed = S::inert().iter().chain(S::pinned()).map(|(key, _)| *key);
    let mut keys: Vec<_> = S::table().iter().map(|setting| setting.key).chain(fixed).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "a key stands in two places");
    for setting in S::table() {
        let default = S::default().get(setting.key).unwrap_or_default();
        assert_eq!(S::default().put(setting.key, &default), Ok(true), "{}", setting.key);
    }
}

#[cfg(test)]
mod tests;

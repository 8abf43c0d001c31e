//! Types of settings and their text.

use super::SettingError;

/// A type that a setting can have.
pub trait Value: Sized {
    /// Parses the text given for `key`.
    fn read(key: &'static str, text: &str) -> Result<Self, SettingError>;
    /// The text that [`Value::read`] reads.
    fn print(&self) -> String;
}

fn invalid(key: &'static str, value: &str, reason: &str) -> SettingError {
    SettingError::Invalid { key, value: value.to_owned(), reason: reason.to_owned() }
}

macro_rules! numbers {
    ($($ty:ty),+) => {$(
        impl Value for $ty {
            fn read(key: &'static str, text: &str) -> Result<Self, SettingError> {
                let reason = concat!("not a number of type ", stringify!($ty));
                text.parse().map_err(|_| invalid(key, text, reason))
            }
            fn print(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

numbers!(u16, u32, u64, i32, i64, usize);

impl Value for bool {
    fn read(key: &'static str, text: &str) -> Result<Self, SettingError> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(invalid(key, text, "accepted are true and false")),
        }
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn read(_: &'static str, text: &str) -> Result<Self, SettingError> {
        Ok(text.to_owned())
    }
    fn print(&self) -> String {
        self.clone()
    }
}

/// Declares an enum whose variants are the words a setting accepts.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $crate::settings::Value for $name {
            fn read(key: &'static str, text: &str) -> Result<Self, $crate::settings::SettingError> {
                $(if text.eq_ignore_ascii_case($word) {
                    return Ok(Self::$variant);
                })+
                let words: &[&str] = &[$($word),+];
                let reason = format!("accepted are {}", words.join(", "));
                Err($crate::settings::SettingError::Invalid { key, value: text.to_owned(), reason })
            }
            fn print(&self) -> String {
                match self { $(Self::$variant => $word.to_owned(),)+ }
            }
        }
    };
}

words! {
    /// What is logged, with what is worse.
    pub enum LogLevel {
        /// What was asked for at start.
        AsStarted = "",
        /// What failed.
        Error = "error",
        /// What an operator should look at.
        Warn = "warn",
        /// What an operator may want to know.
        Info = "info",
        /// What helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

//! The JSON bodies of requests and responses, and the content of config files, named as upstream's
//! classes. Members stand in alphabetical order, which is the order upstream writes them in.
//!
//! Every struct reads with defaults for what is absent and ignores what it doesn't know, as peers
//! are older and newer than this one; an `Option` that is `None` is not written.

use serde::{Serialize, de::DeserializeOwned};

pub use crate::json::BodyError;

mod auth;
mod broker;
mod connection;
mod controller;
mod enums;
mod finding;
mod group;
mod heartbeat;
mod lite;
mod lock;
mod mapping;
mod offsets;
mod pop_ack;
mod pop_mode;
mod pop_notes;
mod pop_order;
mod queue;
mod registration;
mod route;
mod running;
mod stats;
mod topic;

pub use auth::*;
pub use broker::*;
pub use connection::*;
pub use controller::*;
pub use enums::*;
pub use finding::*;
pub use group::*;
pub use heartbeat::*;
pub use lite::*;
pub use lock::*;
pub use mapping::*;
pub use offsets::*;
pub use pop_ack::*;
pub use pop_mode::*;
pub use pop_notes::*;
pub use pop_order::*;
pub use queue::*;
pub use registration::*;
pub use route::*;
pub use running::*;
pub use stats::*;
pub use topic::*;

/// What every body can do.
pub trait Body: Serialize + DeserializeOwned {
    /// Reads the dialect or standard JSON, see [`crate::json::from_slice`].
    fn decode(body: &[u8]) -> Result<Self, BodyError> {
        crate::json::from_slice(body)
    }

    /// Writes the dialect, which is what upstream's peers expect unless they ask otherwise.
    fn encode(&self) -> Vec<u8> {
        crate::json::to_vec(self)
    }

    /// Writes strict JSON in ASCII.
    fn encode_standard(&self) -> Vec<u8> {
        crate::json::to_vec_standard(self)
    }

    /// Writes the dialect as config files have it: lines, indented with tabs.
    fn encode_pretty(&self) -> Vec<u8> {
        crate::json::to_vec_pretty(self)
    }
}

impl<T: Serialize + DeserializeOwned> Body for T {}

/// Declares bodies: `field: Type`, or `field: Type = default` where Java's default is not zero,
/// false, empty or absent. The JSON name is the field's in camel case unless `#[serde(rename)]`
/// says otherwise. Fields carry documentation where their names don't say enough.
macro_rules! bodies {
    ($(
        $(#[$meta:meta])*
        $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty $(= $default:expr)?,)+ }
    )+) => {$(
        $(#[$meta])*
        #[allow(missing_docs)]
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::bodies::default_of!($($default)?),)+ }
            }
        }
    )+};
}

macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

use {bodies, default_of};

#[cfg(test)]
mod tests;

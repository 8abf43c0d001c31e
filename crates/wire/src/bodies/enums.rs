//! Enumerations of bodies: written as names; read as names or, from peers that aren't Java, as
//! ordinal numbers.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::command::Language;

macro_rules! enums {
    ($(
        $(#[$meta:meta])*
        $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $wire:literal,)+ }
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub enum $name {
            $($(#[$variant_meta])* #[doc = concat!("On the wire: `", $wire, "`.")] $variant,)+
        }

        impl $name {
            /// All values in upstream's order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $wire,)+
                }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }

            /// Reads a field of a body that peers of a newer version send: a name that this one
            /// doesn't know counts as absent, as upstream's JSON library has it.
            #[allow(dead_code)] // Some are in the bodies of administrators only.
            pub(super) fn if_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
                deserializer.deserialize_option(IfKnown(NameOrOrdinal {
                    what: stringify!($name),
                    by_name: Self::from_name,
                    by_ordinal: |ordinal| Self::ALL.get(ordinal).copied(),
                }))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(NameOrOrdinal {
                    what: stringify!($name),
                    by_name: Self::from_name,
                    by_ordinal: |ordinal| Self::ALL.get(ordinal).copied(),
                })
            }
        }
    )+};
}

struct NameOrOrdinal<T> {
    what: &'static str,
    by_name: fn(&str) -> Option<T>,
    by_ordinal: fn(usize) -> Option<T>,
}

impl<T> Visitor<'_> for NameOrOrdinal<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.what)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        (self.by_name)(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
    }

    fn visit_i64<E: de::Error>(self, ordinal: i64) -> Result<T, E> {
        let value = usize::try_from(ordinal).ok().and_then(self.by_ordinal);
        value.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(ordinal), &self))
    }

    fn visit_u64<E: de::Error>(self, ordinal: u64) -> Result<T, E> {
        Err(E::invalid_value(de::Unexpected::Unsigned(ordinal), &self))
    }
}

/// A value, or nothing where the name is unknown.
struct IfKnown<T>(NameOrOrdinal<T>);

impl<'de, T> Visitor<'de> for IfKnown<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<T>, E> {
        Ok((self.0.by_name)(name))
    }

    fn visit_i64<E: de::Error>(self, ordinal: i64) -> Result<Option<T>, E> {
        self.0.visit_i64(ordinal).map(Some)
    }

    fn visit_u64<E: de::Error>(self, ordinal: u64) -> Result<Option<T>, E> {
        self.0.visit_u64(ordinal).map(Some)
    }
}

enums! {
    /// How much a finding matters.
    Severity {
        /// Worth knowing.
        #[default]
        Note = "note",
        /// Something goes wrong, or soon will.
        Warning = "warning",
        /// Messages are refused, lost or not delivered.
        Critical = "critical",
    }

    /// How a consumer gets its messages.
    ConsumeType {
        /// The application pulls.
        #[default]
        Actively = "CONSUME_ACTIVELY",
        /// The client pulls and pushes to the application.
        Passively = "CONSUME_PASSIVELY",
        /// The broker hands out messages to be acknowledged one by one.
        Pop = "CONSUME_POP",
    }

    /// Whether the members of a group share the messages.
    MessageModel {
        /// Each member gets all messages.
        Broadcasting = "BROADCASTING",
        /// Each message goes to one member.
        #[default]
        Clustering = "CLUSTERING",
        /// Lite topics, chosen by each member.
        LiteSelective = "LITE_SELECTIVE",
    }

    /// Where a group without offsets begins.
    ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated upstream.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated upstream.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated upstream.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a point in time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }

    /// How many tags a message may have; the protocol knows one only.
    TopicFilterType {
        /// One tag.
        #[default]
        SingleTag = "SINGLE_TAG",
        /// Declared upstream, never used.
        MultiTag = "MULTI_TAG",
    }

    /// Which delays a group's retries have.
    GroupRetryPolicyType {
        /// Growing by a factor.
        Exponential = "EXPONENTIAL",
        /// A list.
        #[default]
        Customized = "CUSTOMIZED",
    }

    /// What a client says of the lite topics that it reads.
    LiteSubscriptionAction {
        /// These, too.
        #[default]
        PartialAdd = "PARTIAL_ADD",
        /// These no more.
        PartialRemove = "PARTIAL_REMOVE",
        /// These and no others.
        CompleteAdd = "COMPLETE_ADD",
        /// None.
        CompleteRemove = "COMPLETE_REMOVE",
    }

    /// What tells where a group begins in a lite topic.
    OffsetOptionType {
        /// A rule: 0 behind the last message, 1 at the first.
        #[default]
        Policy = "POLICY",
        /// An offset.
        Offset = "OFFSET",
        /// So many messages before the end.
        TailN = "TAIL_N",
        /// A time, in milliseconds since 1970.
        Timestamp = "TIMESTAMP",
    }

    /// How a client shall ask for messages.
    MessageRequestMode {
        /// By pulling from queues that are its own.
        #[default]
        Pull = "PULL",
        /// By popping from queues it shares.
        Pop = "POP",
    }

    /// What became of a message that was consumed on demand.
    CMResult {
        /// Consumed.
        #[default]
        Success = "CR_SUCCESS",
        /// To be tried again.
        Later = "CR_LATER",
        /// Orderly and rolled back.
        Rollback = "CR_ROLLBACK",
        /// Orderly and committed.
        Commit = "CR_COMMIT",
        /// The listener failed.
        ThrowException = "CR_THROW_EXCEPTION",
        /// The listener returned nothing.
        ReturnNull = "CR_RETURN_NULL",
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Language {
    /// An unknown language is [`Language::OTHER`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrOrdinal {
            what: "language",
            by_name: |name| Some(Language::from_name(name)),
            by_ordinal: |code| Some(u8::try_from(code).map_or(Language::OTHER, Language::from_code)),
        })
    }
}

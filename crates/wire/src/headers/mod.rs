//! Every typed header, declared once.
//!
//! A header is a view of a command's ext fields: strings borrow from the command, numbers are
//! parsed. A row `name: type = "wireName"` is the whole declaration of a field; `Option` marks
//! what a peer may leave out. `headers!` derives the struct, its decoder and its encoder.
//! A second name after a slash is the one-letter form of `SEND_MESSAGE_V2`.

use crate::fields::{Fields, Name, PutField};

mod auth;
mod broker;
mod client;
mod controller;
mod group;
mod lite;
mod message;
mod namesrv;
mod offset;
mod pop;
mod pull;
mod topic;

pub use auth::*;
pub use broker::*;
pub use client::*;
pub use controller::*;
pub use group::*;
pub use lite::*;
pub use message::*;
pub use namesrv::*;
pub use offset::*;
pub use pop::*;
pub use pull::*;
pub use topic::*;

/// Why ext fields cannot be read as a typed header. The text is meant for the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A field that the request cannot do without is absent.
    #[error("the request header lacks the field `{0}`")]
    Missing(&'static str),
    /// A field's text is not a value of its type.
    #[error("the header field `{name}` is `{value}`, which is not {expected}")]
    Unparsable {
        /// Name on the wire.
        name: &'static str,
        /// The text received, shortened to 64 characters.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
}

/// A header that can be put into a command's ext fields.
pub trait Header {
    /// Adds the header's fields; absent options are left out.
    fn encode(&self, fields: &mut Fields);
}

/// A header that can be read from a command's ext fields.
pub trait DecodeHeader<'a>: Sized {
    /// Reads the header; unknown fields are ignored, as newer peers may add some.
    fn decode(fields: &'a Fields) -> Result<Self, HeaderError>;
}

/// A value that travels as the text of one ext field.
trait Scalar<'a>: Sized {
    const EXPECTED: &'static str;
    fn parse(text: &'a str) -> Option<Self>;
    fn write(&self, fields: &mut impl PutField, name: &str);
}

macro_rules! scalars {
    ($($ty:ty: $expected:literal, $put:ident, $value:expr);+) => {$(
        impl<'a> Scalar<'a> for $ty {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &'a str) -> Option<Self> {
                text.parse().or_else(|_| text.trim().parse()).ok()
            }
            fn write(&self, fields: &mut impl PutField, name: &str) {
                fields.$put(name, $value(*self));
            }
        }
        impl<'a> Field<'a> for $ty {
            fn read(fields: &'a Fields, name: Name<'static>) -> Result<Self, HeaderError> {
                required(fields, name)
            }
            fn write(&self, fields: &mut impl PutField, name: &'static str) {
                Scalar::write(self, fields, name);
            }
        }
    )+};
}

scalars! {
    i32: "a 32-bit integer", number, i64::from;
    i64: "a 64-bit integer", number, i64::from;
    Boundary: "LOWER or UPPER", text, Boundary::text
}

impl<'a> Scalar<'a> for bool {
    const EXPECTED: &'static str = "true or false";
    /// Java reads every text but `true`, in any case, as false.
    fn parse(text: &'a str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }
    fn write(&self, fields: &mut impl PutField, name: &str) {
        fields.text(name, if *self { "true" } else { "false" });
    }
}

impl<'a> Field<'a> for bool {
    fn read(fields: &'a Fields, name: Name<'static>) -> Result<Self, HeaderError> {
        required(fields, name)
    }
    fn write(&self, fields: &mut impl PutField, name: &'static str) {
        Scalar::write(self, fields, name);
    }
}

impl<'a> Scalar<'a> for &'a str {
    const EXPECTED: &'static str = "a text";
    fn parse(text: &'a str) -> Option<Self> {
        Some(text)
    }
    fn write(&self, fields: &mut impl PutField, name: &str) {
        fields.text(name, self);
    }
}

impl<'a> Field<'a> for &'a str {
    fn read(fields: &'a Fields, name: Name<'static>) -> Result<Self, HeaderError> {
        required(fields, name)
    }
    fn write(&self, fields: &mut impl PutField, name: &'static str) {
        Scalar::write(self, fields, name);
    }
}

impl<'a, T: Scalar<'a>> Field<'a> for Option<T> {
    fn read(fields: &'a Fields, name: Name<'static>) -> Result<Self, HeaderError> {
        fields.value_of(&name).map(|text| parse(text, name.text)).transpose()
    }
    fn write(&self, fields: &mut impl PutField, name: &'static str) {
        if let Some(value) = self {
            Scalar::write(value, fields, name);
        }
    }
}

/// One row of a header: a required value, an optional one, or a group of common fields.
trait Field<'a>: Sized {
    fn read(fields: &'a Fields, name: Name<'static>) -> Result<Self, HeaderError>;
    fn write(&self, fields: &mut impl PutField, name: &'static str);
}

fn required<'a, T: Scalar<'a>>(fields: &'a Fields, name: Name<'static>) -> Result<T, HeaderError> {
    let text = fields.value_of(&name).ok_or(HeaderError::Missing(name.text))?;
    parse(text, name.text)
}

fn parse<'a, T: Scalar<'a>>(text: &'a str, name: &'static str) -> Result<T, HeaderError> {
    T::parse(text).ok_or_else(|| HeaderError::Unparsable {
        name,
        value: text.chars().take(64).collect(),
        expected: T::EXPECTED,
    })
}

/// Which end of a run of equal or bracketing store times an offset search answers
/// (upstream `BoundaryType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first offset whose store time is at or after the time asked for.
    #[default]
    Lower,
    /// The last offset whose store time is at or before the time asked for.
    Upper,
}

impl std::str::FromStr for Boundary {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_uppercase().as_str() {
            "LOWER" => Ok(Self::Lower),
            "UPPER" => Ok(Self::Upper),
            _ => Err(()),
        }
    }
}

impl Boundary {
    fn text(self) -> &'static str {
        match self {
            Self::Lower => "LOWER",
            Self::Upper => "UPPER",
        }
    }
}

impl std::fmt::Display for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// The fields that upstream's `RpcRequestHeader` and `TopicRequestHeader` give to most requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RpcFields<'a> {
    /// `lo`: the queue id is the global one of a static topic.
    pub logical: Option<bool>,
    /// `ns`: namespace of the resource names.
    pub namespace: Option<&'a str>,
    /// `nsd`: the names already carry the namespace.
    pub namespaced: Option<bool>,
    /// `bname`: name of the broker that is meant.
    pub broker_name: Option<&'a str>,
    /// `oway`: the request wants no answer.
    pub oneway: Option<bool>,
}

impl<'a> Field<'a> for RpcFields<'a> {
    fn read(fields: &'a Fields, _: Name<'static>) -> Result<Self, HeaderError> {
        Ok(Self {
            logical: Field::read(fields, const { Name::of("lo") })?,
            namespace: Field::read(fields, const { Name::of("ns") })?,
            namespaced: Field::read(fields, const { Name::of("nsd") })?,
            broker_name: Field::read(fields, const { Name::of("bname") })?,
            oneway: Field::read(fields, const { Name::of("oway") })?,
        })
    }
    fn write(&self, fields: &mut impl PutField, _: &'static str) {
        Field::write(&self.logical, fields, "lo");
        Field::write(&self.namespace, fields, "ns");
        Field::write(&self.namespaced, fields, "nsd");
        Field::write(&self.broker_name, fields, "bname");
        Field::write(&self.oneway, fields, "oway");
    }
}

/// Declares headers; see the module's documentation.
macro_rules! headers {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {
            $($field:ident: $ty:ty = $wire:literal $(/ $letter:literal)?,)+
        }
    )+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name $(<$life>)? {
            $(#[doc = concat!("On the wire: `", $wire, "`.")] pub $field: $ty,)+
        }

        impl $(<$life>)? $crate::headers::Header for $name $(<$life>)? {
            fn encode(&self, fields: &mut $crate::fields::Fields) {
                $($crate::headers::Field::write(&self.$field, fields, $wire);)+
            }
        }

        $crate::headers::decoder!($name $(<$life>)? { $($field = $wire),+ });
        $crate::headers::letters!($name { $($field = $($letter)?),+ });
    )+};
}

/// The decoder of a header, with or without borrowed strings.
macro_rules! decoder {
    ($name:ident<$life:lifetime> { $($field:ident = $wire:literal),+ }) => {
        impl<$life> $crate::headers::DecodeHeader<$life> for $name<$life> {
            fn decode(fields: &$life $crate::fields::Fields) -> Result<Self, $crate::headers::HeaderError> {
                Ok(Self { $($field: $crate::headers::Field::read(fields, const { $crate::fields::Name::of($wire) })?),+ })
            }
        }
    };
    ($name:ident { $($field:ident = $wire:literal),+ }) => {
        impl<'a> $crate::headers::DecodeHeader<'a> for $name {
            fn decode(fields: &'a $crate::fields::Fields) -> Result<Self, $crate::headers::HeaderError> {
                Ok(Self { $($field: $crate::headers::Field::read(fields, const { $crate::fields::Name::of($wire) })?),+ })
            }
        }
    };
}

/// The one-letter form, for the header whose rows name letters; nothing for the others.
macro_rules! letters {
    ($name:ident { $($field:ident = $letter:literal),+ }) => {
        impl<'a> $name<'a> {
            /// Reads the one-letter form (upstream `SendMessageRequestHeaderV2`).
            pub fn decode_v2(fields: &'a $crate::fields::Fields) -> Result<Self, $crate::headers::HeaderError> {
                Ok(Self { $($field: $crate::headers::Field::read(fields, const { $crate::fields::Name::of($letter) })?),+ })
            }

            /// Writes the one-letter form (upstream `SendMessageRequestHeaderV2`).
            pub fn encode_v2(&self, fields: &mut impl $crate::fields::PutField) {
                $($crate::headers::Field::write(&self.$field, fields, $letter);)+
            }
        }
    };
    ($name:ident { $($field:ident = ),+ }) => {};
}

use {decoder, headers, letters};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_both_forms() {
        let header = SendMessageRequestHeader {
            producer_group: "P",
            topic: "T",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: 1,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            flag: 7,
            properties: Some("a\u{1}b\u{2}"),
            reconsume_times: None,
            unit_mode: Some(false),
            batch: Some(true),
            max_reconsume_times: None,
            broker_name: Some("b"),
            rpc: RpcFields { logical: Some(true), ..Default::default() },
        };
        let (mut long, mut letters) = (Fields::default(), Fields::default());
        header.encode(&mut long);
        header.encode_v2(&mut letters);
        assert_eq!(long.get("producerGroup"), Some("P"));
        assert_eq!(letters.get("a"), Some("P"));
        assert_eq!(letters.get("lo"), Some("true"));
        assert_eq!(SendMessageRequestHeader::decode(&long), Ok(header));
        assert_eq!(SendMessageRequestHeader::decode_v2(&letters), Ok(header));
    }

    #[test]
    fn absent_and_unparsable_fields_are_named() {
        let mut fields = Fields::default();
        fields.set_str("topic", "T");
        assert_eq!(GetMaxOffsetRequestHeader::decode(&fields), Err(HeaderError::Missing("queueId")));
        fields.set_str("queueId", "x");
        let error = GetMaxOffsetRequestHeader::decode(&fields).expect_err("x is no number");
        assert_eq!(error.to_string(), "the header field `queueId` is `x`, which is not a 32-bit integer");
    }
}

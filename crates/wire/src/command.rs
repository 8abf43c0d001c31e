//! A remoting command: one request or one response (upstream `RemotingCommand`).

use bytes::Bytes;

use crate::fields::Fields;
use crate::headers::{DecodeHeader, Header, HeaderError};

/// Version number that this server gives as its own: upstream's 5.5.0, whose protocol it speaks.
/// Clients choose forms of requests by it.
pub const VERSION: i32 = 513;

/// How the header of a frame is written; the fifth byte of each frame says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Type 0: a JSON object.
    #[default]
    Json,
    /// Type 1: upstream's `ROCKETMQ` binary form.
    Binary,
}

/// The language a peer is written in (upstream `LanguageCode`); a number that upstream doesn't
/// know counts as `OTHER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Language(u8);

const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST",
    "NODE_JS",
];

impl Language {
    /// What servers answer as: old clients don't know every name, all know this one.
    pub const JAVA: Self = Self(0);
    /// What our own clients say.
    pub const RUST: Self = Self(12);
    /// Anything unknown.
    pub const OTHER: Self = Self(7);

    /// By number, as the binary form has it.
    pub fn from_code(code: u8) -> Self {
        if (code as usize) < LANGUAGES.len() { Self(code) } else { Self::OTHER }
    }

    /// By name, as the JSON form has it.
    pub fn from_name(name: &str) -> Self {
        LANGUAGES.iter().position(|known| *known == name).map_or(Self::OTHER, |code| Self(code as u8))
    }

    /// The number on the wire.
    pub fn code(self) -> u8 {
        self.0
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        LANGUAGES[self.0 as usize]
    }
}

/// Bit 0 of the flag: this is a response.
const FLAG_RESPONSE: i32 = 1;
/// Bit 1 of the flag: no response is wanted.
const FLAG_ONEWAY: i32 = 2;

/// One request or response. A connection reuses one value for all it reads; `clone` it to keep it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Command {
    /// Request or response code, see [`crate::codes`].
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Protocol version of the sender (upstream `MQVersion` ordinal).
    pub version: i32,
    /// Number by which the requester finds the response.
    pub opaque: i32,
    /// Bit 0: response; bit 1: one-way.
    pub flag: i32,
    /// Text for people, mostly of errors.
    pub remark: Option<String>,
    /// The typed header's fields and some others.
    pub fields: Fields,
    /// What follows the header; empty when absent.
    pub body: Bytes,
    /// How the header came, or shall be written.
    pub encoding: Encoding,
}

impl Command {
    /// A new request; the opaque number is set by the connection that sends it.
    pub fn request(code: i32) -> Self {
        Self { code, version: VERSION, ..Self::default() }
    }

    /// The response to a request: same number, same encoding.
    pub fn response_to(request: &Command, code: i32) -> Self {
        Self::response(request.opaque, request.encoding, code)
    }

    /// The response to a request of which only number and encoding were kept.
    pub fn response(opaque: i32, encoding: Encoding, code: i32) -> Self {
        Self { code, version: VERSION, opaque, flag: FLAG_RESPONSE, encoding, ..Self::default() }
    }

    /// Adds a remark.
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Adds the fields of a typed header.
    pub fn with_header(mut self, header: &impl Header) -> Self {
        header.encode(&mut self.fields);
        self
    }

    /// Adds a body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Marks a request as one that gets no response.
    pub fn oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no response is wanted.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// The typed header.
    pub fn header<'a, H: DecodeHeader<'a>>(&'a self) -> Result<H, HeaderError> {
        H::decode(&self.fields)
    }

    /// Empties the command and keeps its memory.
    pub(crate) fn reset(&mut self) {
        self.empty_header();
        self.body = Bytes::new();
        self.encoding = Encoding::default();
    }

    /// Empties all that a header says.
    pub(crate) fn empty_header(&mut self) {
        self.code = 0;
        self.language = Language::default();
        self.version = 0;
        self.opaque = 0;
        self.flag = 0;
        self.remark = None;
        self.fields.clear();
    }
}

//! What bodies go through before they are sent, and back.

use std::fmt;
use std::sync::Arc;

pub use apogee_message::codecs::Checksum;
use apogee_message::codecs::{self, ChecksumError, name, steps};
pub use apogee_message::compression::Compression;
use apogee_message::compression::CompressionError;
use bytes::Bytes;

#[cfg(feature = "encryption")]
mod encrypt;
#[cfg(feature = "encryption")]
mod keys;
mod plain;
mod typed;

#[cfg(feature = "encryption")]
pub use keys::{Key, KeyRing, Keys};

use crate::{Error, Message, Received, Refusal};

/// Changes bodies before they are sent, and restores them before they are consumed.
///
/// ```
/// use apogee_client::{Codec, CodecContext, CodecError, Codecs, Encoded, Refusal};
/// use bytes::Bytes;
///
/// /// Turns bodies around.
/// struct Reverse;
///
/// impl Codec for Reverse {
///     fn name(&self) -> &str {
///         "reverse"
///     }
///
///     fn encode(&self, body: &Bytes, _: &CodecContext<'_>) -> Result<Option<Encoded>, Refusal> {
///         Ok(Some(Encoded::new(body.iter().rev().copied().collect::<Vec<_>>())))
///     }
///
///     fn decode(&self, body: &Bytes, _: &str, _: &CodecContext<'_>) -> Result<Bytes, CodecError> {
///         Ok(body.iter().rev().copied().collect())
///     }
/// }
///
/// let codecs = Codecs::new().codec(Reverse);
/// # let _ = codecs;
/// ```
pub trait Codec: Send + Sync {
    /// By which those who receive a message know what it went through: lower-case letters, digits and `-`, at most 64.
    fn name(&self) -> &str;

    /// The body as it goes on, and what is needed to undo it. `None`: it stays as it is, and nothing is told.
    ///
    /// # Errors
    /// When it cannot be encoded: the message is not sent.
    fn encode(&self, body: &Bytes, context: &CodecContext<'_>) -> Result<Option<Encoded>, Refusal>;

    /// The body as it was, given the parameter that encoding made. What comes from others may be damaged or forged.
    ///
    /// # Errors
    /// When it cannot be restored.
    fn decode(&self, body: &Bytes, parameter: &str, context: &CodecContext<'_>) -> Result<Bytes, CodecError>;
}

/// What a codec learns beside the body.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CodecContext<'c> {
    /// The topic.
    pub topic: &'c str,
    /// The steps that the body went through before this one, as the property `CODECS` tells them.
    pub before: &'c str,
}

/// What a codec made of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The body as it goes on.
    pub body: Bytes,
    /// What is needed to undo it: no comma and no control character, at most 255 bytes; may be empty. It is not secret.
    pub parameter: String,
}

impl Encoded {
    /// A body that can be restored from itself.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), parameter: String::new() }
    }
}

/// Steps that a body may have gone through: each may make it large, or take long.
const MOST_STEPS: usize = 16;

/// Why a body could not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// It went through a codec that is not here.
    #[error("it went through codec {0:?}, which is not here: give it to the builder (codecs)")]
    Unknown(String),
    /// It is encrypted, and nobody gave keys.
    #[error("it is encrypted with key {0:?}, and there are no keys here: give them to the builder (Codecs::encrypt)")]
    NoKeys(String),
    /// It is encrypted with a key that is not here.
    #[error("it is encrypted with key {0:?}, which is not among the keys here")]
    NoKey(String),
    /// The keys could not be asked for one.
    #[error("key {id:?} could not be had: {source}")]
    Keys {
        /// The key's id.
        id: String,
        /// Why.
        source: Refusal,
    },
    /// It was encrypted with another key of the same id, or changed on its way.
    #[error("it does not decrypt with key {0:?}: another key has the same id, or it was changed on its way")]
    Forged(String),
    /// It is not the body whose sum was taken.
    #[error(transparent)]
    Damaged(#[from] ChecksumError),
    /// It is not what a compression makes.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// It went through more codecs than is sensible.
    #[error("it went through more than {MOST_STEPS} codecs")]
    TooManySteps,
    /// It is something else than what is wanted.
    #[error("the body is {found}, not {wanted}")]
    OtherSchema {
        /// What it says that it is.
        found: String,
        /// What is wanted.
        wanted: &'static str,
    },
    /// A codec of the user's, or a schema, cannot make anything of it.
    #[error("{codec} cannot read it: {source}")]
    Failed {
        /// The codec's name.
        codec: String,
        /// Its reason.
        source: Refusal,
    },
}

/// The codecs of a client, producer, consumer or reader, in the order in which bodies go through them.
///
/// Those of a producer are applied; a consumer undoes what each message went through, in whatever order that was, by
/// the codecs that it has. Compression and checksums are known to all.
///
/// ```
/// # #[cfg(feature = "encryption")] {
/// use std::sync::Arc;
/// use apogee_client::{Checksum, Client, Codecs, Compression, Key, KeyRing};
///
/// # async fn example() -> Result<(), apogee_client::Error> {
/// let keys = Arc::new(KeyRing::new("2026-01", Key::new([7; 32])));
/// let codecs = Codecs::new().compress(Compression::Zstd).encrypt(keys.clone()).checksum(Checksum::Crc32c);
/// let client = Client::builder("127.0.0.1:9876").codecs(codecs).build()?;
/// // A year later: what comes is still read, what goes has the new key.
/// keys.rotate("2027-01", Key::new([8; 32]));
/// # let _ = client;
/// # Ok(())
/// # }
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Codecs(Vec<Arc<dyn Codec>>);

impl Codecs {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses bodies that become shorter by it. A producer with codecs compresses in no other way.
    pub fn compress(self, compression: Compression) -> Self {
        self.codec(plain::Compress(compression))
    }

    /// Adds a checksum. Where it is the last step, brokers can verify it on arrival.
    pub fn checksum(self, checksum: Checksum) -> Self {
        self.codec(plain::Sum(checksum))
    }

    /// Encrypts with AES-256-GCM, under a random nonce each: no more than 2^32 messages with one key. What the body
    /// went through before is protected against changes, too; topic, tags, keys and properties are not, and are
    /// readable. Compress before it: what is encrypted does not become shorter.
    #[cfg(feature = "encryption")]
    pub fn encrypt(self, keys: impl Keys + 'static) -> Self {
        self.codec(encrypt::Encrypt(Box::new(keys)))
    }

    /// A codec of the user's.
    pub fn codec(mut self, codec: impl Codec + 'static) -> Self {
        self.0.push(Arc::new(codec));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends a message's body through, and tells it in a property.
    pub(crate) fn encode(&self, message: &mut Message) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let refused = |reason: String| Error::message(message.topic(), reason);
        let (mut body, mut told) = (message.body().clone(), message.get(codecs::PROPERTY).unwrap_or("").to_owned());
        if !is_typed_only(&told) {
            let reason = format!(
                "its body went through {told} already ({}): send the body that was received alone",
                codecs::PROPERTY
            );
            return Err(refused(reason));
        }
        for codec in &self.0 {
            let name = codec.name();
            let context = CodecContext { topic: message.topic(), before: &told };
            let encoded = codec.encode(&body, &context).map_err(|error| refused(format!("codec {name}: {error}")))?;
            let Some(encoded) = encoded else { continue };
            if !codecs::is_name(name) || !codecs::is_parameter(&encoded.parameter) {
                return Err(refused(format!("codec {name:?} has a name or a parameter that none can have")));
            }
            if !told.is_empty() {
                told.push(',');
            }
            told.push_str(name);
            if !encoded.parameter.is_empty() {
                told.push(':');
                told.push_str(&encoded.parameter);
            }
            body = encoded.body;
        }
        message.set_body(body);
        message.set(codecs::PROPERTY, told);
        Ok(())
    }

    /// Undoes what the body of a message went through, for one that came in another way than by a consumer or reader,
    /// as from [`crate::Admin`]. Nothing happens to one that is decoded already. When it fails, the body stays as it came.
    ///
    /// ```no_run
    /// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
    /// use apogee_client::Codecs;
    ///
    /// let mut message = client.admin().message("7F00000100002A9F0000000000000000").await?;
    /// Codecs::new().decode(&mut message)?;
    /// println!("{:?}", message.body);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Codec`] when a codec or a key is missing, or the body is damaged.
    pub fn decode(&self, message: &mut Received) -> Result<(), Error> {
        let Some(told) = message.property(codecs::PROPERTY).filter(|_| message.undecoded().is_none()) else {
            return Ok(());
        };
        let body = self.decoded(message, told).map_err(|source| Error::codec(message, source))?;
        message.decoded(body);
        Ok(())
    }

    fn decoded(&self, message: &Received, told: &str) -> Result<Bytes, CodecError> {
        let mut body = message.body.clone();
        if steps(told).nth(MOST_STEPS).is_some() {
            return Err(CodecError::TooManySteps);
        }
        for step in steps(told) {
            let context = CodecContext { topic: message.topic(), before: step.before };
            let own = self.0.iter().rev().find(|codec| codec.name() == step.name);
            body = match own {
                Some(codec) => codec.decode(&body, step.parameter, &context)?,
                None if typed::is_schema(step.name) => body,
                None => match plain::known(step.name) {
                    Some(codec) => codec.decode(&body, step.parameter, &context)?,
                    None if step.name == name::AES_256_GCM => {
                        return Err(CodecError::NoKeys(step.parameter.to_owned()));
                    }
                    None => return Err(CodecError::Unknown(step.name.to_owned())),
                },
            };
        }
        Ok(body)
    }
}

/// Whether a body is told to be of a schema, and nothing else.
fn is_typed_only(told: &str) -> bool {
    steps(told).all(|step| typed::is_schema(step.name))
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|codec| codec.name())).finish()
    }
}

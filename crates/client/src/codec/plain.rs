//! Codecs that need nothing: compression and checksums.

use apogee_message::codecs::{Checksum, name};
use apogee_message::compression::Compression;
use bytes::Bytes;

use super::{Codec, CodecContext, CodecError, Encoded};
use crate::Refusal;
use crate::message::MAX_BODY;

/// Compresses what becomes shorter by it.
pub(super) struct Compress(pub Compression);

/// Adds a sum.
pub(super) struct Sum(pub Checksum);

/// The codec of a name that everybody has.
pub(super) fn known(name: &str) -> Option<Box<dyn Codec>> {
    let compressions = [Compression::Zlib, Compression::Lz4, Compression::Zstd].map(Compress);
    let compression = compressions.into_iter().find(|codec| codec.name() == name);
    let sum = || Checksum::named(name).map(Sum);
    compression.map(|codec| Box::new(codec) as _).or_else(|| sum().map(|codec| Box::new(codec) as _))
}

impl Codec for Compress {
    fn name(&self) -> &str {
        match self.0 {
            Compression::Zlib => name::ZLIB,
            Compression::Lz4 => name::LZ4,
            Compression::Zstd => name::ZSTD,
        }
    }

    fn encode(&self, body: &Bytes, _: &CodecContext<'_>) -> Result<Option<Encoded>, Refusal> {
        let shorter = self.0.compress(body)?;
        Ok((shorter.len() < body.len()).then(|| Encoded::new(shorter)))
    }

    fn decode(&self, body: &Bytes, _: &str, _: &CodecContext<'_>) -> Result<Bytes, CodecError> {
        Ok(self.0.decompress(body, MAX_BODY)?.into())
    }
}

impl Codec for Sum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn encode(&self, body: &Bytes, _: &CodecContext<'_>) -> Result<Option<Encoded>, Refusal> {
        Ok(Some(Encoded { body: body.clone(), parameter: self.0.of(body) }))
    }

    fn decode(&self, body: &Bytes, parameter: &str, _: &CodecContext<'_>) -> Result<Bytes, CodecError> {
        self.0.verify(body, parameter)?;
        Ok(body.clone())
    }
}

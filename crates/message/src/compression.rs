//! Compressed bodies. Which way is in the system flag (upstream `CompressionType`).

use std::io::{self, Read, Write};

use crate::sysflag::{COMPRESSED, COMPRESSION};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
    /// RFC 1950.
    Zlib,
}

/// Why a body could not be compressed or restored.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The body is not what its flag says.
    #[error("the body is no {0:?} data: {1}")]
    Malformed(Compression, io::Error),
    /// The body expands past the limit.
    #[error("the body expands to more than {0} bytes")]
    TooLong(usize),
}

impl Compression {
    /// What a system flag says; `None` when the body is not compressed.
    pub fn of(sys_flag: i32) -> Option<Self> {
        (sys_flag & COMPRESSED != 0).then_some(match (sys_flag & COMPRESSION) >> 8 {
            1 => Self::Lz4,
            2 => Self::Zstd,
            // Clients before the types were introduced leave 0.
            _ => Self::Zlib,
        })
    }

    /// The bits to set in a system flag.
    pub fn flag(self) -> i32 {
        let kind = match self {
            Self::Lz4 => 1,
            Self::Zstd => 2,
            Self::Zlib => 3,
        };
        COMPRESSED | kind << 8
    }

    /// Compresses a body.
    pub fn compress(self, body: &[u8]) -> Result<Vec<u8>, CompressionError> {
        let malformed = |error| CompressionError::Malformed(self, error);
        match self {
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(body).map_err(malformed)?;
                encoder.finish().map_err(|error| malformed(error.into()))
            }
            Self::Zstd => zstd::encode_all(body, 3).map_err(malformed),
            Self::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(5));
                encoder.write_all(body).map_err(malformed)?;
                encoder.finish().map_err(malformed)
            }
        }
    }

    /// Restores a body of at most `limit` bytes; memory use follows what is there, not what a
    /// header promises.
    pub fn decompress(self, body: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let malformed = |error| CompressionError::Malformed(self, error);
        let reader: Box<dyn Read + '_> = match self {
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(body)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(body).map_err(malformed)?),
            Self::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(body)),
        };
        let mut restored = Vec::new();
        reader.take(limit as u64 + 1).read_to_end(&mut restored).map_err(malformed)?;
        if restored.len() > limit {
            return Err(CompressionError::TooLong(limit));
        }
        Ok(restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 3] = [Compression::Lz4, Compression::Zstd, Compression::Zlib];

    #[test]
    fn bodies_survive() {
        let body: Vec<u8> = (0..3000).map(|n| b'a' + (n % 11) as u8).collect();
        for kind in ALL {
            assert_eq!(Compression::of(kind.flag()), Some(kind));
            let compressed = kind.compress(&body).unwrap();
            assert!(compressed.len() < 200);
            assert_eq!(kind.decompress(&compressed, 3000).unwrap(), body);
        }
        assert_eq!(Compression::of(1), Some(Compression::Zlib));
        assert_eq!(Compression::of(0x300), None);
    }

    #[test]
    fn a_body_that_expands_without_end_is_stopped() {
        let zeros = vec![0; 64 << 20];
        for kind in ALL {
            let bomb = kind.compress(&zeros).unwrap();
            assert!(matches!(kind.decompress(&bomb, 1 << 20), Err(CompressionError::TooLong(_))), "{kind:?}");
            assert!(kind.decompress(&bomb[..bomb.len() / 2], 1 << 30).is_err(), "{kind:?} cut short");
            assert!(kind.decompress(b"something else", 100).is_err(), "{kind:?}");
        }
    }
}

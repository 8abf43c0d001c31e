//! What a body went through before it was sent, told by a property: `json,zstd,aes-256-gcm:key-7,crc32c:1b2c3d4e`.
//!
//! Steps stand in the order in which they were done, separated by commas; what a step needs to be undone follows a
//! colon. Apogee's own: Apache RocketMQ passes the property on like any other.

use crate::sysflag;

/// The property.
pub const PROPERTY: &str = "CODECS";

/// Names of steps.
pub mod name {
    /// The body is JSON.
    pub const JSON: &str = "json";
    /// The body is a Protocol Buffers message.
    pub const PROTOBUF: &str = "protobuf";
    /// RFC 1950.
    pub const ZLIB: &str = "zlib";
    /// LZ4 frames.
    pub const LZ4: &str = "lz4";
    /// Zstandard.
    pub const ZSTD: &str = "zstd";
    /// AES-256-GCM; the parameter is the key's id. The body is 12 bytes of nonce, the encrypted bytes, 16 bytes of tag.
    pub const AES_256_GCM: &str = "aes-256-gcm";
    /// CRC-32C (Castagnoli) of the body; the parameter is the sum in hexadecimal digits.
    pub const CRC32C: &str = "crc32c";
    /// SHA-256 of the body; the parameter is the sum in hexadecimal digits.
    pub const SHA_256: &str = "sha-256";
}

/// Bytes by which AES-256-GCM makes a body longer: nonce and tag.
pub const AES_GCM_OVERHEAD: usize = 12 + 16;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'t> {
    /// What was done.
    pub name: &'t str,
    /// What is needed to undo it; may be empty.
    pub parameter: &'t str,
    /// The property's text before this step.
    pub before: &'t str,
}

/// The steps that a property tells, the last one first: as they are to be undone.
pub fn steps(text: &str) -> impl Iterator<Item = Step<'_>> {
    let mut rest = (!text.is_empty()).then_some(text);
    std::iter::from_fn(move || {
        let (before, step) = match rest?.rsplit_once(',') {
            Some((before, step)) => {
                rest = Some(before);
                (before, step)
            }
            None => ("", rest.take()?),
        };
        let (name, parameter) = step.split_once(':').unwrap_or((step, ""));
        Some(Step { name, parameter, before })
    })
}

/// Whether a text may be a step's name: lower-case letters, digits and `-`, at most 64.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a text may be a step's parameter: no separator and no control character in it, at most 255 bytes.
pub fn is_parameter(text: &str) -> bool {
    text.len() <= 255 && !text.chars().any(|char| char == ',' || char.is_control())
}

/// A sum over a body, by which damage is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-32C: fast; finds damage.
    Crc32c,
    /// SHA-256: finds every difference, but anybody can make the sum of another body.
    Sha256,
}

/// A body that is not the one whose sum was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is damaged: its {kind} sum is {actual}, and was {expected}")]
pub struct ChecksumError {
    /// The kind of sum.
    pub kind: &'static str,
    /// As it was when the sum was taken.
    pub expected: String,
    /// As it is.
    pub actual: String,
}

impl Checksum {
    /// The one of a step's name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Crc32c, Self::Sha256].into_iter().find(|kind| kind.name() == name)
    }

    /// The step's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32c => name::CRC32C,
            Self::Sha256 => name::SHA_256,
        }
    }

    /// The sum of a body, in lower-case hexadecimal digits.
    pub fn of(self, body: &[u8]) -> String {
        match self {
            Self::Crc32c => format!("{:08x}", crc32c::crc32c(body)),
            Self::Sha256 => {
                let sum = <sha2::Sha256 as sha2::Digest>::digest(body);
                sum.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
            }
        }
    }

    /// Compares the sum of a body with the one that a step tells.
    pub fn verify(self, body: &[u8], expected: &str) -> Result<(), ChecksumError> {
        let actual = self.of(body);
        if actual.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        Err(ChecksumError { kind: self.name(), expected: expected.to_owned(), actual })
    }
}

/// Why a body is not what is required of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A step is missing.
    #[error("its body did not go through {missing}; it went through [{steps}] ({PROPERTY})")]
    Missing {
        /// The step's name.
        missing: String,
        /// What the property tells.
        steps: String,
    },
    /// It cannot have gone through a step.
    #[error("its body says that it is encrypted, and {0}")]
    NotEncrypted(&'static str),
    /// The sum is that of another body.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// The sum cannot be compared.
    #[error("its body was compressed after its checksum was taken: compress it before, by a codec")]
    CompressedAfter,
}

/// Checks that a body went through all of some steps, named with `+` between them, and that a checksum that was taken
/// last is right. Whether what looks encrypted is so, only who has the key can tell.
pub fn check(required: &str, told: Option<&str>, sys_flag: i32, body: &[u8]) -> Result<(), Violation> {
    let told = told.unwrap_or_default();
    for name in required.split('+') {
        let Some(step) = steps(told).find(|step| step.name == name) else {
            return Err(Violation::Missing { missing: name.to_owned(), steps: told.to_owned() });
        };
        if name == name::AES_256_GCM && step.parameter.is_empty() {
            return Err(Violation::NotEncrypted("names no key"));
        }
        if name == name::AES_256_GCM && body.len() < AES_GCM_OVERHEAD {
            return Err(Violation::NotEncrypted("is too short for that"));
        }
    }
    let last = steps(told).next();
    let Some((kind, step)) = last.and_then(|step| Some((Checksum::named(step.name)?, step))) else { return Ok(()) };
    if sys_flag & sysflag::COMPRESSED != 0 {
        return Err(Violation::CompressedAfter);
    }
    Ok(kind.verify(body, step.parameter)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_as_they_are_undone() {
        let text = "json,aes-256-gcm:key:7,crc32c:0a";
        let told: Vec<_> = steps(text).map(|step| (step.name, step.parameter, step.before)).collect();
        let expected = [("crc32c", "0a", "json,aes-256-gcm:key:7"), ("aes-256-gcm", "key:7", "json"), ("json", "", "")];
        assert_eq!(told, expected);
        assert_eq!(steps("").count(), 0);
        assert_eq!(steps(",").count(), 2);
    }

    #[test]
    fn sums_are_those_of_the_standards() {
        // RFC 3720 B.4 and FIPS 180-2 B.1.
        assert_eq!(Checksum::Crc32c.of(&[0; 32]), "8a9136aa");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Checksum::Sha256.of(b"abc"), abc);
        assert_eq!(Checksum::Sha256.verify(b"abc", &abc.to_uppercase()), Ok(()));
        let error = Checksum::Crc32c.verify(b"abc", "8a9136aa").unwrap_err().to_string();
        assert_eq!(error, "the body is damaged: its crc32c sum is 364b3fb7, and was 8a9136aa");
    }

    #[test]
    fn what_is_required_is_checked() {
        let body = [7; 40];
        let sum = format!("aes-256-gcm:k,crc32c:{}", Checksum::Crc32c.of(&body));
        let check = |required, told: &str, flag, body: &[u8]| check(required, Some(told), flag, body);
        assert_eq!(check("aes-256-gcm+crc32c", &sum, 0, &body), Ok(()));
        assert!(matches!(check("zstd", &sum, 0, &body), Err(Violation::Missing { .. })));
        assert!(matches!(check("zstd", "", 0, &body), Err(Violation::Missing { .. })));
        assert!(matches!(check("aes-256-gcm", "aes-256-gcm", 0, &body), Err(Violation::NotEncrypted(_))));
        assert!(matches!(check("aes-256-gcm", "aes-256-gcm:k", 0, &body[..20]), Err(Violation::NotEncrypted(_))));
        assert!(matches!(check("aes-256-gcm", &sum, 0, &[8; 40]), Err(Violation::Checksum(_))));
        assert_eq!(check("aes-256-gcm", &sum, sysflag::COMPRESSED, &body), Err(Violation::CompressedAfter));
        // What the broker cannot see.
        assert_eq!(check("crc32c", "crc32c:0,aes-256-gcm:k", 0, &body), Ok(()));
    }
}

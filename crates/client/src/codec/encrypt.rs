//! AES-256-GCM.

use apogee_message::codecs::{AES_GCM_OVERHEAD, name};
use bytes::Bytes;
use ring::aead::{Aad, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};

use super::{Codec, CodecContext, CodecError, Encoded, Keys};
use crate::Refusal;

pub(super) struct Encrypt(pub Box<dyn Keys>);

/// What is protected beside the body: what it went through before, and the key's id.
fn protected(context: &CodecContext<'_>, id: &str) -> Aad<String> {
    Aad::from(format!("{},{}:{id}", context.before, name::AES_256_GCM))
}

impl Codec for Encrypt {
    fn name(&self) -> &str {
        name::AES_256_GCM
    }

    fn encode(&self, body: &Bytes, context: &CodecContext<'_>) -> Result<Option<Encoded>, Refusal> {
        let (id, key) = self.0.current(context.topic)?;
        if id.is_empty() {
            return Err("the key has no id".into());
        }
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| "there is no randomness")?;
        let mut sealed = Vec::with_capacity(body.len() + AES_GCM_OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(body);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.0.seal_in_place_separate_tag(nonce, protected(context, &id), &mut sealed[NONCE_LEN..]);
        sealed.extend_from_slice(tag.map_err(|_| "the body is too long to be encrypted")?.as_ref());
        Ok(Some(Encoded { body: sealed.into(), parameter: id }))
    }

    fn decode(&self, body: &Bytes, id: &str, context: &CodecContext<'_>) -> Result<Bytes, CodecError> {
        let key = self.0.find(id).map_err(|source| CodecError::Keys { id: id.to_owned(), source })?;
        let key = key.ok_or_else(|| CodecError::NoKey(id.to_owned()))?;
        let forged = || CodecError::Forged(id.to_owned());
        let (nonce, sealed) = body.split_first_chunk().ok_or_else(forged)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.0.open_in_place(nonce, protected(context, id), &mut opened).map_err(|_| forged())?.len();
        opened.truncate(length);
        Ok(opened.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, KeyRing};

    const CONTEXT: CodecContext<'_> = CodecContext { topic: "T", before: "zstd" };

    fn codec(id: &str, byte: u8) -> Encrypt {
        Encrypt(Box::new(KeyRing::new(id, Key::new([byte; 32]))))
    }

    #[test]
    fn only_who_has_the_key_reads_what_nobody_changed() {
        let (body, mine) = (Bytes::from_static(b"secret"), codec("k", 1));
        let sealed = mine.encode(&body, &CONTEXT).unwrap().unwrap();
        assert_eq!((sealed.body.len(), &*sealed.parameter), (body.len() + AES_GCM_OVERHEAD, "k"));
        assert_eq!(mine.decode(&sealed.body, "k", &CONTEXT).unwrap(), body);
        assert_ne!(mine.encode(&body, &CONTEXT).unwrap().unwrap(), sealed, "each has a nonce of its own");

        assert!(matches!(codec("other", 1).decode(&sealed.body, "k", &CONTEXT), Err(CodecError::NoKey(_))));
        assert!(matches!(codec("k", 2).decode(&sealed.body, "k", &CONTEXT), Err(CodecError::Forged(_))));
        let elsewhere = CodecContext { before: "lz4", ..CONTEXT };
        assert!(matches!(mine.decode(&sealed.body, "k", &elsewhere), Err(CodecError::Forged(_))));
        for place in 0..sealed.body.len() {
            let mut changed = sealed.body.to_vec();
            changed[place] ^= 1;
            assert!(matches!(mine.decode(&changed.into(), "k", &CONTEXT), Err(CodecError::Forged(_))), "{place}");
            let cut = sealed.body.slice(..place);
            assert!(matches!(mine.decode(&cut, "k", &CONTEXT), Err(CodecError::Forged(_))), "{place}");
        }
    }
}

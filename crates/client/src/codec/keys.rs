//! Keys, and where they come from.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};

use crate::Refusal;

/// A key of 256 bits. It is neither shown nor written.
#[derive(Clone)]
pub struct Key(pub(super) Arc<LessSafeKey>);

impl Key {
    /// A key of 32 bytes, which must be random: a password is none.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self::try_from(&bytes[..]).unwrap_or_else(|_| unreachable!("a key has 32 bytes"))
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = Refusal;

    /// A key of so many bytes; 32 are needed.
    fn try_from(bytes: &[u8]) -> Result<Self, Refusal> {
        let key = UnboundKey::new(&AES_256_GCM, bytes);
        let key = key.map_err(|_| format!("a key of {} bytes: AES-256 needs 32", bytes.len()))?;
        Ok(Self(Arc::new(LessSafeKey::new(key))))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Where keys come from. It is asked for each message and must not block: keep what a key service gave.
///
/// ```
/// use apogee_client::{Key, Keys, Refusal};
///
/// /// A key for each topic.
/// struct OfTopics { orders: Key, others: Key }
///
/// impl Keys for OfTopics {
///     fn current(&self, topic: &str) -> Result<(String, Key), Refusal> {
///         Ok(match topic {
///             "Orders" => ("orders-1".to_owned(), self.orders.clone()),
///             _ => ("others-1".to_owned(), self.others.clone()),
///         })
///     }
///
///     fn find(&self, id: &str) -> Result<Option<Key>, Refusal> {
///         Ok(match id {
///             "orders-1" => Some(self.orders.clone()),
///             "others-1" => Some(self.others.clone()),
///             _ => None,
///         })
///     }
/// }
/// ```
pub trait Keys: Send + Sync {
    /// The key to encrypt with for a topic, and its id, which travels with each message: no comma and no control
    /// character, at most 255 bytes, not empty.
    ///
    /// # Errors
    /// When there is none now: the message is not sent.
    fn current(&self, topic: &str) -> Result<(String, Key), Refusal>;

    /// The key of an id; `None` when there is none.
    ///
    /// # Errors
    /// When that cannot be told now.
    fn find(&self, id: &str) -> Result<Option<Key>, Refusal>;
}

impl<K: Keys + ?Sized> Keys for Arc<K> {
    fn current(&self, topic: &str) -> Result<(String, Key), Refusal> {
        (**self).current(topic)
    }

    fn find(&self, id: &str) -> Result<Option<Key>, Refusal> {
        (**self).find(id)
    }
}

/// Keys in memory, of which one encrypts and all decrypt.
///
/// ```
/// use apogee_client::{Key, KeyRing};
///
/// let keys = KeyRing::new("2026-02", Key::new([2; 32])).with("2026-01", Key::new([1; 32]));
/// // Everywhere first:
/// keys.add("2026-03", Key::new([3; 32]));
/// // Then where messages are sent:
/// keys.rotate("2026-03", Key::new([3; 32]));
/// // And when no message is left that needs it:
/// keys.forget("2026-01");
/// ```
#[derive(Debug)]
pub struct KeyRing(RwLock<Ring>);

#[derive(Debug)]
struct Ring {
    current: String,
    keys: HashMap<String, Key>,
}

impl KeyRing {
    /// With the key to encrypt with.
    pub fn new(id: impl Into<String>, key: Key) -> Self {
        let current = id.into();
        Self(RwLock::new(Ring { keys: [(current.clone(), key)].into(), current }))
    }

    /// With one more to decrypt with.
    pub fn with(self, id: impl Into<String>, key: Key) -> Self {
        self.add(id, key);
        self
    }

    /// Adds a key to decrypt with; one of the same id is replaced.
    pub fn add(&self, id: impl Into<String>, key: Key) {
        self.write().keys.insert(id.into(), key);
    }

    /// Adds a key, and encrypts with it from now on. Whoever consumes must have it already.
    pub fn rotate(&self, id: impl Into<String>, key: Key) {
        let mut ring = self.write();
        ring.current = id.into();
        let id = ring.current.clone();
        ring.keys.insert(id, key);
    }

    /// Forgets a key; nothing happens to the one to encrypt with.
    pub fn forget(&self, id: &str) {
        let mut ring = self.write();
        if ring.current != id {
            ring.keys.remove(id);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Ring> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ring> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys for KeyRing {
    fn current(&self, _: &str) -> Result<(String, Key), Refusal> {
        let ring = self.read();
        let key = ring.keys.get(&ring.current).ok_or("the ring has no current key")?;
        Ok((ring.current.clone(), key.clone()))
    }

    fn find(&self, id: &str) -> Result<Option<Key>, Refusal> {
        Ok(self.read().keys.get(id).cloned())
    }
}

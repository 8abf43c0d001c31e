//! The controllers of one group, as `controllerDLegerPeers` names them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest id of a controller, in bytes.
const MAX_ID: usize = 15;
/// Most controllers of one group.
const MAX_PEERS: usize = 15;

/// The name of a controller in its group, such as `n0`: a short text that can be copied.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; MAX_ID + 1]);

impl PeerId {
    /// Of up to 15 letters, digits, `_` or `.`.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        if text.is_empty() || text.len() > MAX_ID || !text.bytes().all(is_plain) {
            return None;
        }
        let mut bytes = [0; MAX_ID + 1];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        // What was never set is the empty text.
        let id = if text.is_empty() { Some(Self::default()) } else { Self::new(&text) };
        id.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no id of a controller")))
    }
}

/// Why controllers cannot be told from the settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PeersError {
    #[error(
        "controllerDLegerPeers is not set: name all controllers, such as n0-10.0.0.1:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878"
    )]
    None,
    #[error("controllerDLegerPeers: `{0}` is not of the form ID-HOST:PORT, such as n0-10.0.0.1:9878")]
    Form(String),
    #[error("controllerDLegerPeers: {0} stands there twice")]
    Twice(String),
    #[error("controllerDLegerPeers names more than {MAX_PEERS} controllers; three or five are usual")]
    TooMany,
    #[error("controllerDLegerSelfId={given} is none of the controllers in controllerDLegerPeers: {known}")]
    Stranger { given: String, known: String },
}

/// All controllers of a group, and which of them this one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    addresses: BTreeMap<PeerId, String>,
    own: PeerId,
}

impl Peers {
    /// Reads `n0-host:port;n1-host:port`. `own` may be empty where there is one controller.
    pub fn read(peers: &str, own: &str) -> Result<Self, PeersError> {
        let mut addresses = BTreeMap::new();
        for peer in peers.split(';').map(str::trim).filter(|peer| !peer.is_empty()) {
            let form = || PeersError::Form(peer.to_owned());
            let (id, address) = peer.split_once('-').ok_or_else(form)?;
            let id = PeerId::new(id).ok_or_else(form)?;
            let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(form());
            }
            if addresses.values().any(|known| known == address) {
                return Err(PeersError::Twice(address.to_owned()));
            }
            if addresses.insert(id, address.to_owned()).is_some() {
                return Err(PeersError::Twice(id.to_string()));
            }
        }
        if addresses.len() > MAX_PEERS {
            return Err(PeersError::TooMany);
        }
        let first = *addresses.keys().next().ok_or(PeersError::None)?;
        let is_alone = own.is_empty() && addresses.len() == 1;
        let own_id = if is_alone { Some(first) } else { PeerId::new(own) };
        let own = own_id.filter(|id| addresses.contains_key(id)).ok_or_else(|| {
            let known: Vec<_> = addresses.keys().map(PeerId::as_str).collect();
            PeersError::Stranger { given: own.to_owned(), known: known.join(", ") }
        })?;
        Ok(Self { addresses, own })
    }

    /// This controller.
    pub fn own(&self) -> PeerId {
        self.own
    }

    /// Where a controller is, as `host:port`.
    pub fn address(&self, id: PeerId) -> Option<&str> {
        self.addresses.get(&id).map(String::as_str)
    }

    /// The port that this controller listens on.
    pub fn port(&self) -> u16 {
        let port = self.address(self.own).and_then(|address| address.rsplit(':').next()?.parse().ok());
        port.unwrap_or_default()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &str)> {
        self.addresses.iter().map(|(id, address)| (*id, address.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_as_upstream_writes_them() {
        let peers = Peers::read("n0-10.0.0.1:9878;n1-ctl-1.example.com:9879; n2-[::1]:9880;", "n1").expect("fine");
        assert_eq!((peers.own().as_str(), peers.port()), ("n1", 9879));
        let id = PeerId::new("n2").expect("an id");
        assert_eq!(peers.address(id), Some("[::1]:9880"));
        assert_eq!(peers.iter().count(), 3);
        assert_eq!(Peers::read("n0-127.0.0.1:9878", "").expect("alone").own().as_str(), "n0");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (peers, own, text) in [
            ("", "n0", "not set"),
            ("n0:1", "n0", "`n0:1` is not of the form"),
            ("n0-:1", "n0", "not of the form"),
            ("n0-a:x", "n0", "not of the form"),
            ("averyverylongname-a:1", "n0", "not of the form"),
            ("n0-a:1;n0-b:1", "n0", "n0 stands there twice"),
            ("n0-a:1;n1-a:1", "n0", "a:1 stands there twice"),
            ("n0-a:1;n1-b:1", "n2", "n2 is none of the controllers in controllerDLegerPeers: n0, n1"),
            ("n0-a:1;n1-b:1", "", "is none of the controllers"),
        ] {
            let error = Peers::read(peers, own).expect_err(peers).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn ids_travel_as_text_also_as_keys() {
        let ids = BTreeMap::from([(PeerId::new("n0").expect("an id"), 1)]);
        let text = serde_json::to_string(&ids).expect("JSON");
        assert_eq!(text, r#"{"n0":1}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<PeerId, i32>>(&text).expect("read"), ids);
        assert!(serde_json::from_str::<PeerId>(r#""a b""#).is_err());
    }
}

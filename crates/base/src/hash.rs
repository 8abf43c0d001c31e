//! Maps on the way of messages.

use std::collections::HashMap;

/// A map that each message is looked up in, by a name or a small number. Its hash costs a fifth of the
/// standard one; seeded anew in each process, it leaves who chooses names little to aim at.
pub type QuickMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

//! Bits of a message's system flag (upstream `MessageSysFlag`).

/// The body is compressed.
pub const COMPRESSED: i32 = 1;
/// The tag property holds several tags.
pub const MULTI_TAGS: i32 = 1 << 1;
/// The two bits that tell the kind of transactional message; 0 is none.
pub const TRANSACTION: i32 = 3 << 2;
/// A half message, not decided yet.
pub const TRANSACTION_PREPARED: i32 = 1 << 2;
/// A message whose transaction was committed.
pub const TRANSACTION_COMMIT: i32 = 2 << 2;
/// A message whose transaction was rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 3 << 2;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 1 << 4;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 1 << 5;
/// The body is an inner batch that consumers unwrap.
pub const NEED_UNWRAP: i32 = 1 << 6;
/// The record is an inner batch.
pub const INNER_BATCH: i32 = 1 << 7;
/// The three bits that tell how the body is compressed.
pub const COMPRESSION: i32 = 7 << 8;

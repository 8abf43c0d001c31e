//! The message: record format, properties, flags, ids, batches, compression.

//! Metrics and health to the outside: pages over HTTP for Prometheus and for who looks after processes ([`http`]),
//! pushes to a collector by OTLP ([`otlp`]), lines in the log ([`log`]).

pub mod http;
pub mod log;
pub mod otlp;

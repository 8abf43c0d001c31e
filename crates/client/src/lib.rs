//! Producer and consumer for any cluster that speaks RocketMQ's remoting protocol.
//!
//! A [`Client`] knows the name servers, keeps the connections and the routes of topics, and tells brokers that
//! it is alive. Producers and consumers are made from it, and share it.
//!
//! ```no_run
//! use apogee_client::{Client, Message};
//!
//! # async fn example() -> Result<(), apogee_client::Error> {
//! let client = Client::new("127.0.0.1:9876")?;
//! let producer = client.producer("orders")?;
//! let sent = producer.send(Message::new("Orders", "one book").tag("book").key("order-1")).await?;
//! println!("{} is in queue {}", sent.message_id, sent.queue);
//!
//! let mut consumer = client.consumer("billing").subscribe_tags("Orders", "book || pen").from_first().join().await?;
//! while let Some(delivery) = consumer.next().await {
//!     println!("{:?} from {}", delivery.body, delivery.queue);
//!     delivery.ack();
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything runs on the tokio runtime that the client was made on; for programs without one there is [`blocking`].

pub mod admin;
mod asked;
pub mod blocking;
mod client;
mod codec;
mod consumer;
mod error;
mod id;
mod interceptor;
mod message;
#[cfg(feature = "metrics")]
mod metrics;
mod offsets;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
mod peers;
mod pop;
mod producer;
mod pull;
mod pull_consumer;
mod reader;
mod route;
mod shared;
mod trace;

pub use admin::Admin;
pub use apogee_base::clock::Clock;
pub use apogee_net::{Dial, Dialled, Dialling, Stream, Tcp};
#[cfg(feature = "tls")]
pub use apogee_net::{Tls, TlsError};
pub use client::{Client, ClientBuilder};
pub use codec::{Checksum, Codec, CodecContext, CodecError, Codecs, Compression, Encoded};
#[cfg(feature = "encryption")]
pub use codec::{Key, KeyRing, Keys};
pub use consumer::{Allocate, Balance, Consumer, ConsumerBuilder, Delivery};
pub use error::Error;
pub use interceptor::{ConsumeContext, ConsumeOutcome, Interceptor, Refusal, SendContext, SendKind, SendOutcome};
pub use message::{Message, Received};
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
#[cfg(feature = "opentelemetry")]
pub use opentelemetry::OpenTelemetry;
pub use pop::{PopConsumer, PopConsumerBuilder, PopDelivery};
pub use producer::{Decision, Producer, ProducerBuilder, SendStatus, Sent, Transaction};
pub use pull::From;
pub use pull_consumer::{Pull, PullConsumer, PullConsumerBuilder};
pub use reader::{Reader, ReaderBuilder};
pub use route::Queue;

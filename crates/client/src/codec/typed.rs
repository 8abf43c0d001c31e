//! Bodies of a schema.

use apogee_message::codecs::{self, name, steps};

use super::CodecError;
use crate::{Error, Message, Received};

/// Whether a step says what a body is, and is not to be undone.
pub(super) fn is_schema(step: &str) -> bool {
    [name::JSON, name::PROTOBUF].contains(&step)
}

impl Message {
    /// A message whose body is a value as JSON.
    ///
    /// ```
    /// #[derive(serde::Serialize)]
    /// struct Order<'o> { book: &'o str, count: u32 }
    ///
    /// let message = apogee_client::Message::json("Orders", &Order { book: "Walden", count: 2 })?;
    /// assert_eq!(message.body(), r#"{"book":"Walden","count":2}"#);
    /// # Ok::<(), apogee_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Message`] when the value cannot be JSON, as a map whose keys are no text.
    pub fn json(topic: impl Into<String>, value: &(impl serde::Serialize + ?Sized)) -> Result<Self, Error> {
        let topic = topic.into();
        match serde_json::to_vec(value) {
            Ok(body) => Ok(Self::new(topic, body).with(codecs::PROPERTY, name::JSON)),
            Err(error) => Err(Error::message(&topic, error.to_string())),
        }
    }

    /// A message whose body is a Protocol Buffers message.
    ///
    /// ```
    /// // Any type that prost made does; its wrapper of text, for one.
    /// let message = apogee_client::Message::protobuf("Orders", &"one book".to_owned());
    /// assert_eq!(message.body(), "\x0a\x08one book");
    /// ```
    #[cfg(feature = "protobuf")]
    pub fn protobuf(topic: impl Into<String>, value: &impl prost::Message) -> Self {
        Self::new(topic, value.encode_to_vec()).with(codecs::PROPERTY, name::PROTOBUF)
    }
}

impl Received {
    /// The body as a value, from JSON; also when its sender did not say what it is.
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Order { book: String, count: u32 }
    ///
    /// fn bill(message: &apogee_client::Received) -> Result<(), apogee_client::Error> {
    ///     let order: Order = message.json()?;
    ///     println!("{} times {}", order.count, order.book);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Codec`] when it is something else.
    pub fn json<'m, T: serde::Deserialize<'m>>(&'m self) -> Result<T, Error> {
        self.is_of(name::JSON)?;
        serde_json::from_slice(&self.body).map_err(|error| self.unlike(name::JSON, error))
    }

    /// The body as a Protocol Buffers message; also when its sender did not say what it is.
    ///
    /// ```
    /// fn print(message: &apogee_client::Received) -> Result<(), apogee_client::Error> {
    ///     let text: String = message.protobuf()?;
    ///     println!("{text}");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Codec`] when it is something else.
    #[cfg(feature = "protobuf")]
    pub fn protobuf<M: prost::Message + Default>(&self) -> Result<M, Error> {
        self.is_of(name::PROTOBUF)?;
        M::decode(self.body.clone()).map_err(|error| self.unlike(name::PROTOBUF, error))
    }

    fn is_of(&self, wanted: &'static str) -> Result<(), Error> {
        let told = self.property(codecs::PROPERTY).unwrap_or_default();
        match steps(told).last().filter(|step| is_schema(step.name) && step.name != wanted) {
            Some(step) => Err(Error::codec(self, CodecError::OtherSchema { found: step.name.to_owned(), wanted })),
            None => Ok(()),
        }
    }

    fn unlike(&self, codec: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::codec(self, CodecError::Failed { codec: codec.to_owned(), source: Box::new(error) })
    }
}

//! Sends a value as JSON, compressed, encrypted and with a checksum, and reads it back; then without the key.
//!
//! `cargo run -p apogee-client --example codecs -- 127.0.0.1:9876 Secrets`
#![allow(clippy::print_stdout)] // What it shows.

use apogee_client::{Checksum, Client, Codecs, Compression, Error, Key, KeyRing, Message};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name_server = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "Secrets".to_owned());

    // A real one comes from where secrets are kept.
    let keys = KeyRing::new("example", Key::new([7; 32]));
    let codecs = Codecs::new().compress(Compression::Zstd).encrypt(keys).checksum(Checksum::Crc32c);
    let client = Client::builder(&*name_server).codecs(codecs).build()?;
    let value = vec!["a book"; 20];
    let sent = client.producer("secret-keepers")?.send(Message::json(&*topic, &value)?).await?;

    let from = apogee_client::From::Offset(sent.offset);
    let mut reader = client.reader(&*topic).from(from).open().await?;
    if let Some(message) = reader.next().await.transpose()? {
        println!("it went through {}", message.property("CODECS").unwrap_or("nothing"));
        println!("and is {:?}", message.json::<Vec<&str>>()?);
    }

    let other = Client::new(name_server)?;
    let mut reader = other.reader(&*topic).from(from).open().await?;
    if let Some(Err(error)) = reader.next().await {
        println!("without the key: {error}");
    }
    other.close().await;
    client.close().await;
    Ok(())
}

//! The client over TLS: what ends it stands between the client and the real binary.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apogee_client::{Client, Dial, Dialled, Dialling, Error, Message, Tcp, Tls};
use common::{PATIENCE, Server};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// Ends TLS before each address that is connected to.
struct Terminator(TlsAcceptor);

impl Terminator {
    /// With or without asking clients who they are.
    fn new(asks_clients: bool) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).expect("read")).expect("a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        let builder = match asks_clients {
            true => builder.with_client_cert_verifier(verifier.expect("a verifier")),
            false => builder.with_no_client_auth(),
        };
        let certificate = CertificateDer::from_pem_file(file("server.pem")).expect("read");
        let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("read");
        let config = builder.with_single_cert(vec![certificate], key).expect("they fit");
        Self(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Dial for Terminator {
    fn dial<'d>(&'d self, address: &'d str) -> Dialling<'d> {
        Box::pin(async move {
            let Dialled { mut stream, peer, local } = Tcp.dial(address).await?;
            // A small one: what is written must wait for room.
            let (ours, theirs) = tokio::io::duplex(1_000);
            let accept = self.0.accept(theirs);
            tokio::spawn(async move {
                if let Ok(mut plain) = accept.await {
                    // Either side may go.
                    let _ = tokio::io::copy_bidirectional(&mut plain, &mut stream).await;
                }
            });
            Ok(Dialled { stream: Box::new(ours), peer, local })
        })
    }
}

fn client(server: &Server, tls: Tls, asks_clients: bool) -> Client {
    let builder = Client::builder(server.namesrv.to_string()).dial(Terminator::new(asks_clients)).tls(tls);
    builder.build().expect("a client")
}

/// Why no topic can be found.
async fn refused(server: &Server, tls: Tls, asks_clients: bool) -> String {
    let client = client(server, tls, asks_clients);
    let reader = tokio::time::timeout(PATIENCE, client.reader("T").open()).await.expect("no hang");
    reader.expect_err("no connection").to_string()
}

#[tokio::test]
async fn long_messages_come_and_go_whole() {
    let server = Server::start(&[]);
    let tls = Tls::new().roots(file("ca.pem")).identity(file("client.pem"), file("client.key"));
    let client = client(&server, tls, true);
    let producer = client.producer("P").expect("a producer");
    // Bytes that no compression shortens.
    let body = |seed: u64, length: usize| -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    };
    let bodies: Vec<_> = [1, 100, 20_000, 1_000_000, 3_000_000].into_iter().map(|n| body(n as u64, n)).collect();
    let mut sending = tokio::task::JoinSet::new();
    for body in bodies.clone() {
        let producer = producer.clone();
        sending.spawn(async move { producer.send(Message::new("T", body)).await });
    }
    for sent in sending.join_all().await {
        sent.expect("sent");
    }
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let mut came = Vec::new();
    while came.len() < bodies.len() {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("open");
        came.push(delivery.body.to_vec());
        delivery.ack();
    }
    came.sort_by_key(Vec::len);
    assert!(came == bodies);
    consumer.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn only_who_is_trusted_is_talked_to() {
    let server = Server::start(&[]);
    let trusted = Tls::new().roots(file("ca.pem"));
    let error = refused(&server, trusted.clone(), false).await;
    assert!(error.contains("topic T does not exist"), "{error}");
    let error = refused(&server, Tls::new().roots(file("stranger.pem")), false).await;
    assert!(error.contains("UnknownIssuer"), "{error}");
    let error = refused(&server, trusted.clone().server_name("other.test"), false).await;
    assert!(error.contains("not valid for name"), "{error}");
    let error = refused(&server, trusted.clone().server_name("broker.test"), false).await;
    assert!(error.contains("topic T does not exist"), "{error}");
    let error = refused(&server, Tls::new().unverified(), false).await;
    assert!(error.contains("topic T does not exist"), "{error}");
    // With TLS 1.3, a server that wants to know who this is says so after the connection was made.
    let error = refused(&server, trusted, true).await;
    assert!(error.contains("was closed") || error.contains("TLS failed"), "{error}");
    let builder = Client::builder("127.0.0.1:1").tls(Tls::new().roots("/nowhere/ca.pem"));
    let error = builder.build().err().expect("no file");
    assert!(matches!(error, Error::Tls(_)) && error.to_string().contains("/nowhere/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_it_is_an_error_and_no_hang() {
    // Not one of the servers: Apache's speak TLS on the same ports.
    let address = common::stranger().to_string();
    let client = Client::builder(&*address).tls(Tls::new().unverified());
    let client = client.connect_timeout(Duration::from_millis(500)).build().expect("a client");
    let reader = tokio::time::timeout(PATIENCE, client.reader("T").open()).await.expect("no hang");
    let error = reader.expect_err("no TLS").to_string();
    assert!(error.contains(&address) && error.contains("TLS"), "{error}");
}

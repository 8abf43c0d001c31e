use std::net::SocketAddr;

use apogee_telemetry::{Family, Scope};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::messages::Data;
use super::*;

/// What a collector was sent: the path, the value of the header `token`, the message.
type Pushed = (String, Option<String>, ExportRequest);

/// A collector that takes everything.
async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<Pushed>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let tell = tell.clone();
            // The connection goes on while the body is read.
            tokio::spawn(async move {
                let (head, mut body) = request.into_parts();
                let mut bytes = BytesMut::new();
                while let Some(Ok(chunk)) = body.data().await {
                    let _ = body.flow_control().release_capacity(chunk.len());
                    bytes.put(chunk);
                }
                // A byte of flags and a length come before the message.
                let message = ExportRequest::decode(&bytes[5..]).unwrap();
                let token = head.headers.get("token").and_then(|value| value.to_str().ok()).map(str::to_owned);
                let answer = hyper::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                let mut answer = respond.send_response(answer, false).unwrap();
                answer.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                let mut trailers = hyper::HeaderMap::new();
                trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
                answer.send_trailers(trailers).unwrap();
                let _ = tell.send((head.uri.path().to_owned(), token, message));
            });
        }
    });
    (address, told)
}

struct Fixed;

impl Metrics for Fixed {
    fn scopes(&self) -> Vec<Scope> {
        let families = vec![Family::counter("rocketmq_messages_in_total", "In").of(7.0)];
        vec![Scope { name: "broker-meter", labels: vec![("cluster", "C".into())], families }]
    }

    fn exporter_scopes(&self) -> Vec<Scope> {
        Vec::new()
    }
}

fn target(address: &str) -> Target {
    Target {
        address: address.to_owned(),
        headers: vec![("Token".to_owned(), "secret".to_owned())],
        timeout: Duration::from_secs(5),
        interval: Duration::from_millis(50),
        in_delta: false,
        most_points: 1_000,
    }
}

#[tokio::test]
async fn a_collector_is_told_with_headers_and_once_more_at_the_end() {
    let (address, mut told) = collector().await;
    let pusher = Pusher::start(target(&format!("http://{address}")), Arc::new(Fixed)).unwrap();
    let (path, token, message) = told.recv().await.unwrap();
    assert_eq!((path.as_str(), token.as_deref()), (METHOD, Some("secret")));
    let scope = &message.resource_metrics[0].scope_metrics[0];
    assert_eq!(scope.scope.as_ref().map(|scope| scope.name.as_str()), Some("broker-meter"));
    let Some(Data::Sum(sum)) = &scope.metrics[0].data else { panic!("{scope:?}") };
    assert!(sum.is_monotonic && sum.data_points[0].as_double == Some(7.0));
    assert_eq!(sum.data_points[0].attributes[0].key, "cluster");
    pusher.stop().await;
    assert!(told.recv().await.is_some());
}

#[tokio::test]
async fn what_cannot_be_a_target_is_named() {
    for (address, headers, word) in [
        ("http://not an address", vec![], "metricsGrpcExporterTarget"),
        ("http://127.0.0.1:1", vec![("bad name".to_owned(), "v".to_owned())], "bad name"),
    ] {
        let target = Target { headers, ..target(address) };
        let error = Pusher::start(target, Arc::new(Fixed)).err().expect("refused").to_string();
        assert!(error.contains(word), "{error}");
    }
}

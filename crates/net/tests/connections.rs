//! What peers notice of the connection loop, over real sockets on the loopback interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apogee_net::{CallError, Conn, Limits, OwnedConn, Server, Service, Tcp, Unasked, Workers, connect};
use apogee_wire::{Command, frame};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers 1 with its body, 2 with four slices, asks the client something on 3, never answers 4,
/// panics on 5, answers 6 and closes.
#[derive(Default)]
struct Echo {
    closed: AtomicUsize,
}

impl Service for Echo {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        match request.code {
            1 => conn.reply(&Command::response_to(request, 0).with_body(request.body.clone())),
            2 => {
                let slices = [b"a", b"b"].map(|byte| Bytes::from(byte.repeat(100_000)));
                conn.reply_parts(&Command::response_to(request, 0), slices.to_vec());
            }
            3 => {
                let (conn, request) = (Arc::clone(conn), request.clone());
                tokio::spawn(async move {
                    let answer = conn.call(Command::request(9), Duration::from_secs(5)).await;
                    let remark = answer.map_or_else(|error| error.to_string(), |_| "answered".into());
                    conn.reply(&Command::response_to(&request, 0).with_remark(remark));
                });
            }
            5 => panic!("a handler's bug"),
            6 => {
                conn.reply(&Command::response_to(request, 0));
                conn.close("as asked");
            }
            _ => {}
        }
    }

    fn closed(&self, _: &Arc<Conn>) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Answering;

impl Service for Answering {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        conn.reply(&Command::response_to(request, 0));
    }
}

fn start(limits: Limits) -> (Server, Arc<Echo>) {
    let server = Server::bind("127.0.0.1", 0, limits).expect("a free port");
    let echo = Arc::new(Echo::default());
    server.start(echo.clone(), Some(Workers::start(2).expect("threads")));
    (server, echo)
}

async fn client(server: &Server) -> Arc<Conn> {
    let address = server.local_addr().to_string();
    connect(&Tcp, &address, Arc::new(Answering), Limits::default(), SECOND).await.expect("a connection")
}

const SECOND: Duration = Duration::from_secs(1);

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let (server, _) = start(Limits::default());
    let client = client(&server).await;
    let calls = (0..500).map(|n: u32| {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            let body = Bytes::from(n.to_be_bytes().repeat(1 + n as usize));
            let answer =
                client.call(Command::request(1).with_body(body.clone()), SECOND * 10).await.expect("an answer");
            assert_eq!(answer.body, body);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no panic");
    }
    let slices = client.call(Command::request(2), SECOND).await.expect("an answer");
    assert_eq!(slices.body.len(), 200_000);
    assert_eq!((slices.body[99_999], slices.body[100_000]), (b'a', b'b'));
}

#[tokio::test]
async fn the_server_can_ask_the_client() {
    let (server, _) = start(Limits::default());
    let answer = client(&server).await.call(Command::request(3), SECOND).await.expect("an answer");
    assert_eq!(answer.remark.as_deref(), Some("answered"));
}

#[tokio::test]
async fn a_call_ends_with_the_connection_or_the_time_allowed() {
    let (server, _) = start(Limits::default());
    let client = client(&server).await;
    let late = client.call(Command::request(4), Duration::from_millis(20)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    let waiting = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.call(Command::request(4), SECOND * 30).await }
    });
    tokio::task::yield_now().await;
    server.stop(SECOND).await;
    let ended = waiting.await.expect("no panic");
    assert!(matches!(ended, Err(CallError::Closed(_))), "{ended:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_no_other() {
    let (server, echo) = start(Limits::default());
    let (one, other) = (client(&server).await, client(&server).await);
    assert!(one.call(Command::request(5), SECOND).await.is_err());
    eventually("the service hears of the end", || echo.closed.load(Ordering::SeqCst) == 1).await;
    assert!(other.call(Command::request(1), SECOND).await.is_ok());
}

/// Sends bytes and reads until the server closes the connection; returns what came.
async fn raw(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("a connection");
    stream.write_all(bytes).await.expect("the server reads");
    let mut got = Vec::new();
    let end = tokio::time::timeout(SECOND * 10, stream.read_to_end(&mut got)).await;
    // A reset is as good as an end.
    let _ = end.expect("the server closes the connection");
    got
}

#[tokio::test]
async fn what_is_no_frame_closes_the_connection() {
    let (server, echo) = start(Limits::default());
    let other = client(&server).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 1], &[0, 0, 0, 8, 7, 0, 0, 2, 1, 2, 3, 4]] {
        assert_eq!(raw(&server, bytes).await, b"");
    }
    eventually("three ends", || echo.closed.load(Ordering::SeqCst) == 3).await;
    assert!(other.call(Command::request(1), SECOND).await.is_ok());
}

#[tokio::test]
async fn answers_before_a_bad_frame_still_arrive() {
    let (server, _) = start(Limits::default());
    let mut good_then_bad = frame::to_bytes(&Command::request(1).with_body(Bytes::from_static(b"x"))).to_vec();
    good_then_bad.extend_from_slice(b"\xff\xff\xff\xff");
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("a connection");
    stream.write_all(&good_then_bad).await.expect("the server reads");
    let mut buffer = BytesMut::new();
    let mut answer = Command::default();
    while !frame::decode(&mut buffer, &mut answer, frame::MAX_FRAME).expect("a frame") {
        assert_ne!(stream.read_buf(&mut buffer).await.expect("an answer"), 0);
    }
    assert_eq!(&answer.body[..], b"x");
}

#[tokio::test]
async fn the_last_answer_arrives_whatever_the_peer_goes_on_to_send() {
    let (server, _) = start(Limits::default());
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.local_addr()).await.expect("a connection");
        let mut bytes = frame::to_bytes(&Command::request(6)).to_vec();
        let more = frame::to_bytes(&Command::request(4).with_body(Bytes::from(vec![b'x'; 1000])));
        (0..500).for_each(|_| bytes.extend_from_slice(&more));
        stream.write_all(&bytes).await.expect("the server reads");
        // The server has closed by now; what it has not read must not take the answer back.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await.expect("the end, not a reset");
        let mut answer = Command::default();
        let mut answers = BytesMut::from(&answers[..]);
        assert!(frame::decode(&mut answers, &mut answer, frame::MAX_FRAME).expect("a frame"), "no answer");
    }
}

#[tokio::test]
async fn a_peer_that_drips_bytes_is_closed_in_time() {
    let (server, _) = start(Limits { idle: Duration::from_millis(300), ..Limits::default() });
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("a connection");
    let whole = frame::to_bytes(&Command::request(1));
    let started = tokio::time::Instant::now();
    for byte in whole.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < SECOND * 10, "the server never closed");
    }
}

#[tokio::test]
async fn a_connection_in_use_outlives_the_idle_time() {
    let (server, _) = start(Limits { idle: Duration::from_millis(1500), ..Limits::default() });
    let client = client(&server).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.call(Command::request(1), SECOND).await.expect("still open");
    }
    eventually("it ends when it is idle", || server.connections() == 0).await;
}

#[tokio::test]
async fn a_peer_that_never_reads_does_not_fill_the_memory() {
    let limits = Limits { pause_reading_at: 1 << 20, idle: SECOND * 2, ..Limits::default() };
    let (server, echo) = start(limits);
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("a connection");
    let request = frame::to_bytes(&Command::request(2));
    // Ask for gigabytes, read nothing: the server stops reading, then closes.
    let flood = async {
        loop {
            if stream.write_all(&request).await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(SECOND * 20, flood).await.expect("the server closes the connection");
    eventually("the service hears of the end", || echo.closed.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_owner() {
    let (server, echo) = start(Limits::default());
    let address = server.local_addr().to_string();
    let owned = OwnedConn::connect(&Tcp, &address, Arc::new(Unasked), SECOND).await.expect("a connection");
    let shared = Arc::clone(&owned);
    owned.call(Command::request(1), SECOND).await.expect("an answer");
    drop(owned);
    assert!(!shared.is_open());
    eventually("the server hears of the end", || echo.closed.load(Ordering::SeqCst) == 1).await;
}

/// Stops a server some microseconds after clients began to come.
async fn stop_amid_arrivals(after_us: u64) {
    let (server, echo) = start(Limits::default());
    let service = Arc::downgrade(&echo);
    drop(echo);
    let address = server.local_addr();
    let coming: Vec<_> = (0..4).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
    tokio::time::sleep(Duration::from_micros(after_us)).await;
    server.stop(SECOND).await;
    eventually("the service is let go of", || service.strong_count() == 0).await;
    drop(coming);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_a_server_stops_does_not_keep_its_service() {
    for round in 0..5 {
        let stops: Vec<_> = (0..20).map(|stop| tokio::spawn(stop_amid_arrivals(round * 100 + stop * 5))).collect();
        for stop in stops {
            stop.await.expect("stopped");
        }
    }
}

#[tokio::test]
async fn a_taken_port_is_explained() {
    let (server, _) = start(Limits::default());
    let error =
        Server::bind("127.0.0.1", server.local_addr().port(), Limits::default()).err().expect("the port is taken");
    assert!(error.to_string().contains("another process has this port"), "{error}");
}

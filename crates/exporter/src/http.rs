//! Pages over HTTP: `/metrics`, `/metrics/exporter`, `/health/live`, `/health/ready`.
//!
//! Whoever reaches the port can ask; so each connection brings one short request, is over soon, and there are few at
//! a time. Metrics are collected for one reader after the other.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apogee_telemetry::{Health, Metrics, prometheus};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

/// Connections at a time; one more is closed at once.
const MOST_CONNECTIONS: usize = 64;
/// Bytes of a request's head.
const MOST_HEAD: usize = 8 << 10;
/// Header lines of a request.
const MOST_HEADERS: usize = 64;
/// A peer sends its request within so long.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// A connection is over after so long.
const WHOLE_TIME: Duration = Duration::from_secs(60);
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the pages show.
#[derive(Clone, Default)]
pub struct Pages {
    /// What has metrics; without it there are no such pages.
    pub metrics: Option<Arc<dyn Metrics>>,
    /// All that must be well.
    pub health: Vec<Arc<dyn Health>>,
}

/// A port that serves pages; closed when dropped.
pub struct Endpoint {
    local: SocketAddr,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Takes a port and serves. Needs a tokio runtime around it.
    pub async fn start(address: SocketAddr, pages: Pages) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Self { local, task: tokio::spawn(accept(listener, pages)) })
    }

    /// The address taken; its port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    pages: Pages,
    /// Held by the one for whom metrics are collected.
    turn: Mutex<()>,
}

async fn accept(listener: TcpListener, pages: Pages) {
    let shared = Arc::new(Shared { pages, turn: Mutex::new(()) });
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::debug!(%peer, "closed a connection for metrics: {MOST_CONNECTIONS} are open");
                    continue;
                };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Peers come and go as they like.
                    let _ = tokio::time::timeout(WHOLE_TIME, serve(stream, shared)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> Result<(), hyper::Error> {
    let answering = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request.method(), request.uri().path()).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    builder.keep_alive(false).max_buf_size(MOST_HEAD).max_headers(MOST_HEADERS);
    builder.serve_connection(TokioIo::new(stream), answering).await
}

type Answer = Response<Full<hyper::body::Bytes>>;

async fn answer(shared: &Shared, method: &Method, path: &str) -> Answer {
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n".to_owned());
        answer.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let pages = &shared.pages;
    match (path, &pages.metrics) {
        ("/metrics", Some(metrics)) => collected(shared, Arc::clone(metrics), |metrics| metrics.scopes()).await,
        ("/metrics/exporter", Some(metrics)) => {
            collected(shared, Arc::clone(metrics), |metrics| metrics.exporter_scopes()).await
        }
        ("/health/live", _) => health(pages, |health| health.live()),
        ("/health/ready", _) => health(pages, |health| health.ready()),
        _ => plain(StatusCode::NOT_FOUND, known_pages(pages)),
    }
}

fn known_pages(pages: &Pages) -> String {
    let metrics = if pages.metrics.is_some() { "/metrics\n/metrics/exporter\n" } else { "" };
    format!("There are these pages:\n{metrics}/health/live\n/health/ready\n")
}

async fn collected(
    shared: &Shared,
    metrics: Arc<dyn Metrics>,
    collect: fn(&dyn Metrics) -> Vec<apogee_telemetry::Scope>,
) -> Answer {
    // It may read from the disk, and with many topics it takes a while: not on a thread that serves others.
    let _turn = shared.turn.lock().await;
    match tokio::task::spawn_blocking(move || prometheus::write(&collect(&*metrics))).await {
        Ok(text) => with_type(StatusCode::OK, text, prometheus::CONTENT_TYPE),
        Err(error) => {
            tracing::error!(%error, "metrics could not be collected by a bug of the broker; please report it");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be collected; the log says why\n".to_owned(),
            )
        }
    }
}

fn health(pages: &Pages, ask: fn(&dyn Health) -> Result<(), String>) -> Answer {
    let complaints: Vec<String> = pages.health.iter().filter_map(|health| ask(&**health).err()).collect();
    if complaints.is_empty() {
        return plain(StatusCode::OK, "ok\n".to_owned());
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, complaints.join("\n") + "\n")
}

fn plain(status: StatusCode, text: String) -> Answer {
    with_type(status, text, "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, text: String, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}

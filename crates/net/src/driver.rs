//! The task of a connection: reads, hands over, writes.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apogee_wire::Command;
use apogee_wire::frame::{self, FrameError};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::{Conn, Service, spare};

/// Least room for a read.
const READ_MIN: usize = 2 << 10;
/// Most room for a read.
const READ_MAX: usize = 256 << 10;
/// Pieces in one vectored write: more bring nothing, the kernel's own limit is 1,024.
const PIECES: usize = 64;
/// How long a closing connection may take to send what is queued.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection that is closed by this side waits for the peer to close its own.
const FAREWELL: Duration = Duration::from_millis(300);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Peer,
    #[error("the peer closed it in the middle of a frame")]
    Cut,
    #[error("closed by this side")]
    Local,
    #[error("no frame was completed for {0:?}")]
    Idle(Duration),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs a connection until its end, then tells the service.
pub(crate) async fn run<S>(stream: S, conn: Arc<Conn>, service: Arc<dyn Service>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A guard, so that a panic of a handler ends this connection and still tidies up behind it.
    let _closed = Closed { conn: &conn, service: &service };
    let idle = conn.limits.idle;
    let mut driver = Driver {
        stream,
        conn: &conn,
        service: &service,
        buffer: BytesMut::new(),
        room: READ_MIN,
        command: Command::default(),
        sending: VecDeque::new(),
        shut: false,
        alive: Instant::now(),
        deadline: Box::pin(tokio::time::sleep(idle)),
    };
    let end = poll_fn(|context| driver.poll(context)).await;
    match end {
        End::Frame(error) => {
            tracing::warn!(peer = %conn.peer(), %error, "closed a connection: what came is no remoting frame");
        }
        end => tracing::debug!(conn = conn.id(), peer = %conn.peer(), %end, "a connection ended"),
    }
}

struct Closed<'c> {
    conn: &'c Arc<Conn>,
    service: &'c Arc<dyn Service>,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.conn.end_calls();
        self.service.closed(self.conn);
    }
}

struct Driver<'c, S> {
    stream: S,
    conn: &'c Arc<Conn>,
    service: &'c Arc<dyn Service>,
    /// Bytes read and not yet cut into frames.
    buffer: BytesMut,
    /// How much room the next read gets: follows what the peer sends.
    room: usize,
    command: Command,
    /// What is on its way out.
    sending: VecDeque<Bytes>,
    /// The peer was told that nothing more comes.
    shut: bool,
    /// When a frame was completed or the peer took something.
    alive: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<'_, S> {
    /// Writes and reads until neither can go on.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            let was_open = self.conn.is_open();
            let writing = match self.write(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(End::Io(error)),
                Poll::Ready(Ok(())) => false,
                Poll::Pending => true,
            };
            if !self.conn.is_open() && !writing {
                return self.say_farewell(context);
            }
            if !self.conn.is_open() && self.expired(context, LINGER) {
                return Poll::Ready(End::Local);
            }
            // A peer that doesn't take its answers gets no further requests read.
            let may_read = self.conn.is_open() && self.conn.queued() <= self.conn.limits.pause_reading_at;
            if may_read {
                match self.read(context) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(end)) => {
                        // Answers to what came before still leave, as far as the kernel takes them.
                        let _ = self.write(context);
                        return Poll::Ready(end);
                    }
                    Poll::Pending => {}
                }
            }
            if self.conn.is_open() && self.expired(context, self.conn.limits.idle) {
                return Poll::Ready(End::Idle(self.conn.limits.idle));
            }
            // Something may have been queued meanwhile; under its lock nothing can be.
            let mut outbound = self.conn.lock_outbound();
            if outbound.is_empty() || writing {
                outbound.waker = Some(context.waker().clone());
                // `close` may have come before the waker was there.
                if self.conn.is_open() == was_open {
                    return Poll::Pending;
                }
            }
        }
    }

    /// Closes the way out and passes over what still comes in, until the peer closes, too: closed with
    /// something unread, the system would take back the last answers that the peer has not read.
    fn say_farewell(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if !self.shut {
            // A failure means that the peer is gone; reading will tell.
            let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
            self.shut = true;
            self.alive = Instant::now();
        }
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ_MIN);
            match pin!(self.stream.read_buf(&mut self.buffer)).poll(context) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(End::Local),
                Poll::Pending if self.expired(context, FAREWELL) => return Poll::Ready(End::Local),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once and hands over the requests that became whole.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.buffer.capacity() == 0 {
            self.buffer = spare::take();
        }
        self.buffer.reserve(self.room);
        let room = self.buffer.capacity() - self.buffer.len();
        // The future keeps nothing between polls, so it need not be kept either.
        let Poll::Ready(read) = pin!(self.stream.read_buf(&mut self.buffer)).poll(context) else {
            // Nothing comes at present: room to read into serves another connection.
            spare::give(&mut self.buffer);
            return Poll::Pending;
        };
        let read = read?;
        if read == 0 {
            return Poll::Ready(Err(if self.buffer.is_empty() { End::Peer } else { End::Cut }));
        }
        self.room = if read == room { (room * 4).min(READ_MAX) } else { read.next_power_of_two().max(READ_MIN) };
        let (mut is_alive, mut handed_over) = (false, false);
        // What this read brought began now, for whoever measures.
        apogee_telemetry::moment::now();
        let decoded = loop {
            match frame::decode(&mut self.buffer, &mut self.command, self.conn.limits.max_frame) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
            is_alive = true;
            if self.command.is_response() {
                self.conn.answered(&self.command);
            } else {
                handed_over = true;
                self.service.request(self.conn, &self.command);
            }
        };
        if is_alive {
            self.alive = Instant::now();
        }
        // The command must not hold the buffer that its body is a slice of.
        self.command.body = Bytes::new();
        if handed_over {
            // What came before nonsense counts.
            self.service.batch_end(self.conn);
        }
        decoded?;
        Poll::Ready(Ok(()))
    }

    /// Does what others have left to this task and sends what is queued; ready when nothing is left.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let work = self.conn.lock_outbound().take_into(&mut self.sending);
            if !work.is_empty() {
                work.into_iter().for_each(|work| work());
                continue;
            }
            if self.sending.is_empty() {
                // What secures a stream may hold something that the kernel did not take.
                return Pin::new(&mut self.stream).poll_flush(context);
            }
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.sending.len().min(PIECES);
            for (piece, bytes) in pieces.iter_mut().zip(&self.sending) {
                *piece = IoSlice::new(bytes);
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &pieces[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.alive = Instant::now();
            self.conn.sent(written);
            self.drop_sent(written);
        }
    }

    fn drop_sent(&mut self, mut written: usize) {
        while let Some(first) = self.sending.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.sending.pop_front();
        }
    }

    /// Whether nothing happened for `allowed`; asks to be woken when that would be.
    fn expired(&mut self, context: &mut Context<'_>, allowed: Duration) -> bool {
        let due = self.alive + allowed;
        loop {
            if due <= Instant::now() {
                return true;
            }
            if self.deadline.deadline() > due || self.deadline.is_elapsed() {
                self.deadline.as_mut().reset(due);
            }
            if self.deadline.as_mut().poll(context).is_pending() {
                return false;
            }
        }
    }
}

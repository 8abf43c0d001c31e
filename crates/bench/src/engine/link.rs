//! One connection with its buffers and its requests in flight.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;

use crate::error::BenchError;

/// Requests that nobody has to answer are queued up to so many bytes.
const HIGH_WATER: usize = 128 * 1024;

/// A connection.
pub(crate) struct Link {
    pub(super) stream: TcpStream,
    /// The beginning of a frame whose rest has not come yet.
    pub(super) partial: Vec<u8>,
    /// What is to be written.
    pub(super) out: BytesMut,
    written: usize,
    /// Slots without a request in flight.
    pub(super) free: Vec<u32>,
    /// When the request of each slot should have been sent, or [`FREE`].
    pub(super) intended: Vec<u64>,
    /// Nothing new is sent before that.
    pub(super) paused_until: u64,
    /// The socket takes no more at the moment.
    pub(super) blocked: bool,
}

/// No request is in flight in a slot.
pub(super) const FREE: u64 = u64::MAX;

impl Link {
    pub(super) fn new(stream: TcpStream, partial: Vec<u8>, slots: u32) -> Self {
        Self {
            stream,
            partial,
            out: BytesMut::new(),
            written: 0,
            // The first slot is used first.
            free: (0..slots).rev().collect(),
            intended: vec![FREE; slots as usize],
            paused_until: 0,
            blocked: false,
        }
    }

    /// Whether more requests may be queued.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() - self.written < HIGH_WATER
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Reads once; 0 when nothing is there.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, BenchError> {
        loop {
            match self.stream.read(into) {
                Ok(0) => return Err(BenchError::new(format!("the broker at {} closed a connection", self.peer()))),
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(super) fn write(&mut self) -> Result<(), BenchError> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
        self.out.clear();
        self.written = 0;
        self.blocked = false;
        Ok(())
    }

    fn lost(&self, error: &std::io::Error) -> BenchError {
        BenchError::new(format!("a connection to the broker at {} was lost: {error}", self.peer()))
    }

    fn peer(&self) -> String {
        self.stream.peer_addr().map_or_else(|_| "an address of before".to_owned(), |address| address.to_string())
    }
}

/// Opens connections to a peer, which has this name for people.
pub(crate) fn connect(peer: &str, address: SocketAddr, count: usize) -> Result<Vec<TcpStream>, BenchError> {
    (0..count)
        .map(|number| {
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(|error| {
                let which = if count > 1 { format!(" (connection {} of {count})", number + 1) } else { String::new() };
                BenchError::new(format!("cannot connect to {peer}{which}: {error}"))
            })?;
            stream.set_nodelay(true).map_err(|error| BenchError::system("cannot prepare a connection", error))?;
            Ok(stream)
        })
        .collect()
}

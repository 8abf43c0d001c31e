//! A server that answers from a constant.

use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use apogee_wire::codes::response;
use apogee_wire::headers::SendMessageResponseHeader;
use apogee_wire::{Command, frame};
use bytes::BytesMut;
use rustix::fs::fdatasync;

use crate::engine::frames::{OPAQUE, PREFIX, Spot, cut, decode_head};
use crate::error::BenchError;

/// Bytes that are read at once.
const READ: usize = 256 * 1024;
const FLAG: &[u8] = b"\"flag\":";
/// The flag of a request that gets no answer.
const ONE_WAY: i32 = 2;

/// Serves each connection on a thread of its own. What is read goes to `file` first, if there is one.
pub(super) fn serve(listen: &str, file: Option<Arc<File>>) -> Result<Infallible, BenchError> {
    let failed = |error| BenchError::system(&format!("cannot listen on {listen}"), error);
    let listener = TcpListener::bind(listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let line = format!("apogee bench floor ready at {address}\n");
    let mut out = std::io::stdout();
    // It serves even when nobody waits for the line.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    let template = Template::new();
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // A peer that is gone already, or no more files: others may be served.
            std::thread::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        let (template, file) = (template.clone(), file.clone());
        let thread = std::thread::Builder::new().stack_size(256 * 1024);
        let started = thread.spawn(move || {
            if let Err(error) = connection(stream, &template, file.as_deref()) {
                let _ = writeln!(std::io::stderr(), "apogee bench floor: {error}");
            }
        });
        if let Err(error) = started {
            let _ = writeln!(std::io::stderr(), "apogee bench floor: cannot start a thread: {error}");
        }
    }
}

/// The answer, around the number of its request.
#[derive(Clone)]
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Template {
    fn new() -> Self {
        let request = Command { opaque: 0, ..Command::request(0) };
        let header = SendMessageResponseHeader {
            msg_id: "7F00000100002A9F0000000000000000",
            queue_id: 0,
            queue_offset: 0,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
        };
        let whole = frame::to_bytes(&Command::response_to(&request, response::SUCCESS).with_header(&header));
        let head = &whole[PREFIX..];
        let at = head.windows(OPAQUE.len()).rposition(|window| window == OPAQUE).map_or(0, |at| at + OPAQUE.len());
        Self { before: head[..at].to_vec(), after: head[at + 1..].to_vec() }
    }

    fn write(&self, opaque: i32, out: &mut BytesMut) {
        let mut digits = [0; 10];
        let (mut at, mut rest) = (digits.len(), opaque.unsigned_abs());
        while rest > 0 || at == digits.len() {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let sign: &[u8] = if opaque < 0 { b"-" } else { b"" };
        let header = self.before.len() + sign.len() + digits.len() - at + self.after.len();
        out.extend_from_slice(&(header as u32 + 4).to_be_bytes());
        out.extend_from_slice(&(header as u32).to_be_bytes());
        for part in [&self.before[..], sign, &digits[at..], &self.after] {
            out.extend_from_slice(part);
        }
    }
}

/// Answers all whole requests of each read by one write.
fn connection(mut stream: TcpStream, template: &Template, file: Option<&File>) -> Result<(), BenchError> {
    let lost = |error| BenchError::system("a connection was lost", error);
    stream.set_nodelay(true).map_err(lost)?;
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    let mut out = BytesMut::new();
    let mut requests = Requests::default();
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(()),
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(lost(error)),
        }
        let mut used = 0;
        while let Some((header, length)) = cut(&buffer[used..filled])? {
            if let Some(opaque) = requests.opaque(&buffer[used..used + length], header)? {
                template.write(opaque, &mut out);
            }
            used += length;
        }
        if let Some(mut file) = file.filter(|_| used > 0) {
            let synced = file.write_all(&buffer[..used]).and_then(|()| Ok(fdatasync(file)?));
            synced.map_err(|error| BenchError::system("--flush", error))?;
        }
        stream.write_all(&out).map_err(lost)?;
        out.clear();
        buffer.copy_within(used..filled, 0);
        filled -= used;
        // A frame that is larger than the buffer; `cut` bounds it.
        if filled == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
    }
}

/// Finds the numbers of requests.
#[derive(Default)]
struct Requests {
    opaque: Spot,
    flag: Spot,
    decoded: Command,
    buffer: BytesMut,
}

impl Requests {
    /// The number of a whole request, unless it wants no answer.
    fn opaque(&mut self, bytes: &[u8], header: usize) -> Result<Option<i32>, BenchError> {
        let head = &bytes[PREFIX..PREFIX + header];
        if bytes[4] == 0
            && let (Some(opaque), Some(flag)) = (self.opaque.number(head, OPAQUE), self.flag.number(head, FLAG))
        {
            return Ok((flag & ONE_WAY == 0).then_some(opaque));
        }
        let command = decode_head(bytes, header, &mut self.buffer, &mut self.decoded)?;
        Ok((!command.is_oneway()).then_some(command.opaque))
    }
}

#[cfg(test)]
mod tests {
    use apogee_wire::Encoding;
    use apogee_wire::headers::SendMessageResponseHeader;

    use super::*;

    #[test]
    fn each_request_is_answered_with_its_number() {
        let (template, mut requests) = (Template::new(), Requests::default());
        for opaque in [0, 7, 1_000_000_000, i32::MAX, -3, i32::MIN] {
            for encoding in [Encoding::Json, Encoding::Binary] {
                let request = Command { opaque, encoding, ..Command::request(310) };
                let bytes = frame::to_bytes(&request);
                let (header, _) = cut(&bytes).unwrap().unwrap();
                assert_eq!(requests.opaque(&bytes, header), Ok(Some(opaque)));
                let one_way = frame::to_bytes(&request.oneway());
                let (header, _) = cut(&one_way).unwrap().unwrap();
                assert_eq!(requests.opaque(&one_way, header), Ok(None));
            }
            let (mut out, mut answer) = (BytesMut::new(), Command::default());
            template.write(opaque, &mut out);
            assert_eq!(frame::decode(&mut out, &mut answer, frame::MAX_FRAME), Ok(true));
            assert!(out.is_empty() && answer.is_response());
            assert_eq!((answer.opaque, answer.code), (opaque, response::SUCCESS));
            assert_eq!(answer.header::<SendMessageResponseHeader<'_>>().unwrap().queue_offset, 0);
        }
    }
}

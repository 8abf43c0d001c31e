//! Where connections to peers come from.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Both ways of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// A connection that was made.
pub struct Dialled {
    /// Its bytes.
    pub stream: Box<dyn Stream>,
    /// The other side.
    pub peer: SocketAddr,
    /// This side.
    pub local: SocketAddr,
}

/// What [`Dial::dial`] is busy with.
pub type Dialling<'d> = Pin<Box<dyn Future<Output = io::Result<Dialled>> + Send + 'd>>;

/// Makes connections: straight by [`Tcp`], through something else, or in a simulated network.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `address` (`host:port`), a name being resolved anew each time.
    fn dial<'d>(&'d self, address: &'d str) -> Dialling<'d>;
}

/// What the other side's system has not confirmed for so long is given up, and the connection with it: it is tried
/// again in longer and longer pauses otherwise, so that a broken way that is whole again is noticed minutes later.
const UNCONFIRMED: Duration = Duration::from_secs(5);

/// Straight connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial<'d>(&'d self, address: &'d str) -> Dialling<'d> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // Frames are written whole: nothing is to be waited for.
            stream.set_nodelay(true)?;
            #[cfg(target_os = "linux")]
            socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNCONFIRMED))?;
            let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
            Ok(Dialled { stream: Box::new(stream), peer, local })
        })
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialled({} -> {})", self.local, self.peer)
    }
}

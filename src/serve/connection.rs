//! Connections: accepting them, TLS, limits, and breaking them on purpose.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};

/// Connections that are served at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// How far the shutdown of a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Serving.
    Running,
    /// No new requests; those that run are answered.
    Draining,
    /// All connections are cut.
    Stopped,
}

/// Accepts connections for the HTTP server.
pub(super) struct Gate {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    phase: watch::Receiver<Phase>,
    permits: Arc<Semaphore>,
    idle: Duration,
}

impl Gate {
    /// `idle` is how long a connection may go without moving a byte in either direction.
    pub(super) fn new(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        phase: watch::Receiver<Phase>,
        idle: Duration,
    ) -> Self {
        Self {
            listener,
            tls,
            phase,
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            idle,
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.permits).acquire_owned().await {
            Ok(permit) => permit,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Listener for Gate {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = self.permit().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Without it, answers wait for acknowledgements; a failure costs only speed.
                    stream.set_nodelay(true).ok();
                    let connection = Connection {
                        transport: match &self.tls {
                            None => Transport::Plain(stream),
                            Some(tls) => Transport::Handshake(Box::new(tls.accept(stream))),
                        },
                        breaker: Breaker::default(),
                        stopped: Box::pin(until_stopped(self.phase.clone())),
                        idle: self.idle,
                        active: Instant::now(),
                        timer: Box::pin(sleep(self.idle)),
                        _permit: permit,
                    };
                    return (connection, address);
                }
                // A client that was gone before it was accepted.
                Err(error) if is_about_client(&error) => {}
                // Out of file descriptors, most likely: others have to close theirs first.
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn is_about_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn until_stopped(mut phase: watch::Receiver<Phase>) {
    // A server that was dropped without a shutdown counts as stopped.
    phase.wait_for(|phase| *phase == Phase::Stopped).await.ok();
}

/// Breaks one connection from inside a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker(Arc<AtomicBool>);

impl Breaker {
    /// The next write fails, and the peer gets a TCP reset.
    pub(super) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Connected<IncomingStream<'_, Gate>> for Breaker {
    fn connect_info(stream: IncomingStream<'_, Gate>) -> Self {
        stream.io().breaker.clone()
    }
}

/// One connection with its limits.
pub(super) struct Connection {
    transport: Transport,
    breaker: Breaker,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    idle: Duration,
    active: Instant,
    timer: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

enum Transport {
    Plain(TcpStream),
    Handshake(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Handshake(accept) => accept.get_ref(),
            Self::Tls(stream) => Some(stream.get_ref().0),
        }
    }

    /// Ends the handshake first, if there is one: here, so that it keeps nobody else waiting.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut dyn Stream>> {
        if let Self::Handshake(accept) = self {
            let stream = ready!(Pin::new(accept.as_mut()).poll(cx))?;
            *self = Self::Tls(Box::new(stream));
        }
        match self {
            Self::Plain(stream) => Poll::Ready(Ok(stream)),
            Self::Tls(stream) => Poll::Ready(Ok(stream.as_mut())),
            Self::Handshake(_) => Poll::Pending,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Connection {
    /// Does something with the stream, within the limits.
    fn attempt<T>(
        &mut self,
        cx: &mut Context<'_>,
        action: impl FnOnce(Pin<&mut dyn Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.breaker.is_set() {
            // Best effort: without it, the peer sees an ordinary end.
            self.transport.tcp().map(TcpStream::set_zero_linger);
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let outcome = match self.transport.poll_ready(cx) {
            Poll::Ready(Ok(stream)) => action(Pin::new(stream), cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        if outcome.is_ready() {
            self.active = Instant::now();
            return outcome;
        }
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let deadline = self.active + self.idle;
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.set(sleep_until(deadline));
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut()
            .attempt(cx, |stream, cx| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .attempt(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .attempt(cx, |stream, cx| stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .attempt(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .attempt(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

//! A line between a client and a server that fails when it is told to: a TCP proxy.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

use super::{
    background::{block_on, runtime},
    tools::wait_until,
};

/// How the line fails by itself; the default never does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Bytes, both ways together, after which each connection is cut.
    pub cut_after: Option<u64>,
    /// Bytes, of all connections together, after which everything stands still until
    /// [`Line::go_down`].
    pub hold_at: Option<u64>,
}

/// A line to a server; it ends when dropped.
pub struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: String,
    faults: Faults,
    carried: AtomicU64,
    cuts: AtomicU64,
    /// Counts the times that the line went down: connections of an earlier time are over.
    period: watch::Sender<u64>,
}

impl Line {
    /// A line to the server at this address and port.
    pub fn to(upstream: &str, faults: Faults) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            faults,
            carried: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            period: watch::channel(0).0,
        });
        // On this address nobody else asks for a free port, who could get this one while it is down.
        let mut line = Self {
            address: ([127, 0, 0, 2], 0).into(),
            shared,
            listening: None,
        };
        line.come_back();
        line
    }

    /// Address and port, as in references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// How often the line was cut because of [`Faults::cut_after`].
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Waits until everything stands still ([`Faults::hold_at`]).
    #[track_caller]
    pub fn wait_until_held(&self) {
        let patience = Duration::from_secs(100);
        wait_until("so much is carried", patience, || self.shared.is_held());
    }

    /// Cuts all connections, and refuses new ones from now on.
    pub fn go_down(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            // The socket is closed when the task is gone.
            let _ = block_on(listening);
        }
        self.shared.period.send_modify(|period| *period += 1);
    }

    /// Takes connections again, at the same address; nothing is held any more.
    pub fn come_back(&mut self) {
        assert!(self.listening.is_none(), "it is not down");
        let address = self.address;
        let listener = block_on(async move { listen(address) }).expect("the address is free");
        self.address = listener.local_addr().expect("bound");
        let shared = Arc::clone(&self.shared);
        self.listening = Some(runtime().spawn(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(Arc::clone(&shared).carry(client));
                }
            }
        }));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections that were cut a moment ago still have the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

impl Shared {
    fn is_held(&self) -> bool {
        let reached = |limit| self.carried.load(Ordering::SeqCst) >= limit;
        *self.period.borrow() == 0 && self.faults.hold_at.is_some_and(reached)
    }

    // Errors end a connection, as they do on any network.
    async fn carry(self: Arc<Self>, client: TcpStream) {
        let mut period = self.period.subscribe();
        let Ok(server) = TcpStream::connect(&self.upstream).await else {
            return;
        };
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        let carried = AtomicU64::new(0);
        let both = async {
            // Each direction ends by itself, as connections do that are closed in one direction.
            let there = self.one_way(client_in, server_out, &carried);
            let back = self.one_way(server_in, client_out, &carried);
            tokio::try_join!(there, back)
        };
        tokio::select! {
            _ = both => {}
            _ = period.changed() => {}
        }
    }

    async fn one_way(
        &self,
        mut from: tcp::OwnedReadHalf,
        mut to: tcp::OwnedWriteHalf,
        carried: &AtomicU64,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..count]).await?;
            self.carried.fetch_add(count as u64, Ordering::SeqCst);
            let so_far = carried.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
            if self.faults.cut_after.is_some_and(|limit| so_far >= limit) {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if self.is_held() {
                // Until the line goes down, which ends the connection.
                std::future::pending::<()>().await;
            }
        }
    }
}

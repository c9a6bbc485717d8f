//! A listener that writes down every connection and every request: the proof that nothing was sent,
//! or what was.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// A recording listener on loopback; it ends when dropped.
pub struct Recording {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    /// Where the connections go on to; without one, every request is answered with status 503.
    upstream: Option<String>,
    stopping: AtomicBool,
    record: Mutex<Record>,
    streams: Mutex<Vec<TcpStream>>,
}

/// What has come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Connections, also those over which nothing came.
    pub connections: usize,
    /// Bytes that clients sent.
    pub bytes: u64,
    /// The request lines of plain HTTP/1.1, for example `GET /v2/ HTTP/1.1`.
    pub requests: Vec<String>,
}

impl Recording {
    /// A listener that refuses everything it is asked.
    pub fn refusing() -> Self {
        Self::start(None)
    }

    /// A listener in front of a registry with plain HTTP, given as `HOST:PORT`.
    pub fn in_front_of(upstream: &str) -> Self {
        Self::start(Some(upstream.to_owned()))
    }

    fn start(upstream: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            upstream,
            stopping: AtomicBool::new(false),
            record: Mutex::default(),
            streams: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    accepting.record.lock().unwrap().connections += 1;
                    let shared = Arc::clone(&accepting);
                    std::thread::spawn(move || shared.connection(stream));
                }
            }
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Address and port, as in references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What has come in so far.
    pub fn record(&self) -> Record {
        self.shared.record.lock().unwrap().clone()
    }

    /// Asserts that nobody has so much as connected.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(self.record(), Record::default());
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    // Errors end a connection, as they do on any network; the record stays.
    fn connection(&self, client: TcpStream) {
        let _ = match &self.upstream {
            Some(upstream) => self.forward(client, upstream),
            None => self.refuse(client),
        };
    }

    fn keep(&self, stream: &TcpStream) -> io::Result<()> {
        self.streams.lock().unwrap().push(stream.try_clone()?);
        Ok(())
    }

    fn forward(&self, client: TcpStream, upstream: &str) -> io::Result<()> {
        let server = TcpStream::connect(upstream)?;
        self.keep(&client)?;
        self.keep(&server)?;
        let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
        let answering = std::thread::spawn(move || {
            let copied = io::copy(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Both);
            copied
        });
        let copied = self.record_all(client, &mut &server);
        let _ = server.shutdown(Shutdown::Write);
        let _ = answering.join();
        copied
    }

    fn refuse(&self, client: TcpStream) -> io::Result<()> {
        self.keep(&client)?;
        let client_again = client.try_clone()?;
        self.record_all(client, &mut Refusal::to(client_again))
    }

    fn record_all(&self, mut client: TcpStream, to: &mut impl Write) -> io::Result<()> {
        let mut lines = Lines::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = client.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let found = lines.requests_in(&buffer[..count]);
            {
                let mut record = self.record.lock().unwrap();
                record.bytes += count as u64;
                record.requests.extend(found);
            }
            to.write_all(&buffer[..count])?;
        }
    }
}

/// Answers with status 503 as soon as the head of a request has come in, and hangs up.
struct Refusal {
    client: TcpStream,
    last: [u8; 4],
    answered: bool,
}

impl Refusal {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    fn to(client: TcpStream) -> Self {
        Self {
            client,
            last: [0; 4],
            answered: false,
        }
    }
}

impl Write for Refusal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            self.last.rotate_left(1);
            self.last[3] = byte;
            if &self.last == b"\r\n\r\n" && !self.answered {
                self.answered = true;
                self.client.write_all(Self::ANSWER)?;
                self.client.shutdown(Shutdown::Write)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Finds request lines in a stream without following the protocol: bodies of images hold none.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn requests_in(&mut self, bytes: &[u8]) -> Vec<String> {
        const LONGEST: usize = 8 << 10;
        let mut found = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < LONGEST {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            // A body has no line end of its own: the next request line stands right behind it.
            if let Some(end) = line.strip_suffix(b" HTTP/1.1\r")
                && let Some(start) = start_of_request(end)
            {
                let request = String::from_utf8_lossy(&end[start..]);
                found.push(format!("{request} HTTP/1.1"));
            }
        }
        found
    }
}

fn start_of_request(line: &[u8]) -> Option<usize> {
    let methods: [&[u8]; 7] = [
        b"GET /",
        b"HEAD /",
        b"POST /",
        b"PUT /",
        b"PATCH /",
        b"DELETE /",
        b"OPTIONS /",
    ];
    (0..line.len()).rev().find(|&start| {
        methods
            .iter()
            .any(|method| line[start..].starts_with(method))
    })
}

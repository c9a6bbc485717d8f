//! A small HTTP/1.1 server for tests: it answers what it is told to, also with broken connections,
//! and remembers what it was asked. It stands on its own, so that any test can include it.

// Every user of this file needs another part of it.
#![allow(dead_code)]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The number of the connection it came on, from zero.
    pub connection: usize,
}

impl Recorded {
    /// A header by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// `METHOD /path?query`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// How an answer goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The connection is closed without a word.
    NoAnswer,
    /// The connection is closed behind so many bytes of the body.
    CutAfter(usize),
    /// Nothing more comes behind so many bytes of the body.
    StallAfter(usize),
    /// The body comes byte by byte, with such a pause before each.
    Drip(Duration),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub fault: Fault,
    /// Answer behind so many bytes of the request's body, and close the connection.
    pub early: Option<usize>,
    /// Send no `Content-Length`; the end of the connection is the end of the body.
    pub until_close: bool,
    /// Wait before answering.
    pub delay: Duration,
    /// Sent as it is in place of everything else; then the connection is closed.
    pub raw: Option<Vec<u8>>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            fault: Fault::None,
            early: None,
            until_close: false,
            delay: Duration::ZERO,
            raw: None,
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    pub fn early(mut self, after: usize) -> Self {
        self.early = Some(after);
        self
    }

    pub fn raw(mut self, answer: impl AsRef<[u8]>) -> Self {
        self.raw = Some(answer.as_ref().to_vec());
        self
    }

    pub fn until_close(mut self) -> Self {
        self.until_close = true;
        self
    }

    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn announced_length(&self, head_request: bool) -> Option<usize> {
        let explicit = self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let without = explicit || self.until_close || head_request || self.status == 204;
        (!without).then_some(self.body.len())
    }
}

type Handler = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

/// Replies that were laid down for a method and path; each is used once, the last for ever.
#[derive(Clone, Default)]
struct Rule {
    method: String,
    path: String,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

struct Shared {
    handler: Handler,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<Recorded>>,
    tls: Option<tokio_rustls::TlsAcceptor>,
}

/// A running server; it stops when it is dropped.
pub struct TestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TestServer {
    /// Starts a server whose answers are computed.
    pub async fn start(handler: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Self::launch(Arc::new(handler), None).await
    }

    /// Starts a server that answers 404 to all that [`TestServer::on`] does not lay down.
    pub async fn scripted() -> Self {
        Self::start(|_| Reply::new(404)).await
    }

    /// Starts a server that speaks TLS.
    pub async fn start_tls(
        config: Arc<tokio_rustls::rustls::ServerConfig>,
        handler: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::launch(Arc::new(handler), Some(config.into())).await
    }

    async fn launch(handler: Handler, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the address of a listener");
        let shared = Arc::new(Shared {
            handler,
            rules: Mutex::default(),
            log: Mutex::default(),
            tls,
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Lays down answers for a method and a path (without query). They come before the handler;
    /// the last one stays.
    pub fn on(&self, method: &str, path: &str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        let mut rules = self.shared.rules.lock().unwrap();
        rules.retain(|rule| rule.method != method || rule.path != path);
        rules.push(Rule {
            method: method.to_owned(),
            path: path.to_owned(),
            replies: Arc::new(Mutex::new(replies.into_iter().collect())),
        });
        self
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// An address on this server.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Recorded> {
        self.shared.log.lock().unwrap().clone()
    }

    /// `METHOD /path?query` of all requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.log().iter().map(Recorded::line).collect()
    }

    /// How many requests so far had this method and path.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let fits = |r: &&Recorded| r.method == method && r.path() == path;
        self.log().iter().filter(fits).count()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the server, so a test that ends leaves nothing behind.
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            match shared.tls.clone() {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, shared, connection).await;
                    }
                }
                None if starts_with_tls(&stream).await => {}
                None => serve(stream, shared, connection).await,
            }
        });
    }
}

/// Whether a client begins to speak TLS, which a plain server ends at once.
async fn starts_with_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0] == 0x16
}

/// Answers the requests of one connection until it is closed or to be broken.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    shared: Arc<Shared>,
    connection: usize,
) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read_head(&mut stream, &mut buffer, connection).await {
        let laid_down = laid_down(&shared, &request);
        let length = match request.header("content-length") {
            Some(length) => length.parse().unwrap_or(0),
            None => 0,
        };
        let chunked = request
            .header("transfer-encoding")
            .is_some_and(|t| t.contains("chunked"));
        let wanted = laid_down.as_ref().and_then(|r| r.early).unwrap_or(length);
        let whole = if chunked {
            read_chunked(&mut stream, &mut buffer, &mut request.body).await
        } else {
            read_exact(
                &mut stream,
                &mut buffer,
                &mut request.body,
                wanted.min(length),
            )
            .await
        };
        shared.log.lock().unwrap().push(request.clone());
        if !whole {
            return;
        }
        let reply = laid_down.unwrap_or_else(|| (shared.handler)(&request));
        tokio::time::sleep(reply.delay).await;
        let go_on = answer(&mut stream, &reply, request.method == "HEAD").await;
        if !go_on || wanted < length {
            return;
        }
    }
}

fn laid_down(shared: &Shared, request: &Recorded) -> Option<Reply> {
    let rules = shared.rules.lock().unwrap();
    let rule = rules
        .iter()
        .find(|rule| rule.method == request.method && rule.path == request.path())?;
    let mut replies = rule.replies.lock().unwrap();
    match replies.len() {
        0 | 1 => replies.front().cloned(),
        _ => replies.pop_front(),
    }
}

async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Recorded> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head: Vec<u8> = buffer.drain(..end + 4).collect();
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let method = first.next()?.to_owned();
    let target = first.next()?.to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Some(Recorded {
        method,
        target,
        headers,
        body: Vec::new(),
        connection,
    })
}

async fn read_exact<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    body: &mut Vec<u8>,
    length: usize,
) -> bool {
    while buffer.len() < length {
        if !matches!(stream.read_buf(buffer).await, Ok(n) if n > 0) {
            body.append(buffer);
            return false;
        }
    }
    body.extend(buffer.drain(..length));
    true
}

async fn read_chunked<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> bool {
    loop {
        while !buffer.windows(2).any(|w| w == b"\r\n") {
            if !matches!(stream.read_buf(buffer).await, Ok(n) if n > 0) {
                return false;
            }
        }
        let end = buffer.windows(2).position(|w| w == b"\r\n").unwrap_or(0);
        let line: Vec<u8> = buffer.drain(..end + 2).collect();
        let size = String::from_utf8_lossy(&line[..end]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            return false;
        };
        let mut chunk = Vec::new();
        if !read_exact(stream, buffer, &mut chunk, size + 2).await {
            return false;
        }
        chunk.truncate(size);
        if size == 0 {
            return true;
        }
        body.append(&mut chunk);
    }
}

/// Writes an answer; whether the connection can be used again.
async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, reply: &Reply, head_request: bool) -> bool {
    if reply.fault == Fault::NoAnswer {
        return false;
    }
    if let Some(raw) = &reply.raw {
        // Whether it arrives is for the client to show.
        let _ = stream.write_all(raw).await;
        let _ = stream.shutdown().await;
        return false;
    }
    let mut head = format!("HTTP/1.1 {} Test\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = reply.announced_length(head_request) {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    head.push_str("\r\n");
    let mut sent = head.into_bytes();
    let body = if head_request { &[][..] } else { &reply.body };
    let keep = match reply.fault {
        Fault::CutAfter(n) | Fault::StallAfter(n) => &body[..n.min(body.len())],
        Fault::Drip(_) => &[],
        _ => body,
    };
    sent.extend_from_slice(keep);
    if stream.write_all(&sent).await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    match reply.fault {
        Fault::StallAfter(_) => std::future::pending().await,
        Fault::Drip(pause) => {
            for byte in body {
                tokio::time::sleep(pause).await;
                if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                    return false;
                }
            }
            !reply.until_close
        }
        Fault::CutAfter(_) | Fault::NoAnswer => false,
        Fault::None => !reply.until_close,
    }
}

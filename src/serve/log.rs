//! A record of the requests that a registry answered, for tests and audits.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU16, AtomicU64, Ordering},
};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderMap, Method, header},
    response::Response,
};
use futures_util::StreamExt as _;

use super::faults::Inflicted;

/// A shared list of requests in the order of their arrival. Clones are handles to the same list,
/// which grows until [`clear`](Self::clear) is called.
#[derive(Clone, Debug, Default)]
pub struct RequestLog {
    entries: Arc<Mutex<Vec<Arc<LiveEntry>>>>,
}

/// One request as it stood when the log was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The method in upper case.
    pub method: String,
    /// The path as it was sent, without the query.
    pub path: String,
    /// The query without the question mark, empty when there is none.
    pub query: String,
    /// The `Range` header, or `Content-Range` where that was sent instead.
    pub range: Option<String>,
    /// The status of the answer; 0 while there is none, and for connections that were reset.
    pub status: u16,
    /// Body bytes received so far.
    pub bytes_in: u64,
    /// Body bytes handed to the connection so far.
    pub bytes_out: u64,
    /// What was made to go wrong with it, by the word of the fault plan.
    pub fault: Option<&'static str>,
}

#[derive(Debug)]
struct LiveEntry {
    method: Method,
    path: String,
    query: String,
    range: Option<String>,
    status: AtomicU16,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    fault: OnceLock<&'static str>,
}

impl RequestLog {
    /// All requests so far, those still being answered included.
    pub fn entries(&self) -> Vec<LoggedRequest> {
        self.lock().iter().map(|live| live.snapshot()).collect()
    }

    /// The requests that could change something: all but GET and HEAD.
    pub fn mutating(&self) -> Vec<LoggedRequest> {
        let mut entries = self.entries();
        entries.retain(|entry| !matches!(entry.method.as_str(), "GET" | "HEAD"));
        entries
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Writes the request down and counts its body from here on.
    pub(super) fn begin(&self, request: Request) -> (Request, LogEntry) {
        let entry = Arc::new(LiveEntry {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            range: range_of(request.headers()),
            status: AtomicU16::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            fault: OnceLock::new(),
        });
        self.lock().push(Arc::clone(&entry));
        let counter = Arc::clone(&entry);
        let request = request.map(|body| {
            counted(body, move |bytes| {
                counter.bytes_in.fetch_add(bytes, Ordering::Relaxed);
            })
        });
        (request, LogEntry(entry))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<LiveEntry>>> {
        // A panic elsewhere cannot leave the list half changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open entry of one request.
pub(super) struct LogEntry(Arc<LiveEntry>);

impl LogEntry {
    /// Notes the status and counts the body from here on.
    pub(super) fn answered(self, response: Response) -> Response {
        let mut status = response.status().as_u16();
        if let Some(Inflicted(fault)) = response.extensions().get() {
            // The answer that was made does not arrive.
            if fault.takes_the_answer() {
                status = 0;
            }
            let _ = self.0.fault.set(fault.word());
        }
        self.0.status.store(status, Ordering::Relaxed);
        response.map(|body| {
            counted(body, move |bytes| {
                self.0.bytes_out.fetch_add(bytes, Ordering::Relaxed);
            })
        })
    }
}

impl LiveEntry {
    fn snapshot(&self) -> LoggedRequest {
        LoggedRequest {
            method: self.method.to_string(),
            path: self.path.clone(),
            query: self.query.clone(),
            range: self.range.clone(),
            status: self.status.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            fault: self.fault.get().copied(),
        }
    }
}

fn range_of(headers: &HeaderMap) -> Option<String> {
    [header::RANGE, header::CONTENT_RANGE]
        .iter()
        .find_map(|name| headers.get(name))
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn counted(body: Body, count: impl Fn(u64) + Send + 'static) -> Body {
    // As a stream it would lose its known length of zero.
    if body.is_end_stream() {
        return body;
    }
    Body::from_stream(body.into_data_stream().inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            count(Bytes::len(chunk) as u64);
        }
    }))
}
